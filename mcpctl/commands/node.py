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

Name = Annotated[str, Parameter(name="NODE", help="The node.")]


def list_nodes(
    *,
    offline: Annotated[
        bool, Parameter(negative="", help="Do not contact the nodes; show only the configuration.")
    ] = False,
    common: Common = COMMON,
) -> int:
    """List the nodes in the configuration and their status.

    Contacts all active nodes in parallel. For a node that does not answer, the PROBLEM column says why.

    For example: `mcpctl node list --offline`
    """
    return nodes.list_nodes(common.settings(), common.how, offline=offline)


def show(name: Name, /, *, common: Common = COMMON) -> int:
    """Show the details of a node: versions, load, memory, disk.

    For example: `mcpctl node show rift`
    """
    return nodes.show(common.settings(), name, common.how)


def add(
    name: Annotated[str, Parameter(name="NAME", help="The name of the node, as definitions use it.")],
    address: Annotated[str, Parameter(name="ADDRESS", help="HOST:PORT of its mcpd.")],
    /,
    *,
    ca_cert: Annotated[
        Path | None,
        Parameter(help="The CA certificate of the node, in PEM. [default: tls.ca_cert in the configuration]"),
    ] = None,
    token_path: Annotated[
        Path | None,
        Parameter(help="A file with a token for this node. [default: auth.token_path in the configuration]"),
    ] = None,
    no_check: Annotated[bool, Parameter(negative="", help="Add the node without contacting it.")] = False,
    common: Common = COMMON,
) -> int:
    """Add a node to the configuration.

    Contacts the node first, and adds it only if it answers and has the same name. Comments in the file are kept.

    For example: `mcpctl node add rift 100.95.252.120:9444 --ca-cert rift.pem --token-path rift.token`
    """
    try:
        grammar.name(name)
        grammar.host_port(address)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return nodes.add(common.settings(), name, address, ca_cert, token_path, common.how, check=not no_check)


def remove(name: Name, /, *, common: Common = COMMON) -> int:
    """Remove a node from the configuration.

    The services on the node keep running.

    For example: `mcpctl node remove rift`
    """
    return nodes.remove(common.settings(), name, common.how)


def set_state(
    name: Name,
    state: Annotated[NodeState, Parameter(name="STATE", help="The new state.")],
    /,
    *,
    common: Common = COMMON,
) -> int:
    """Mark a node as active, inactive or down in the configuration.

    Commands skip nodes that are not active.

    For example: `mcpctl node set-state rift down`
    """
    return nodes.set_state(common.settings(), name, state, common.how)
