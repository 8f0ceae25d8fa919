"""What `mcpctl outdated` does: asks nodes for their images, and image registries for what they have by now.

It changes nothing, and nothing is pulled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from mcpctl.actions import status as statuses
from mcpctl.actions.query import Query
from mcpctl.errors import DONE, DRIFT, PARTIAL
from mcpctl.images.registries import newness, reference
from mcpctl.images.registries.newness import Held, State
from mcpctl.images.registries.reference import Reference
from mcpctl.images.registries.versions import Newer
from mcpctl.nodes.fanout import ask
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import View, listing
from mcpctl.ui.rows.outdated import HeldImage, NewImageRow, held_images
from mcpctl.ui.rows.status import ComponentRow, component_row
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

# Of the newer versions of one image; a repository may have thousands.
_MOST_NEWER = 100
_NEWS = (State.REBUILT, State.NEWER)


class _Used(msgspec.Struct, frozen=True):
    """A component, and the image that it has on its node."""

    row: ComponentRow
    reference: Reference | None
    held: Held | None


def outdated(query: Query, *, exit_code: bool = False) -> int:
    """Raises CliError."""
    rows, status, nothing = asyncio.run(_rows(query))
    shown = [row for row in rows if row.state in _NEWS] if query.how.quiet and not query.json else rows
    listing(shown, query.how, _VIEW, nothing)
    # What is not known is not current, as that of a node which did not answer is not.
    if status == DONE and any(row.state == State.UNKNOWN for row in rows):
        return PARTIAL
    return DRIFT if exit_code and status == DONE and any(row.state in _NEWS for row in rows) else status


async def _rows(query: Query) -> tuple[list[NewImageRow], int, str]:
    """Also the exit status as far as nodes are concerned, and what to say when there is nothing."""
    name, component = query.service_and_component()

    async def question(stub: AgentServiceStub) -> tuple[v1.GetStatusResponse, v1.ListImagesResponse]:
        found = await stub.get_status(v1.GetStatusRequest(service=name))
        # All of them: a component may run an image whose name another one has by now.
        return found, await stub.list_images(v1.ListImagesRequest())

    found = await ask(query.settings(), query.nodes, question, service=name)
    used = []
    for node, (answer, images) in zip(found.answered, found.answers, strict=True):
        held = held_images(images)
        rows = [component_row(node.name, each) for service in answer.services for each in service.components]
        used += [_used(row, held) for row in rows]
    chosen = statuses.only([each.row for each in used], component, name, anyhow=found.status != DONE)
    used = [each for each in used if each.row in chosen]
    return await _judged(used), found.status, found.nothing("no services are deployed")


def _used(row: ComponentRow, images: Iterable[HeldImage]) -> _Used:
    """With what its container was made from; without a container, with what it names."""
    try:
        named = reference.parse(row.image)
    except ValueError:
        named = None
    me = (row.service, row.component)
    found = sorted(
        (
            (me not in each.made, me not in each.named, each)
            for each in images
            if me in each.made or me in each.named or {str(named), row.image} & each.names
        ),
        key=lambda rated: rated[:2],
    )
    return _Used(row, named, Held(found[0][2].id, found[0][2].digests) if found else None)


async def _judged(used: Sequence[_Used]) -> list[NewImageRow]:
    wanted: dict[Reference, set[Held]] = {}
    for each in used:
        if each.reference:
            wanted.setdefault(each.reference, set()).update(filter(None, [each.held]))
    found = await newness.ask(wanted)
    rows = []
    for each in used:
        if each.reference is None:
            said, newer = (
                newness.Verdict(State.UNKNOWN, "mcpctl does not understand its image reference"),
                Newer(),
            )
        else:
            answer = found[each.reference]
            said, newer = newness.verdict(each.reference, each.held, answer), answer.newer
        rows.append(
            NewImageRow(
                node=each.row.node,
                service=each.row.service,
                component=each.row.component,
                image=each.row.image,
                state=said.state,
                newest_of_major=newer.within,
                newest=newer.newest,
                newer=newer.tags[:_MOST_NEWER],
                message=said.message,
            )
        )
    return rows


def _cells(row: NewImageRow) -> tuple[str, ...]:
    newest = ", ".join(dict.fromkeys(filter(None, (row.newest_of_major, row.newest))))
    return row.service, row.component, row.node, row.image, row.state, newest or "-", row.message


_VIEW: View[NewImageRow] = View(
    ("SERVICE", "COMPONENT", "NODE", "IMAGE", "STATE", "NEWEST", "MESSAGE"),
    _cells,
    lambda row: full_name(row.service, row.component),
    ("ALL NEWER",),
    lambda row: (", ".join(row.newer),),
    Fit(flows=("IMAGE", "MESSAGE")),
)
