"""`mcpctl service`: what is listed and shown of definitions, how they are edited, and how they go in and out."""

import io
import json
import os
import re
import stat
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.definitions import draft
from mcpctl.definitions.exporting import toml
from mcpctl.ui import render
from protos import wire
from protos.mcp import v1
from protos.spec import Component, Service, examine_service
from tests.support.agent import HOSTILE, WEB, Node, Run, columns, stripped
from tests.support.builders import component, service

MORE = WEB + 'env = { LOG = "info" }\nheal = "alert"\n[components.resources]\nmemory = "64MiB"\n'
UNKNOWN = GRPCError(Status.NOT_FOUND, "there is no service web here")


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


Editor = Callable[[str], Path]


@pytest.fixture
def web(tmp_path: Path, nodes: tuple[Node, Node]) -> Path:  # noqa: ARG001
    path = tmp_path / "services/web.toml"
    path.write_text(WEB)
    return path


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """Sets an editor that runs some Python on ``file``; ``turn`` counts its runs. Returns where they are counted."""

    def editor(code: str) -> Path:
        turns = tmp_path / "turns"
        turns.write_text("")
        script = tmp_path / "my editor.py"
        script.write_text(
            "import pathlib, sys\n"
            f"turns = pathlib.Path({str(turns)!r})\n"
            "turns.write_text(turns.read_text() + sys.argv[-1] + '\\n')\n"
            "turn = len(turns.read_text().splitlines())\n"
            f"definition = pathlib.Path({str(tmp_path / 'services/web.toml')!r})\n"
            "file = pathlib.Path(sys.argv[-1])\n"
            f"{code}\n"
        )
        monkeypatch.setenv("VISUAL", f"{sys.executable} '{script}' --wait")
        return turns

    monkeypatch.delenv("EDITOR", raising=False)
    return editor


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr(sys, "stdin", Terminal(text))


def drafts(tmp_path: Path) -> list[Path]:
    return [each for each in (tmp_path / "services").iterdir() if each.name.startswith(".")]


# -- list


def test_definitions_are_listed_without_a_network(run: Run, web: Path, rift: Node) -> None:
    status, out, err = run("service", "list")
    assert (status, err) == (0, "")
    assert stripped(out.splitlines()[1]) == ["web", "rift", "yes", "api", str(web)]
    assert rift.agent.seen_tokens == []


def test_a_broken_definition_is_listed_with_its_error(run: Run, web: Path) -> None:
    (web.parent / "bad.toml").write_text('name = "bad"\n')
    (web.parent / "zero.toml").write_text("= \x1b")
    status, out, err = run("service", "list")
    assert status == 2
    assert [columns(line)[0].strip() for line in out.splitlines()] == ["NAME", "bad", "web", "zero"]
    assert "bad.toml: node: is missing" in err
    assert "zero.toml: is not TOML" in err
    assert "\x1b" not in err
    rows = json.loads(run("service", "list", "--output", "json").out)
    assert [(each["name"], each["active"], bool(each["error"])) for each in rows] == [
        ("bad", None, True),
        ("web", True, False),
        ("zero", None, True),
    ]


# -- show


def test_a_definition_is_shown_with_its_defaults(run: Run, web: Path) -> None:
    web.write_text(MORE)
    status, out, err = run("service", "show", "web")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"# {web}"
    assert 'image = "x:v1"' in lines
    assert 'restart = "no"  # default' in lines
    assert 'stop_timeout = "10s"  # default' in lines
    assert "network = (podman's default)  # default" in lines
    assert 'env = { LOG = "info" }' in lines
    assert 'resources.memory = "64MiB"' in lines
    assert "resources.cpus = 0 (no limit)  # default" in lines
    assert "active = true  # default" in lines


def test_a_definition_is_shown_as_json_as_a_whole(run: Run, web: Path) -> None:
    found = json.loads(run("service", "show", "web", "--output", "json").out)
    assert found["file"] == str(web)
    # Nothing is left out, and it can be read as a definition.
    (only,) = found["service"]["components"]
    assert only["stop_timeout"] == "10s"
    assert only["resources"] == {"memory": 0, "cpus": 0.0, "pids": 0}
    assert examine_service(found["service"]) == (examine_service(tomllib.loads(WEB))[0], [])


@pytest.mark.usefixtures("web")
def test_a_service_without_a_definition_is_not_shown(run: Run) -> None:
    status, out, err = run("service", "show", "wbe")
    assert (status, out) == (2, "")
    assert "did you mean web?" in err


# -- edit


def change(old: str, new: str) -> str:
    return f"file.write_text(file.read_text().replace({old!r}, {new!r}))"


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
    document = (Path(__file__).parents[2] / name).read_text()
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


@pytest.mark.usefixtures("web")
def test_everything_in_the_template_is_right(run: Run, editor: Editor) -> None:
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


# -- export


REGISTERED = service(component(cmd=("serve",), env={"A": "b $c\n"}), component("db"))


def registered(node: Node, found: Service = REGISTERED) -> None:
    node.agent.prepared["ListServicesRequest"] = v1.ListServicesResponse(services=[v1.ServiceInfo(found.name, "rift")])
    node.agent.prepared["GetServiceSpecRequest"] = v1.GetServiceSpecResponse(wire.service_spec(found))


@pytest.mark.usefixtures("web")
def test_a_definition_is_exported_without_a_network(run: Run, rift: Node) -> None:
    status, out, err = run("service", "export", "web")
    assert (status, err) == (0, "")
    assert examine_service(tomllib.loads(out)) == examine_service(tomllib.loads(WEB))
    assert rift.agent.seen_tokens == []


@pytest.mark.parametrize("form", ["kube", "compose", "quadlet"])
@pytest.mark.usefixtures("web")
def test_a_definition_is_exported_for_another_program(run: Run, form: str) -> None:
    status, out, err = run("service", "export", "web", "--format", form)
    assert (status, err) == (0, ""), "nothing is lost of so little"
    assert "x:v1" in out
    if form != "quadlet":
        assert yaml.safe_load(out)


def test_losses_are_told_a_line_each(run: Run, web: Path) -> None:
    web.write_text(MORE)
    status, out, err = run("service", "export", "web", "--format", "compose")
    assert status == 0
    assert "lost" not in out
    (line,) = err.splitlines()
    assert line.startswith("lost: components[api].heal: ")
    found = json.loads(run("service", "export", "web", "--format", "compose", "--output", "json").out)
    assert [each["path"] for each in found["losses"]] == ["components[api].heal"]
    assert [each["name"] for each in found["files"]] == ["compose.yaml"]


def test_quadlet_units_go_into_a_folder(run: Run, web: Path, tmp_path: Path) -> None:
    web.write_text(WEB + 'network = "mcpnet"\n')
    status, out, err = run("service", "export", "web", "--format", "quadlet", "--to", str(tmp_path / "new/units"))
    assert (status, out) == (0, "")
    assert sorted(each.name for each in (tmp_path / "new/units").iterdir()) == ["mcpnet.network", "web-api.container"]
    assert "web-api.container: written" in err
    printed = run("service", "export", "web", "--format", "quadlet").out
    assert "# FILE web-api.container\n[Unit]\n" in printed
    assert "# FILE mcpnet.network\n[Network]\n" in printed


@pytest.mark.usefixtures("web")
def test_one_file_goes_to_a_name_or_into_a_folder(run: Run, tmp_path: Path) -> None:
    assert run("service", "export", "web", "--format", "kube", "--to", str(tmp_path / "pods.yaml")).status == 0
    assert run("service", "export", "web", "--format", "kube", "--to", str(tmp_path)).status == 0
    assert (tmp_path / "pods.yaml").read_text() == (tmp_path / "web.yaml").read_text()
    status, _, err = run("service", "export", "web", "--format", "kube", "--to", "/dev/null/x")
    assert status == 1
    assert "could not be written" in err


def test_an_adopted_service_gets_its_definition(run: Run, web: Path, rift: Node, orion: Node) -> None:
    web.unlink()
    registered(rift)
    orion.agent.prepared["ListServicesRequest"] = UNKNOWN
    status, out, err = run("service", "export", "web")
    assert (status, out) == (0, ""), err
    assert f"{web}: written, from the registry of node rift" in err
    assert examine_service(tomllib.loads(web.read_text())) == (REGISTERED, [])
    # From now on there is a definition.
    assert run("service", "export", "web").out == web.read_text()
    assert len(rift.agent.asked(v1.GetServiceSpecRequest)) == 1


def test_what_a_node_holds_is_printed_when_asked_for(run: Run, web: Path, rift: Node) -> None:
    registered(rift)
    status, out, _ = run("service", "export", "web", "--node", "rift")
    assert (status, out) == (0, toml.text(REGISTERED))
    assert web.read_text() == WEB
    web.unlink()
    assert run("service", "export", "web", "--to", "-").out == toml.text(REGISTERED)
    assert "args:" in run("service", "export", "web", "--format", "kube").out
    assert not web.exists()


def test_a_definition_is_never_overwritten_by_an_export(run: Run, web: Path, rift: Node) -> None:
    registered(rift)
    broken = 'name = "web"\n'
    web.write_text(broken)
    assert run("service", "export", "web").status == 2
    assert web.read_text() == broken


@pytest.mark.usefixtures("web")
def test_a_service_that_nobody_has_is_not_exported(run: Run, rift: Node, orion: Node) -> None:
    rift.agent.prepared["ListServicesRequest"] = orion.agent.prepared["ListServicesRequest"] = UNKNOWN
    for words in (("gone",), ("..",)):
        status, _, err = run("service", "export", *words)
        assert status == 2
        assert words[0] in err
    rift.agent.prepared["GetServiceSpecRequest"] = UNKNOWN
    assert run("service", "export", "web", "--node", "rift").status == 2


def test_a_service_on_two_nodes_needs_the_node(run: Run, web: Path, rift: Node, orion: Node) -> None:
    web.unlink()
    registered(rift)
    registered(orion)
    status, _, err = run("service", "export", "web")
    assert status == 2
    assert "rift, orion have a service web; give --node NAME" in err


def test_what_a_node_says_is_not_believed(run: Run, web: Path, rift: Node) -> None:
    web.unlink()
    spec = wire.service_spec(REGISTERED)
    spec.components[0].image = HOSTILE
    rift.agent.prepared["GetServiceSpecRequest"] = v1.GetServiceSpecResponse(spec)
    status, out, err = run("service", "export", "web", "--node", "rift")
    assert (status, out) == (1, "")
    assert "components[0].image" in err
    assert "\x1b" not in err


# -- import


COMPOSE = "services:\n  api: {image: 'x:v1', command: serve, environment: {A: \"${TAG:-b}\"}, privileged: true}\n"


@pytest.fixture
def file(tmp_path: Path, nodes: tuple[Node, Node]) -> Path:  # noqa: ARG001
    path = tmp_path / "compose.yaml"
    path.write_text(COMPOSE)
    return path


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


# -- what is written may have values of environment variables


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
