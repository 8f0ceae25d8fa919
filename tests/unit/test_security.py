"""SECURITY.md says what the code does: its roles and numbers are compared, and each statement names a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mcpd.identity.required_roles import REQUIRED_ROLE
from mcpd.rpc import anonymous_calls, certificate, connections, failures_by_peer, listener, streams
from mcpd.runtime import logfile

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
            [
                (streams.WINDOW_BYTES + 1) / 1024,
                streams.WIDE_WINDOW_BYTES / 1024 / 1024,
                streams.WIDE_FRAME_BYTES / 1024,
            ],
        ),
        ("a client that takes or sends nothing of a call", [streams.STALL_S]),
        ("a message", [streams.MAX_MESSAGE_BYTES / 1024 / 1024]),
        ("a message of a call that needs no token", [streams.MAX_STRANGERS_MESSAGE_BYTES / 1024]),
        ("audit rows of calls without a known token", [anonymous_calls.MOST_KINDS]),
        ("failed authentications", [failures_by_peer.MAX_FAILURES]),
        ("reading a log", [logfile.BLOCK_BYTES / 1024, logfile.MAX_LINE_BYTES / 1024]),
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


# ------------------------------------------------------------------------------------------ each statement has its test

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def statements() -> list[str]:
    """What "What is defended" says: list items, and rows of tables but for the roles, which one test compares."""
    _, _, section = TEXT.partition("## What is defended")
    section, _, _ = section.partition("\n## ")
    found = []
    for block in section.split("\n\n"):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("- "):
            found += re.split(r"\n(?=- )", block.strip())
        elif lines and lines[0].startswith("|") and "RPC" not in lines[0]:
            found += lines[2:]
    return found


@pytest.mark.parametrize("statement", statements(), ids=lambda statement: statement[:60])
def test_every_statement_names_its_test(statement: str) -> None:
    assert _TEST.search(statement), statement


def test_nothing_is_said_outside_of_a_statement() -> None:
    """Or it would need no test: paragraphs here are headings of lists, and a sentence that claims nothing by itself."""
    _, _, section = TEXT.partition("## What is defended")
    section, _, _ = section.partition("\n## ")
    blocks = [each.strip() for each in section.split("\n\n")]
    others = [each for each in blocks if each and not each.startswith(("- ", "|"))]
    headings = [each for each in others if re.fullmatch(r"\*\*[A-Z][\w ]+\.\*\*", each)]
    assert len(headings) >= 8
    assert [each for each in others if each not in headings] == [
        "Below each statement are the tests that show it; `tests/unit/test_security.py` checks that each has one.",
        "**Limits.** A stranger can make work, and not without bound.",
    ]


def test_the_tests_that_it_names_exist() -> None:
    named = set(_TEST.findall(TEXT))
    assert len(named) >= 50
    missing = [f"{file}::{name}" for file, name in sorted(named) if name not in functions(file)]
    assert missing == []


def functions(file: str) -> set[str]:
    path = ROOT / file
    if not path.is_file():
        return set()
    tree = ast.walk(ast.parse(path.read_text()))
    return {each.name for each in tree if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


# --------------------------------------------------------------------------------- statements about what is not there


def sources(*packages: str) -> dict[str, str]:
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for each in packages
        for path in sorted((ROOT / each).rglob("*.py"))
    }


def test_the_command_line_cannot_be_told_to_trust_anybody() -> None:
    words = re.compile(
        r"CERT_NONE|CERT_OPTIONAL|check_hostname\s*=\s*False|verify\s*=\s*False|_create_unverified|insecure"
    )
    # Which registries have no TLS is podman's to say; conf.py knows its word for that.
    found = {file for file, text in sources("mcpctl").items() if words.search(text)}
    assert found == {"mcpctl/images/registries/conf.py"}
    text = sources("mcpctl")["mcpctl/images/registries/conf.py"]
    assert [each.group() for each in words.finditer(text)] == ["insecure"] * 2


def test_nothing_is_run_by_a_shell() -> None:
    words = re.compile(r"shell\s*=\s*True|os\.system|os\.popen|subprocess_shell|getoutput")
    found = sources("mcpd", "monitor", "mcpctl", "protos")
    assert len(found) > 150
    assert {file for file, text in found.items() if words.search(text)} == set()


def test_nothing_that_serves_reads_the_cas_key() -> None:
    assert {file for file, text in sources("mcpd", "monitor").items() if "ca-key" in text} == {"mcpd/setup/init.py"}
