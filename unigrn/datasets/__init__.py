"""Data sets with a known network, for the demonstration, tests, examples and benchmarks.

`simulate` makes single-cell counts from the kinetics of a known gene regulatory network,
`linear` makes a plain linear Gaussian problem, `stream` the same problem in blocks of cells
that never have to be held at once. Only NumPy is needed to make the numbers.

Everything is a pure function of the arguments: the same seed gives the same bytes on one
platform.
"""

from unigrn.datasets.cells import Simulation, simulate
from unigrn.datasets.gaussian import BLOCK, Linear, Stream, linear, stream

__all__ = ["BLOCK", "Linear", "Simulation", "Stream", "linear", "simulate", "stream"]
