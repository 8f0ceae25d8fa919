"""Which token goes with a call; and the commands that log in by themselves."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.auth import session
from protos.mcp import v1
from tests.support.agent import AT, WEB, Node, Program, Run
from tests.support.mcias_process import Mcias
from tests.support.tokens import EXPIRED, HOUR, LOGIN, RENEW, AllBut, keep, kept, later
from tests.support.waiting import until


def test_the_environments_token_goes_first_and_is_never_replaced(
    run: Run, unattended: Path, mcias: Mcias, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(unattended, EXPIRED)
    monkeypatch.setenv("MCP_TOKEN", EXPIRED + "x")
    assert run("whoami").status == 0
    assert {*nodes[0].agent.seen_tokens, *nodes[1].agent.seen_tokens} == {EXPIRED + "x"}
    for each in nodes:
        each.agent.good_tokens = ()
    status, _, err = run("whoami")
    assert (status, err) == (1, "mcpctl: node rift: the token is not known here\n")
    assert (mcias.requests(LOGIN), mcias.requests(RENEW)) == (0, 0)


@pytest.mark.parametrize("token", [None, EXPIRED], ids=["missing", "expired"])
def test_without_a_password_file_it_says_what_to_do(
    run: Run, folder: Path, nodes: tuple[Node, Node], token: str | None
) -> None:
    if token:
        keep(folder, token)
    status, out, err = run("ps")
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert line.endswith("; run `mcpctl login`")
    assert ("expired at" in line) == bool(token)
    assert [each for node in nodes for each in node.agent.seen_tokens] == []


def test_without_mcias_a_token_that_has_ended_is_the_nodes_to_refuse(run: Run, alone: Node, tmp_path: Path) -> None:
    keep(tmp_path, EXPIRED)
    assert run("whoami").status == 0
    assert alone.agent.seen_tokens == [EXPIRED]


@pytest.mark.parametrize("token", [None, EXPIRED], ids=["missing", "expired"])
def test_with_a_password_file_it_logs_in_by_itself_once_for_all_nodes(
    run: Run, unattended: Path, mcias: Mcias, nodes: tuple[Node, Node], token: str | None
) -> None:
    if token:
        keep(unattended, token)
    status, _, err = run("whoami")
    assert (status, err) == (0, "")
    assert mcias.requests(LOGIN) == 1
    assert [node.agent.seen_tokens for node in nodes] == [[kept(unattended)]] * 2
    assert stat.S_IMODE((unattended / "token").stat().st_mode) == 0o600
    assert run("whoami").status == 0
    assert mcias.requests(LOGIN) == 1


def test_a_token_that_all_nodes_refuse_is_replaced_by_one_login(
    run: Run, unattended: Path, mcias: Mcias, nodes: tuple[Node, Node]
) -> None:
    stale = keep(unattended, "stale")
    for each in nodes:
        each.agent.good_tokens = AllBut((stale,))
    status, out, err = run("whoami")
    assert (status, err, len(out.splitlines())) == (0, "", 3)
    assert mcias.requests(LOGIN) == 1
    assert [node.agent.seen_tokens for node in nodes] == [[stale, kept(unattended)]] * 2


def test_a_login_that_does_not_help_is_not_repeated(
    run: Run, unattended: Path, mcias: Mcias, nodes: tuple[Node, Node]
) -> None:
    stale = keep(unattended, "stale")
    for each in nodes:
        each.agent.good_tokens = ()
    status, out, err = run("whoami")
    assert (status, out) == (1, "")
    assert err == "mcpctl: node rift: the token is not known here; `mcpctl login` gets a new token\n"
    assert mcias.requests(LOGIN) == 1
    assert [node.agent.seen_tokens for node in nodes] == [[stale, kept(unattended)]] * 2


def test_a_command_of_many_calls_logs_in_once_when_that_does_not_help(
    run: Run, unattended: Path, mcias: Mcias, alone: Node
) -> None:
    for name in ("a", "b", "c"):
        (unattended / f"services/{name}.toml").write_text(WEB.replace('"web"', f'"{name}"'))
    keep(unattended, "stale")
    alone.agent.good_tokens = ()
    status, _, err = run("plan")
    assert status == 1
    assert "the token is not known here" in err
    assert alone.agent.seen_tokens == ["stale", *[kept(unattended)] * 3]
    assert mcias.requests(LOGIN) == 1


def test_a_token_that_another_mcpctl_has_replaced_needs_no_login(
    run: Run, unattended: Path, mcias: Mcias, alone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = keep(unattended, "stale")
    alone.agent.good_tokens = AllBut((stale,))
    original = session.Session.another

    def meanwhile(self: session.Session, refused: str) -> str | None:
        keep(unattended, "newer")
        return original(self, refused)

    monkeypatch.setattr(session.Session, "another", meanwhile)
    assert run("whoami").status == 0
    assert alone.agent.seen_tokens == [stale, "newer"]
    assert mcias.requests(LOGIN) == 0


def test_a_stream_that_is_refused_is_begun_again_with_another_token(
    launch: Callable[..., Program], unattended: Path, rift: Node, mcias: Mcias
) -> None:
    rift.append(v1.EventInfo(1, "web", "api", AT, "running"))
    stale = keep(unattended, "stale")
    following = launch("events", "--follow", "--node", "rift", "--output", "json")
    assert following.ids(1) == [1]
    until(lambda: rift.agent.asked(v1.WatchEventsRequest), "it is watched")
    rift.agent.good_tokens = AllBut((stale,))
    rift.cut()
    rift.append(v1.EventInfo(2, "web", "api", AT, "exited"))
    assert following.ids(1) == [2]
    assert mcias.requests(LOGIN) == 1


def test_a_deploy_that_is_refused_is_begun_again_with_another_token(
    run: Run, unattended: Path, alone: Node, mcias: Mcias
) -> None:
    (unattended / "services/web.toml").write_text(WEB)
    alone.agent.good_tokens = AllBut((keep(unattended, "stale"),))
    alone.agent.prepared["DeployRequest"] = [v1.DeployResponse("1", completed=v1.Completed())]
    assert run("deploy", "web").status == 0
    assert len(alone.agent.asked(v1.DeployRequest)) == 1
    assert mcias.requests(LOGIN) == 1


def test_a_refusal_of_another_kind_is_no_reason_to_log_in(
    run: Run, unattended: Path, alone: Node, mcias: Mcias
) -> None:
    keep(unattended, "fine")
    alone.agent.prepared["WhoAmIRequest"] = GRPCError(Status.PERMISSION_DENIED, "not for you")
    assert run("whoami").status == 1
    assert mcias.requests(LOGIN) == 0
    assert alone.agent.seen_tokens == ["fine"]


def test_when_mcias_is_down_all_nodes_are_told_of_once(
    run: Run, unattended: Path, mcias: Mcias, nodes: tuple[Node, Node]
) -> None:
    mcias.mood("500")
    status, out, err = run("whoami")
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert mcias.requests(LOGIN) == 1
    mcias.stop()
    status, _, err = run("whoami")
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "cannot be reached" in err
    assert [each for node in nodes for each in node.agent.seen_tokens] == []
    assert kept(unattended) == ""


def test_a_node_that_refuses_while_mcias_is_down_leaves_the_others_answer(
    run: Run, unattended: Path, mcias: Mcias, orion: Node
) -> None:
    keep(unattended, "stale")
    orion.agent.good_tokens = ()
    mcias.stop()
    status, out, err = run("whoami")
    assert (status, len(out.splitlines())) == (4, 2)
    (line,) = err.splitlines()
    assert "node orion: the token is not known here; a new login failed too: MCIAS at" in line


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"password": "changed meanwhile"}, "wrong user name or password; correct "),
        ({"denied": True}, "denied kyle: denied by policy"),
        ({"totp": "123456"}, "requires a one-time code for kyle: run `mcpctl login`"),
    ],
)
def test_a_login_that_is_refused_is_tried_once_and_said_once(
    run: Run, unattended: Path, mcias: Mcias, change: dict[str, Any], part: str
) -> None:
    mcias.account("kyle", **change)
    status, out, err = run("whoami")
    assert (status, out) == (1, "")
    (line,) = err.splitlines()
    assert part in line
    assert mcias.requests(LOGIN) == 1
    assert kept(unattended) == ""


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_password_that_others_can_read_is_not_used(run: Run, unattended: Path, mcias: Mcias, mode: int) -> None:
    (unattended / "password").chmod(mode)
    for words in (("whoami",), ("login",)):
        status, _, err = run(*words)
        assert status == 2
        assert f"chmod 600 {unattended / 'password'}" in err
    assert mcias.requests(LOGIN) == 0


@pytest.mark.parametrize(
    ("content", "part"),
    [(None, "does not exist"), (b"", "one line"), (b"\n", "one line"), (b"a\nb\n", "one line"), (b"\xff", "UTF-8")],
)
def test_a_password_file_that_holds_none_is_said(
    run: Run, unattended: Path, mcias: Mcias, content: bytes | None, part: str
) -> None:
    (unattended / "password").unlink()
    if content is not None:
        (unattended / "password").touch(0o600)
        (unattended / "password").write_bytes(content)
    status, _, err = run("whoami")
    assert status == 2
    assert part in err
    assert mcias.requests(LOGIN) == 0


def test_a_nodes_own_token_is_never_replaced(run: Run, unattended: Path, mcias: Mcias, alone: Node) -> None:
    path = unattended / "mcp.toml"
    path.write_text(path.read_text().replace('name = "rift"\n', 'name = "rift"\ntoken_path = "own"\n'))
    (unattended / "own").touch(0o600)
    (unattended / "own").write_text(EXPIRED)
    alone.agent.good_tokens = ()
    status, _, err = run("whoami")
    assert status == 1
    assert err.endswith("node rift: the token is not known here\n")
    assert alone.agent.seen_tokens == [EXPIRED]
    assert mcias.requests(LOGIN) == 0


def test_a_token_that_cannot_be_kept_is_used_and_said(
    run: Run, unattended: Path, alone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mcpctl.auth.credentials.keep", full)
    status, _, err = run("whoami")
    assert status == 0
    assert f"not stored: {unattended / 'token'} cannot be written: No space left on device" in err
    assert len(alone.agent.seen_tokens) == 1


def test_with_a_clock_that_is_wrong_it_logs_in_once(
    run: Run, unattended: Path, mcias: Mcias, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch, 10 * HOUR)
    assert run("whoami").status == 0
    assert mcias.requests(LOGIN) == 1
    assert [node.agent.seen_tokens for node in nodes] == [[kept(unattended)]] * 2
