"""top: its signature; what it does is in `mcpctl.actions.top`."""

from __future__ import annotations

from mcpctl.actions import top as action
from mcpctl.commands.options import COMMON, Common, Nodes, Target


def top(what: Target = "", /, *, node: Nodes = (), common: Common = COMMON) -> int:
    """List the processes of components, and of what run has started beside them.

    CPU is of one core, on average since the process started. The containers need no ps of their own. Arguments may
    have secrets, so only an admin may list them.

    For example: `mcpctl top web/api`
    """
    return action.top(common.query(what, node))
