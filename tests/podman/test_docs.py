"""What README and docs tell their reader to type is typed here, in order, on a node; and it works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import blocks
from tests.documents.blocks import Block
from tests.podman.node import COMMAND_DEADLINE_S, DEMO, REPOSITORY, Node, run, running

README = REPOSITORY / "README.md"
# Has its own machines, see tests/bootstrap.
BOOTSTRAP = REPOSITORY / "docs/bootstrap.md"
DOCUMENTS = [path for path in sorted((REPOSITORY / "docs").glob("*.md")) if path != BOOTSTRAP]
# What documents type beside Debian's essential programs, podman and our own.
FOREIGN = ("jq",)
WEB = """\
name = "web"
node = "NODE"
[[components]]
name = "api"
image = "localhost/mcp-demo:v1"
depends_on = ["db"]
[[components]]
name = "db"
image = "localhost/mcp-demo:v1"
"""
# A document's commands find the node's folder where a real node has it.
_AT_ITS_PLACE = """
mount -t tmpfs tmpfs /srv
mkdir /srv/mcp
mount --bind "$1" /srv/mcp
exec bash -eu "$2"
"""


def runnable(path: Path) -> list[Block]:
    """In the order in which they are run. Prints why the others are not."""
    shell = [_without_missing(each) for each in blocks.blocks(path) if each.language == "sh"]
    for each in shell:
        if each.reason:
            print(f"{path.name}:{each.line} is not run: {each.reason}")
    return sorted((each for each in shell if not each.reason), key=lambda each: each.is_last)


def _without_missing(block: Block) -> Block:
    """A block that wants a program which is not here is not run."""
    missing = [each for each in FOREIGN if re.search(rf"\b{each}\b", block.text) and not shutil.which(each)]
    return block._replace(reason=f"{missing[0]} is not installed") if missing and not block.reason else block


def script(path: Path, folder: Path) -> Path:
    """A file with the document's blocks, which says where it is."""
    parts = [f"echo '--- {path.name}:{each.line}'\n{each.text}\n" for each in runnable(path)]
    file = folder / "script"
    file.write_text("\n".join(parts))
    return file


def typed(argv: list[str], home: Path, environment: dict[str, str]) -> str:
    """Runs what a document says, to the first command that fails; returns what it prints."""
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}
    done = subprocess.run(
        argv,
        env=environment | {"HOME": str(home), "SHELL": "/bin/bash", "COLUMNS": "120"},
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )
    text = done.stdout.decode()
    assert done.returncode == 0, text
    return text


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(Node(tmp_path_factory.mktemp("documents") / "node", "demo")) as node:
        yield node


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_says_works(demo: Node, tmp_path: Path, path: Path) -> None:
    file = script(path, tmp_path)
    if not file.read_text():
        pytest.skip(f"{path.name} has nothing to run")
    demo.clear()
    demo.define("web", WEB)
    demo.mcpctl("deploy", "web")
    started = time.monotonic()
    argv = ["unshare", "--mount", "--propagation", "private", "bash", "-euc", _AT_ITS_PLACE, "-"]
    print(typed([*argv, str(demo.folder), str(file)], tmp_path, demo.environment))
    print(f"{path.name}: {len(runnable(path))} blocks in {time.monotonic() - started:.0f} s")


def test_the_readme_takes_a_person_from_nothing_to_a_service_and_back(demo: Node, tmp_path: Path) -> None:
    assert demo.mcpd_pid  # it has made the environment that contrib/demo needs; here there is none to make it with
    try:
        text = typed(["bash", "-eu", str(script(README, tmp_path))], tmp_path, dict(os.environ))
        print(text)
    finally:
        run([str(DEMO), "down", str(tmp_path / "demo")], env=dict(os.environ))
    for shown in ("2 to create", "reverted", "put back as it was", "adopted"):
        assert shown in text
