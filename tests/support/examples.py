"""How much of what is random is tried; docs/testing.md has what each session tries."""

from __future__ import annotations

import os

# Of each property, unless its test says more in terms of this.
EXAMPLES = int(os.environ.get("MCP_EXAMPLES", "100"))
# Of a simulated node.
_ALL_HISTORIES = 150
HISTORIES = int(os.environ.get("MCP_SIMULATION_HISTORIES", _ALL_HISTORIES))


def seeds(most: int) -> range:
    """Of a story: as many of ``most``, but one at least, as there are histories of all that there could be."""
    return range(max(1, most * HISTORIES // _ALL_HISTORIES))
