"""`contrib/demo`: what a step that fails leaves, and what `down` removes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import tempfile
from pathlib import Path

import pytest

from contrib.demonstration import command, settings, tour
from contrib.demonstration.down import down
from contrib.demonstration.node import Node, claim, require_unclaimed
from contrib.demonstration.output import Failure
from contrib.demonstration.settings import Options
from tests.support.demo_node import MCPD_TOML


def fake_mcpd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, status: int) -> None:
    """`mcpd init` that writes half of its files, or all."""
    files = ["mcpd.toml"] if status else ["mcpd.toml", "tokens.json", "admin.token"]
    program = tmp_path / "venv/bin/mcpd"
    program.parent.mkdir(parents=True, exist_ok=True)
    config = program.with_name("mcpd.toml")
    config.write_text(MCPD_TOML)
    lines = ["#!/bin/sh", 'mkdir "$2" "$2/certs"', *(f'cp {config} "$2/{file}"' for file in files), f"exit {status}"]
    program.write_text("\n".join(lines) + "\n")
    program.chmod(0o755)
    monkeypatch.setattr(settings, "VENV", tmp_path / "venv")


def test_a_set_up_that_failed_is_begun_anew_and_one_that_is_done_is_not(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(node)
    fake_mcpd(tmp_path, monkeypatch, status=3)
    with pytest.raises(Failure) as failed:
        settings.set_up_mcpd(node, Options(mcias=True))
    assert failed.value.status == 3
    assert not (node.folder / "mcpd.toml").exists()
    fake_mcpd(tmp_path, monkeypatch, status=0)
    settings.set_up_mcpd(node, Options())
    assert (node.folder / "admin.token").exists()
    assert not (node.folder / "init.new").exists()
    assert not (node.folder / "mcias").exists()
    (node.folder / "mcpd.toml").write_text("mine")
    settings.set_up_mcpd(node, Options())
    assert (node.folder / "mcpd.toml").read_text() == "mine"


def test_the_password_is_its_owners_alone(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mcpd(tmp_path, monkeypatch, status=0)
    claim(node)
    settings.set_up_mcpd(node, Options(mcias=True))
    assert stat.S_IMODE((node.folder / "mcias/password").stat().st_mode) == 0o600
    (account,) = json.loads((node.folder / "mcias/accounts.json").read_text())
    assert account["password"] == (node.folder / "mcias/password").read_text().strip()


def test_down_removes_what_a_failed_up_has_made(node: Node) -> None:
    claim(node)
    (node.podman / "networks").mkdir(parents=True)
    (node.podman / "networks/half.json").write_text("{")
    down(node)
    assert not node.folder.exists()
    down(node)


def test_down_keeps_definitions_and_up_takes_the_folder_again(node: Node) -> None:
    claim(node)
    node.definitions.mkdir()
    (node.definitions / "web.toml").touch()
    down(node)
    assert [path.name for path in node.folder.rglob("*")] == ["services", "web.toml"]
    require_unclaimed(node)


def test_down_touches_nothing_of_somebody_elses(node: Node) -> None:
    node.folder.mkdir()
    (node.folder / "precious").touch()
    with pytest.raises(Failure, match="nothing was touched") as refused:
        down(node)
    assert refused.value.status == 2
    assert (node.folder / "precious").exists()


@pytest.mark.parametrize(
    ("fault", "status"), [(Failure("podman does not work here", 1), 1), (SystemExit(143), 143)], ids=["fails", "TERM"]
)
def test_a_demonstration_that_does_not_end_well_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, fault: BaseException, status: int
) -> None:
    # pytest's own folder may have a name that is too long for a socket.
    folder = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: shutil.rmtree(folder))

    def up(node: Node, _: Options) -> None:
        claim(node)
        if isinstance(fault, SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)
        raise fault

    monkeypatch.setattr(tour, "up", up)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    before = signal.getsignal(signal.SIGTERM)
    try:
        ended = command.main([])
    except SystemExit as left:
        ended = int(str(left.code))
    assert ended == status
    assert list(folder.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before
