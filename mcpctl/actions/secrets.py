"""What `mcpctl secret set|list|remove` do. A value is read, sent, and neither kept nor shown."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

from mcpctl.actions.query import Query
from mcpctl.config import Settings
from mcpctl.errors import DONE, UsageError
from mcpctl.nodes.client import agent
from mcpctl.nodes.fanout import ask
from mcpctl.ui import render
from mcpctl.ui.output import How, View, listing, put
from mcpctl.ui.rows.secrets import SecretRemovedRow, SecretRow, SecretSetRow, secret_rows, secret_set_row
from mcpctl.ui.table_layout import Fit
from protos import grammar
from protos.mcp import v1
from protos.parts import MAX_SECRET_BYTES

_HEADERS = ("NODE", "NAME", "SET", "USED BY", "OUTDATED")
_WIDE_HEADERS = ("SET AT", "DRIVER")
_FIT = Fit(spare=("USED BY",))
# podman does four small things at most, each of which may wait for its locks.
_DEADLINE_S = 60.0
_ONE_NODE = "each node has its own secrets"


def check_not_typed(name: str, value: Collection[str]) -> None:
    """Raises UsageError, which does not repeat it, for a value on the command line."""
    if value or "=" in name:
        raise UsageError(
            "the value of a secret is not given on the command line, where other users and the shell's history see it: "
            "mcpctl reads it from stdin, or from a file with --file PATH; that value should now be changed"
        )


def assign(settings: Settings, name: str, node_name: str, file: Path | None, how: How, *, new: bool) -> int:
    """Raises CliError."""
    _check(grammar.settable_secret, name)
    node = settings.one_node(node_name, _ONE_NODE)
    request = v1.SetSecretRequest(name=name, value=_value(name, file), must_be_new=new)

    async def command() -> SecretSetRow:
        async with agent(settings, node, deadline=_DEADLINE_S) as stub:
            return secret_set_row(node.name, name, await stub.set_secret(request))

    row = asyncio.run(command())
    if how.structured:
        put(how, row)
    elif not how.quiet:
        render.say(f"{name} has {'a new value' if row.replaced else 'been created'} on {node.name}")
        if row.outdated:
            render.say(_remedy(name, row.outdated))
    return DONE


def list_secrets(query: Query, name: str) -> int:
    """Raises CliError."""
    if name:
        _check(grammar.secret, name)
    request = v1.ListSecretsRequest(name=name)
    found = asyncio.run(ask(query.settings(), query.nodes, lambda stub: stub.list_secrets(request)))
    rows = [row for answer in found.answers for row in secret_rows(answer)]
    view = View(_HEADERS, _cells, lambda row: row.name, _WIDE_HEADERS, _wide_cells, _FIT)
    listing(rows, query.how, view, found.nothing(f"no secret {name} found" if name else "no secrets found"))
    if not query.json and not query.how.quiet:
        for row in rows:
            if row.outdated:
                render.note(f"mcpctl: node {row.node}: {_remedy(row.name, row.outdated)}")
    return found.status


def remove(settings: Settings, name: str, node_name: str, how: How) -> int:
    """Raises CliError."""
    _check(grammar.secret, name)
    node = settings.one_node(node_name, _ONE_NODE)

    async def command() -> None:
        async with agent(settings, node, deadline=_DEADLINE_S) as stub:
            await stub.remove_secret(v1.RemoveSecretRequest(name=name))

    asyncio.run(command())
    if how.structured:
        put(how, SecretRemovedRow(node.name, name))
    elif not how.quiet:
        render.say(f"{name} has been removed from {node.name}")
    return DONE


def _remedy(name: str, outdated: Collection[str]) -> str:
    verb = "run with another value" if len(outdated) > 1 else "runs with another value"
    return f"{', '.join(outdated)} {verb} of {name}: `mcpctl deploy {' '.join(outdated)}` gives it the new one"


def _check(rule: Callable[[str], str], name: str) -> None:
    """Raises UsageError."""
    try:
        rule(name)
    except ValueError as error:
        raise UsageError(str(error)) from None


# -- the value


def _value(name: str, file: Path | None) -> bytes:
    """From the file, or stdin. Raises UsageError."""
    if file is not None:
        value = _of_file(file)
    elif sys.stdin.isatty():
        value = _typed(name)
    else:
        value = _limited(sys.stdin.buffer)
        if value.endswith(b"\n"):
            render.note(f"mcpctl: the value of {name} ends with a newline, which is kept; printf %s sends none")
    if not value:
        raise UsageError(f"the value of {name} is empty, which podman does not take; nothing was sent")
    if len(value) > MAX_SECRET_BYTES:
        raise UsageError(
            f"the value of {name} has more than the {MAX_SECRET_BYTES} bytes that podman takes; nothing was sent"
        )
    return value


def _of_file(file: Path) -> bytes:
    try:
        with file.expanduser().open("rb") as opened:
            return _limited(opened)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; nothing was sent") from None


def _limited(stream: BinaryIO) -> bytes:
    """All of it, or enough to see that it is too long."""
    return stream.read(MAX_SECRET_BYTES + 1)


def _typed(name: str) -> bytes:
    """What is typed twice without being seen."""
    try:
        typed = getpass.getpass(f"Value of {name}: ")
        again = getpass.getpass("Again: ")
    except EOFError:
        raise UsageError("nothing was entered, so nothing was sent") from None
    if typed != again:
        raise UsageError("the two are not the same; nothing was sent")
    return typed.encode()


# -- the table


def _cells(row: SecretRow) -> tuple[str, ...]:
    return row.node, row.name, f"{render.age(row.set_at)} ago", ", ".join(row.used_by), ", ".join(row.outdated)


def _wide_cells(row: SecretRow) -> tuple[str, ...]:
    return render.moment(row.set_at), row.driver
