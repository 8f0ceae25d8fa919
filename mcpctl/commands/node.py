"""node list|show|add|remove|set-state: the nodes in the configuration (audit E1)."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from mcpctl import client, nodes, render
from mcpctl.config import NodeState, Settings
from mcpctl.errors import DONE, CliError, UsageError
from mcpctl.fanout import ask
from mcpctl.options import COMMON, Common
from mcpctl.output import names, structured
from mcpctl.rows import node_row
from protos import atomic, grammar
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


def add(name: str, address: str, /, *, common: Common = COMMON) -> int:
    """Add a node to the configuration; comments are kept.

    For example: `mcpctl node add rift 100.95.252.120:9444`
    """
    try:
        grammar.name(name)
        grammar.host_port(address)
    except ValueError as error:
        raise UsageError(str(error)) from None
    settings = common.settings()
    if any(node.name == name for node in settings.nodes):
        raise UsageError(f"{settings.path} has a node {name} already")

    def edit(document: Any) -> None:
        import tomlkit

        table = tomlkit.table()
        table.update({"name": name, "address": address})
        if not document.get("nodes"):  # missing, or the empty array that is no place for a table
            document.pop("nodes", None)
            document.append("nodes", tomlkit.aot())
        document["nodes"].append(table)

    _edit(settings, edit)
    return DONE


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
    return DONE


def _edit(settings: Settings, change: Callable[[Any], None]) -> None:
    """Changes the configuration file in place, comments and order kept."""
    import tomlkit

    path = settings.path.resolve()
    document = tomlkit.parse(path.read_bytes().decode())
    change(document)
    wanted, edited = document.unwrap(), tomlkit.dumps(document)
    # What the edit means is checked, not trusted: without this file nothing works.
    if _means(edited) != wanted:
        raise CliError(f"{path} could not be edited safely; edit its [[nodes]] yourself")
    atomic.write(path, edited.encode(), mode=path.stat().st_mode & 0o777)


def _means(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
