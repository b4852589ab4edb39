"""Careless changes: each is planted into a copy of the package, and a claim has to see it.

    python tests/planted.py                 # all of them, each by the claim that is named here
    python tests/planted.py kahan --all     # those whose name holds "kahan", by every claim

A change is a file, a text that stands there once, and the text in its place. The claims named are
asked first, the others only with ``--all``; a change that they do not see is printed as NOT SEEN,
and the command exits with 1 unless none is named: that change makes no difference, or none that a
claim sees. FURTHER was written down before any of it was run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Change(NamedTuple):
    """A careless change: what it is, where, the claims that see it, the old text and the new."""

    name: str
    file: str
    seen: str
    old: str
    new: str


PLANTED = [
    Change(
        "a bag draws the share of the regulators rounded up",
        "replicates.py",
        "methods.run",
        "(self.max_features * np.asarray(counts)).astype",
        "np.ceil(self.max_features * np.asarray(counts)).astype",
    ),
    Change(
        "one stream of draws for all groups",
        "replicates.py",
        "methods.run",
        "return Bootstrap(self.bags, count, (seed, 0, group)).read",
        "return Bootstrap(self.bags, count, (seed, 0, 0)).read",
    ),
    Change(
        "one stream of draws for all stretches",
        "bootstrap.py",
        "methods.run",
        "rng = np.random.default_rng((*self.entropy, 1, block))",
        "rng = np.random.default_rng((*self.entropy, 1, 0))",
    ),
    Change(
        "variance over bags with m",
        "replicates.py",
        "proposition_1.bags",
        "jnp.sum(deviation**2, axis=0) / jnp.maximum(m - 1, 1)",
        "jnp.sum(deviation**2, axis=0) / jnp.maximum(m, 1)",
    ),
    Change(
        "p with the degrees of freedom of all bags",
        "methods/celloracle.py",
        "proposition_1.bags",
        "p = 2 * stdtr(np.maximum(m - 1, 1), -t)",
        "p = 2 * stdtr(np.maximum(m.max() - 1, 1), -t)",
    ),
    Change(
        "every bag draws the same regulators",
        "replicates.py",
        "proposition_1.draws",
        "return np.argsort(rng.random((self.bags, count)), axis=1)[:, :k]",
        "return np.repeat(np.argsort(rng.random((1, count)), axis=1)[:, :k], self.bags, axis=0)",
    ),
    Change(
        "two bags share their draw of regulators",
        "run/separable.py",
        "methods.run",
        "row[:, :count] = first[None, :] + state.draw[:, None]",
        "row[:, :count] = first[None, :] + np.maximum(state.draw - 1, 0)[:, None]",
    ),
    Change(
        "weights of cells ignored",
        "run/reading.py",
        "methods.run",
        "return out if own is None else out * own[None, start:stop]",
        "return out",
    ),
    Change(
        "weights of cells ignored in released bags",
        "run/reading.py",
        "methods.run",
        "return out if own is None else out * own[None, start:stop]",
        "return out if own is None or candidates else out * own[None, start:stop]",
    ),
    Change(
        "units of the first group",
        "run/reading.py",
        "methods.run",
        "factor = 1 / state.overall.deviation",
        "factor = 1 / state.by_group[0].deviation",
    ),
    Change(
        "deviation within the groups for that over all cells",
        "moments.py",
        "methods.run",
        "self.squares = self.squares + other.squares + shift**2 * self.cells * share",
        "self.squares = self.squares + other.squares",
    ),
    Change(
        "no intercept in the second group",
        "run/separable.py",
        "methods.run",
        "            state.edges, state.numbers = found[group]\n",
        "            state.edges, state.numbers = found[group]\n"
        "            if group == 1:\n"
        "                moments = replace(\n"
        "                    moments,\n"
        "                    gram=moments.gram + moments.count[:, None, None]\n"
        "                    * moments.mean_x[:, :, None] * moments.mean_x[:, None, :],\n"
        "                    cross=moments.cross + moments.count[:, None, None]\n"
        "                    * moments.mean_x[:, :, None] * moments.mean_y[:, None, :],\n"
        "                )\n",
    ),
    Change(
        "copies that share their permutation",
        "replicates.py",
        "methods.run",
        "rng = np.random.default_rng((seed, 2, group, start + first, member))",
        "rng = np.random.default_rng((seed, 2, group, start + first))",
    ),
    Change(
        "copies that are not permuted",
        "replicates.py",
        "methods.run",
        "places.append(first + rng.permutation(min(STRETCH, count - first)))",
        "places.append(first + np.arange(min(STRETCH, count - first)))",
    ),
    Change(
        "fdr not divided by the copies",
        "rates.py",
        "methods.run",
        "rate = np.minimum((1 + above) / len(null) / rank, 1)",
        "rate = np.minimum((1 + above) / rank, 1)",
    ),
    Change(
        "centred by the mean of the first group",
        "run/reading.py",
        "methods.run",
        "genes = state.by_group[group]",
        "genes = state.by_group[0]",
    ),
    Change(
        "one random key for all groups",
        "run/state.py",
        "methods.stochastic",
        "return jax.random.fold_in(jax.random.key(self.seed), group)",
        "return jax.random.fold_in(jax.random.key(self.seed), 0)",
    ),
    Change(
        "units of the targets of the first pass",
        "run/separable.py",
        "methods.run",
        "yield sums.pop(0).finish(scale_x, np.tile(scale_y[part], state.copies.size))",
        "yield sums.pop(0).finish(scale_x, np.tile(scale_y[: len(part)], state.copies.size))",
    ),
    Change(
        "compensation with the wrong sign",
        "moments.py",
        "methods.sums",
        "lost = jax.tree.map(lambda n, t, c: (n - t) - c, new, total, corrected)",
        "lost = jax.tree.map(lambda n, t, c: c - (n - t), new, total, corrected)",
    ),
    Change(
        "weights of a block in the wrong order",
        "moments.py",
        "methods.run",
        "    block = _block_sums(x, y, weight)\n    corrected",
        "    block = _block_sums(x, y, weight[:, ::-1])\n    corrected",
    ),
    Change(
        "deviation with the denominator n - 1",
        "moments.py",
        "methods.run",
        "variance = np.maximum(self.squares, 0) / self.cells\n",
        "variance = np.maximum(self.squares, 0) / max(self.cells - 1, 1)\n",
    ),
    Change(
        "centred by the count of another bag",
        "moments.py",
        "methods.run",
        "count = jnp.maximum(sums.count, jnp.finfo(sums.x.dtype).tiny)",
        "count = jnp.full_like(sums.count, jnp.max(sums.count))",
    ),
    Change(
        "ridge times the prior's weight",
        "regularizers/shrinkage.py",
        "terms.values",
        "return Quadratic(None, jnp.full_like(weight, 1) * self.alpha, zero)",
        "return Quadratic(None, weight * self.alpha, zero)",
    ),
    Change(
        "l1 times the prior's weight",
        "regularizers/shrinkage.py",
        "terms.values",
        "return jnp.full_like(prior.weight, 1) * self.strength",
        "return prior.weight * self.strength",
    ),
    Change(
        "layers of evidence scaled by the top of them all",
        "filtering.py",
        "terms.values",
        "            top = jnp.max(v, initial=0)\n",
        "            top = jnp.max(jnp.stack(layers), initial=0)\n",
    ),
    Change(
        "another multiplier of evidence with two layers",
        "filtering.py",
        "terms.values",
        "self.weights[min(max(known - most + k - 1, 0), known - 1)]",
        "self.weights[min(max(known - most + k - 1 - (most == 2), 0), known - 1)]",
    ),
    Change(
        "bias of the prior's l1 the other way round",
        "regularizers/priced.py",
        "terms.values",
        "return 1 - (1 - bias) * jnp.minimum(weight, 1)",
        "return 1 - bias * jnp.minimum(weight, 1)",
    ),
    Change(
        "edges to themselves dropped of the first regulator only",
        "problem.py",
        "methods.masked_ridge",
        "            regulators[candidate] == targets[target],\n",
        "            (regulators[candidate] == targets[target]) & (candidate == 0),\n",
    ),
    Change(
        "edges to themselves allowed",
        "constraints/intervals.py",
        "terms.values",
        "return jnp.logical_not(prior.self_edge)",
        "return jnp.ones_like(prior.self_edge)",
    ),
    Change(
        "signs the other way round",
        "constraints/intervals.py",
        "terms.values",
        "low = jnp.where(prior.sign > 0, 0, -jnp.inf).astype(dtype)\n"
        "        high = jnp.where(prior.sign < 0, 0, jnp.inf)",
        "low = jnp.where(prior.sign < 0, 0, -jnp.inf).astype(dtype)\n"
        "        high = jnp.where(prior.sign > 0, 0, jnp.inf)",
    ),
    Change(
        "huber without its 2",
        "losses/robust.py",
        "terms.values",
        "value = inner * (2 * r - inner)",
        "value = inner * (r - 0.5 * inner)",
    ),
    Change(
        "variance of the target with the denominator n - 1",
        "losses/squares.py",
        "terms.values",
        "return jnp.where(square > 0, square / jnp.maximum(count, 1e-30), 1)",
        "return jnp.where(square > 0, square / jnp.maximum(count - 1, 1e-30), 1)",
    ),
    Change(
        "the sketch's confidence counts layers",
        "filtering.py",
        "terms.values",
        "c = valid * (1 + self.slope * prior.weight)",
        "c = valid * (1 + self.slope * known)",
    ),
    Change(
        "evidence of n - 1 cells",
        "solvers/evidence.py",
        "proposition_1.bayesian",
        "new_a = (m.count - gamma + 2 * h) / (rss + 2 * h)",
        "new_a = (m.count - 1 - gamma + 2 * h) / (rss + 2 * h)",
    ),
    Change(
        "weights of the other factor",
        "filtering.py",
        "terms.values",
        "return Squares(params.U, target.T, weight.T)",
        "return Squares(params.U, target.T, (weight * self._ratio()).T + self.confidence.T)",
    ),
    Change(
        "the worst start is kept for the best",
        "run/coupled.py",
        "methods.netrex_cf",
        "best = int(np.argmin(np.where(np.isnan(value), np.inf, value)))",
        "best = int(np.argmax(np.where(np.isnan(value), -np.inf, value)))",
    ),
    Change(
        "spread of the score with the denominator n",
        "replicates.py",
        "methods.netrex_cf",
        'found.edges["score"].std(axis=0, ddof=1, dtype=np.float64)',
        'found.edges["score"].std(axis=0, ddof=0, dtype=np.float64)',
    ),
    Change(
        "spread of the score over the edges",
        "replicates.py",
        "methods.netrex_cf",
        'found.edges["score"].std(axis=0, ddof=1, dtype=np.float64)',
        '0 * edges["score"] + found.edges["score"].std(axis=-1, ddof=1, dtype=np.float64).mean()',
    ),
    Change(
        "the same noise at every step",
        "solvers/stochastic.py",
        "methods.stochastic",
        "g = sloped(params, jax.random.fold_in(walk, count))",
        "g = sloped(params, walk)",
    ),
    Change(
        "padding among the sampled columns",
        "solvers/palm.py",
        "methods.netrex_cf",
        "order = jnp.argsort(jnp.where(valid, jax.random.uniform(own, valid.shape), 2))",
        "order = jnp.argsort(jax.random.uniform(own, valid.shape))",
    ),
    Change(
        "budgets rounded together",
        "constraints/counts.py",
        "terms.values",
        "return mask, self.count + jnp.round(self.share * edges) - jnp.round(self.less * edges)",
        "return mask, self.count + jnp.round((self.share - self.less) * edges)",
    ),
    Change(
        "scores normalised over the targets",
        "methods/netrex_cf.py",
        "methods.netrex_cf",
        "total = jnp.sum(ranked, axis=0, keepdims=True)\n"
        "    size = jnp.sum(jnp.abs(ranked), axis=0, keepdims=True)",
        "total = jnp.sum(ranked, axis=1, keepdims=True)\n"
        "    size = jnp.sum(jnp.abs(ranked), axis=1, keepdims=True)",
    ),
    Change(
        "likelihood divided by the cells",
        "losses/squares.py",
        "terms.values",
        "            1 / (2 * variance), jnp.zeros_like(m.mean_x),",
        "            1 / (2 * variance * m.count), jnp.zeros_like(m.mean_x),",
    ),
]

FURTHER = [
    Change(
        "mean over cells in place of weights",
        "losses/squares.py",
        "terms.values",
        "return rss / count if self.mean else rss",
        "return rss / data.y.shape[0] if self.mean else rss",
    ),
    Change(
        "linear part without intercept not weighted",
        "losses/squares.py",
        "terms.values",
        "m.count * m.mean_y**2, m.count * m.mean_y * m.mean_x, outer)",
        "m.count * m.mean_y**2, m.mean_y * m.mean_x, outer)",
    ),
    Change(
        "Gaussian constant without its 2",
        "losses/squares.py",
        "terms.values",
        "    def _constant(self, variance: Array, count: Array) -> Array:\n"
        "        return 0.5 * count * jnp.log(2 * math.pi * variance)",
        "    def _constant(self, variance: Array, count: Array) -> Array:\n"
        "        return 0.5 * count * jnp.log(math.pi * variance)",
    ),
    Change(
        "expected squares of regulators that are not centred",
        "losses/bayesian.py",
        "terms.values",
        "gram = weight @ (data.x - mean[None, :]) ** 2",
        "gram = weight @ data.x**2",
    ),
    Change(
        "huber of one target without weights",
        "losses/rows.py",
        "terms.values",
        "jnp.where(column > 0, column * value, 0)",
        "jnp.where(column > 0, value if value.ndim == 1 else column * value, 0)",
    ),
    Change(
        "sign of the prior's log width in the divergence",
        "regularizers/densities.py",
        "terms.values",
        "/ t2 - 1 - s + jnp.log(t2))",
        "/ t2 - 1 - s - jnp.log(t2))",
    ),
    Change(
        "prox of the Gaussian prior twice as strong",
        "regularizers/densities.py",
        "terms.prox",
        "return v / (1 + step / self.variance(prior))",
        "return v / (1 + 2 * step / self.variance(prior))",
    ),
    Change(
        "the layer of the prior's l1 ignored",
        "regularizers/evidence.py",
        "terms.values",
        "return prior.weight if layer is None else prior.layers[layer]",
        "return prior.weight",
    ),
    Change(
        "kin by positive correlation only",
        "regularizers/graphs.py",
        "terms.values",
        "kin = jnp.abs(alike) > self.threshold",
        "kin = alike > self.threshold",
    ),
    Change(
        "correlation of targets without the cells' weights",
        "regularizers/graphs.py",
        "terms.values",
        "        centred = centred * jnp.sqrt(weight)\n",
        "",
    ),
    # The same result: theta is 0 at padding.
    Change(
        "padding counted as new edges",
        "constraints/counts.py",
        "",
        '"new": prior.valid & jnp.logical_not(prior.support),',
        '"new": jnp.logical_not(prior.support),',
    ),
    Change(
        "ridge beside other terms half as strong",
        "joint.py",
        "terms.prox",
        "step * amount) / (1 + 2 * step * shrink)",
        "step * amount) / (1 + step * shrink)",
    ),
    Change(
        "prox of a multiple with the step of the term",
        "terms.py",
        "terms.prox",
        "v, step * scaled.factor, data, prior, params",
        "v, step, data, prior, params",
    ),
    Change(
        "intervals joined in place of intersected",
        "terms.py",
        "terms.prox",
        "return jnp.maximum(a[0], b[0]), jnp.minimum(a[1], b[1])",
        "return jnp.minimum(a[0], b[0]), jnp.maximum(a[1], b[1])",
    ),
    # The same result: the entry left out above the threshold is tied with it.
    Change(
        "one entry too few among the largest",
        "kernels.py",
        "",
        "few = more <= count",
        "few = more < count",
    ),
    Change(
        "one stream of subsamples for all groups",
        "replicates.py",
        "methods.axes",
        "rng = np.random.default_rng((seed, 3, group, sample))",
        "rng = np.random.default_rng((seed, 3, sample))",
    ),
    Change(
        "held-out loss averaged over the parts",
        "replicates.py",
        "methods.axes",
        'found.targets["heldout"][1:].sum(axis=0)',
        'found.targets["heldout"][1:].mean(axis=0)',
    ),
    Change(
        "jackknife without its factor",
        "replicates.py",
        "methods.axes",
        "np.sqrt(apart * (self.blocks - 1) / self.blocks)",
        "np.sqrt(apart / self.blocks)",
    ),
    Change(
        "half the price of many candidates",
        "replicates.py",
        "methods.axes",
        "k * np.log(n) + 2 * gamma * k * np.log(q)",
        "k * np.log(n) + gamma * k * np.log(q)",
    ),
    Change(
        "cells of weight 0 counted",
        "run/reading.py",
        "methods.axes",
        "rows = rows * (state.data.weights[state.data.positions(group)] > 0)",
        "rows = rows * 1.0",
    ),
    Change(
        "every axis of weights read at the first one's place",
        "run/reading.py",
        "methods.axes",
        "out = out * reader(start, stop)[grid.places()[:, axis]]",
        "out = out * reader(start, stop)[grid.places()[:, 0]]",
    ),
    Change(
        "the best member speaks for the certificate",
        "run/finish.py",
        "methods.certificates",
        "state.residual[group, live] = residual.max(axis=0)[live]",
        "state.residual[group, live] = residual.min(axis=0)[live]",
    ),
    # Seen only where a start gives a constant regulator a coefficient: no method has such a start.
    Change(
        "constant regulators taken off the intercept with the wrong sign",
        "run/finish.py",
        "",
        'state.blocks["intercept"][group] -= np.bincount(',
        'state.blocks["intercept"][group] += np.bincount(',
    ),
    Change(
        "one random key for all targets",
        "solvers/batching.py",
        "methods.stochastic",
        "jax.random.fold_in(jax.random.fold_in(members.key, i), j))(",
        "jax.random.fold_in(jax.random.fold_in(members.key, i), 0 * j))(",
    ),
    Change(
        "cells of weight 0 in the minibatches",
        "solvers/stochastic.py",
        "methods.stochastic",
        "place = order[jax.random.randint(key, (size,), 0, count)]",
        "place = order[jax.random.randint(key, (size,), 0, cells)]",
    ),
    Change(
        "loss of a minibatch not that of all cells",
        "solvers/stochastic.py",
        "methods.stochastic",
        "value = value * (cells / batch.size)",
        "value = value * 1",
    ),
    Change(
        "objective of a closed form without its constant",
        "solvers/closed_form.py",
        "methods.run",
        "axis=1) + q.constant",
        "axis=1)",
    ),
    Change(
        "groups fitted together all on the first one's cells",
        "solvers/across.py",
        "methods.axes",
        "place = systems[:, None] + tasks.offset[None, :]",
        "place = systems[:, None] + 0 * tasks.offset[None, :]",
    ),
    Change(
        "curvature of squares without its 2",
        "solvers/columns.py",
        "methods.netrex_cf methods.netrex",
        "    return 2 * norm\n",
        "    return norm\n",
    ),
    Change(
        "means of the regulators about the pivot",
        "moments.py",
        "methods.sums",
        "(mx + pivot_x[None]) * scale_x[None],",
        "mx * scale_x[None],",
    ),
]

# Asks the claims that are named, then the others, and says which saw it.
ASKED = """
import sys
from unigrn.verify.claims import claims
from unigrn.verify.table import EXAMPLES
known = claims()
for name in sys.argv[1:] or known:
    claim = known[name]
    try:
        report = claim.check(max(2, round(EXAMPLES * claim.share)), 0)
        holds, why = report.holds, report.reason
    except Exception as error:
        holds, why = False, f"{type(error).__name__}: {error}".splitlines()[0]
    if not holds:
        print(f"{name}: {why}")
        break
"""


def seen_by(change: Change, claims: list[str]) -> str:
    """Plant a change into a copy, and return what the first claim that sees it says."""
    with tempfile.TemporaryDirectory(prefix="planted-") as place:
        shutil.copytree(
            ROOT / "unigrn", Path(place) / "unigrn", ignore=shutil.ignore_patterns("__pycache__")
        )
        (Path(place) / "proofs").symlink_to(ROOT / "proofs")
        file = Path(place) / "unigrn" / change.file
        text = file.read_text(encoding="utf-8")
        if (count := text.count(change.old)) != 1:
            raise SystemExit(f"{change.name}: the old text stands {count} times in {change.file}")
        file.write_text(text.replace(change.old, change.new), encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "-c", ASKED, *claims],
            cwd=place,
            env=os.environ | {"PYTHONPATH": place, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        if run.returncode:
            return f"the program stops: {(run.stderr.strip().splitlines() or ['?'])[-1]}"
        return run.stdout.strip()


def main(arguments: list[str]) -> int:
    """Plant the changes whose names hold one of the words given, one after the other."""
    words = [a for a in arguments if not a.startswith("--")]
    missed = 0
    for change in [c for c in PLANTED + FURTHER if not words or any(w in c.name for w in words)]:
        own = change.seen.split()
        found = seen_by(change, own) if own else ""
        if not found and "--all" in arguments:
            found = seen_by(change, [])
        missed += bool(own and not found)
        print(f"{change.name}: {found or 'NOT SEEN'}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
