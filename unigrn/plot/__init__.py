"""Figures: what a fit gave, how good a network is, and what it looks like.

Needs the extra `plot` (matplotlib, networkx). Every function returns a matplotlib Figure that
belongs to nobody: no window opens and no global setting changes.
"""

from unigrn.plot.benchmark import benchmark_figure
from unigrn.plot.comparison import comparison_figure
from unigrn.plot.fits import fit_figure
from unigrn.plot.hubs import network_figure
from unigrn.plot.predictive import predictive_figure
from unigrn.plot.scores import evaluation_figure
from unigrn.plot.worth import reliability_figure, strength_figure, worth_figure

__all__ = [
    "benchmark_figure",
    "comparison_figure",
    "evaluation_figure",
    "fit_figure",
    "network_figure",
    "predictive_figure",
    "reliability_figure",
    "strength_figure",
    "worth_figure",
]
