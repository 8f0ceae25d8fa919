"""What `mcpctl node list|show|add|remove|set-state` do: the configuration, and what nodes say of themselves."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from mcpctl.config import Node, NodeState, Settings
from mcpctl.errors import DONE, PARTIAL, CliError, UnreachableError, UsageError
from mcpctl.nodes import client
from mcpctl.nodes.fanout import ask, ask_each, on_our_side, same_address
from mcpctl.ui import render
from mcpctl.ui.output import How, View, listing, names, structured
from mcpctl.ui.rows.nodes import ListedNodeRow, NodeRow, node_row
from mcpctl.ui.table_layout import Fit
from protos import atomic
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub


def list_nodes(settings: Settings, how: How, *, offline: bool = False) -> int:
    """PARTIAL when an active node did not answer. Raises CliError when no node can be asked."""
    rows = [_unasked(each) for each in settings.nodes] if offline else asyncio.run(_rows(settings))
    nothing = f"{settings.path} has no nodes; `mcpctl node add NAME ADDRESS` adds one"
    listing(rows, how, _OFFLINE if offline else _NODES, nothing)
    for line in same_address(settings.nodes):
        render.note(f"mcpctl: {line}; is one of them a mistake?")
    return PARTIAL if any(row.problem for row in rows) else DONE


async def _rows(settings: Settings) -> list[ListedNodeRow]:
    """In the order of the configuration."""
    said = await ask_each(settings, settings.active_nodes, lambda stub, _: stub.node_status(v1.NodeStatusRequest()))
    ours = [each for _, each in said if isinstance(each, CliError) and on_our_side(each)]
    if ours and len(ours) == len(said):
        raise type(ours[0])(f"{ours[0]}\n`mcpctl node list --offline` contacts no node")
    rows = {node.name: _row(node, each) for node, each in said}
    return [rows.get(each.name) or _unasked(each) for each in settings.nodes]


# -- node add

_NOT_ADDED = "nothing was written; `--no-check` adds the node anyway"


def who_it_is(settings: Settings, node: Node) -> str:
    """What a node that is not in the configuration yet says of itself. Raises CliError: it is not to be added."""
    ((_, said),) = asyncio.run(ask_each(settings, [node], lambda stub, _: _who(stub)))
    if isinstance(said, CliError):
        raise type(said)(f"{said}\n{_NOT_ADDED}")
    if said.status.node != node.name:
        raise UsageError(
            f"the node at {node.address} is called {said.status.node}, and definitions must use that name: "
            f"`mcpctl node add {said.status.node} {node.address}`\n{_NOT_ADDED}"
        )
    podman = said.status.podman_version or "not available"
    return f"mcpd {said.status.mcpd_version}, podman {podman}; you are {said.who.name} ({said.who.role}) there"


class _Who(NamedTuple):
    status: v1.NodeStatusResponse
    who: v1.WhoAmIResponse


async def _who(stub: AgentServiceStub) -> _Who:
    return _Who(await stub.node_status(v1.NodeStatusRequest()), await stub.who_am_i(v1.WhoAmIRequest()))


def append(settings: Settings, node: Node) -> None:
    """Adds a node at the end of the configuration file. Raises CliError, and then it is as it was."""
    import tomlkit

    before = settings.path.read_bytes().decode()
    table = {"name": node.name, "address": node.address}
    table |= {key: str(path) for key, path in (("ca_cert", node.ca_cert), ("token_path", node.token_path)) if path}
    wanted = tomllib.loads(before)
    wanted["nodes"] = [*wanted.get("nodes", ()), table]
    document = tomlkit.parse(before)
    if document.get("nodes") == []:  # an empty array, which is no place for a table
        document.pop("nodes")
        before = tomlkit.dumps(document)
    newline = "\r\n" if "\r\n" in before else "\n"
    start = before.rstrip() + 2 * newline if before.strip() else ""
    added = "".join(f"{line}{newline}" for line in ("[[nodes]]", *tomlkit.dumps(table).splitlines()))
    write(settings, start + added, wanted)


def write(settings: Settings, text: str, wanted: Mapping[str, Any]) -> None:
    """Puts ``text`` in the place of the configuration, if it means what is ``wanted``. Raises CliError."""
    path = settings.path.resolve()  # it may be a link into a repository
    # What an edit means is checked, not trusted: without this file nothing works.
    if _means(text) != wanted:
        raise CliError(f"{path} could not be edited safely; edit [[nodes]] by hand")
    atomic.write(path, text.encode(), mode=path.stat().st_mode & 0o777)


def _means(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


# -- node list


def _row(node: Node, said: v1.NodeStatusResponse | CliError) -> ListedNodeRow:
    if not isinstance(said, CliError):
        return ListedNodeRow(node.name, node.address, node.state, reachable=True, status=node_row(said))
    problem = str(said).removeprefix(f"node {node.name}: ")
    waited = said.waited_s if isinstance(said, UnreachableError) else 0.0
    is_there = None if on_our_side(said) else not isinstance(said, UnreachableError)
    return ListedNodeRow(node.name, node.address, node.state, is_there, problem, round(waited, 3))


def _unasked(node: Node) -> ListedNodeRow:
    return ListedNodeRow(node.name, node.address, node.state)


def _cells(row: ListedNodeRow) -> tuple[str, ...]:
    status = row.status
    if status is None:
        waited = f" (waited {render.took(1000 * row.waited_s)})" if row.waited_s else ""
        return row.name, row.state, _answers(row), "", "", "", "", "", f"{row.problem}{waited}"
    disk = f"{render.size(status.disk_free_bytes)} of {render.size(status.disk_total_bytes)}"
    load = f"{status.load_average:.2f}/{status.cpus}"
    broken = "; ".join(f"{each.name}: {each.detail}" for each in status.links if not each.ok)
    expires = _expires(status)
    return row.name, row.state, "yes", status.mcpd_version, status.podman_version, load, disk, expires, broken


def _answers(row: ListedNodeRow) -> str:
    if row.reachable is None:
        return "not asked"
    return "refused" if row.reachable else "unreachable"


def _expires(status: NodeRow) -> str:
    """How long the certificate is good for."""
    end, now = status.certificate_expires_at, datetime.now(UTC)
    if end is None:
        return ""
    return "expired" if end <= now else f"in {render.age(now, end)}"


def _wide_cells(row: ListedNodeRow) -> tuple[str, ...]:
    status = row.status
    if status is None:
        return row.address, "", "", "", ""
    memory = f"{render.size(status.memory_available_bytes)} of {render.size(status.memory_total_bytes)}"
    return row.address, str(status.services), str(status.components), memory, render.age(status.started_at)


_NODES: View[ListedNodeRow] = View(
    ("NODE", "STATE", "ANSWERS", "MCPD", "PODMAN", "LOAD/CPUS", "DISK FREE", "CERT EXPIRES", "PROBLEM"),
    _cells,
    lambda row: row.name,
    ("ADDRESS", "SERVICES", "COMPONENTS", "MEMORY FREE", "UP"),
    _wide_cells,
    Fit(same=(), spare=("LOAD/CPUS", "PODMAN", "DISK FREE", "MCPD", "CERT EXPIRES")),
)
_OFFLINE: View[ListedNodeRow] = View(
    ("NODE", "ADDRESS", "STATE"),
    lambda row: (row.name, row.address, row.state),
    lambda row: row.name,
    fit=Fit(same=()),
)


def show(settings: Settings, name: str, how: How) -> int:
    """Prints what one node says of itself. Raises CliError."""

    async def command() -> int:
        found = await ask(settings, (name,), lambda stub: stub.node_status(v1.NodeStatusRequest()))
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
                ("podman", row.podman_version or "unknown"),
                (
                    "services",
                    f"{row.services}, {row.components} components, {row.operations_running} operations running",
                ),
                ("load", f"{row.load_average:.2f} on {row.cpus} CPUs"),
                ("memory", f"{render.size(row.memory_available_bytes)} free of {render.size(row.memory_total_bytes)}"),
                ("disk", f"{render.size(row.disk_free_bytes)} free of {render.size(row.disk_total_bytes)}"),
            ]
            if row.certificate_expires_at:
                facts.append(("certificate", f"expires {render.moment(row.certificate_expires_at)}"))
            facts += [
                (f"link {each.name}", f"{'ok' if each.ok else 'DOWN'} for {render.age(each.since)}: {each.detail}")
                for each in row.links
            ]
            for key, value in facts:
                render.say(f"{key:14} {value}")
        return found.status

    return client.run(command())


def add(
    settings: Settings, name: str, address: str, ca_cert: Path | None, token_path: Path | None, how: How, *, check: bool
) -> int:
    """Writes a node into the configuration; ``check``: after asking it who it is. Raises CliError."""
    if any(node.name == name for node in settings.nodes):
        raise UsageError(f"{settings.path} already has a node {name}")
    node = Node(name, address, ca_cert=_kept(settings, ca_cert), token_path=_kept(settings, token_path))
    answer = "" if not check else f"; {who_it_is(settings, node)}"
    append(settings, node)
    _say(how, f"added node {name} ({address}) to {settings.path}{answer}")
    for line in same_address([*settings.nodes, node]):
        render.note(f"mcpctl: {line}; is one of them a mistake?")
    return DONE


def _kept(settings: Settings, path: Path | None) -> Path | None:
    """A file that the command line names, as the configuration is to say it: from its own folder, where it is there."""
    if path is None:
        return None
    file, folder = path.expanduser().absolute(), settings.path.parent
    return file.relative_to(folder) if file.is_relative_to(folder) else file


def _say(how: How, sentence: str) -> None:
    """What was done; nothing to those who only want to hear what went wrong."""
    if not how.quiet:
        render.note(f"mcpctl: {sentence}")


def remove(settings: Settings, name: str, how: How) -> int:
    """Takes a node out of the configuration. Raises UsageError."""
    settings.node(name)

    def edit(document: Any) -> None:
        nodes = document["nodes"]
        del nodes[[each["name"] for each in nodes].index(name)]

    _edit(settings, edit)
    _say(how, f"removed node {name} from {settings.path}; its services keep running")
    return DONE


def set_state(settings: Settings, name: str, state: NodeState, how: How) -> int:
    """Raises UsageError."""
    settings.node(name)

    def edit(document: Any) -> None:
        next(each for each in document["nodes"] if each["name"] == name)["state"] = state.value

    _edit(settings, edit)
    then = "commands use it" if state is NodeState.ACTIVE else "commands skip it"
    _say(how, f"node {name} is now {state} in {settings.path}: {then}")
    return DONE


def _edit(settings: Settings, change: Callable[[Any], None]) -> None:
    """Changes the configuration file in place, comments and order kept."""
    import tomlkit

    document = tomlkit.parse(settings.path.read_bytes().decode())
    change(document)
    write(settings, tomlkit.dumps(document), document.unwrap())
