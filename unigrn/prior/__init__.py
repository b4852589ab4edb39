"""Prior evidence: which regulator may act on which target, how strongly, and with which sign.

A `Prior` holds one `Layer` of edges per evidence source (motifs, ChIP, a database), over its own
names. `resolve` meets those names with the measured genes and writes down what was lost;
`Prior.align` turns the evidence into arrays for a chosen order of regulators and targets.
`read_prior` reads edge tables and base GRN tables.

Names are compared exactly: no folding of case, no stripping of version suffixes. Where that would
have matched more names, the report or the error says so.
"""

from __future__ import annotations

from unigrn.prior.alignment import AlignmentError, AlignmentReport, Entry, resolve
from unigrn.prior.evidence import Layer
from unigrn.prior.prior import AlignedPrior, Prior
from unigrn.prior.tables import read_prior

__all__ = [
    "AlignedPrior",
    "AlignmentError",
    "AlignmentReport",
    "Entry",
    "Layer",
    "Prior",
    "read_prior",
    "resolve",
]
