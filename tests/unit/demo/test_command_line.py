"""`contrib/demo`: the words that it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from contrib.demonstration import command
from contrib.demonstration.node import MARKER, Node
from contrib.demonstration.settings import Options
from tests.support.demo_node import HERE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up"], "up needs a folder: contrib/demo up DIR"),
        (["up", "--mcias"], "up needs a folder: contrib/demo up DIR"),
        (["up", "/nowhere", "--bogus"], "up: --bogus is not an option; see --help"),
        (["up", "/nowhere", "--mcias=1"], "up: --mcias=1 is not an option; see --help"),
        (["up", "/nowhere", "--node"], "--node needs a value; see --help"),
        (["down", "/nowhere", "more"], "down needs a folder, and nothing else: contrib/demo down DIR"),
        (["sideways"], "sideways: there is no such command; see --help"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert command.main(["--check", *words]) == command.main(words) == 2
    assert capsys.readouterr().err == f"demo: {said}\n" * 2


def test_a_look_at_the_words_changes_nothing(node: Node) -> None:
    assert command.main(["--check", "up", str(node.folder), "--node=a", "--address", "127.0.0.1:1", "--mcias"]) == 0
    assert command.main(["--check"]) == 0
    assert not node.folder.exists()
    node.folder.mkdir()
    (node.folder / "precious").touch()
    assert command.main(["--check", "up", str(node.folder)]) == 2


def test_options_are_taken_with_and_without_an_equals_sign() -> None:
    made = command.parse_options(["--node=a", "--address", "127.0.0.1:1", "--mcias"])
    assert made == Options("a", "127.0.0.1:1", mcias=True)


def test_a_failure_of_the_system_is_a_sentence(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.folder.mkdir()
    (node.folder / MARKER).symlink_to("marker")
    (node.folder / "marker").touch()
    (node.folder / "services").write_text("a file where a folder belongs")
    assert command.main(["up", str(node.folder)]) == 1
    assert capsys.readouterr().err.startswith("demo: ")


def test_it_runs_by_path_from_any_folder_with_nothing_installed(tmp_path: Path) -> None:
    program = Path(command.__file__).parent
    argv = [sys.executable, "-S", str(program), "down", "nothing-here"]
    done = subprocess.run(argv, cwd=tmp_path, env=HERE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, f"there is nothing to end in {tmp_path}/nothing-here\n")
