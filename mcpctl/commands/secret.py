"""secret set|list|remove: their signatures; what they do is in `mcpctl.actions.secrets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import secrets as action
from mcpctl.commands.options import COMMON, Common, Nodes, OneNode

Name = Annotated[str, Parameter(name="NAME", help="The secret.")]


def set_(
    name: Name,
    /,
    *value: Annotated[str, Parameter(show=False)],
    option: Annotated[str, Parameter(name="--value", show=False)] = "",
    node: OneNode = "",
    file: Annotated[Path | None, Parameter(help="A file with the value. [default: stdin]")] = None,
    new: Annotated[bool, Parameter(negative="", help="Fail if there is such a secret already.")] = False,
    common: Common = COMMON,
) -> int:
    """Set the value of a secret in a node's podman, and create it if it is missing.

    The value is read from stdin, byte for byte; on a terminal you are asked for it, unseen. It goes to podman's secret
    store and is kept nowhere else. Containers keep the value that they have: you are told what to deploy.

    For example: `mcpctl secret set db-password --node rift --file db-password.txt`
    """
    action.check_not_typed(name, (*value, *option))
    return action.assign(common.settings(), name, node, file, common.how, new=new)


def list_secrets(
    name: Annotated[str, Parameter(name="NAME", help="Only this secret.")] = "",
    /,
    *,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List the secrets in the nodes' podman, and the components that use them.

    A component is outdated when its container has another value than podman has now. Values are not shown: mcpctl
    never gets one.

    For example: `mcpctl secret list db-password`
    """
    return action.list_secrets(common.query("", node), name)


def remove(name: Name, /, *, node: OneNode = "", common: Common = COMMON) -> int:
    """Remove a secret that nothing uses from a node's podman.

    For example: `mcpctl secret remove db-password --node rift`
    """
    return action.remove(common.settings(), name, node, common.how)
