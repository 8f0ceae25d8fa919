"""login, logout, whoami: the token that goes with every call."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import login as action
from mcpctl.commands.options import COMMON, Common, Nodes


def login(
    *,
    username: Annotated[
        str, Parameter(help="Whom to log in. [default: auth.username of the configuration, else you are asked]")
    ] = "",
    common: Common = COMMON,
) -> int:
    """Log in to MCIAS, and keep the token.

    Asks for the password, and for a one-time code when MCIAS wants one; with a password_file in the configuration it
    asks nothing.

    For example: `mcpctl login --username kyle`
    """
    return action.login(common.settings(), username, common.how)


def logout(*, common: Common = COMMON) -> int:
    """Make the token worthless, and forget it.

    The token file is removed even when MCIAS cannot be told; the token is good until its end then.

    For example: `mcpctl logout`
    """
    return action.logout(common.settings(), common.how)


def whoami(*, node: Nodes = (), common: Common = COMMON) -> int:
    """Ask the nodes who you are to them, and until when.

    For example: `mcpctl whoami --node rift`
    """
    return action.whoami(common.query(nodes=node))
