"""Statistics of genes over blocks of cells: those of NumPy on all cells at once."""

from __future__ import annotations

import numpy as np
import pytest

from unigrn.data import Block
from unigrn.moments import GeneStatistics, gather, pool
from unigrn.run.finish import suspicions

GENES, SIZES = 6, (7, 1, 40, 12)


def blocks(dtype):
    """Blocks of unlike means: counts, some with fractions later, a constant, large means."""
    rng = np.random.default_rng(0)
    out = []
    for i, size in enumerate(SIZES):
        values = rng.normal(size=(size, GENES)) * [1, 2, 3, 1, 1, 1] + 5 * i
        values[:, 2] = rng.poisson(0.5, size)
        values[:, 3] = values[:, 2] + (0.25 if i == 2 else 0.0)
        values[:, 4] = 3.0
        values[:, 5] += 1e3
        out.append(values.astype(dtype))
    return out


def check(found, values):
    wide = values.astype(np.float64)
    assert found.cells == len(values) and found.nonzero == np.count_nonzero(values)
    np.testing.assert_allclose(found.mean, wide.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.squares / len(values), wide.var(axis=0), rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(found.minimum, values.min(axis=0))
    np.testing.assert_array_equal(found.maximum, values.max(axis=0))
    np.testing.assert_array_equal(found.fractional, (values != np.rint(values)).any(axis=0))
    np.testing.assert_array_equal(found.constant, values.min(axis=0) == values.max(axis=0))
    flat = found.constant
    np.testing.assert_allclose(found.deviation[~flat], wide.std(axis=0)[~flat], rtol=1e-6)
    np.testing.assert_array_equal(found.deviation[flat], 1)
    assert found.bad is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_add_up_in_any_order(dtype):
    parts = blocks(dtype)
    for order in (range(4), (3, 1, 0, 2)):
        found = GeneStatistics(GENES)
        for i in order:
            found.add(parts[i])
            check(
                found, np.concatenate([parts[j] for j in list(order)[: list(order).index(i) + 1]])
            )


def test_groups_are_pooled_and_stay_as_they_are():
    parts, fed = blocks("float64"), []
    several = [Block(g, s, v) for g, s, v in ((0, 0, parts[0]), (1, 0, parts[1]), (0, 7, parts[2]))]
    whole, by_group = gather(several, fed.append, GENES, 3)
    assert fed == several
    check(by_group[0], np.concatenate([parts[0], parts[2]]))
    check(by_group[1], parts[1])
    assert by_group[2].cells == 0 and by_group[2].mean is None
    check(whole, np.concatenate(parts[:3]))
    check(pool(by_group[::-1], GENES), np.concatenate(parts[:3]))
    check(by_group[0], np.concatenate([parts[0], parts[2]]))  # pooling changes no part


def test_genes_that_are_not_finite_are_named_and_feed_nothing():
    parts, fed = blocks("float64"), []
    parts[1][0, 1], parts[2][3, 4] = np.nan, np.inf
    several = [Block(0, 0, parts[0]), Block(0, 7, parts[1]), Block(1, 0, parts[2])]
    whole, by_group = gather(several, fed.append, GENES, 2)
    assert fed == several[:1]
    np.testing.assert_array_equal(np.flatnonzero(by_group[0].bad), [1])
    np.testing.assert_array_equal(np.flatnonzero(whole.bad), [1, 4])
    assert by_group[0].cells == len(parts[0]) and by_group[1].cells == 0


LOGS = np.array([[0.0, 1.5, 0.2], [2.5, 0.0, 0.7], [0.1, 0.3, 0.0]])


@pytest.mark.parametrize("gene", range(3))
@pytest.mark.parametrize(
    ("expects", "value", "words"),
    [
        ("log", None, "look like raw counts"),
        ("log", 101.0, "values reach 101: this looks unlogged"),
        ("positive", -0.5, "values go down to -0.5"),
    ],
)
def test_one_gene_is_enough_to_look_wrong(gene, expects, value, words):
    """Or, where all look like counts, one gene is enough to look right."""
    values = np.rint(LOGS) if value is None else LOGS.copy()
    other = values.copy()
    (other if value is None else values)[0, gene] = 0.5 if value is None else value

    def told(values, genes=3):
        seen = GeneStatistics(3)
        seen.add(values)
        return suspicions("the method", (expects,), seen, genes)

    (line,) = told(values)
    assert words in line and line.startswith("the method expects log")
    assert told(other) == []
    if value is not None:  # what stages made, behind the genes, is not asked
        assert (told(values, gene) == []) if gene else told(values, 1)


def test_zeros_of_an_imputed_layer_are_those_of_all_genes():
    def told(zeros):
        seen = GeneStatistics(4)
        seen.add(np.where(np.arange(20).reshape(5, 4) < zeros, 0, 0.5))
        return suspicions("it", ("imputed",), seen, 4)

    assert told(10) == [] and told(11)[0].startswith("55 % of the values are zero")
