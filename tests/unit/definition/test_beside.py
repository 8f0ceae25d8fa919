"""Files that a definition names: its env files and the sources of its configs are part of it."""

import os
from pathlib import Path

import pytest

from mcpctl.config import Settings
from mcpctl.definitions import beside, definition
from mcpctl.errors import UsageError
from protos.parts import ConfigFile
from protos.spec import Component, Service
from tests.support.definition_files import settings_in, write

NAMED = """\
name = "web"
node = "rift"
[[components]]
name = "api"
image = "x:v1"
env = { B = "mine" }
env_file = ["app.env", "sub/later.env"]
configs = [{ target = "/etc/app.ini", source = "app.ini", mode = 0o640 }, { target = "/x", content = "x" }]
"""
APP = "A=1\nB=1\nC='two words' # note\n"


@pytest.fixture
def named(settings: Settings) -> Path:
    """A definition with all the files that it names; returns their folder."""
    folder = settings.services_dir
    write(settings, NAMED)
    (folder / "sub").mkdir()
    (folder / "app.env").write_text(APP)
    (folder / "sub/later.env").write_text('A=2\nD="$C"\n')
    (folder / "app.ini").write_text("[a]\nb = ü\n")
    return folder


def wrong(settings: Settings) -> list[str]:
    with pytest.raises(UsageError) as raised:
        definition.load(settings, "web")
    return [line.partition("web.toml: ")[2] for line in str(raised.value).splitlines()]


def test_a_definition_has_what_the_files_say_that_it_names(settings: Settings, named: Path) -> None:
    (component,) = definition.load(settings, "web").service.components
    assert component.env == {"A": "2", "B": "mine", "C": "two words", "D": "two words"}
    assert component.env_file == ()
    assert component.configs == (
        ConfigFile("/etc/app.ini", content="[a]\nb = ü\n", mode=0o640),
        ConfigFile("/x", content="x"),
    )
    assert named == settings.services_dir


def test_everything_that_reads_definitions_has_it(settings: Settings, named: Path) -> None:
    expected = definition.load(settings, "web").service
    assert definition.read(settings, named / "web.toml").service == expected
    assert [each.service for each in definition.every(settings)[0]] == [expected]
    assert definition.readable(settings) == ([expected], [])
    assert definition.find(settings, "web/api")[0].service == expected
    assert definition.find(settings, str(named / "web.toml"))[0].service == expected


def test_a_draft_elsewhere_is_read_with_the_files_beside_its_definition(
    settings: Settings, named: Path, tmp_path: Path
) -> None:
    draft = tmp_path / "draft/web.toml"
    draft.parent.mkdir()
    draft.write_text(NAMED)
    assert definition.read(settings, draft, named).service == definition.load(settings, "web").service
    with pytest.raises(UsageError, match=r"app\.env does not exist"):
        definition.read(settings, draft)


def test_the_shell_has_no_say(settings: Settings, named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C", "of the shell")
    monkeypatch.setenv("FROM_SHELL", "x")
    assert definition.load(settings, "web").service.components[0].env["D"] == "two words"
    (named / "sub/later.env").write_text("A=$FROM_SHELL\nFROM_SHELL\n")
    problems = wrong(settings)
    assert len(problems) == 2
    assert problems[0].startswith("components[0].env_file[1]: sub/later.env, line 1: FROM_SHELL has no value: write ")
    assert "line 2: FROM_SHELL has no value" in problems[1]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("app.env", None, "components[0].env_file[0]: app.env does not exist; put it at {folder}/app.env"),
        ("app.env", b"\xff", "components[0].env_file[0]: app.env cannot be read: it is not UTF-8"),
        ("app.env", b"A='hunter2", "components[0].env_file[0]: app.env, line 1: the value of A begins with '"),
        ("app.env", b"A=hunter2$", "components[0].env_file[0]: app.env, line 1: the value of A has a $"),
        ("app.env", b"A=1\nno hunter2", "components[0].env_file[0]: app.env, line 2: expected NAME=VALUE"),
        ("app.env", b"A=\0\nC=c", "components[0].env_file[0]: app.env, the value of A holds a NUL character"),
        ("app.env", b"A=" + b"x" * 2**20, "components[0].env_file[0]: app.env cannot be read: it is larger than 1 MiB"),
        ("app.ini", None, "components[0].configs[0].source: app.ini does not exist; put it at {folder}/app.ini"),
        ("app.ini", b"hunter2 \xff", "components[0].configs[0].source: app.ini cannot be read: it is not UTF-8"),
        ("app.ini", b"\0", "components[0].configs[0].source: app.ini holds a NUL character"),
        ("app.ini", b"x" * (256 * 1024 + 1),
         "components[0].configs[0].source: app.ini cannot be read: it is larger than 256 KiB"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_a_problem_of_the_definition_and_no_value_is_shown(
    settings: Settings, named: Path, file: str, content: bytes | None, message: str
) -> None:
    (named / file).unlink() if content is None else (named / file).write_bytes(content)
    (problem,) = wrong(settings)
    assert problem.startswith(message.format(folder=named))
    assert "hunter2" not in problem


def test_what_is_no_file_is_not_waited_for(settings: Settings, named: Path) -> None:
    (named / "app.env").unlink()
    os.mkfifo(named / "app.env")
    (named / "app.ini").unlink()
    (named / "app.ini").mkdir()
    problems = wrong(settings)
    assert len(problems) == 2
    assert all("it is not a regular file" in each for each in problems)


def test_a_config_as_long_as_is_allowed_is_read(settings: Settings, named: Path) -> None:
    (named / "app.ini").write_text("x" * 256 * 1024)
    assert len(definition.load(settings, "web").service.components[0].configs[0].content or "") == 256 * 1024


def test_all_problems_are_told_at_once(settings: Settings, named: Path) -> None:
    for each in ("app.env", "sub/later.env", "app.ini"):
        (named / each).unlink()
    assert len(wrong(settings)) == 3


def test_a_neighbour_with_a_missing_file_is_its_own_problem(settings: Settings, named: Path) -> None:
    write(settings, NAMED.replace('"web"', '"other"').replace("app.env", "none.env"), "other")
    assert definition.load(settings, "web").service.name == "web"
    found, errors = definition.every(settings)
    assert [each.service.name for each in found] == ["web"]
    assert "none.env does not exist" in str(errors[0])
    assert named == settings.services_dir


def test_a_service_that_names_no_file_is_as_it_was(tmp_path: Path) -> None:
    service = Service("web", "rift", (Component("api", "x", env={"A": "1"}),))
    made, problems = beside.resolved(service, tmp_path)
    assert (made is service, problems) == (True, [])
    assert settings_in(tmp_path).services_dir.is_dir()
