"""``python -m unigrn``: the command line without the installed script."""

import sys

from unigrn.cli import main

if __name__ == "__main__":
    sys.exit(main())
