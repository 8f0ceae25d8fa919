"""What exec and run do: a program in a component's container, or in one of its own, with our input and output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial
from typing import Any, cast

import msgspec

from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.definitions import definition
from mcpctl.errors import DONE, CliError, InterruptedByUserError, UnknownServiceError, UsageError
from mcpctl.nodes.client import CHANGE_DEADLINE_S, agent, read_deadline
from mcpctl.nodes.fanout import ask_each, chosen, settled
from mcpctl.nodes.outbox import Request
from mcpctl.nodes.session import STDERR, STDIN, STDOUT, Ended, Local, Response, Session
from mcpctl.ui import raw_terminal, render
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

# A larger one would be taken for a smaller one: wait(2) has eight bits.
_LARGEST_STATUS = 255


class Wanted(msgspec.Struct, frozen=True):
    """How the program runs. ``interactive`` and ``tty`` None: as our stdin and stdout are.

    ``env``: KEY=VALUE, or KEY for what it has here.
    """

    command: tuple[str, ...] = ()
    interactive: bool | None = None
    tty: bool | None = None
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""


class Place(msgspec.Struct, frozen=True):
    """A component on its node."""

    node: Node
    service: str
    component: str

    def __str__(self) -> str:
        return f"{self.service}/{self.component}"


def exec_(query: Query, wanted: Wanted) -> int:
    """The exit status of the program. Raises CliError."""
    local = _local(wanted)
    if not (wanted.command or local.has_terminal or local.has_input):
        raise UsageError(
            "a shell needs a terminal or input, and there is neither; "
            "give a command, such as `mcpctl exec web/api -- ls`, or -i"
        )
    settings = query.settings()
    place = _place(settings, query, "exec")
    return _status(place, _held(settings, place, v1.ExecStart(**_said(place, wanted, local)), local))


def run(query: Query, wanted: Wanted, entrypoint: str | None, *, detach: bool) -> int:
    """The exit status of the program; ``detach``: 0 as soon as it has started. Raises CliError."""
    if detach:
        wanted = msgspec.structs.replace(wanted, interactive=False, tty=False)
    local = _local(wanted)
    settings = query.settings()
    place = _place(settings, query, "run")
    start = v1.RunStart(
        **_said(place, wanted, local),
        entrypoint=None if entrypoint is None else _text(entrypoint, "--entrypoint"),
        detach=detach,
    )
    ended = _held(settings, place, start, local)
    if not detach:
        return _status(place, ended)
    render.say(ended.started.run)
    if not query.how.quiet:
        render.note(
            f"mcpctl: {place} runs {ended.started.program} in {ended.started.container} on {place.node.name}; "
            f"`mcpctl logs {place} --run {ended.started.run} --follow` follows it, "
            f"`mcpctl run {place} --stop {ended.started.run}` stops it"
        )
    return DONE


def stop(query: Query, number: str) -> int:
    """Stops a container of run's. Raises CliError."""
    settings = query.settings()
    place = _place(settings, query, "run")
    request = v1.StopRunRequest(place.service, place.component, _text(number, "--stop"))
    asyncio.run(_stop(settings, place, request))
    if not query.how.quiet:
        render.note(f"mcpctl: run {number} of {place} on {place.node.name} was stopped")
    return DONE


async def _stop(settings: Settings, place: Place, request: v1.StopRunRequest) -> None:
    async with agent(settings, place.node, deadline=CHANGE_DEADLINE_S) as stub:
        await stub.stop_run(request)


def _said(place: Place, wanted: Wanted, local: Local) -> dict[str, Any]:
    """What exec and run both begin with. Raises UsageError."""
    return {
        "service": place.service,
        "component": place.component,
        "command": [_text(each, "an argument") for each in wanted.command],
        "has_input": local.has_input,
        "env": _environment(wanted.env, has_terminal=local.has_terminal),
        "user": _text(wanted.user, "--user"),
        "workdir": _text(wanted.workdir, "--workdir"),
    }


# -- the session


def _held(settings: Settings, place: Place, start: v1.ExecStart | v1.RunStart, local: Local) -> Ended:
    if local.has_terminal:
        start.terminal = v1.TerminalSize(*raw_terminal.size((STDOUT, STDIN, STDERR)))
    try:
        return asyncio.run(_hold(settings, place, start, local))
    except UnknownServiceError as error:
        raise definition.unknown(settings, place.service, error, [place.node.name], place.component) from None
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"interrupted before the program had started; node {place.node.name} runs nothing of it on"
        ) from None


async def _hold(settings: Settings, place: Place, start: v1.ExecStart | v1.RunStart, local: Local) -> Ended:
    is_session = not local.has_terminal
    async with agent(settings, place.node, deadline=read_deadline(), is_session=is_session) as stub:
        return await Session(place.node.name, start, local).run(partial(_call, stub, start))


def _call(
    stub: AgentServiceStub, start: v1.ExecStart | v1.RunStart, requests: AsyncIterator[Request]
) -> AsyncGenerator[Response, None]:
    """As ``stub.exec`` and ``stub.run``, whose generators do not close the one inside them when they are closed."""
    call: Any = stub._stream_stream
    if isinstance(start, v1.RunStart):
        answers = call("/mcp.v1.AgentService/Run", requests, v1.RunRequest, v1.RunResponse)
    else:
        answers = call("/mcp.v1.AgentService/Exec", requests, v1.ExecRequest, v1.ExecResponse)
    return cast("AsyncGenerator[Response, None]", answers)


def _status(place: Place, ended: Ended) -> int:
    if ended.message:
        render.note(f"mcpctl: node {place.node.name}: {ended.message}")
    return min(ended.status, _LARGEST_STATUS)


def _local(wanted: Wanted) -> Local:
    """What of ours the program gets. Raises UsageError."""
    # Of what the shell has closed Python makes None, and the number may be another file's by now.
    has_stdin, has_stdout = sys.__stdin__ is not None, sys.__stdout__ is not None
    is_terminal = has_stdin and os.isatty(STDIN)
    both = is_terminal and has_stdout and os.isatty(STDOUT)
    has_terminal = both if wanted.tty is None else wanted.tty
    default = has_stdin and (has_terminal or not is_terminal)
    has_input = default if wanted.interactive is None else wanted.interactive and has_stdin
    return Local(
        has_terminal, has_input, is_terminal and has_terminal and has_input, has_stdout, sys.__stderr__ is not None
    )


def _environment(given: Sequence[str], *, has_terminal: bool) -> dict[str, str]:
    """Raises UsageError."""
    found = {}
    if has_terminal and (kind := os.environ.get("TERM")):
        found["TERM"] = _text(kind, "TERM")
    for each in given:
        name, has_value, value = each.partition("=")
        if not name:
            raise UsageError(f"--env {each!r} is neither KEY=VALUE nor KEY")
        if not has_value:
            if name not in os.environ:
                continue  # podman-exec(1): one that is not set here is not set there
            value = os.environ[name]
        found[_text(name, "--env")] = _text(value, f"the value of {name}")
    return found


def _text(text: str, what: str) -> str:
    """Raises UsageError for bytes that the contract cannot carry; does not quote them, which may be secret."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} is not UTF-8; send such bytes through stdin") from None
    if "\0" in text:
        raise UsageError(f"{what} contains a NUL character, which no program can be given")
    return text


# -- where


def _place(settings: Settings, query: Query, command: str) -> Place:
    """The one component that is meant, on the one node that has it. Raises CliError."""
    service, component = query.service_and_component()
    if not service:
        raise UsageError(f"give a SERVICE or SERVICE/COMPONENT, such as `mcpctl {command} web/api`")
    known = _defined(settings, service)
    if known and (component or len(known[1]) == 1):
        names = query.nodes or (known[0],)
        return Place(_usable(settings, names), service, component or known[1][0])
    if known:
        raise _ambiguous(service, known[1], command)
    if query.nodes and component:
        return Place(_usable(settings, query.nodes), service, component)
    deployed = asyncio.run(_deployed(settings, query.nodes, service))
    if len(deployed) > 1:
        names = tuple(each.name for each, _ in deployed)
        raise UsageError(f"{service} is on {' and '.join(names)}; give --node NAME")
    node, components = deployed[0]
    if not component and len(components) != 1:
        raise _ambiguous(service, components, command)
    return Place(node, service, component or components[0])


def _usable(settings: Settings, names: Sequence[str]) -> Node:
    """Raises UsageError for more than one; as `Settings.usable_node` does."""
    if len(set(names)) > 1:
        raise UsageError("a program runs on one node; give --node once")
    return settings.usable_node(names[0])


def _defined(settings: Settings, service: str) -> tuple[str, Sequence[str]] | None:
    """The node and components of a definition; None where there is none that can be read: it may run all the same."""
    if not (settings.services_dir / f"{service}.toml").is_file():
        return None
    try:
        found = definition.load(settings, service).service
    except UsageError:
        return None
    return found.node, found.component_names


async def _deployed(settings: Settings, names: tuple[str, ...], service: str) -> list[tuple[Node, list[str]]]:
    """The nodes that have the service, and its components there; at least one. Raises CliError."""
    request = v1.ListServicesRequest(service=service)
    nodes = chosen(settings, names)
    said = await ask_each(settings, nodes, lambda stub, _: stub.list_services(request))
    try:
        found = settled(said)
    except UnknownServiceError as error:
        raise definition.unknown(settings, service, error, [each.name for each in nodes]) from None
    pairs = zip(found.answered, found.answers, strict=True)
    deployed = [
        (node, [each.component for each in info.components]) for node, answer in pairs for info in answer.services
    ]
    if not deployed:
        raise CliError(f"no node that could be asked has {service}")
    return deployed


def _ambiguous(service: str, components: Sequence[str], command: str) -> UsageError:
    if not components:
        return UsageError(f"{service} has no components")
    listed = ", ".join(components)
    return UsageError(
        f"{service} has several components ({listed}); give one: `mcpctl {command} {service}/{components[0]}`"
    )
