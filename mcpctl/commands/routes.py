"""routes and maintenance: their signatures; what they do is in `mcpctl.actions.routes`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from mcpctl.actions import routes as action
from mcpctl.commands.options import COMMON, Common, Nodes, Wait


def routes(
    service: Annotated[str, Parameter(name="SERVICE", help="Only those of this service.")] = "",
    /,
    *,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List routes: how the world reaches components, and what the proxy has of them.

    A route is up when a container answers for it. Each is shown with the containers behind it, and with the end of the
    certificate that the proxy has for its host.

    For example: `mcpctl routes web`
    """
    return action.routes(common.query(service, node))


def maintenance(
    service: Annotated[str, Parameter(name="SERVICE", help="The service.")],
    switch: Annotated[Literal["on", "off"], Parameter(name="STATE", help="on: answer 503; off: answer again.")],
    /,
    *,
    wait: Wait = False,
    node: Annotated[str, Parameter(help="The node. [default: the definition's node]")] = "",
    common: Common = COMMON,
) -> int:
    """Have the routes of a service answer 503, or lead to it again.

    Containers run on. Requests that have begun are finished. Deploys, restarts and reboots leave it as it is.

    For example: `mcpctl maintenance web on`
    """
    return action.maintenance(common.settings(), service, node, common.how, on=switch == "on", wait=wait)
