"""A service with files on a node, and a folder to push from and pull to."""

from pathlib import Path

import pytest

from protos.mcp import v1
from tests.support.agent import WEB, Node
from tests.support.files import LARGE, a_file, a_folder, a_link, parts


@pytest.fixture
def web(nodes: tuple[Node, Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A service on rift, and the folder in which the commands run."""
    (tmp_path / "services/web.toml").write_text(WEB)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def site(rift: Node) -> Node:
    rift.agent.folders = {
        "": [a_folder("site")],
        "site": [a_folder("css", 0o550), a_file("index.html"), a_link("link"), v1.FileInfo("pipe", "other")],
        "site/css": [a_file("a.css", LARGE), a_file("b.css")],
    }
    rift.agent.prepared["PullFileRequest"] = {
        "site/index.html": parts(),
        "site/css/a.css": parts(LARGE),
        "site/css/b.css": parts(mode=0o600),
    }
    return rift
