"""What `mcpctl history` and `rollback` do: the revisions of a service that its node keeps, and going back to one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mcpctl.actions import plan as plans
from mcpctl.actions import relocation
from mcpctl.actions.operation_progress import follow_deploy
from mcpctl.actions.plan import Wanted
from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.definitions import definition, received, written_keys
from mcpctl.definitions.definition import Definition
from mcpctl.errors import DONE, CliError, UsageError
from mcpctl.nodes import client
from mcpctl.nodes.fanout import ask
from mcpctl.ui import render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How, View, listing
from mcpctl.ui.rows.changes import RevisionRow, revision_rows
from mcpctl.ui.table_layout import Fit
from protos import wire
from protos.mcp import v1
from protos.spec import Service

DEFAULT_REVISIONS = 20
# More than a node keeps.
_ALL = 1000
_HEADERS = ("NODE", "REVISION", "DEPLOYED", "BY", "COMPONENTS", "NOTE")
_WIDE_HEADERS = ("IMAGES",)
_FIT = Fit(spare=("BY",))


class Request(msgspec.Struct, frozen=True):
    """What is asked of a rollback. ``to`` 0: the revision before the present one."""

    to: int = 0
    dry_run: bool = False
    plan: str = ""
    accept_loss: bool = False
    wait: bool = False


def history(query: Query, *, limit: int) -> int:
    """Lists the newest ``limit`` revisions of each node, newest first. Raises CliError."""
    service = query.service()
    request = v1.ListRevisionsRequest(service=service, limit=limit)
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_revisions(request)))
    rows = [row for answer in found.answers for row in revision_rows(service, answer)]
    view = View(_HEADERS, _cells, lambda row: str(row.number), _WIDE_HEADERS, _wide_cells, _FIT)
    listing(rows, query.how, view, found.nothing(f"no revisions of {service} found"))
    return found.status


def rollback(settings: Settings, service: str, node: str, asked: Request, how: How) -> int:
    """Deploys a revision again, and brings the images in the definition in line. Raises CliError.

    ``node`` "": the one that the definition names.
    """
    found = _definition(settings, service, node)
    where = settings.usable_node(node or (found.service.node if found else ""))
    number, kept = asyncio.run(_ask(settings, where, service, asked.to))
    wanted = Wanted(
        Definition(found.path if found else Path(), _as_active_as(kept, found)),
        options=f" --to {number}{f' --node {node}' if node else ''}",
        verb="rollback",
    )
    if asked.dry_run:
        return plans.plan_one(settings, wanted, how=how)
    request = v1.DeployRequest(
        service=wire.service_spec(wanted.service.service),
        plan_id=asked.plan,
        wait=asked.wait,
        accept_losses=asked.accept_loss,
        restores=number,
    )
    elsewhere = relocation.check(settings, {service: where.name}, "rolling back")
    status = follow_deploy(settings, where, request, f"the rollback of {service} to revision {number}", how)
    relocation.warn(elsewhere)
    if found and status == DONE:
        _bring_in_line(settings, found, kept, number, how)
    return status


def _definition(settings: Settings, service: str, node: str) -> Definition | None:
    """None where there is none, and ``node`` says where to look. Raises UsageError."""
    if node and not (settings.services_dir / f"{service}.toml").is_file():
        return None
    try:
        return definition.load(settings, service)
    except UsageError as error:
        if node:
            raise
        raise UsageError(f"{error}; a service without a definition needs --node NODE") from None


async def _ask(settings: Settings, node: Node, service: str, to: int) -> tuple[int, Service]:
    """The revision to go back to, and what it says. Raises CliError."""
    async with client.agent(settings, node, deadline=client.read_deadline()) as stub:
        if not to:
            answer = await stub.list_revisions(v1.ListRevisionsRequest(service=service, limit=_ALL))
            to = _before(node, service, answer.revisions)
        answered = await stub.get_service_spec(v1.GetServiceSpecRequest(service, to))
    if answered.revision != to:
        raise CliError(f"node {node.name}: its mcpd keeps no revisions; update it, and deploy an older image by hand")
    return to, received.service(answered.service, node.name, f"revision {to} of {service}")


def _before(node: Node, service: str, revisions: Sequence[v1.RevisionInfo]) -> int:
    """The revision before the present one; of a rollback, the one before that which it went back to."""
    if not revisions:
        raise CliError(f"node {node.name} has no revision of {service}: it was never deployed there")
    present = revisions[0].restores or revisions[0].number
    earlier = [each.number for each in revisions if each.number < present]
    if not earlier:
        raise CliError(
            f"node {node.name} has no revision of {service} before {present}; `mcpctl history {service}` lists them"
        )
    return max(earlier)


def _as_active_as(service: Service, found: Definition | None) -> Service:
    """What was stopped since stays stopped: whether something runs is no part of what is gone back to."""
    if found is None:
        return service
    now = found.service
    components = tuple(
        msgspec.structs.replace(each, active=told.active) if (told := now.component(each.name)) else each
        for each in service.components
    )
    return msgspec.structs.replace(service, components=components, active=now.active)


def _bring_in_line(settings: Settings, found: Definition, kept: Service, number: int, how: How) -> None:
    """Writes the images that run now into the definition, and tells what else it says otherwise. Raises CliError."""
    images = {
        each.name: each.image
        for each in kept.components
        if (told := found.service.component(each.name)) and told.image != each.image
    }
    if images:
        written_keys.set_images(found, images)
    if how.quiet or how.structured:
        return
    for name, image in images.items():
        render.note(f"{found.path}: image = {image} for {name}")
    left = plans.differences(settings, Wanted(definition.read(settings, found.path)))
    if left:
        render.note(f"mcpctl: {found.path} still differs from revision {number}; `mcpctl plan {kept.name}` says:")
        for line in left:
            render.note(f"    {line}")


def _cells(row: RevisionRow) -> tuple[str, ...]:
    components = ", ".join(f"{each.component} {each.version}" for each in row.components)
    return row.node, str(row.number), render.moment(row.at), row.caller, components, _note(row)


def _wide_cells(row: RevisionRow) -> tuple[str, ...]:
    return (", ".join(f"{full_name(row.service, each.component)}: {each.image}" for each in row.components),)


def _note(row: RevisionRow) -> str:
    said = [
        "current" if row.is_current else "",
        f"rollback to {row.restores}" if row.restores else "",
        "before revisions were kept" if not row.caller else "",
    ]
    return ", ".join(filter(None, said))
