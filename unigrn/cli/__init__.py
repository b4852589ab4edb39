"""The command line: checks arguments, calls the Python API, prints what came of it.

No method lives here. Importing this package loads typer and nothing heavier, so that ``--help`` and
every mistake that can be seen without the data answer at once; JAX, pandas and anndata are imported
when a command needs them.

Exit codes: 0 success; 1 a verification that failed; 2 bad usage or bad input, with one line on
stderr; 70 a defect of unigrn itself; 130 interrupted; 143 terminated; 141 the reader of stdout went
away.
"""

from unigrn.cli import commands, measures, networks, reports
from unigrn.cli.arguments import OUTPUTS
from unigrn.cli.shell import app, main

__all__ = ["OUTPUTS", "app", "commands", "main", "measures", "networks", "reports"]
