"""start, stop, restart, undeploy: their signatures; what they do is in `mcpctl.actions.lifecycle`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import lifecycle as action
from mcpctl.commands.options import COMMON, Common, Wait, What, Whats
from mcpctl.errors import UsageError


def start(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Start services or components, and keep them running.

    Sets active = true in the definition, then starts the containers on the node.

    For example: `mcpctl start web/api`
    """
    _check_named("start", what)
    return action.start(common.settings(), what, common.how, wait=wait)


def stop(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Stop services or components, and keep them stopped.

    Sets active = false in the definition, then stops the containers on the node.

    For example: `mcpctl stop web`
    """
    _check_named("stop", what)
    return action.stop(common.settings(), what, common.how, wait=wait)


def restart(*what: Whats, wait: Wait = False, common: Common = COMMON) -> int:
    """Restart services or components.

    Components that should be stopped stay stopped.

    For example: `mcpctl restart web/api`
    """
    _check_named("restart", what)
    return action.restart(common.settings(), what, common.how, wait=wait)


def undeploy(
    what: What,
    /,
    *,
    node: Annotated[
        str, Parameter(help="The node, if the service has no definition, or its definition names another node.")
    ] = "",
    wait: Wait = False,
    common: Common = COMMON,
) -> int:
    """Remove a service or component from its node.

    Stops and removes the containers, and deletes their records on the node. The definition stays, with active = false.

    For example: `mcpctl undeploy web`
    """
    return action.undeploy(common.settings(), what, node, common.how, wait=wait)


def _check_named(command: str, what: tuple[str, ...]) -> None:
    """Raises UsageError."""
    if not what:
        raise UsageError(
            f"{command} needs at least one SERVICE or SERVICE/COMPONENT: `mcpctl {command} SERVICE`; "
            "`mcpctl service list` lists the services"
        )
