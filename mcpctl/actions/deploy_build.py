"""What `mcpctl deploy --build` does before it deploys: builds images, and takes each to where its node finds it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mcpctl.actions import image_push
from mcpctl.actions import plan as plans
from mcpctl.actions.build import Builder, Built, Job, jobs, remind, told, users
from mcpctl.actions.plan import Wanted
from mcpctl.config import NodeState, Settings
from mcpctl.errors import DONE, CliError, UsageError
from mcpctl.ui import render
from mcpctl.ui.output import How


def build_first(settings: Settings, several: Sequence[Wanted], engine: str | None, how: How) -> list[Wanted]:
    """``several``, with what was built for each; of nodes that are not active, nothing is.

    What the nodes pull is pushed to its registry, whatever else goes to the nodes themselves. Raises CliError: nothing
    was deployed.
    """
    found = [each for each in several if settings.node(each.node).state is NodeState.ACTIVE]
    if not found:
        settings.usable_node(several[0].node)
    to_build = jobs((each.service, each.component) for each in found)
    if not to_build:
        names = " ".join(each.name for each in found)
        raise UsageError(f"nothing of {names} has a build in its definition; `mcpctl deploy {names}` deploys it")
    builder = Builder(engine, how)
    # What no node would take is not worth a build, or a tag.
    plans.check(settings, found)
    builder.check_tags([each for each in to_build if each.is_pulled])
    built = builder.build(to_build)
    pushed = builder.publish([each for each in built if each.job.is_pulled])
    _tell(builder, [*pushed, *(each for each in built if not each.job.is_pulled)], how)
    for each in to_build:
        _bring(settings, each, found, builder.engine.name, how)
    return [msgspec.structs.replace(each, built=_built(each, to_build)) if each in found else each for each in several]


def _built(wanted: Wanted, done: Sequence[Job]) -> tuple[str, ...]:
    """Also those that use an image which another one says how to build."""
    return tuple(user.name for each in done for user in users(wanted.service, wanted.component, each.image))


def _tell(builder: Builder, built: Sequence[Built], how: How) -> None:
    if not how.quiet and not how.structured:
        for each in built:
            render.note(f"mcpctl: {told(each.row(builder.engine))}")
    remind(built)


def _bring(settings: Settings, job: Job, found: Sequence[Wanted], engine: str, how: How) -> None:
    """To each node that needs it and asks no registry for it."""
    nodes = {
        each.node: settings.usable_node(each.node)
        for each in found
        for component in users(each.service, each.component, job.image)
        if not component.is_pulled
    }
    if not nodes:
        return
    # On stdout there are only the reports of the deploy.
    beside = How(quiet=how.quiet or how.structured)
    platform = job.recipe.platform
    status = image_push.bring(
        settings, job.image, job.name, list(nodes.values()), beside, engine=engine, platform=platform
    )
    if status != DONE:
        raise CliError(f"{job.name}: {job.image} was built, but not brought to every node; nothing was deployed")
