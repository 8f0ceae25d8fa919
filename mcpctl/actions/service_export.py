"""What `service export` does: the service from its definition or a node's registry, the files to where they belong."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from mcpctl.config import Settings
from mcpctl.definitions import definition, received
from mcpctl.definitions.exporting import toml
from mcpctl.definitions.exporting.formats import Exported, Format
from mcpctl.definitions.loss import Loss
from mcpctl.errors import DONE, CliError, UnknownServiceError, UsageError
from mcpctl.nodes import client
from mcpctl.nodes.fanout import ask
from mcpctl.ui import render
from mcpctl.ui.output import How, put
from mcpctl.ui.rows.definitions import WrittenRow
from protos import atomic, naming
from protos.mcp import v1
from protos.spec import Service

STDOUT = "-"


class Found(msgspec.Struct, frozen=True):
    """``path`` None: it has no definition, and comes from its node's registry."""

    service: Service
    path: Path | None = None


def find(settings: Settings, name: str, node: str) -> Found:
    """``node``: only what that one holds, whatever the definition says. Raises CliError."""
    if not naming.is_name(name):
        raise UsageError(f"{name!r} is not a valid service name: {naming.NAME_RULE}")
    if not node and (settings.services_dir / f"{name}.toml").is_file():
        found = definition.load(settings, name)
        return Found(found.service, found.path)
    return Found(asyncio.run(_registered(settings, name, node)))


async def _registered(settings: Settings, name: str, node: str) -> Service:
    if not node:
        node = await _the_node(settings, name)
    async with client.agent(settings, settings.usable_node(node), deadline=client.read_deadline()) as stub:
        answer = await stub.get_service_spec(v1.GetServiceSpecRequest(name))
    return received.service(answer.service, node, f"the registry's entry for {name}")


async def _the_node(settings: Settings, name: str) -> str:
    try:
        found = await ask(settings, (), lambda stub: stub.list_services(v1.ListServicesRequest(name)))
    except UnknownServiceError:
        found = None
    have = [
        node.name
        for node, answer in (zip(found.answered, found.answers, strict=True) if found else ())
        if any(each.name == name for each in answer.services)
    ]
    if not have:
        raise UsageError(
            f"no service {name!r}: {settings.services_dir / f'{name}.toml'} does not exist, and no node that answered "
            "has it in its registry"
        )
    if len(have) > 1:
        raise UsageError(f"{', '.join(have)} have a service {name}; give --node NAME")
    return have[0]


def write_definition(settings: Settings, service: Service) -> Path:
    """Makes the definition of a service that has none; never overwrites. Raises UsageError, CliError."""
    path = settings.services_dir / f"{service.name}.toml"
    definition.check(settings, path, service)
    try:
        atomic.create(path, toml.text(service).encode(), mode=atomic.PRIVATE)
    except FileExistsError:
        raise UsageError(f"{path} already exists and was not overwritten") from None
    except OSError as error:
        raise CliError(f"{path} could not be written: {error.strerror}") from None
    return path


def place(exported: Exported, to: Format, where: str) -> None:
    """Prints the files, or writes them: units into a folder, any other there or under that name. Raises CliError."""
    if where in ("", STDOUT):
        for file in exported.files:
            # What follows a file begins a line of its own.
            text = file.text if file.text.endswith("\n") else f"{file.text}\n"
            show(f"# FILE {file.name}\n{text}" if len(exported.files) > 1 else file.text)
        return
    target = Path(where).expanduser()
    is_folder = to is Format.QUADLET or target.is_dir()
    for file in exported.files:
        path = target / file.name if is_folder else target
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # It may have values of environment variables, and nobody knows of whose secrets.
            atomic.write(path, file.text.encode(), mode=atomic.PRIVATE)
        except OSError as error:
            raise CliError(f"{path} could not be written: {error.strerror}") from None
        render.note(f"{path}: written")


def show(text: str) -> None:
    """Prints a file: byte for byte into a file or a pipe; on a terminal without what that would act on."""
    if render.is_terminal(sys.stdout):
        text = "\n".join(map(render.one_line, text.split("\n")))
    sys.stdout.write(text)


def tell(losses: tuple[Loss, ...]) -> None:
    for loss in losses:
        render.note(f"lost: {loss}")


def export(settings: Settings, service: str, form: Format, to: str, node: str, how: How) -> int:
    """``to`` "": printed, or, for a service without a definition, written as one. Raises CliError."""
    from mcpctl.definitions.exporting import export as exported_as

    found = find(settings, service, node)
    exported = exported_as(found.service, form)
    if form is Format.TOML and found.path is None and not to and not node:
        path = write_definition(settings, found.service)
        if how.structured:
            put(how, WrittenRow(str(path)))
        else:
            render.note(f"{path}: written, from the registry of node {found.service.node}")
    elif how.structured and not to:
        put(how, exported)
        return DONE
    else:
        place(exported, form, to)
    tell(exported.losses)
    return DONE
