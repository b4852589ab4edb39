"""What prior evidence is worth, and what it makes of scores, on targets that were hidden."""

from unigrn.worth.gain import PriorGain, prior_gain
from unigrn.worth.probability import Calibrated, edge_probabilities
from unigrn.worth.strength import PriorStrength, prior_strength

__all__ = [
    "Calibrated",
    "PriorGain",
    "PriorStrength",
    "edge_probabilities",
    "prior_gain",
    "prior_strength",
]
