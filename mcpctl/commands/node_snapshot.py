"""node snapshot: brings a copy of a node's registry here."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import node_snapshot as action
from mcpctl.commands.options import COMMON, Common


def snapshot(
    name: Annotated[str, Parameter(name="NODE", help="The node.")],
    file: Annotated[
        str,
        Parameter(
            name="FILE", show_default=False, help="The local file. [default: NODE-TIME.db in the current folder]"
        ),
    ] = "",
    /,
    *,
    force: Annotated[bool, Parameter(negative="", help="Overwrite FILE if it exists.")] = False,
    common: Common = COMMON,
) -> int:
    """Download a snapshot of a node's registry.

    The file is checked, and only you can read it. It holds everything that was ever declared on the node, including the
    values of environment variables. `mcpd restore` restores it, on the same node or on its replacement.

    For example: `mcpctl node snapshot rift rift.db`
    """
    return action.snapshot(common.settings(), name, file, common.how, force=force)
