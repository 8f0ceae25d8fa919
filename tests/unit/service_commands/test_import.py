"""`mcpctl service import` of a compose file."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Node, Run


def imported(run: Run, *words: str) -> Any:
    return run("service", "import", *words, "--name", "blog", "--node", "rift")


def test_a_compose_file_becomes_a_definition(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "c")
    status, out, err = imported(run, str(file))
    path = file.parent / "services/blog.toml"
    assert (status, out) == (0, "")
    assert err.splitlines()[0] == f"{path}: written"
    assert [line.split(":")[:2] for line in err.splitlines()[1:]] == [["lost", " services.api.privileged"]]
    assert tomllib.loads(path.read_text()) == {
        "name": "blog",
        "node": "rift",
        "components": [{"name": "api", "image": "docker.io/library/x:v1", "cmd": ["serve"], "env": {"A": "c"}}],
    }
    assert imported(run, str(file)).status == 2, "it is there"
    assert "not overwritten" in imported(run, str(file)).err


def test_a_dry_run_prints_and_writes_nothing(run: Run, file: Path) -> None:
    status, out, err = imported(run, str(file), "--dry-run")
    assert status == 0
    assert tomllib.loads(out)["name"] == "blog"
    assert err.startswith("lost: ")
    assert list((file.parent / "services").iterdir()) == []


def test_what_the_shell_has_not_is_in_the_file_beside(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAG", raising=False)
    (file.parent / ".env").write_text("TAG='of the file'\n")
    assert tomllib.loads(imported(run, str(file), "--dry-run").out)["components"][0]["env"] == {"A": "of the file"}
    monkeypatch.setenv("TAG", "of the shell")
    assert tomllib.loads(imported(run, str(file), "--dry-run").out)["components"][0]["env"] == {"A": "of the shell"}


def test_an_import_as_json(run: Run, file: Path) -> None:
    found = json.loads(imported(run, str(file), "--output", "json").out)
    assert found["written"] is True
    assert [each["path"] for each in found["losses"]] == ["services.api.privileged"]


def test_an_import_is_checked_like_any_definition(run: Run, file: Path, web: Path) -> None:
    web.write_text('name = "web"\nnode = "rift"\n[[components]]\nname = "api"\nimage = "x"\n')
    (web.parent / "blog-api.toml").write_text(
        'name = "blog-api"\nnode = "rift"\n[[components]]\nname = "blog-api"\nimage = "x"\n'
    )
    for words in ((), ("--dry-run",)):
        status, _, err = imported(run, str(file), *words)
        assert status == 2
        assert "its container name blog-api is also that of blog-api/blog-api" in err
    assert not (web.parent / "blog.toml").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"services: {a: {build: .}}", "mcpctl builds no images"),
        (b"services: {a: {image: $NOWHERE_SET}}", "variable NOWHERE_SET is not set"),
        (b"\xff", "it is not UTF-8"),
        (b"a: " + b"x" * 2**20, "it is larger than 1 MiB"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_imported(run: Run, file: Path, content: bytes | None, message: str) -> None:
    file.write_bytes(content) if content is not None else file.unlink()
    status, out, err = imported(run, str(file))
    assert (status, out) == (2, "")
    assert message in err
    assert str(file) in err


def test_an_import_needs_a_node_and_a_name(run: Run, file: Path, alone: Node) -> None:
    assert run("service", "import", str(file), "--name", "blog").status == 0
    assert tomllib.loads((file.parent / "services/blog.toml").read_text())["node"] == alone.agent.node
    assert run("service", "import", str(file), "--name", "B L").status == 2
    assert run("service", "import", str(file), "--name", "other", "--node", "none").status == 2


def test_an_import_says_that_there_are_several_nodes(run: Run, file: Path) -> None:
    status, _, err = run("service", "import", str(file), "--name", "blog")
    assert status == 2
    assert "2 active nodes (rift, orion); give --node NAME" in err
