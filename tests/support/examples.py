"""How much of what is random is tried."""

from __future__ import annotations

import os

# Of each property, unless its test says more in terms of this.
EXAMPLES = int(os.environ.get("MCP_EXAMPLES", "100"))
