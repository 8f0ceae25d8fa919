"""`mcpctl service edit`: nothing is written that is wrong, or that was not confirmed."""

import io
import json
import re
import stat
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpctl.definitions import draft
from protos.mcp import v1
from protos.spec import Component
from tests.support.agent import WEB, Node, Run
from tests.support.definitions import Editor, change


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr(sys, "stdin", Terminal(text))


def drafts(tmp_path: Path) -> list[Path]:
    return [each for each in (tmp_path / "services").iterdir() if each.name.startswith(".")]


def test_an_edit_shows_the_difference_and_the_plan(run: Run, web: Path, rift: Node, editor: Editor) -> None:
    web.chmod(0o600)
    rift.agent.prepared["PlanRequest"] = v1.PlanResponse("7", [v1.ComponentPlan("api", "replace", "changed")])
    turns = editor(change("x:v1", "x:v2"))
    status, out, err = run("service", "edit", "web")
    assert status == 0, err
    assert web.read_text() == WEB.replace("x:v1", "x:v2")
    assert stat.S_IMODE(web.stat().st_mode) == 0o600
    assert '-image = "x:v1"\n+image = "x:v2"\n' in out
    assert "web/api: replace" in out
    assert f"{web}: written" in err
    (asked,) = rift.agent.asked(v1.PlanRequest)
    assert asked.service.components[0].image == "x:v2"
    (file,) = turns.read_text().splitlines()
    assert (Path(file).name, Path(file).parent.parent) == ("web.toml", web.parent)
    assert drafts(web.parent.parent) == []


def test_a_new_definition_that_was_not_begun_is_not_said_to_be_there(run: Run, web: Path, editor: Editor) -> None:
    editor("")
    path = web.with_name("mail.toml")
    said = f"{path}: not written: the draft was not changed\n"
    assert run("service", "edit", "mail", "--new") == (0, "", said)
    assert not path.exists()


def test_a_new_definition_names_the_document_that_has_every_key() -> None:
    (name,) = re.findall(r"explained in (\S+\.md)", draft.TEMPLATE)
    document = (Path(__file__).parents[3] / name).read_text()
    assert [key for key in Component.__struct_fields__ if f"`{key}`" not in document] == []


def test_an_edit_that_changes_nothing_says_so(run: Run, web: Path, rift: Node, editor: Editor) -> None:
    editor("")
    status, out, err = run("service", "edit", "web")
    assert (status, out, err) == (0, "", f"{web}: unchanged\n")
    assert rift.agent.seen_tokens == []
    assert drafts(web.parent.parent) == []


def test_a_node_that_cannot_be_asked_does_not_prevent_an_edit(run: Run, web: Path, rift: Node, editor: Editor) -> None:
    rift.cut(for_good=True)
    editor(change("x:v1", "x:v2"))
    status, _, err = run("service", "edit", "web")
    assert status == 0
    assert "no plan available: node rift" in err
    assert "x:v2" in web.read_text()


def test_a_wrong_edit_is_kept_beside_the_definition(run: Run, web: Path, editor: Editor) -> None:
    editor(change('"x:v1"', '"A B"\nports = ["x"]'))
    status, _, err = run("service", "edit", "web")
    assert status == 2
    assert "components[0].image" in err
    assert "components[0].ports[0]" in err
    assert web.read_text() == WEB
    (draft,) = drafts(web.parent.parent)
    assert f"your draft is kept in {draft}/web.toml" in err
    assert '"A B"' in (draft / "web.toml").read_text()
    assert stat.S_IMODE(draft.stat().st_mode) == 0o700


def test_somebody_at_a_terminal_edits_again(run: Run, web: Path, editor: Editor, typed: Callable[[str], None]) -> None:
    turns = editor(f"{change('x:v1', 'A B')} if turn == 1 else {change('A B', 'x:v3')}")
    typed("\ny\n")
    status, _, err = run("service", "edit", "web")
    assert status == 0, err
    assert "Edit it again? [Y/n]" in err
    assert f"Write {web}? [y/N]" in err
    assert "x:v3" in web.read_text()
    first, second = turns.read_text().splitlines()
    assert first == second
    assert drafts(web.parent.parent) == []


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_somebody_gives_up(run: Run, web: Path, editor: Editor, typed: Callable[[str], None], answer: str) -> None:
    editor(change("x:v1", "A B"))
    typed(answer)
    status, _, err = run("service", "edit", "web")
    assert status == 2
    assert "cancelled" in err
    assert web.read_text() == WEB
    assert len(drafts(web.parent.parent)) == 1


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_an_edit_that_is_not_confirmed_changes_nothing(
    run: Run, web: Path, editor: Editor, typed: Callable[[str], None], answer: str
) -> None:
    editor(change("x:v1", "x:v2"))
    typed(answer)
    status, _, err = run("service", "edit", "web")
    assert status == 1
    assert web.read_text() == WEB
    assert "your draft is kept" in err


def test_yes_is_not_asked(run: Run, web: Path, editor: Editor, typed: Callable[[str], None]) -> None:
    editor(change("x:v1", "x:v2"))
    typed("")
    assert run("service", "edit", "web", "--yes").status == 0
    assert "x:v2" in web.read_text()


def test_a_definition_that_changed_meanwhile_is_left_alone(run: Run, web: Path, editor: Editor) -> None:
    editor(f"{change('x:v1', 'x:v2')}; definition.write_text('other')")
    status, _, err = run("service", "edit", "web")
    assert status == 1
    assert "changed while you were editing" in err
    assert web.read_text() == "other"
    assert len(drafts(web.parent.parent)) == 1


def test_a_link_into_a_repository_stays_one(run: Run, web: Path, editor: Editor) -> None:
    real = web.parent.parent / "repository.toml"
    web.rename(real)
    web.symlink_to(real)
    editor(change("x:v1", "x:v2"))
    assert run("service", "edit", "web").status == 0
    assert web.is_symlink()
    assert "x:v2" in real.read_text()


def test_an_editor_that_fails_changes_nothing(run: Run, web: Path, editor: Editor) -> None:
    editor(f"{change('x:v1', 'x:v2')}; sys.exit(3)")
    status, _, err = run("service", "edit", "web")
    assert status == 1
    assert "exited with status 3" in err
    assert "your draft is kept" in err
    assert web.read_text() == WEB


@pytest.mark.parametrize("value", ["/no/such/editor", "vi 'x", " "])
def test_an_editor_that_is_none(run: Run, web: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VISUAL", value)
    status, _, err = run("service", "edit", "web")
    assert status == 2
    assert "EDITOR" in err
    assert drafts(web.parent.parent) == []


def test_a_new_definition_begins_with_a_template(run: Run, web: Path, editor: Editor) -> None:
    editor(change("registry.example.net/", "localhost/"))
    status, out, err = run("service", "edit", "blog", "--new")
    assert status == 0, err
    path = web.parent / "blog.toml"
    assert tomllib.loads(path.read_text())["components"] == [{"name": "blog", "image": "localhost/blog:v1"}]
    assert "# heal" in path.read_text()
    assert "+image" not in out or "-image" in out
    assert run("service", "list").status == 0


def test_everything_in_the_template_is_right(run: Run, web: Path, editor: Editor) -> None:
    for name in ("blog.env", "blog.conf"):
        (web.parent / name).write_text("")
    editor(
        "import re; text = re.sub(r'(?m)^# (?=[a-z\\[])', '', file.read_text()); "
        "text = re.sub(r'(?m)^depends_on.*', '', text); file.write_text(text)"
    )
    assert run("service", "edit", "blog", "--new").status == 0
    found = json.loads(run("service", "show", "blog", "--output", "json").out)["service"]["components"][0]
    assert (found["heal"], found["stop_timeout"], found["resources"]["pids"]) == ("alert", "10s", 256)
    assert found["health"]["retries"] == 3


def test_a_service_without_a_definition_is_not_edited(
    run: Run, web: Path, editor: Editor, typed: Callable[[str], None]
) -> None:
    editor("")
    assert "--new creates it" in run("service", "edit", "blog").err
    typed("y\n")
    status, _, err = run("service", "edit", "blog")
    assert (status, "Create it? [y/N]" in err) == (0, True)
    assert not (web.parent / "blog.toml").exists(), "an untouched template is no definition"
    assert run("service", "edit", "web", "--new").status == 2
    assert run("service", "edit", "../web").status == 2


def test_an_edit_as_json(run: Run, web: Path, editor: Editor) -> None:
    editor(change("x:v1", "x:v2"))
    status, out, _ = run("service", "edit", "web", "--output", "json")
    assert (status, json.loads(out)) == (0, {"file": str(web), "changed": True})
