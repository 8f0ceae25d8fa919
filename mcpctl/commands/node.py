"""node list|show|add|remove|set-state: their signatures; what they do is in `mcpctl.actions.nodes` (audit E1)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import nodes
from mcpctl.commands.options import COMMON, Common
from mcpctl.config import NodeState
from mcpctl.errors import UsageError
from protos import grammar


def list_nodes(
    *,
    offline: Annotated[bool, Parameter(negative="", help="Ask no node: only what the configuration says.")] = False,
    common: Common = COMMON,
) -> int:
    """List the nodes in the configuration, and how they are.

    Active nodes are asked, all at once. One that does not answer is a row that says why.

    For example: `mcpctl node list --offline`
    """
    return nodes.list_nodes(common.settings(), common.how, offline=offline)


def show(name: str, /, *, common: Common = COMMON) -> int:
    """Show one node: versions, podman, load, memory, disk.

    For example: `mcpctl node show rift`
    """
    return nodes.show(common.settings(), name, common.how)


def add(
    name: str,
    address: str,
    /,
    *,
    ca_cert: Annotated[
        Path | None, Parameter(help="Who signed its certificate, in PEM. [default: tls.ca_cert of the configuration]")
    ] = None,
    token_path: Annotated[
        Path | None,
        Parameter(help="A file with a token for this node. [default: auth.token_path of the configuration]"),
    ] = None,
    no_check: Annotated[bool, Parameter(negative="", help="Add it without asking it anything.")] = False,
    common: Common = COMMON,
) -> int:
    """Add a node to the configuration; comments are kept.

    It is asked who it is first; one that does not answer, or calls itself by another name, is not added.

    For example: `mcpctl node add rift 100.95.252.120:9444 --ca-cert rift.pem --token-path rift.token`
    """
    try:
        grammar.name(name)
        grammar.host_port(address)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return nodes.add(common.settings(), name, address, ca_cert, token_path, common.how, check=not no_check)


def remove(name: str, /, *, common: Common = COMMON) -> int:
    """Remove a node from the configuration. What runs there runs on.

    For example: `mcpctl node remove rift`
    """
    return nodes.remove(common.settings(), name, common.how)


def set_state(name: str, state: NodeState, /, *, common: Common = COMMON) -> int:
    """Set a node's state; commands skip nodes that are not active.

    For example: `mcpctl node set-state rift down`
    """
    return nodes.set_state(common.settings(), name, state, common.how)
