"""node list|show|add|remove|set-state: the nodes in the configuration (audit E1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mcpctl.actions import nodes
from mcpctl.commands.options import COMMON, Common
from mcpctl.config import Node, NodeState, Settings
from mcpctl.errors import DONE, UsageError
from mcpctl.nodes import client
from mcpctl.nodes.fanout import ask, same_address
from mcpctl.ui import render
from mcpctl.ui.output import names, structured
from mcpctl.ui.rows import node_row
from protos import grammar
from protos.mcp import v1


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
    how = common.how

    async def command() -> int:
        found = await ask(common.settings(), (name,), lambda stub: stub.node_status(v1.NodeStatusRequest()))
        rows = [node_row(answer) for answer in found.answers]
        if how.structured:
            structured(rows, how, rows)
            return found.status
        if how.quiet:
            names(row.node for row in rows)
            return found.status
        for row in rows:
            facts = [
                ("node", row.node),
                ("mcpd", f"{row.mcpd_version}, up {render.age(row.started_at)}"),
                ("podman", row.podman_version or "not known"),
                (
                    "services",
                    f"{row.services}, {row.components} components, {row.operations_running} operations running",
                ),
                ("load", f"{row.load_average:.2f} on {row.cpus} CPUs"),
                ("memory", f"{render.size(row.memory_available_bytes)} free of {render.size(row.memory_total_bytes)}"),
                ("disk", f"{render.size(row.disk_free_bytes)} free of {render.size(row.disk_total_bytes)}"),
            ]
            if row.certificate_expires_at:
                facts.append(("certificate", f"until {render.moment(row.certificate_expires_at)}"))
            facts += [
                (f"link {each.name}", f"{'ok' if each.ok else 'DOWN'} for {render.age(each.since)}: {each.detail}")
                for each in row.links
            ]
            for key, value in facts:
                render.say(f"{key:14} {value}")
        return found.status

    return client.run(command())


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
    settings = common.settings()
    if any(node.name == name for node in settings.nodes):
        raise UsageError(f"{settings.path} has a node {name} already")
    node = Node(name, address, ca_cert=_kept(settings, ca_cert), token_path=_kept(settings, token_path))
    answer = "" if no_check else f"; {nodes.who_it_is(settings, node)}"
    nodes.append(settings, node)
    _say(common, f"node {name}, {address}, is added to {settings.path}{answer}")
    for line in same_address([*settings.nodes, node]):
        render.note(f"mcpctl: {line}: is one of them a mistake?")
    return DONE


def _kept(settings: Settings, path: Path | None) -> Path | None:
    """A file that the command line names, as the configuration is to say it: from its own folder, where it is there."""
    if path is None:
        return None
    file, folder = path.expanduser().absolute(), settings.path.parent
    return file.relative_to(folder) if file.is_relative_to(folder) else file


def _say(common: Common, sentence: str) -> None:
    """What was done; nothing to those who only want to hear what went wrong."""
    if not common.quiet:
        render.note(f"mcpctl: {sentence}")


def remove(name: str, /, *, common: Common = COMMON) -> int:
    """Remove a node from the configuration. What runs there runs on.

    For example: `mcpctl node remove rift`
    """
    settings = common.settings()
    settings.node(name)

    def edit(document: Any) -> None:
        nodes = document["nodes"]
        del nodes[[each["name"] for each in nodes].index(name)]

    _edit(settings, edit)
    _say(common, f"node {name} is removed from {settings.path}; what runs there runs on")
    return DONE


def set_state(name: str, state: NodeState, /, *, common: Common = COMMON) -> int:
    """Set a node's state; commands skip nodes that are not active.

    For example: `mcpctl node set-state rift down`
    """
    settings = common.settings()
    settings.node(name)

    def edit(document: Any) -> None:
        next(each for each in document["nodes"] if each["name"] == name)["state"] = state.value

    _edit(settings, edit)
    then = "commands ask it" if state is NodeState.ACTIVE else "commands skip it"
    _say(common, f"node {name} is {state} in {settings.path}: {then}")
    return DONE


def _edit(settings: Settings, change: Callable[[Any], None]) -> None:
    """Changes the configuration file in place, comments and order kept."""
    import tomlkit

    document = tomlkit.parse(settings.path.read_bytes().decode())
    change(document)
    nodes.write(settings, tomlkit.dumps(document), document.unwrap())
