"""Compose files that people really publish: MCP_COMPOSE_CORPUS names a folder of them, which is no part of the project.

MCP_COMPOSE_CORPUS_FILES says how many of them are tried (a few by default, 0 for all). Of all, 97 of 100 must lose
nothing. Every variable that a file asks for gets a plausible value, as somebody would give it who uses the file.
"""

import hashlib
import os
from pathlib import Path

import pytest

from mcpctl.actions.service_import import look
from mcpctl.definitions import beside
from mcpctl.definitions.importing import ComposeError, Source, import_compose
from mcpctl.definitions.loss import Grade
from tests.support import corpus

CORPUS = os.environ.get("MCP_COMPOSE_CORPUS", "")
MOST_FILES = int(os.environ.get("MCP_COMPOSE_CORPUS_FILES", "25"))
LOSSLESS = 0.97
# Of a few files one is many.
LOSSLESS_OF_FEW = 0.9

pytestmark = pytest.mark.skipif(not CORPUS, reason="MCP_COMPOSE_CORPUS names no folder with compose files to import")


def lost_of(path: Path) -> list[str]:
    """What is lost, or why it is refused."""
    source = Source(path.parent, corpus.plausible(path), beside.read_text, look)
    try:
        found = import_compose([path], source, name="app", node="rift")
    except ComposeError as error:
        return [f"refused: {line}" for line in str(error).split("\n")]
    return [str(each) for each in found.losses if each.kind is Grade.LOST]


def test_files_that_people_publish_are_imported_without_a_loss() -> None:
    folder = Path(CORPUS)
    # A sample that is the same each time, and no more of one collection than of another.
    files = corpus.files(folder)
    files.sort(key=lambda each: hashlib.sha256(str(each.relative_to(folder)).encode()).digest())
    lost = {path: lost_of(path) for path in files[: MOST_FILES or None]}
    assert lost, f"{CORPUS} has no compose files"
    lossy = {path: words for path, words in lost.items() if words}
    wanted = LOSSLESS_OF_FEW if MOST_FILES else LOSSLESS
    report = "\n".join(f"{path.relative_to(folder)}: {words[0]}" for path, words in lossy.items())
    assert len(lossy) <= (1 - wanted) * len(lost), f"{len(lossy)} of {len(lost)} lose something:\n{report}"
