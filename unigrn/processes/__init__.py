"""Generative processes: declared once, turned into specs, simulated."""

from unigrn.processes.distributions import (
    Beta,
    Binomial,
    Distribution,
    Flat,
    Gamma,
    HalfNormal,
    Laplace,
    Normal,
    Poisson,
    SignedNormal,
    TruncatedNormal,
)
from unigrn.processes.elbo import Divergence, Likelihood
from unigrn.processes.evidence import Evident, Measured, measured
from unigrn.processes.generate import generative
from unigrn.processes.handed import from_numpyro
from unigrn.processes.posterior import Posterior
from unigrn.processes.process import EDGES, Process
from unigrn.processes.uncertain import NoMoments, apply, exp, sigmoid, where

__all__ = [
    "EDGES",
    "Beta",
    "Binomial",
    "Distribution",
    "Divergence",
    "Evident",
    "Flat",
    "Gamma",
    "HalfNormal",
    "Laplace",
    "Likelihood",
    "Measured",
    "NoMoments",
    "Normal",
    "Poisson",
    "Posterior",
    "Process",
    "SignedNormal",
    "TruncatedNormal",
    "apply",
    "exp",
    "from_numpyro",
    "generative",
    "measured",
    "sigmoid",
    "where",
]
