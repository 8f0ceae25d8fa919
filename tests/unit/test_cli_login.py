"""Login, logout and whoami; and the commands that log in by themselves. MCIAS is a real server over TLS."""

import base64
import json
import os
import pty
import re
import select
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.auth import mcias as client
from mcpctl.auth import session
from mcpctl.auth.credentials import Account, Lifetime, Server, lifetime
from mcpctl.auth.session import Step, step
from mcpctl.ui import render
from mcpd import pki
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, WEB, Node, Program, Run, of_a_shell, stripped
from tests.support.mcias_process import PASSWORD, Mcias
from tests.support.waiting import DEADLINE_S, until

LOGIN, RENEW, LOGOUT = "/v1/auth/login", "/v1/auth/renew", "/v1/auth/logout"
HOUR = 3600
NOW = time.time()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mcias]:
    with Mcias(tmp_path_factory.mktemp("mcias")) as mcias:
        yield mcias


@pytest.fixture
def mcias(server: Mcias) -> Mcias:
    """It knows kyle, an admin, and was asked nothing yet."""
    server.start()
    server.mood()
    for name in ("accounts.json", "requests.log"):
        (server.folder / name).unlink(missing_ok=True)
    server.account("kyle", "admin")
    return server


@pytest.fixture
def folder(nodes: tuple[Node, Node], tmp_path: Path, mcias: Mcias) -> Path:  # noqa: ARG001
    """The configuration of somebody who is not logged in."""
    (tmp_path / "token").unlink()
    configure(tmp_path, f'[mcias]\nserver_url = "{mcias.url}"\nca_cert = "{mcias.ca}"\n')
    return tmp_path


@pytest.fixture
def unattended(folder: Path) -> Path:
    configure(folder, '[auth]\nusername = "kyle"\npassword_file = "password"\n')
    (folder / "password").touch(0o600)
    (folder / "password").write_text(PASSWORD + "\n")
    return folder


@pytest.fixture
def run(run: Run, tmp_path: Path) -> Run:
    """Runs the program, which never shows a secret."""

    def secretive(*words: str) -> Any:
        secrets = [PASSWORD, kept(tmp_path)]
        ran = run(*words)
        shown = ran.out + ran.err
        assert [each for each in (*secrets, kept(tmp_path)) if each and each in shown] == []
        return ran

    return secretive


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What somebody types at a terminal, unseen, one after the other."""
    answers: list[str] = []
    keyboard = StringIO("kyle\n")
    keyboard.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", keyboard)
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    return answers


def configure(folder: Path, tables: str) -> None:
    path = folder / "mcp.toml"
    path.write_text(tables + path.read_text())


def kept(folder: Path) -> str:
    path = folder / "token"
    return path.read_text().strip() if path.is_file() else ""


def keep(folder: Path, token: str) -> str:
    (folder / "token").touch(0o600)
    (folder / "token").write_text(token)
    return token


def a_token(start: float, end: float) -> str:
    """As MCIAS gives, but by nobody; times in seconds from `NOW`."""
    payload = json.dumps({"iat": NOW + start, "exp": NOW + end}).encode()
    return ".".join(base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in (b"{}", payload, b"signed"))


EXPIRED = a_token(-2 * HOUR, -HOUR)


class AllBut(NamedTuple):
    """The tokens that a node knows."""

    bad: tuple[str, ...]

    def __contains__(self, token: object) -> bool:
        return token not in self.bad


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    clock = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic)
    monkeypatch.setattr(session, "time", clock)


# -- login


def test_a_login_keeps_the_token_for_its_owner_alone(run: Run, folder: Path, mcias: Mcias, typed: list[str]) -> None:
    typed.append(PASSWORD)
    status, out, err = run("login", "--username", "kyle")
    assert (status, err) == (0, "")
    assert re.fullmatch(r"logged in as kyle until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", out)
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert mcias.post("/v1/token/validate", {"token": kept(folder)})[1]["username"] == "kyle"


def test_a_login_makes_the_folder_of_the_token_private(run: Run, folder: Path, typed: list[str]) -> None:
    configure(folder, '[auth]\ntoken_path = "a/b/token"\n')
    typed.append(PASSWORD)
    assert run("login", "--username", "kyle").status == 0
    assert [stat.S_IMODE((folder / each).stat().st_mode) for each in ("a", "a/b", "a/b/token")] == [
        0o700,
        0o700,
        0o600,
    ]


def test_a_login_replaces_the_token_whatever_its_mode_was(run: Run, folder: Path, typed: list[str]) -> None:
    keep(folder, "old")
    (folder / "token").chmod(0o644)
    typed.append(PASSWORD)
    assert run("login", "--username", "kyle").status == 0
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert kept(folder) != "old"
    assert [each.name for each in folder.iterdir() if each.name.startswith(".token")] == []


def test_the_user_name_is_asked_for_when_none_is_known(run: Run, folder: Path, typed: list[str]) -> None:
    typed.append(PASSWORD)
    status, out, err = run("login")
    assert (status, err) == (0, "User name: ")
    assert out.startswith("logged in as kyle")
    assert kept(folder)


@pytest.mark.usefixtures("folder")
def test_as_json_a_login_says_who_and_until_when(run: Run, typed: list[str]) -> None:
    typed.append(PASSWORD)
    shown = json.loads(run("login", "--username", "kyle", "--output", "json").out)
    assert shown["username"] == "kyle"
    assert datetime.fromisoformat(shown["expires_at"]) > datetime.now(UTC)


def test_with_a_password_file_a_login_asks_nothing(run: Run, unattended: Path) -> None:
    assert run("login").status == 0
    assert kept(unattended)


def test_the_password_file_is_for_its_own_user_only(run: Run, unattended: Path, mcias: Mcias, typed: list[str]) -> None:
    mcias.account("eve", password="another one")
    typed.append("another one")
    status, out, _ = run("login", "--username", "eve")
    assert status == 0
    assert out.startswith("logged in as eve")
    assert kept(unattended)


@pytest.mark.parametrize("words", [(), ("--username", "kyle")])
def test_without_a_terminal_nobody_is_asked(run: Run, folder: Path, mcias: Mcias, words: tuple[str, ...]) -> None:
    status, out, err = run("login", *words)
    assert (status, out) == (2, "")
    assert "stdin is not a terminal" in err
    assert mcias.requests(LOGIN) == 0
    assert kept(folder) == ""


def test_without_mcias_there_is_nothing_to_log_in_to(run: Run, nodes: tuple[Node, Node], tmp_path: Path) -> None:
    for command in ("login", "logout"):
        status, _, err = run(command)
        assert status == 2
        assert "mcp.toml has no [mcias] section" in err
    assert kept(tmp_path) == "secret"
    assert nodes[0].agent.requests == []


@pytest.mark.usefixtures("folder")
def test_a_token_in_the_environment_is_mentioned(run: Run, typed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_TOKEN", "other")
    typed.append(PASSWORD)
    status, _, err = run("login", "--username", "kyle")
    assert (status, err) == (0, "mcpctl: MCP_TOKEN is set and overrides the token file\n")


def test_a_one_time_code_is_asked_for_when_mcias_wants_one(
    run: Run, folder: Path, mcias: Mcias, typed: list[str]
) -> None:
    mcias.account("kyle", "admin", totp="123456")
    typed += [PASSWORD, "123456"]
    assert run("login", "--username", "kyle").status == 0
    assert (mcias.requests(LOGIN), typed) == (2, [])
    assert kept(folder)


def test_a_wrong_one_time_code_is_asked_for_once(run: Run, folder: Path, mcias: Mcias, typed: list[str]) -> None:
    mcias.account("kyle", "admin", totp="123456")
    typed += [PASSWORD, "654321", "unused"]
    status, _, err = run("login", "--username", "kyle")
    assert status == 1
    assert err.endswith("wrong user name, password or one-time code\n")
    assert "654321" not in err
    assert (mcias.requests(LOGIN), typed) == (2, ["unused"])
    assert kept(folder) == ""


def test_a_wrong_password_changes_nothing(run: Run, folder: Path, typed: list[str]) -> None:
    keep(folder, "old")
    typed.append("hunter2hunter2")
    status, out, err = run("login", "--username", "kyle")
    assert (status, out) == (1, "")
    assert err.endswith("wrong user name or password\n")
    assert "hunter2" not in err
    assert kept(folder) == "old"


@pytest.mark.usefixtures("folder")
def test_who_is_denied_reads_the_servers_words(run: Run, mcias: Mcias, typed: list[str]) -> None:
    mcias.account("kyle", denied=True)
    typed.append(PASSWORD)
    status, _, err = run("login", "--username", "kyle")
    assert status == 1
    assert f"MCIAS at {mcias.url} denied kyle: denied by policy" in err


@pytest.mark.parametrize("typing", ["", None])
def test_who_types_nothing_sends_nothing(
    run: Run, folder: Path, mcias: Mcias, typed: list[str], monkeypatch: pytest.MonkeyPatch, typing: str | None
) -> None:
    typed.append("")
    if typing is None:

        def end_of_file(_: str) -> str:
            raise EOFError

        monkeypatch.setattr("getpass.getpass", end_of_file)
    status, _, err = run("login", "--username", "kyle")
    assert (status, err) == (2, "mcpctl: Password of kyle: nothing was entered, so nothing was sent\n")
    assert mcias.requests(LOGIN) == 0
    assert kept(folder) == ""


MOODS = {
    "500": (1, "answered /v1/auth/login with HTTP 500: internal error; try again"),
    "nonsense": (1, "did not answer /v1/auth/login like an MCIAS server; check mcias.server_url"),
    "lying": (1, "did not answer /v1/auth/login like an MCIAS server; check mcias.server_url"),
    "huge": (1, "did not answer /v1/auth/login like an MCIAS server; check mcias.server_url"),
    "reset": (1, "cannot be reached: "),
    "slow 2": (1, "did not answer within 0.5 s; try again later"),
}


@pytest.mark.parametrize(("mood", "expected"), MOODS.items(), ids=MOODS.keys())
def test_a_server_that_does_not_do_well_is_one_sentence(
    run: Run,
    unattended: Path,
    mcias: Mcias,
    monkeypatch: pytest.MonkeyPatch,
    mood: str,
    expected: tuple[int, str],
) -> None:
    monkeypatch.setattr(client, "_PATIENCE_S", 0.5 if mood.startswith("slow") else DEADLINE_S)
    mcias.mood(mood)
    status, out, err = run("login")
    assert (status, out) == (expected[0], "")
    (line,) = err.splitlines()
    assert line.startswith(f"mcpctl: MCIAS at {mcias.url} ")
    assert expected[1] in line
    assert "bug" not in line
    assert kept(unattended) == ""


def test_a_server_that_is_down_is_said(run: Run, unattended: Path, mcias: Mcias) -> None:
    mcias.stop()
    status, _, err = run("login")
    assert (status, err) == (
        1,
        f"mcpctl: MCIAS at {mcias.url} cannot be reached: Connection refused; does it run there?\n",
    )
    assert kept(unattended) == ""


def test_a_server_that_the_ca_does_not_vouch_for_gets_no_password(run: Run, unattended: Path, mcias: Mcias) -> None:
    path = unattended / "mcp.toml"
    path.write_text(path.read_text().replace(str(mcias.ca), "ca.pem"))
    status, _, err = run("login")
    assert status == 1
    assert f"{unattended / 'ca.pem'} did not sign its certificate" in err
    assert mcias.requests(LOGIN) == 0


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_that_is_none_is_an_error_of_ours(run: Run, unattended: Path, mcias: Mcias, content: str | None) -> None:
    path = unattended / "mcp.toml"
    path.write_text(path.read_text().replace(str(mcias.ca), "other.pem"))
    if content:
        (unattended / "other.pem").write_text(content)
    status, _, err = run("login")
    assert status == 2
    assert err.startswith(f"mcpctl: MCIAS: {unattended / 'other.pem'} ")


# -- a server that is none


@pytest.fixture
def canned(tmp_path: Path, authority: pki.Authority) -> Iterator[Callable[..., Server]]:
    """Starts a server that takes a request, and says what it is given: bytes, or pauses in seconds."""
    threads: list[threading.Thread] = []
    pem = pki.make_server(authority, "canned", "127.0.0.1")
    chain = tmp_path / "canned.pem"
    chain.write_bytes(pem.certificate + pem.key)
    (tmp_path / "canned-ca.pem").write_bytes(authority.pem.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    def start(*answer: bytes | float) -> Server:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener, listener.accept()[0] as plain:
                try:
                    with context.wrap_socket(plain, server_side=True) as connection:
                        request = b""
                        # To its end: a connection that is closed with something unread is reset.
                        while not request.endswith(b"}"):
                            request += connection.recv(65536)
                        for each in answer:
                            if isinstance(each, bytes):
                                connection.sendall(each)
                            else:
                                time.sleep(each)
                except OSError:
                    return

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        return Server(url, "mcp", tmp_path / "canned-ca.pem")

    yield start
    for each in threads:
        each.join(DEADLINE_S)


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def test_a_redirection_is_not_followed(canned: Callable[..., Server]) -> None:
    server = canned(answer(302, b"", "Location: https://127.0.0.1:1/v1/auth/login"))
    with pytest.raises(client.MciasError, match=r"with HTTP 302; check mcias\.server_url"):
        client.login(server, "kyle", PASSWORD)


@pytest.mark.parametrize("status", [401, 403, 418, 500])
def test_a_server_that_repeats_secrets_is_not_quoted(canned: Callable[..., Server], status: int) -> None:
    body = json.dumps({"error": f"totp? {PASSWORD} and 123456 are wrong"}).encode()
    with pytest.raises(client.MciasError) as raised:
        client.login(canned(answer(status, body)), "kyle", PASSWORD, "123456")
    assert PASSWORD not in str(raised.value)
    assert "123456" not in str(raised.value)
    body = json.dumps({"error": "not with to.ken.x"}).encode()
    with pytest.raises(client.MciasError) as raised:
        client.renew(canned(answer(status, body)), "to.ken.x", 10)
    assert "to.ken.x" not in str(raised.value)


def test_long_words_are_cut(canned: Callable[..., Server]) -> None:
    body = json.dumps({"error": "x" * 5000}).encode()
    with pytest.raises(client.MciasError) as raised:
        client.login(canned(answer(403, body)), "kyle", PASSWORD)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "token", ["", "two words", "tökén", "a\r\nX-Evil: 1"], ids=["empty", "a space", "no ASCII", "a line break"]
)
def test_a_token_that_no_header_can_carry_is_refused(canned: Callable[..., Server], token: str) -> None:
    with pytest.raises(client.MciasError, match="like an MCIAS server") as raised:
        client.login(canned(answer(200, json.dumps({"token": token}).encode())), "kyle", PASSWORD)
    assert not token or token not in str(raised.value)


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b""])
def test_what_is_no_http_is_one_sentence(canned: Callable[..., Server], said: bytes) -> None:
    with pytest.raises((client.MciasError, client.MciasUnreachableError)) as raised:
        client.login(canned(said), "kyle", PASSWORD)
    assert str(raised.value).startswith("MCIAS at https://127.0.0.1:")


def test_a_server_that_dribbles_is_given_up_in_time(
    canned: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PATIENCE_S", 0.6)
    server = canned(b"HTTP/1.1 200 OK\r\nX: ", *([0.2, b"x"] * 10))
    since = time.monotonic()
    with pytest.raises(client.MciasUnreachableError, match="did not answer within"):
        client.login(server, "kyle", PASSWORD)
    assert time.monotonic() - since < 1.5


def test_what_mcias_says_cannot_move_the_cursor(
    run: Run, folder: Path, mcias: Mcias, typed: list[str], canned: Callable[..., Server]
) -> None:
    server = canned(answer(403, json.dumps({"error": HOSTILE}).encode()))
    path = folder / "mcp.toml"
    path.write_text(path.read_text().replace(mcias.url, server.url).replace(str(mcias.ca), "canned-ca.pem"))
    typed.append(PASSWORD)
    status, _, err = run("login", "--username", "kyle")
    assert status == 1
    assert err.replace("\n", "").isprintable()


# -- at a real terminal


def test_a_password_is_not_echoed(folder: Path) -> None:
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "mcpctl", "login"]
    with subprocess.Popen(
        command, env=of_a_shell(folder), stdin=its, stdout=its, stderr=its, start_new_session=True
    ) as process:
        os.close(its)
        shown = ""

        def read_until(part: str) -> None:
            nonlocal shown
            while part not in shown:
                assert select.select([ours], [], [], DEADLINE_S)[0], shown
                shown += os.read(ours, 4096).decode()

        read_until("User name: ")
        os.write(ours, b"kyle\n")
        read_until("Password of kyle: ")
        os.write(ours, PASSWORD.encode() + b"\n")
        read_until("logged in as kyle until")
        assert process.wait(DEADLINE_S) == 0
    os.close(ours)
    assert PASSWORD not in shown
    assert kept(folder)


# -- logout


def test_a_logout_makes_the_token_worthless_and_removes_it(run: Run, folder: Path, mcias: Mcias) -> None:
    token = keep(folder, mcias.token("kyle"))
    status, out, err = run("logout")
    assert (status, out, err) == (0, f"logged out; deleted {folder / 'token'}\n", "")
    assert not (folder / "token").exists()
    assert mcias.post("/v1/token/validate", {"token": token})[1] == {"valid": False}


def test_a_logout_that_mcias_does_not_hear_of_says_so(run: Run, folder: Path, mcias: Mcias) -> None:
    keep(folder, mcias.token("kyle"))
    mcias.mood("500")
    status, out, err = run("logout", "--output", "json")
    assert (status, json.loads(out)) == (0, {"revoked": False})
    assert "the token was not revoked: MCIAS at" in err
    assert not (folder / "token").exists()


def test_a_logout_with_a_token_that_has_ended_is_a_logout(run: Run, folder: Path, mcias: Mcias) -> None:
    keep(folder, EXPIRED)
    assert run("logout") == (0, f"logged out; deleted {folder / 'token'}\n", "")
    assert mcias.requests(LOGOUT) == 1


@pytest.mark.usefixtures("folder")
def test_a_logout_of_nobody_is_no_error(run: Run, mcias: Mcias) -> None:
    status, out, err = run("logout")
    assert (status, out) == (0, "")
    assert "not logged in" in err
    assert mcias.requests(LOGOUT) == 0


def test_a_token_that_others_could_read_is_removed(run: Run, folder: Path) -> None:
    keep(folder, "leaked")
    (folder / "token").chmod(0o644)
    status, _, err = run("logout")
    assert status == 0
    assert "can be read by others" in err
    assert not (folder / "token").exists()


# -- whoami


def test_whoami_is_a_row_per_node(run: Run, nodes: tuple[Node, Node]) -> None:
    nodes[1].agent.prepared["WhoAmIRequest"] = v1.WhoAmIResponse("orion", "eve", "viewer", AT)
    status, out, err = run("whoami")
    assert (status, err) == (0, "")
    header, rift, orion = out.splitlines()
    assert header.split() == ["NODE", "NAME", "ROLE", "EXPIRES"]
    assert stripped(rift) == ["rift", "kyle", "admin", "never"]
    assert stripped(orion) == ["orion", "eve", "viewer", render.moment(AT)]


def test_whoami_as_json(run: Run, orion: Node) -> None:
    orion.agent.prepared["WhoAmIRequest"] = v1.WhoAmIResponse("orion", "eve", "viewer", AT)
    expected = {"node": "orion", "name": "eve", "role": "viewer", "expires_at": "2026-03-01T12:00:00Z"}
    assert json.loads(run("whoami", "--node", "orion", "--output", "json").out) == [expected]


def test_whoami_of_the_nodes_that_answer_has_status_4(run: Run, orion: Node) -> None:
    orion.cut(for_good=True)
    status, out, err = run("whoami")
    assert (status, len(out.splitlines())) == (4, 2)
    assert "node orion" in err


@pytest.mark.usefixtures("nodes")
def test_whoami_with_a_token_that_is_not_known_is_an_error(run: Run, nodes: tuple[Node, Node]) -> None:
    for each in nodes:
        each.agent.good_tokens = ()
    status, out, err = run("whoami")
    assert (status, out, err) == (1, "", "mcpctl: node rift: the token is not known here\n")


# -- which token


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


# -- renewal


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
