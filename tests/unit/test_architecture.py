"""ARCHITECTURE.md and CONTRIBUTING.md against the folders: the map has every room, and no module outgrows a reader."""

import ast
import re
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protos", "monitor", "mcpd", "mcpctl")
GENERATED = ("protos/mcp/v1/__init__.py", "mcpctl/actions/completion/command_table.py")
MOST_LINES = 400
# How a module says in its docstring why it is longer.
EXCUSE = "More than 400 lines, because"
TREE = re.search(r"```text\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), re.DOTALL)


def modules() -> list[Path]:
    found = [path for package in (*PACKAGES, "contrib") for path in (ROOT / package).rglob("*.py")]
    return [path.relative_to(ROOT) for path in found if str(path.relative_to(ROOT)) not in GENERATED]


def on_the_map() -> set[str]:
    """The paths that the tree of ARCHITECTURE.md names: folders end with a slash."""
    assert TREE is not None
    found, above = set(), [""]
    for line in TREE[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for name in takewhile(re.compile(r"[\w./]+(/|\.py)").fullmatch, line.split()):
            found.add("".join(above[: depth + 1]) + name)
            if name.endswith("/"):
                above[depth + 1 :] = [name]
    return found


def test_every_room_is_on_the_map() -> None:
    rooms = {f"{path.parent}/" for path in modules()}
    assert rooms - on_the_map() - {"protos/mcp/"} == set()


def test_what_is_on_the_map_is_there() -> None:
    missing = [each for each in on_the_map() if each.endswith("/") and not (ROOT / each).is_dir()]
    missing += [each for each in on_the_map() if each.endswith(".py") and not (ROOT / each).is_file()]
    assert missing == []


@pytest.mark.parametrize("path", modules(), ids=str)
def test_no_module_is_longer_than_a_reader_holds_in_mind(path: Path) -> None:
    text = (ROOT / path).read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    count = text.count("\n")
    assert count <= MOST_LINES or EXCUSE in docstring


@pytest.mark.parametrize("package", ["mcpctl", "mcpd"])
def test_the_top_of_a_program_fits_one_look(package: str) -> None:
    names = [path.name for path in (ROOT / package).iterdir() if path.name != "__pycache__"]
    assert len(names) <= {"mcpctl": 11, "mcpd": 20}[package]


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_a_path_in_the_text_exists(name: str) -> None:
    named = re.findall(r"`((?:protos|monitor|mcpd|mcpctl|tests|contrib|docs)/[\w./-]+)`", (ROOT / name).read_text())
    assert named
    assert [each for each in named if not (ROOT / each).exists()] == []
