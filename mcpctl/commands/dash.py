"""dash: its signature; what it does is in `mcpctl.actions.dash`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from mcpctl.actions.query import Query
from mcpctl.commands.options import COMMON, Common, Nodes
from mcpctl.errors import CliError, UsageError
from mcpctl.ui import render

_MISSING = """\
dash needs Textual, which is not installed here: `pip install 'mcp-control-plane[dash]'` adds it.
`mcpctl status --watch` shows much of the same without it."""


def dash(*, node: Nodes = (), common: Common = COMMON) -> int:
    """Show the fleet on one screen: services, drift, alerts; and of each its history and logs.

    The keys are at the bottom of the screen.

    For example: `mcpctl dash --node rift`
    """
    if common.json or common.quiet:
        raise UsageError("dash is a screen for people; `mcpctl status --watch --output json` is for programs")
    if find_spec("textual") is None:
        raise CliError(_MISSING)
    if not (render.is_terminal(sys.stdout) and sys.stdin.isatty()):
        raise UsageError("dash needs a terminal; `mcpctl status --watch` does without")
    from mcpctl.actions.dash import app

    return app.run(Query("", node, common.config, common.how))
