"""SECURITY.md says what the code does: its roles and its numbers are compared with the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcpd import certificate
from mcpd.identity.roles import REQUIRED_ROLE
from mcpd.rpc import attempts, connections, listener, streams, tally

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()


def rows(heading: str) -> dict[str, str]:
    """The first two columns of the table below a heading row."""
    _, _, below = TEXT.partition(f"| {heading} |")
    table, _, _ = below.partition("\n\n")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {first.strip("`"): second for first, second, *_ in cells}


def test_every_rpc_is_listed_with_its_role() -> None:
    written = {name if "/" in name else f"mcp.v1.AgentService/{name}": role for name, role in rows("RPC").items()}
    assert written == {path.lstrip("/"): str(role or "none") for path, role in REQUIRED_ROLE.items()}


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("TLS handshake", [listener.HANDSHAKE_S]),
        ("handshakes under way", [connections.MAX_HANDSHAKES]),
        ("connections", [connections.MAX_PER_PEER, connections.MAX_CONNECTIONS]),
        ("handshake done, no HTTP/2", [connections.PREFACE_S]),
        ("connection without a call", [connections.IDLE_S]),
        ("calls at once per connection", [connections.MAX_STREAMS]),
        ("headers of a call", [connections.MAX_HEADER_BYTES / 1024]),
        ("resets of calls per connection", [connections.RESETS_AT_ONCE, connections.RESETS_PER_S]),
        (
            "pings, settings, empty frames per connection",
            [connections.IDLE_TALK_AT_ONCE, connections.IDLE_TALK_PER_S],
        ),
        ("what a client does not read", [connections.MAX_UNREAD_BYTES / 1024, streams.STALL_S]),
        (
            "what a call holds before it is let in",
            [(streams.WINDOW_BYTES + 1) / 1024, streams.WIDE_WINDOW_BYTES / 1024 / 1024],
        ),
        ("a client that takes or sends nothing of a call", [streams.STALL_S]),
        ("a message", [streams.MAX_MESSAGE_BYTES / 1024 / 1024]),
        ("a message of a call that needs no token", [streams.MAX_STRANGERS_MESSAGE_BYTES / 1024]),
        ("audit rows of calls without a known token", [tally.MOST_KINDS]),
        ("failed authentications", [attempts.MAX_FAILURES]),
    ],
)
def test_every_limit_is_the_codes(what: str, numbers: list[float]) -> None:
    assert [float(found) for found in re.findall(r"\d+", rows("what")[what])] == numbers


def test_the_time_before_an_expiry_is_the_codes() -> None:
    assert f"{certificate.TELL_BEFORE.days} days before it expires" in TEXT.replace("\n", " ")


def test_the_files_that_it_names_exist() -> None:
    named = set(re.findall(r"`(mcpd/[\w/]+\.py)`", TEXT))
    assert len(named) >= 8
    assert [each for each in sorted(named) if not (ROOT / each).is_file()] == []
