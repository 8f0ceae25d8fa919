"""`mcpctl secret`: where a value comes from, what is sent, and that nothing shows it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from protos.mcp import v1
from protos.parts import MAX_SECRET_BYTES
from tests.support.agent import AT, HOSTILE, Node, Run, stripped

VALUE = b"planted \x00\xff value"
Pipe = Callable[[bytes], None]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Gives the program bytes on its stdin."""

    def pipe(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return pipe


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Gives the program a person who types these lines."""

    def type_in(*lines: str) -> list[str]:
        answers, asked = list(lines), list[str]()

        def getpass(prompt: str) -> str:
            asked.append(prompt)
            if not answers:
                raise EOFError
            return answers.pop(0)

        monkeypatch.setattr("getpass.getpass", getpass)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        return asked

    return type_in


def sent(node: Node) -> v1.SetSecretRequest:
    (request,) = node.agent.asked(v1.SetSecretRequest)
    assert isinstance(request, v1.SetSecretRequest)
    return request


def test_a_value_comes_from_stdin_byte_for_byte(run: Run, alone: Node, pipe: Pipe) -> None:
    pipe(VALUE)
    assert run("secret", "set", "db-password") == (0, "db-password has been created on rift\n", "")
    assert sent(alone) == v1.SetSecretRequest("db-password", VALUE)


def test_or_from_a_file(run: Run, alone: Node, tmp_path: Path, pipe: Pipe) -> None:
    pipe(b"something else")
    (tmp_path / "value").write_bytes(VALUE + b"\n")
    status, out, err = run("secret", "set", "db-password", "--file", str(tmp_path / "value"), "--new", "--node", "rift")
    assert (status, out, err) == (0, "db-password has been created on rift\n", "")
    assert sent(alone) == v1.SetSecretRequest("db-password", VALUE + b"\n", must_be_new=True)


def test_or_is_typed_twice(run: Run, alone: Node, type_in: Callable[..., list[str]]) -> None:
    asked = type_in("schön", "schön")
    assert run("secret", "set", "db-password").status == 0
    assert asked == ["Value of db-password: ", "Again: "]
    assert sent(alone).value == "schön".encode()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("planted", "plantet"), "the two are not the same; nothing was sent"),
        (("", ""), "the value of db-password is empty, which podman does not take; nothing was sent"),
        ((), "nothing was entered, so nothing was sent"),
    ],
)
def test_what_is_typed_wrong_is_not_sent(
    run: Run, alone: Node, type_in: Callable[..., list[str]], lines: tuple[str, ...], words: str
) -> None:
    type_in(*lines)
    assert run("secret", "set", "db-password") == (2, "", f"mcpctl: {words}\n")
    assert not alone.agent.requests


def test_a_newline_that_came_with_it_is_kept_and_told(run: Run, alone: Node, pipe: Pipe) -> None:
    pipe(b"planted\n")
    status, _, err = run("secret", "set", "db-password")
    assert (status, err.count("\n")) == (0, 1)
    assert "the value of db-password ends with a newline, which is kept" in err
    assert "planted" not in err
    assert sent(alone).value == b"planted\n"


@pytest.mark.parametrize(
    ("size", "status"), [(0, 2), (1, 0), (MAX_SECRET_BYTES, 0), (MAX_SECRET_BYTES + 1, 2), (MAX_SECRET_BYTES + 2, 2)]
)
def test_what_podman_would_not_take_is_not_sent(run: Run, alone: Node, pipe: Pipe, size: int, status: int) -> None:
    pipe(b"x" * size)
    found = run("secret", "set", "db-password")
    assert found.status == status
    assert len(alone.agent.requests) == (status == 0)
    assert ("nothing was sent" in found.err) is (status == 2)


@pytest.mark.parametrize(
    "words",
    [
        ("db-password", "planted"),
        ("db-password", "planted", "more"),
        ("db-password=planted",),
        ("db-password", "--value", "planted"),
        ("db-password", "--value=planted"),
    ],
    ids=" ".join,
)
def test_a_value_on_the_command_line_is_refused_and_not_repeated(
    run: Run, alone: Node, pipe: Pipe, words: tuple[str, ...]
) -> None:
    pipe(VALUE)
    status, out, err = run("secret", "set", *words)
    assert (status, out) == (2, "")
    assert "is not given on the command line" in err
    assert "--file PATH" in err
    assert "planted" not in err
    assert not alone.agent.requests


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "a/b"), "'a/b' is not a podman secret's name"),
        (("set", "x" * 56), "has 55 characters at most"),
        (("set", "mcp.next.x"), "a name of mcpd's own"),
        (("list", "a/b"), "'a/b' is not a podman secret's name"),
        (("remove", "mcp.next.x"), "a name of mcpd's own"),
        (("set", "x", "--file", "/nowhere/at/all"), "/nowhere/at/all cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_request_is_not_sent(run: Run, alone: Node, pipe: Pipe, words: tuple[str, ...], said: str) -> None:
    pipe(VALUE)
    status, _, err = run("secret", *words)
    assert status == 2
    assert said in err
    assert not alone.agent.requests


def test_of_several_nodes_one_must_be_named(run: Run, rift: Node, orion: Node, pipe: Pipe) -> None:
    pipe(VALUE)
    words = "mcpctl: each node has its own secrets, and 2 nodes are active (rift, orion); give --node NAME\n"
    assert run("secret", "set", "x") == (2, "", words)
    assert run("secret", "remove", "x") == (2, "", words)
    assert run("secret", "remove", "x", "--node", "orion") == (0, "x has been removed from orion\n", "")
    assert orion.agent.requests == [v1.RemoveSecretRequest("x")]
    assert not rift.agent.requests


def test_who_runs_with_the_old_value_is_told_with_the_command(run: Run, alone: Node, pipe: Pipe) -> None:
    alone.agent.prepared["SetSecretRequest"] = v1.SetSecretResponse(replaced=True, used_by=["web/api", "web/db"])
    pipe(VALUE)
    assert run("secret", "set", "x").out.splitlines() == [
        "x has a new value on rift",
        "web/api, web/db run with another value of x: `mcpctl deploy web/api web/db` gives it the new one",
    ]
    pipe(VALUE)
    assert run("secret", "set", "x", "--quiet") == (0, "", "")
    pipe(VALUE)
    assert json.loads(run("secret", "set", "x", "--output", "json").out) == {
        "node": "rift",
        "name": "x",
        "replaced": True,
        "outdated": ["web/api", "web/db"],
    }


def test_a_listing_is_of_all_nodes_and_tells_what_to_deploy(run: Run, rift: Node, orion: Node) -> None:
    at = datetime.now(UTC) - timedelta(hours=2, seconds=30)
    info = v1.SecretInfo("db-password", AT, at, "file", ["web/api", "web/db"], ["web/db"])
    rift.agent.prepared["ListSecretsRequest"] = v1.ListSecretsResponse("rift", [info])
    status, out, err = run("secret", "list", "db-password")
    header, row = out.splitlines()
    assert status == 0
    assert header.split() == ["NODE", "NAME", "SET", "USED", "BY", "OUTDATED"]
    assert stripped(row) == ["rift", "db-password", "2h ago", "web/api, web/db", "web/db"]
    words = "web/db runs with another value of db-password: `mcpctl deploy web/db` gives it the new one"
    assert err == f"mcpctl: node rift: {words}\n"
    assert orion.agent.requests == [v1.ListSecretsRequest("db-password")]
    assert run("secret", "list", "--quiet") == (0, "db-password\n", "")


def test_an_empty_listing_says_so(run: Run, alone: Node) -> None:
    assert "no secrets found on rift" in run("secret", "list").err
    assert "no secret x found on rift" in run("secret", "list", "x").err
    assert alone.agent.requests


def test_what_a_node_says_is_harmless(run: Run, alone: Node) -> None:
    info = v1.SecretInfo(HOSTILE, AT, AT, HOSTILE, [HOSTILE], [HOSTILE])
    alone.agent.prepared["ListSecretsRequest"] = v1.ListSecretsResponse(HOSTILE, [info])
    found = run("secret", "list", "--output", "wide")
    assert "\x1b" not in found.out + found.err
