"""dash: its signature; what it does is in `mcpctl.actions.dash`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from mcpctl.actions.query import Query
from mcpctl.commands.options import COMMON, Common, Nodes
from mcpctl.errors import CliError, UsageError
from mcpctl.ui import render

_MISSING = """\
dash needs Textual, which is not installed: `pip install 'mcp-control-plane[dash]'` installs it.
`mcpctl status --watch` shows much of the same without it."""


def dash(*, node: Nodes = (), common: Common = COMMON) -> int:
    """Open a dashboard of the fleet: services, drift, alerts, history and logs.

    The bottom line shows the keys.

    For example: `mcpctl dash --node rift`
    """
    if common.json or common.quiet:
        raise UsageError("dash is interactive; for JSON use `mcpctl status --watch --output json`")
    if find_spec("textual") is None:
        raise CliError(_MISSING)
    if not (render.is_terminal(sys.stdout) and sys.stdin.isatty()):
        raise UsageError("dash needs a terminal; `mcpctl status --watch` works without one")
    from mcpctl.actions.dash import app

    return app.run(Query("", node, common.config, common.how))
