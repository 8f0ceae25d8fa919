"""`mcpctl` where no node answers."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.agent import Ran
from tests.support.waiting import DEADLINE_S

CONFIG = """\
# My nodes.
[services]
dir = "services" # beside this file

# the big one
[[nodes]]
name = "rift"
address = "127.0.0.1:1" # by the overlay
state = "active" # since May

# the small one
[[nodes]]
# in the cellar
name = "orion"
address = "127.0.0.2:1"
# the end
"""


def run_process(folder: Path, *words: str) -> Ran:
    """Runs the program as a shell does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCP_")}
    done = subprocess.run(
        [sys.executable, *words],
        env={**environment, "MCP_CONFIG": str(folder / "mcp.toml")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
