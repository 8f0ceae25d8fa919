"""What is installed where: a workstation has what mcpctl needs, a node also what mcpd needs."""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.documents import lock
from tests.support.agent import WEB, of_a_shell
from tests.support.waiting import DEADLINE_S

REPOSITORY = Path(__file__).parents[2]

# Finds no module of a distribution that is not in the lock file of a workstation, as if it were not installed.
PROGRAM = """
import importlib.abc, importlib.metadata, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
EVERY_MODULE = """
import importlib, pkgutil, mcpctl
for found in pkgutil.walk_packages(mcpctl.__path__, "mcpctl."):
    if not found.name.startswith(("mcpctl.actions.dash", "mcpctl.__main__", "mcpctl.commands.dash")):
        importlib.import_module(found.name)
import tomlkit, yaml, httpx
"""
RUN = "sys.argv = ['{program}', *{words!r}]; from {program}.__main__ import main; main()"


def names(pins: str) -> set[str]:
    return {line.partition("==")[0] for line in pins.splitlines() if line[:1].isalnum()}


def missing() -> list[str]:
    """The modules of what the daemon's extra brings along and a workstation does not have."""
    import importlib.metadata

    pins = dict(lock._pins((REPOSITORY / "requirements.lock").read_text().splitlines()))
    more = lock.wanted(lock.daemon(), pins) - names((REPOSITORY / "requirements-mcpctl.lock").read_text())
    modules = importlib.metadata.packages_distributions()
    return sorted(
        module
        for module, distributions in modules.items()
        # `google` is a namespace: what protobuf puts into it is asked for as `google.protobuf`.
        if {canonicalize_name(each) for each in distributions} <= more or (module == "google" and "protobuf" in more)
    )


def ran(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "services").mkdir(exist_ok=True)
    (tmp_path / "services/web.toml").write_text(WEB)
    (tmp_path / "mcp.toml").write_text('[[nodes]]\nname = "rift"\naddress = "127.0.0.1:1"\n')
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(missing=missing()) + code],
        env=of_a_shell(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_the_lock_file_of_a_workstation_is_the_part_that_mcpctl_needs() -> None:
    text = (REPOSITORY / "requirements-mcpctl.lock").read_text()
    assert text == lock.page(), "`python -m tests.documents` writes it"
    assert {canonicalize_name(Requirement(each).name) for each in lock.base()} <= names(text)
    assert names(text) & {canonicalize_name(Requirement(each).name) for each in lock.daemon()} <= {"h11"}


def test_every_pin_of_a_workstation_is_that_of_a_node() -> None:
    ours, all_ = ((REPOSITORY / f"requirements{each}.lock").read_text().splitlines() for each in ("-mcpctl", ""))
    assert [line for line in ours if line[:1].isalnum() and line not in all_] == []


def test_the_daemons_own_packages_are_taken_away_in_these_tests() -> None:
    assert {"trio", "trio_asyncio", "structlog", "cryptography", "prometheus_client", "google"} <= set(missing())
    assert not {"httpx", "h2", "msgspec", "rich", "yaml"} & set(missing())


def test_every_module_of_mcpctl_can_be_imported_on_a_workstation(tmp_path: Path) -> None:
    done = ran(tmp_path, EVERY_MODULE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--help"], ["version"], ["service", "list"], ["node", "list", "--offline"]])
def test_mcpctl_runs_with_what_a_workstation_has(tmp_path: Path, words: list[str]) -> None:
    done = ran(tmp_path, RUN.format(program="mcpctl", words=words))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_node_that_cannot_be_reached_is_a_sentence_there_too(tmp_path: Path) -> None:
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text("secret")
    (tmp_path / "ca.pem").write_text("none")
    done = ran(tmp_path, RUN.format(program="mcpctl", words=["ps"]))
    assert (done.returncode, "a bug in mcpctl" in done.stderr) == (2, False)


@pytest.mark.parametrize("words", [["serve"], ["init", "x", "--node", "a", "--address", "127.0.0.1:1"], ["check"]])
def test_mcpd_without_its_own_packages_says_what_to_install(tmp_path: Path, words: list[str]) -> None:
    done = ran(tmp_path, RUN.format(program="mcpd", words=words))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "is not installed" in line
    assert "pip install 'mcp-control-plane[daemon]'" in line
