"""login, logout, whoami: the token that goes with every call."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import login as action
from mcpctl.commands.options import COMMON, Common, Nodes


def login(
    *,
    username: Annotated[
        str, Parameter(help="User name. [default: auth.username in the configuration; else mcpctl asks]")
    ] = "",
    common: Common = COMMON,
) -> int:
    """Log in to MCIAS and store the token.

    Asks for the password, and for a one-time code if MCIAS needs one. With password_file in the configuration, it does
    not ask for a password.

    For example: `mcpctl login --username kyle`
    """
    return action.login(common.settings(), username, common.how)


def logout(*, common: Common = COMMON) -> int:
    """Revoke the token and delete it.

    If MCIAS cannot be reached, the token file is deleted all the same, but the token stays valid until it expires.

    For example: `mcpctl logout`
    """
    return action.logout(common.settings(), common.how)


def whoami(*, node: Nodes = (), common: Common = COMMON) -> int:
    """Show who you are to the nodes, and when your token expires.

    For example: `mcpctl whoami --node rift`
    """
    return action.whoami(common.query(nodes=node))
