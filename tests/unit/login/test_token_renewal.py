"""When a token is renewed, and what is decided before it is used."""

import base64
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpctl.auth import session
from mcpctl.auth.credentials import Account, Lifetime, Server, lifetime
from mcpctl.auth.session import Step, step
from tests.support.agent import Node, Program, Run, of_a_shell
from tests.support.mcias_process import Mcias
from tests.support.tokens import HOUR, NOW, RENEW, a_token, keep, kept, later
from tests.support.waiting import DEADLINE_S


def test_a_token_that_ends_soon_is_renewed_once_before_the_call(
    run: Run, folder: Path, mcias: Mcias, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = keep(folder, mcias.token("kyle"))
    later(monkeypatch, 0.85 * HOUR)
    status, _, err = run("whoami")
    assert (status, err) == (0, "")
    assert mcias.requests(RENEW) == 1
    assert kept(folder) != old
    assert [node.agent.seen_tokens for node in nodes] == [[kept(folder)]] * 2
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600


def test_a_token_with_more_than_a_fifth_left_is_not_renewed(
    run: Run, folder: Path, mcias: Mcias, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = keep(folder, mcias.token("kyle"))
    later(monkeypatch, 0.75 * HOUR)
    assert run("whoami").status == 0
    assert (mcias.requests(RENEW), kept(folder)) == (0, old)


@pytest.mark.parametrize("mood", ["500", "nonsense", "reset", "huge", "lying", "slow 2"])
def test_a_renewal_that_fails_is_no_error_while_the_token_is_good(
    run: Run, folder: Path, mcias: Mcias, alone: Node, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    monkeypatch.setattr(session, "_RENEWAL_PATIENCE_S", 0.5 if mood.startswith("slow") else DEADLINE_S)
    old = keep(folder, mcias.token("kyle"))
    later(monkeypatch, 0.85 * HOUR)
    mcias.mood(mood)
    status, _, err = run("whoami")
    assert status == 0
    assert "could not be renewed: MCIAS at" in err
    assert (mcias.requests(RENEW), kept(folder)) == (1, old)
    assert alone.agent.seen_tokens == [old]


def test_two_at_once_leave_one_whole_token(
    launch: Callable[..., Program], unattended: Path, mcias: Mcias, nodes: tuple[Node, Node]
) -> None:
    running = [launch("whoami", "--output", "json") for _ in range(4)]
    assert [each.end()[0] for each in running] == [0] * 4
    assert mcias.post("/v1/token/validate", {"token": kept(unattended)})[1]["valid"] is True
    assert len(nodes[0].agent.seen_tokens) == 4


# -- decisions, without anybody to ask

SERVER = Server("https://m", "mcp", Path("ca.pem"))
ATTENDED = Account(Path("token"), SERVER)
UNATTENDED = Account(Path("token"), SERVER, "kyle", Path("password"))
LOCAL = Account(Path("token"))


@pytest.mark.parametrize(
    ("token", "account", "expected"),
    [
        (None, UNATTENDED, Step.LOG_IN),
        (None, ATTENDED, Step.GIVE_UP),
        (None, LOCAL, Step.GIVE_UP),
        ("mcp_random", UNATTENDED, Step.USE),
        ("a.b.c", UNATTENDED, Step.USE),
        ((-5, 95), UNATTENDED, Step.USE),
        ((-79, 21), UNATTENDED, Step.USE),
        ((-81, 19), UNATTENDED, Step.RENEW),
        ((-81, 19), ATTENDED, Step.RENEW),
        ((-81, 19), LOCAL, Step.USE),
        ((-100, -1), UNATTENDED, Step.LOG_IN),
        ((-100, -1), ATTENDED, Step.GIVE_UP),
        ((-100, -1), LOCAL, Step.USE),
    ],
)
def test_what_is_done_before_a_token_is_used(
    token: str | tuple[int, int] | None, account: Account, expected: Step
) -> None:
    """A tuple: a token of which so many seconds have gone, or are to come."""
    token = a_token(*token) if isinstance(token, tuple) else token
    assert step(token, account, NOW) is expected


def encoded(payload: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.x"


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (encoded(b'{"exp": 5, "iat": 2, "sub": "x"}'), Lifetime(2, 5)),
        (encoded(b'{"exp": 5.5}'), Lifetime(None, 5.5)),
        (encoded(b"{}"), None),
        (encoded(b'{"exp": "5"}'), None),
        (encoded(b'{"exp": true}'), None),
        (encoded(b'{"exp": null}'), None),
        (encoded(b"[]"), None),
        (encoded(b"\xff"), None),
        (encoded(b""), None),
        ("a.%%%.c", None),
        ("a.b", None),
        ("", None),
        ("mcp_0123456789", None),
    ],
)
def test_the_end_that_a_token_names_is_read_and_nothing_else(token: str, expected: Lifetime | None) -> None:
    assert lifetime(token) == expected


@pytest.mark.parametrize("end", [1e300, -1e300])
def test_an_end_that_no_calendar_has_is_no_crash(run: Run, folder: Path, end: float) -> None:
    keep(folder, encoded(json.dumps({"exp": end}).encode()))
    status, _, err = run("whoami")
    assert status == (0 if end > 0 else 2)
    assert "bug" not in err


def test_nothing_for_a_login_is_imported_when_none_is_due(folder: Path) -> None:
    keep(folder, a_token(-10, HOUR))
    program = (
        "import sys; from mcpctl.__main__ import main; sys.argv = ['mcpctl', 'status']\n"
        "try: main()\n"
        "finally: print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=of_a_shell(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        set(done.stdout.splitlines()[-1].split()) & {"mcpctl.auth.mcias", "http.client", "getpass", "protos.atomic"}
        == set()
    )
