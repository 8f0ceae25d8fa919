"""build: its signature; what it does is in `mcpctl.actions.build`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import build as action
from mcpctl.commands.options import COMMON, Common, Engine, Whats
from mcpctl.errors import UsageError


def build(
    *what: Whats,
    push: Annotated[
        bool, Parameter(negative="", help="Push the images to the registries that their names say.")
    ] = False,
    force: Annotated[
        bool, Parameter(negative="", help="Overwrite a tag that the registry has. The registry is not asked first.")
    ] = False,
    engine: Engine = None,
    common: Common = COMMON,
) -> int:
    """Build the images of services or components on this machine, and push them.

    The table `build` of a component in its definition says how. mcpctl runs podman, buildah or docker, whichever is
    installed, and shows its output. The image is tagged with the name in the definition. Changed or untracked files in
    the git tree are reported, because no commit has them. With --push, mcpctl first asks the registry: it never
    overwrites a tag unless you give --force. `mcpctl deploy SERVICE --build` also brings the images to the node and
    deploys them.

    For example: `mcpctl build web --push`
    """
    if not what:
        raise UsageError("name what to build: `mcpctl build SERVICE`")
    if force and not push:
        raise UsageError("--force needs --push: a build by itself overwrites nothing in a registry")
    return action.build(common.settings(), what, action.Request(push, force, engine), common.how)
