"""`mcpctl service import` of compose files."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mcpctl.actions.service_import import told
from mcpctl.definitions.importing.diagnostics import NO_MEANING
from mcpctl.definitions.loss import Grade, Loss, Warned
from tests.support.agent import Node, Run

TOLD = """\
services:
  api:
    image: x:v1
    command: serve
    environment: {A: "${TAG:-b}", API_TOKEN: hunter2}
    scale: 2
    expose: [80]
    container_name: other
  odd:
    image: x
    expose: [80]
    profiles: [debug]
"""


def imported(run: Run, *words: str) -> Any:
    return run("service", "import", *words, "--name", "blog", "--node", "rift")


def test_a_compose_file_becomes_a_definition(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "c")
    status, out, err = imported(run, str(file))
    path = file.parent / "services/blog.toml"
    assert (status, out, err) == (0, "", f"{path}: written\n")
    assert tomllib.loads(path.read_text()) == {
        "name": "blog",
        "node": "rift",
        "components": [
            {
                "name": "api",
                "image": "docker.io/library/x:v1",
                "cmd": ["serve"],
                "env": {"A": "c"},
                "privileged": True,
            }
        ],
    }
    assert imported(run, str(file)).status == 2, "it is there"
    assert "not overwritten" in imported(run, str(file)).err


def test_what_is_otherwise_is_told_by_what_it_matters(run: Run, file: Path) -> None:
    file.write_text(TOLD)
    lines = imported(run, str(file), "--output", "json", "--dry-run").out
    found = json.loads(lines)
    assert [(each["path"], each["kind"]) for each in found["losses"]] == [
        ("services.odd", "ignored"),
        ("services.api.expose", "ignored"),
        ("services.api.container_name", "changed"),
        ("services.api.scale", "lost"),
    ]
    assert [each["path"] for each in found["warnings"]] == ["services.api.environment.API_TOKEN"]
    assert found["written"] is False
    assert "hunter2" not in lines


def test_lines_for_people_have_what_matters_most_first_and_the_rest_on_one() -> None:
    losses = [
        Loss("version", NO_MEANING, Grade.IGNORED),
        Loss("services.a.expose", NO_MEANING, Grade.IGNORED),
        Loss("services.b.expose", NO_MEANING, Grade.IGNORED),
        Loss("services.c", "is left out", Grade.IGNORED),
        Loss("services.a.x", "is y", Grade.CHANGED),
        Loss("services.b.x", "is y", Grade.CHANGED),
        Loss("services.a.scale", "2: one"),
    ]
    warnings = [Warned("services.a", "look")]
    assert told(losses, warnings) == [
        "lost: services.a.scale: 2: one",
        "warning: services.a: look",
        "changed: services.a.x, services.b.x: is y",
        "ignored: services.c: is left out",
        "ignored, because it has no meaning here: version, expose (2 times)",
    ]
    assert told(losses, warnings, is_quiet=True) == ["lost: services.a.scale: 2: one", "warning: services.a: look"]
    assert told([], []) == []


def test_a_dry_run_prints_and_writes_nothing(run: Run, file: Path) -> None:
    file.write_text("services: {api: {image: x, scale: 2}}\n")
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


def test_several_files_are_merged_and_a_profile_is_imported(run: Run, file: Path) -> None:
    file.write_text("services:\n  api: {image: x:v1, user: a}\n  odd: {image: y, profiles: [debug]}\n")
    over = file.with_name("over.yaml")
    over.write_text("services: {api: {user: b}}\n")
    found = tomllib.loads(imported(run, str(file), str(over), "--dry-run").out)["components"]
    assert [(each["name"], each.get("user")) for each in found] == [("api", "b")]
    out = imported(run, str(file), str(over), "--profile", "debug", "--dry-run").out
    assert [each["name"] for each in tomllib.loads(out)["components"]] == ["api", "odd"]
    out = imported(run, str(file), "--profile", "x", "--profile", "*", "--dry-run").out
    assert [each["name"] for each in tomllib.loads(out)["components"]] == ["api", "odd"]


def test_a_file_that_compose_would_merge_by_itself_is_named(run: Run, file: Path) -> None:
    beside = file.with_name("compose.override.yaml")
    beside.write_text("services: {api: {user: b}}\n")
    err = imported(run, str(file), "--dry-run").err
    assert (
        f"warning: compose.override.yaml: is there, too, and compose would merge it: `mcpctl service import {file} "
        in err
    )
    assert "warning" not in imported(run, str(file), str(beside), "--dry-run").err


def test_files_of_this_machine_are_looked_at(run: Run, file: Path) -> None:
    folder = file.parent / "data"
    folder.mkdir()
    (file.parent / "run.sh").write_text("#!/bin/sh\n")
    (file.parent / "run.sh").chmod(0o755)
    file.write_text("services: {api: {image: x, volumes: ['./data:/d', './run.sh:/run.sh:ro', './none:/n']}}\n")
    messages = [
        each["message"] for each in json.loads(imported(run, str(file), "--dry-run", "-o", "json").out)["losses"]
    ]
    assert messages == [
        "./data is /srv/blog/data on the node, made if missing",
        "/run.sh is a config of the definition, with the text of ./run.sh",
        "./none is /srv/blog/none on the node, made if missing",
    ]
    (folder / "file").write_text("")
    messages = [
        each["message"] for each in json.loads(imported(run, str(file), "--dry-run", "-o", "json").out)["losses"]
    ]
    assert messages[0].endswith(f"with what is in it now: `mcpctl push {folder} blog --recursive`")


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
        (b"services: {a: {}}", "services.a.image: is missing"),
        (b"services: {a: {image: '${NOWHERE_SET:?say it}'}}", "variable NOWHERE_SET is not set: say it"),
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


def test_which_of_several_files_cannot_be_read_is_said(run: Run, file: Path) -> None:
    assert (
        f"{file.parent}/none.yaml cannot be read: No such file"
        in imported(run, str(file), f"{file.parent}/none.yaml").err
    )


def test_an_import_needs_a_node_and_a_name(run: Run, file: Path, alone: Node) -> None:
    assert run("service", "import", str(file), "--name", "blog").status == 0
    assert tomllib.loads((file.parent / "services/blog.toml").read_text())["node"] == alone.agent.node
    assert run("service", "import", str(file), "--name", "B L").status == 2
    assert run("service", "import", str(file), "--name", "other", "--node", "none").status == 2


def test_an_import_says_that_there_are_several_nodes(run: Run, file: Path) -> None:
    status, _, err = run("service", "import", str(file), "--name", "blog")
    assert status == 2
    assert "2 active nodes (rift, orion); give --node NAME" in err
