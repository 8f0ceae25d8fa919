"""What is written may have values of environment variables: it is for its owner, and moves no cursor."""

import os
import stat
from pathlib import Path

import pytest

from mcpctl.ui import render
from tests.support.agent import WEB, Node, Run
from tests.support.definitions import Editor, change, registered


@pytest.mark.parametrize(
    "words",
    [
        *(("service", "export", "web", "--format", each, "--to", "OUT") for each in ("toml", "kube", "compose")),
        ("service", "export", "web", "--format", "quadlet", "--to", "OUT"),
        ("service", "import", "COMPOSE", "--name", "blog", "--node", "rift"),
        ("service", "edit", "blog", "--new"),
    ],
    ids=" ".join,
)
def test_what_is_written_is_readable_by_its_owner_alone(
    run: Run, web: Path, file: Path, editor: Editor, tmp_path: Path, words: tuple[str, ...]
) -> None:
    editor(change("registry.example.net/", "localhost/"))
    before = {web, file}
    target = tmp_path / "out" / "file"
    old = os.umask(0)  # a careless person's
    try:
        status, _, err = run(*(each.replace("OUT", str(target)).replace("COMPOSE", str(file)) for each in words))
    finally:
        os.umask(old)
    assert status == 0, err
    written = {each for folder in (tmp_path / "out", web.parent) for each in folder.rglob("*") if each.is_file()}
    assert written - before
    assert {stat.S_IMODE(each.stat().st_mode) for each in written - before} == {0o600}


def test_a_definition_that_is_made_of_a_registry_is_its_owners_alone(run: Run, web: Path, rift: Node) -> None:
    web.unlink()
    registered(rift)
    assert run("service", "export", "web").status == 0
    assert stat.S_IMODE(web.stat().st_mode) == 0o600


@pytest.mark.usefixtures("web")
def test_an_export_makes_a_file_that_others_could_read_private(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "pods.yaml"
    target.touch(mode=0o644)
    assert run("service", "export", "web", "--format", "kube", "--to", str(target)).status == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_on_a_terminal_an_exported_file_moves_no_cursor(run: Run, web: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.write_text(WEB + 'cmd = ["\\u001b[2J", "\\u202egpj", "\\u009b31m"]\n')
    for form in ("toml", "quadlet", "kube", "compose"):
        with monkeypatch.context() as patch:
            patch.setattr(render, "is_terminal", lambda _: True)
            out = run("service", "export", "web", "--format", form).out
        assert out.replace("\n", "").isprintable(), form
