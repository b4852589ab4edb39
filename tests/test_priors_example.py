"""The worked example of sources of prior edges, on data of the same layout."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

EXAMPLE = Path(__file__).parents[1] / "examples" / "priors" / "yeast.py"


def test_the_example_runs_and_draws(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("yeast", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    folder = tmp_path / "yeast_stress"
    folder.mkdir()
    rng = np.random.default_rng(0)
    tfs, genes = [f"r{i}" for i in range(8)], [f"t{i:02d}" for i in range(80)]
    true = rng.random((8, 80)) < 0.15
    x = rng.normal(size=(80, 8))
    y = x @ (true * rng.uniform(0.5, 1.5, true.shape)) + rng.normal(size=(80, 80))
    adata = anndata.AnnData(
        np.concatenate([x, y], axis=1).astype(np.float32),
        var=pd.DataFrame(index=pd.Index([*tfs, *genes])),
    )
    adata.write_h5ad(folder / "expression.h5ad")

    def write(name, flags):
        i, j = np.nonzero(flags)
        table = pd.DataFrame({"tf": np.array(tfs)[i], "target": np.array(genes)[j]})
        table.to_csv(folder / name, sep="\t", index=False)

    write("gold.tsv", true)
    for (name, file), share in zip(example.SOURCES.items(), (0.3, 0.1, 0.02), strict=True):
        write(file, true ^ (rng.random(true.shape) < share))
        assert name
    fold = pd.DataFrame({"target": genes, "fold": np.arange(80) % 4})
    fold.to_csv(folder / "target_folds.tsv", sep="\t", index=False)
    given = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--methods", "tfa_ridge"]
    example.main(given)
    said = capsys.readouterr().out
    assert "worth of each source" in said and "probabilities of edges like those of" in said
    assert "prior: YEASTRACT" in said and "regulator degree" in said
    for name in ("worth", "reliability", "benchmark"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 5_000
