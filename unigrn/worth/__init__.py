"""What prior evidence is worth, measured on targets that neither fits nor choices saw."""

from unigrn.worth.gain import PriorGain, prior_gain

__all__ = ["PriorGain", "prior_gain"]
