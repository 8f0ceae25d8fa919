"""image list|push|prune: their signatures; what they do is in `mcpctl.actions.images` and `image_push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import image_push
from mcpctl.actions import images as action
from mcpctl.commands.options import COMMON, Common, DryRun, Nodes, OneNode, What
from mcpctl.errors import UsageError
from mcpctl.images.engine import Kind

# What the contract can carry.
_LARGEST_KEEP = 2**32 - 1


def list_images(*, node: Nodes = (), common: Common = COMMON) -> int:
    """List the images on the nodes, and the components and containers that use them.

    Asks all active nodes. An image is used by a container that was made from it, whether the container runs or not, and
    by a component that names it.

    For example: `mcpctl image list --node rift`
    """
    return action.list_images(common.query("", node))


def push(
    target: What,
    /,
    *,
    node: Annotated[
        tuple[str, ...],
        Parameter(
            name="--node",
            negative="",
            show_default=False,
            help="To this node; can be given more than once. [default: the definition's node]",
        ),
    ] = (),
    from_: Annotated[
        Path | None,
        Parameter(
            name="--from",
            help="An OCI layout (a folder or a tar), or the tar of docker save. [default: the engine's own storage]",
        ),
    ] = None,
    with_: Annotated[
        Kind | None,
        Parameter(name="--with", help="The engine whose image it is. [default: the first of them that is installed]"),
    ] = None,
    common: Common = COMMON,
) -> int:
    """Bring the images of a service to its node, without a registry.

    Only the layers that the node lacks are sent. A lost connection is made again, and goes on where it was.

    For example: `mcpctl image push web/api`
    """
    if from_ is not None and with_ is not None:
        raise UsageError("--from names an archive, --with the engine that has the image: give one of the two")
    where = image_push.From(from_, with_)
    return image_push.push(common.settings(), target, node, where, common.how)


def prune(
    *,
    node: OneNode = "",
    keep: Annotated[
        int | None, Parameter(help="Keep this many of the newest images of each repository. [default: 3]")
    ] = None,
    dry_run: DryRun = False,
    common: Common = COMMON,
) -> int:
    """Remove unused images from a node, except the newest ones.

    Images that a container, running or not, or a recorded component uses are kept. So are the newest images of each
    repository, so that you can go back to them. Nothing is removed while an operation runs on the node.

    For example: `mcpctl image prune --node rift --dry-run`
    """
    if keep is not None and not 0 <= keep <= _LARGEST_KEEP:
        raise UsageError(f"--keep must be 0 to {_LARGEST_KEEP}, not {keep}")
    return action.prune(common.settings(), node, keep, common.how, dry_run=dry_run)
