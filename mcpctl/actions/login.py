"""What `mcpctl login`, `logout` and `whoami` do: the token that goes with every call."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from datetime import UTC, datetime

from mcpctl.actions.query import Query
from mcpctl.auth import credentials, mcias
from mcpctl.auth.credentials import Account, Server
from mcpctl.auth.mcias import Grant
from mcpctl.config import Settings
from mcpctl.errors import DONE, CliError, UsageError
from mcpctl.nodes.fanout import ask
from mcpctl.ui import render
from mcpctl.ui.output import How, View, listing, put
from mcpctl.ui.rows.access import GrantRow, LogoutRow, WhoRow, who_row
from protos.mcp import v1


def login(settings: Settings, username: str, how: How) -> int:
    """Raises CliError."""
    server, account = _server(settings), settings.session.account
    name = username or account.username or _typed("User name: ")
    grant = _granted(server, name, _password(account, name))
    try:
        credentials.keep(account.token_path, grant.token)
    except OSError as error:
        raise CliError(
            f"the token cannot be stored: {account.token_path} cannot be written: {error.strerror}"
        ) from None
    end = _end(grant)
    if how.structured:
        put(how, GrantRow(name, end))
    elif not how.quiet:
        render.say(f"logged in as {name}{f' until {render.moment(end)}' if end else ''}")
    _mention_environment()
    return DONE


def logout(settings: Settings, how: How) -> int:
    """Raises CliError."""
    server, path = _server(settings), settings.session.account.token_path
    problem = ""
    try:
        token = credentials.token(path)
        if token is None:
            render.note(f"mcpctl: not logged in: {path} does not exist")
            return DONE
        mcias.logout(server, token)
    except CliError as error:
        problem = str(error)
    path.unlink(missing_ok=True)
    if problem:
        render.note(f"mcpctl: the token file was deleted, but the token was not revoked: {problem}")
    if how.structured:
        put(how, LogoutRow(not problem))
    elif not how.quiet:
        render.say(f"logged out; deleted {path}")
    _mention_environment()
    return DONE


def whoami(query: Query) -> int:
    """Raises CliError."""
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.who_am_i(v1.WhoAmIRequest())))
    rows = [who_row(answer) for answer in found.answers]
    listing(rows, query.how, View(("NODE", "NAME", "ROLE", "EXPIRES"), _cells, lambda row: row.name), "")
    return found.status


def _cells(row: WhoRow) -> tuple[str, ...]:
    return row.node, row.name, row.role, render.moment(row.expires_at) or "never"


def _server(settings: Settings) -> Server:
    """Raises UsageError."""
    if server := settings.session.account.server:
        return server
    raise UsageError(
        f"{settings.path} has no [mcias] section, so there is no server to log in to; put a token from "
        f"`mcpd token add` into {settings.session.account.token_path} or MCP_TOKEN"
    )


def _granted(server: Server, username: str, password: str) -> Grant:
    try:
        return mcias.login(server, username, password)
    except mcias.TotpNeededError:
        if not sys.stdin.isatty():
            raise
    return mcias.login(server, username, password, _hidden("One-time code: ").strip())


def _password(account: Account, username: str) -> str:
    # The file has the password of whom the configuration names, and of nobody else.
    if account.password_file and username == account.username:
        return credentials.password(account.password_file)
    return _hidden(f"Password of {username}: ")


def _hidden(prompt: str) -> str:
    """What is typed without being seen. Raises UsageError."""
    _need_terminal()
    try:
        typed = getpass.getpass(prompt)
    except EOFError:
        typed = ""
    return _not_empty(typed, prompt)


def _typed(prompt: str) -> str:
    _need_terminal()
    print(prompt, end="", file=sys.stderr, flush=True)
    return _not_empty(sys.stdin.readline().strip(), prompt)


def _not_empty(typed: str, prompt: str) -> str:
    if not typed:
        raise UsageError(f"{prompt.rstrip(': ')}: nothing was entered, so nothing was sent")
    return typed


def _need_terminal() -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "stdin is not a terminal, so mcpctl cannot ask; run it in a terminal, or set auth.username and "
            "auth.password_file"
        )


def _end(grant: Grant) -> datetime | None:
    if grant.expires_at:
        return grant.expires_at
    life = credentials.lifetime(grant.token)
    try:
        return datetime.fromtimestamp(life.end, UTC) if life else None
    except (OverflowError, ValueError, OSError):
        return None


def _mention_environment() -> None:
    if os.environ.get("MCP_TOKEN", "").strip():
        render.note("mcpctl: MCP_TOKEN is set and overrides the token file")
