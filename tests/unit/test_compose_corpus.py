"""Compose files that people really publish: MCP_COMPOSE_CORPUS names a folder of them, which is no part of the project.

MCP_COMPOSE_CORPUS_FILES says how many of them are tried, `all` or a number. Of all, 97 of 100 must lose nothing. Every
variable that a file asks for gets a plausible value, as somebody would give it who uses the file.
"""

import hashlib
import os
import re
from pathlib import Path

import pytest

from mcpctl.actions.service_import import look
from mcpctl.definitions import beside
from mcpctl.definitions.importing import ComposeError, Source, import_compose
from mcpctl.definitions.loss import Grade

CORPUS = os.environ.get("MCP_COMPOSE_CORPUS", "")
FEW = "25"
MOST_FILES = os.environ.get("MCP_COMPOSE_CORPUS_FILES", FEW)
LOSSLESS = 0.97
# Of a few files one is many.
LOSSLESS_OF_FEW = 0.9
VALUES = (
    (r"PORT", "20000"),
    (r"^(P?[UG]ID|.*_[UG]ID)$", "1000"),
    (r"CPU", "1"),
    (r"MEM|_SIZE|LIMIT", "256m"),
    (r"DIR|PATH|LOCATION|FOLDER|ROOT|VOLUME|STORAGE|DATA$", "/srv/x"),
    (r"IMAGE$", "docker.io/library/x:1"),
    (r"VERSION|TAG", "1.0"),
    (r"RESTART", "unless-stopped"),
    (r"URL|URI", "https://x.example"),
)


def files() -> list[Path]:
    """A sample that is the same each time, and no more of one collection than of another."""
    found = [each for each in Path(CORPUS).rglob("*.y*ml") if re.search(r"^services:", text(each), re.MULTILINE)]
    found.sort(key=lambda each: hashlib.sha256(str(each.relative_to(CORPUS)).encode()).digest())
    return found if MOST_FILES == "all" else found[: int(MOST_FILES)]


def text(path: Path) -> str:
    return path.read_text(errors="replace")


def environment(path: Path) -> dict[str, str]:
    """No two ports are the same."""
    names = sorted(set(re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", text(path))))
    made = {}
    for number, name in enumerate(names):
        value = next((value for pattern, value in VALUES if re.search(pattern, name.upper())), "value")
        made[name] = str(int(value) + number) if value == "20000" else value
    return made


def lost_of(path: Path) -> list[str]:
    """What is lost, or why it is refused."""
    source = Source(path.parent, environment(path), beside.read_text, look)
    try:
        found = import_compose([path], source, name="app", node="rift")
    except ComposeError as error:
        return [f"refused: {line}" for line in str(error).split("\n")]
    return [str(each) for each in found.losses if each.kind is Grade.LOST]


@pytest.mark.skipif(not CORPUS, reason="MCP_COMPOSE_CORPUS names no folder of compose files")
def test_files_that_people_publish_are_imported_without_a_loss() -> None:
    lost = {path: lost_of(path) for path in files()}
    assert lost, f"{CORPUS} has no compose files"
    lossy = {path: words for path, words in lost.items() if words}
    wanted = LOSSLESS if MOST_FILES == "all" else LOSSLESS_OF_FEW
    report = "\n".join(f"{path.relative_to(CORPUS)}: {words[0]}" for path, words in lossy.items())
    assert len(lossy) <= (1 - wanted) * len(lost), f"{len(lossy)} of {len(lost)} lose something:\n{report}"
