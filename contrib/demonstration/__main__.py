"""Run by path, `python contrib/demonstration up DIR`: from any folder, and with a Python that has nothing installed."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python has put this folder there, from which the package cannot be found.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from contrib.demonstration.command import main

    sys.exit(main(sys.argv[1:]))
