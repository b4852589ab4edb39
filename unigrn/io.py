"""The names of `unigrn.files`, under their earlier module."""

from unigrn.files import SUFFIXES, WriteError, read_edges, read_network, suffix_of

__all__ = ["SUFFIXES", "WriteError", "read_edges", "read_network", "suffix_of"]
