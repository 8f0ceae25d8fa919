"""`mcpctl login`: what is asked, what is kept, and what is said when MCIAS does not do well."""

import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mcpctl.auth import mcias as client
from tests.support.agent import Node, Run, of_a_shell
from tests.support.mcias_process import PASSWORD, Mcias
from tests.support.tokens import LOGIN, configure, keep, kept
from tests.support.waiting import DEADLINE_S


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
