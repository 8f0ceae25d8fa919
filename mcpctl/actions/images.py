"""What `mcpctl image list|prune` do: the images on the nodes, who uses them, and removing those that nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from mcpctl.actions.query import Query
from mcpctl.config import Settings
from mcpctl.errors import DONE, CliError
from mcpctl.nodes.client import CHANGE_DEADLINE_S, agent
from mcpctl.nodes.fanout import ask, ask_each
from mcpctl.ui import render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How, View, listing, put
from mcpctl.ui.rows.images import ImageRow, ImageUserRow, PrunedImageRow, PruneRow, image_rows, prune_row
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1

_PRUNED_HEADERS = ("IMAGE", "ID", "SIZE", "AGE", "RESULT", "REASON")
# As many digits as `podman images` shows.
_SHORT_ID = 12


def list_images(query: Query) -> int:
    """Raises CliError."""
    request = v1.ListImagesRequest()
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_images(request)))
    answers = zip(found.answered, found.answers, strict=True)
    rows = [row for node, answer in answers for row in image_rows(node.name, answer)]
    listing(rows, query.how, _IMAGES, found.nothing("there are no images"))
    return found.status


def prune(settings: Settings, name: str, keep: int | None, how: How, *, dry_run: bool) -> int:
    """``name`` "": the only active node. Raises CliError."""
    node = settings.one_node(name, "each node has its own images")
    request = v1.PruneImagesRequest(keep=keep, dry_run=dry_run)

    async def command() -> PruneRow:
        async with agent(settings, node, deadline=CHANGE_DEADLINE_S) as stub:
            return prune_row(node.name, await stub.prune_images(request), dry_run=dry_run)

    row = asyncio.run(command())
    if how.structured:
        put(how, row)
        return DONE
    if how.quiet:
        return DONE
    if row.images:
        render.table(_PRUNED_HEADERS, [_pruned_cells(each, dry_run=dry_run) for each in row.images])
    render.say(_total(row))
    return DONE


def running_another(settings: Settings, images: Mapping[str, Collection[str]]) -> list[tuple[str, str]]:
    """Node and SERVICE/COMPONENT of those that name one of these images, and whose containers were made from another.

    ``images``: ids, by the name of the node. Nobody of a node that does not say.
    """
    nodes = [settings.node(each) for each in images]
    said = asyncio.run(ask_each(settings, nodes, lambda stub, _: stub.list_images(v1.ListImagesRequest())))
    answers = [(node, answer) for node, answer in said if not isinstance(answer, CliError)]
    return [
        (node.name, name)
        for node, answer in answers
        for name in _running_another(image_rows(node.name, answer), images[node.name])
    ]


def _running_another(rows: Sequence[ImageRow], ids: Collection[str]) -> list[str]:
    made = {(user.service, user.component) for row in rows for user in row.users if user.container}
    named = [user for row in rows if row.id in ids for user in row.users if user.service and not user.container]
    return [full_name(each.service, each.component) for each in named if (each.service, each.component) in made]


# -- the tables


def _cells(row: ImageRow) -> tuple[str, ...]:
    users = ", ".join(map(_user, row.users)) or "-"
    return row.node, _called(row.names), _short(row.id), render.size(row.size), render.age(row.created_at), users


def _wide_cells(row: ImageRow) -> tuple[str, ...]:
    return render.moment(row.created_at), ", ".join(row.digests)


def _user(user: ImageUserRow) -> str:
    name = full_name(user.service, user.component) if user.service else f"container {user.container}"
    if not user.container:
        return f"{name} (no container)"
    return name if user.running else f"{name} (stopped)"


def _pruned_cells(row: PrunedImageRow, *, dry_run: bool) -> tuple[str, ...]:
    result = ("would be removed" if dry_run else "removed") if row.removed else "kept"
    return _called(row.names), _short(row.id), render.size(row.size), render.age(row.created_at), result, row.reason


def _called(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "-"


def _short(image_id: str) -> str:
    return image_id[:_SHORT_ID]


def _total(row: PruneRow) -> str:
    gone = sum(each.removed for each in row.images)
    images = "1 image" if gone == 1 else f"{gone} images"
    verb = "would be removed" if row.dry_run else "removed"
    return f"{images} {verb}, {render.size(row.bytes)}; {len(row.images) - gone} kept"


_IMAGES: View[ImageRow] = View(
    ("NODE", "IMAGE", "ID", "SIZE", "AGE", "USED BY"),
    _cells,
    # podman knows one without a name by its id.
    lambda row: row.names[0] if row.names else _short(row.id),
    ("CREATED", "DIGESTS"),
    _wide_cells,
    Fit(flows=("IMAGE", "USED BY"), spare=("AGE", "ID")),
)
