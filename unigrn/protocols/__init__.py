"""Fair benchmarks: protocols as data, run over methods beside what they have to beat."""

from unigrn.protocols.declared import Case, Hidden, Protocol, protocols, read_protocol
from unigrn.protocols.report import Benchmarked
from unigrn.protocols.run import benchmark

__all__ = ["Benchmarked", "Case", "Hidden", "Protocol", "benchmark", "protocols", "read_protocol"]
