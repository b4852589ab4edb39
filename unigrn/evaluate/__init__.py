"""Score a network against a gold standard, beside the baselines that it has to beat.

The universe is the set of pairs (regulator, target) that the gold speaks about: its labelled
rows, or gold TFs x gold targets without self-edges. A network lists some of these pairs with a
score; all pairs that it does not list share one last score, and equal scores are one threshold.

Three baselines stand beside every network, because a high score alone says little: the prior
alone (a network that only repeats its prior scores the same), ``|Pearson|`` (no model at all) and
the network's own scores on permuted target names (what the numbers of edges per regulator give).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from unigrn.evaluate.baselines import BLOCK, LEAK_ENRICHMENT, LEAK_SHARE
from unigrn.evaluate.evaluation import Evaluation, evaluate
from unigrn.evaluate.explained import REGRESSION, regression_metrics
from unigrn.evaluate.gold import load_gold
from unigrn.evaluate.metrics import MACRO_POSITIVES, METRICS, precision_recall, ranking_metrics

__all__ = [
    "BLOCK",
    "LEAK_ENRICHMENT",
    "LEAK_SHARE",
    "MACRO_POSITIVES",
    "METRICS",
    "REGRESSION",
    "Evaluation",
    "evaluate",
    "load_gold",
    "precision_recall",
    "ranking_metrics",
    "regression_metrics",
]


class _Callable(ModuleType):
    """``unigrn.evaluate(network, gold)`` is `unigrn.evaluate.evaluate`."""

    def __call__(self, *arguments: Any, **options: Any) -> Evaluation:
        return evaluate(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
