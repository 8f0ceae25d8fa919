"""Which program has the images of this machine."""

from pathlib import Path

import pytest

from mcpctl.errors import CliError, UsageError
from mcpctl.images import engine
from mcpctl.images.engine import Kind


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)


def test_the_first_one_that_is_installed_is_taken(programs: Path) -> None:
    install(programs, "docker")
    assert engine.find(None).kind is Kind.DOCKER
    install(programs, "buildah")
    assert engine.find(None).kind is Kind.BUILDAH
    install(programs, "podman")
    found = engine.find(None)
    assert (found.kind, found.path, found.name) == (Kind.PODMAN, str(programs / "podman"), "podman")


def test_another_one_can_be_chosen(programs: Path) -> None:
    install(programs, "docker", "podman")
    assert engine.find("docker").kind is Kind.DOCKER


def test_one_that_is_not_installed_is_told(programs: Path) -> None:
    install(programs, "podman")
    with pytest.raises(CliError, match="docker is not installed: it is not in PATH"):
        engine.find("docker")


@pytest.mark.usefixtures("programs")
def test_without_any_it_is_said_what_to_install() -> None:
    with pytest.raises(CliError, match="none of podman, buildah and docker is installed: install one"):
        engine.find(None)


@pytest.mark.usefixtures("programs")
def test_a_name_that_is_none_of_them_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match="'nerdctl' is not podman, buildah or docker"):
        engine.find("nerdctl")
