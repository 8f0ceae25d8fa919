"""What `mcpd check` says of podman: its version, its network, its limits, and a service that does not come up."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from mcpd.checks import podman
from mcpd.checks.finding import Status
from mcpd.config import settings as config
from tests.support.findings import named, status


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("4.3.0", Status.OK),
        ("5.4.2", Status.OK),
        ("10.0", Status.OK),
        ("4.2.9", Status.FAILURE),
        ("3.4.4", Status.FAILURE),
        ("new", Status.WARNING),
    ],
)
def test_podman_must_be_4_3_or_newer(version: str, verdict: Status) -> None:
    assert status(podman.judge_version(version)) is verdict


def test_an_oci_runtime_must_be_there() -> None:
    assert status(podman.judge_runtime("crun")) is Status.OK
    assert status(podman.judge_runtime("")) is Status.FAILURE


@pytest.mark.parametrize(("backend", "verdict"), [("netavark", Status.OK), ("cni", Status.WARNING)])
def test_cni_is_warned_of(backend: str, verdict: Status) -> None:
    assert status(podman.judge_network(backend)) is verdict


@pytest.mark.parametrize(
    ("version", "controllers", "verdict"),
    [
        ("v2", ("cpu", "io", "memory", "pids"), Status.OK),
        ("v2", ("memory", "pids"), Status.WARNING),
        ("v1", ("cpu", "memory", "pids"), Status.WARNING),
        ("", (), Status.WARNING),
    ],
)
@pytest.mark.parametrize("rootless", [True, False])
def test_limits_need_their_controllers(
    version: str, controllers: tuple[str, ...], verdict: Status, rootless: bool
) -> None:
    found = podman.judge_cgroups(version, controllers, rootless=rootless)
    assert status(found) is verdict
    if verdict is Status.WARNING and version == "v2":
        assert "cpu" in found.words


def test_a_podman_that_is_not_there_is_told(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found, info = podman.look(settings)
    assert status(named(found, "podman")) is Status.FAILURE
    assert info is None


def with_podman(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `podman` on PATH that does what ``script`` says."""
    program = tmp_path / "podman"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_a_service_that_ends_at_once_is_told_with_what_it_said(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_podman(tmp_path, "echo 'Error: the database is broken' >&2; exit 125", monkeypatch)
    found, info = podman.look(settings)
    assert status(found) is Status.FAILURE
    assert "the database is broken" in found[0].words
    assert info is None


def test_a_service_that_never_listens_is_ended(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(podman, "_START_S", 0.3)
    with_podman(tmp_path, f'echo "$$" >{tmp_path}/pid; exec sleep 600', monkeypatch)
    found, _ = podman.look(settings)
    assert status(found) is Status.FAILURE
    assert "did not listen" in found[0].words
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_configured_socket_that_nobody_listens_on_is_told(settings: config.Config, tmp_path: Path) -> None:
    given = msgspec.structs.replace(settings, podman=config.Podman(socket=str(tmp_path / "none.sock")))
    found, info = podman.look(given)
    assert status(named(found, "podman service")) is Status.FAILURE
    assert info is None
