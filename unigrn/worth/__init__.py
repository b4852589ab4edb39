"""What prior evidence is worth, and what it makes of scores, on targets that were hidden."""

from unigrn.worth.gain import PriorGain, prior_gain
from unigrn.worth.probability import Calibrated, edge_probabilities

__all__ = ["Calibrated", "PriorGain", "edge_probabilities", "prior_gain"]
