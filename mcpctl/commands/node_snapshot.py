"""node snapshot: brings a copy of a node's registry here."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import node_snapshot as action
from mcpctl.commands.options import COMMON, Common


def snapshot(
    name: Annotated[str, Parameter(name="NODE", help="The node.")],
    file: Annotated[
        str, Parameter(name="FILE", show_default=False, help="Where to. [default: NODE-TIME.db in the current folder]")
    ] = "",
    /,
    *,
    force: Annotated[bool, Parameter(negative="", help="Replace FILE when it is there.")] = False,
    common: Common = COMMON,
) -> int:
    """Bring a snapshot of a node's registry here: whole, checked, and readable by you alone.

    It has everything that was ever declared there, values of environment variables included. `mcpd restore` puts it
    back, on that node or on the one that takes its place.

    For example: `mcpctl node snapshot rift rift.db`
    """
    return action.snapshot(common.settings(), name, file, common.how, force=force)
