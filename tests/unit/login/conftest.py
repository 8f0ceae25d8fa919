"""Somebody who logs in, and MCIAS: a real server over TLS."""

import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Node, Run
from tests.support.mcias_process import PASSWORD, Mcias
from tests.support.tokens import configure, kept


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
