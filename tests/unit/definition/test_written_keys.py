"""The edits that commands make in a definition: whether something is active, and which image it has."""

import stat
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.config import Settings
from mcpctl.definitions import definition, written_keys
from mcpctl.definitions.definition import Definition
from mcpctl.errors import CliError
from tests.support.definition_files import WEB, settings_in, write


def edited(settings: Settings, text: str, component: str, active: bool) -> str:
    """The file after the edit, with its line ends as they are."""
    path = write(settings, text)
    assert written_keys.set_active(definition.load(settings, "web"), component, active)
    return path.read_bytes().decode()


COMMENTED = """\
# The public site.

name = "web" # as in DNS
node = "rift"
active = true   # do not stop in office hours

# the program
[[components]]
image = "api:v1"
name = "api" # first
env = { LEVEL = "info" } # inline

  # the database
  [[components]]
  name = "db"
  active = true # with care
  image = "postgres"

  [components.resources]
  pids = 5

# the end
"""


def test_only_the_value_changes_in_the_service(settings: Settings) -> None:
    assert edited(settings, COMMENTED, "", False) == COMMENTED.replace("active = true   #", "active = false   #")


def test_only_the_value_changes_in_the_component(settings: Settings) -> None:
    assert edited(settings, COMMENTED, "db", False) == COMMENTED.replace("active = true # w", "active = false # w")


def test_a_missing_key_of_the_service_comes_below_its_name_and_node(settings: Settings) -> None:
    text = COMMENTED.replace("active = true   # do not stop in office hours\n", "")
    expected = text.replace('node = "rift"\n', 'node = "rift"\nactive = false\n')
    assert edited(settings, text, "", False) == expected


def test_a_missing_key_of_a_component_comes_below_its_name(settings: Settings) -> None:
    expected = COMMENTED.replace('name = "api" # first\n', 'name = "api" # first\nactive = false\n')
    assert edited(settings, COMMENTED, "api", False) == expected


def test_a_new_line_is_indented_as_its_neighbours(settings: Settings) -> None:
    text = COMMENTED.replace("  active = true # with care\n", "")
    expected = text.replace('  name = "db"\n', '  name = "db"\n  active = false\n')
    assert edited(settings, text, "db", False) == expected


@pytest.mark.parametrize("component", ["", "api", "db"])
def test_line_ends_of_another_system_stay(settings: Settings, component: str) -> None:
    text = WEB.replace("\n", "\r\n")
    changed = edited(settings, text, component, False)
    assert changed.replace("active = false\r\n", "", 1) == text


def test_a_file_without_a_newline_at_its_end_gets_a_line_of_its_own(settings: Settings) -> None:
    text = 'name = "web"\nnode = "rift"\n[[components]]\nimage = "x"\nname = "api"'
    assert edited(settings, text, "api", False) == text + "\nactive = false\n"


def test_a_value_at_the_end_without_a_newline_is_changed(settings: Settings) -> None:
    text = 'name = "web"\nnode = "rift"\n[[components]]\nimage = "x"\nname = "api"\nactive = true'
    assert edited(settings, text, "api", False) == text.replace("true", "false")


@pytest.mark.parametrize(
    "components",
    [
        'components = [{ name = "api", image = "x", active = true }, { name = "db", image = "y" }] # both\n',
        'components = [\n  # one\n  { name = "api", image = "x", active = true },\n  { name = "db", image = "y" }\n]\n',
    ],
)
def test_a_key_in_an_inline_table_is_changed_in_place(settings: Settings, components: str) -> None:
    text = 'name = "web"\nnode = "rift"\n' + components
    assert edited(settings, text, "api", False) == text.replace("active = true", "active = false")


def test_what_cannot_be_edited_safely_is_left_alone_and_said(settings: Settings) -> None:
    text = 'name = "web"\nnode = "rift"\ncomponents = [{ name = "db", image = "y" }]\n'
    path = write(settings, text)
    with pytest.raises(CliError, match=f"{path} could not be edited safely; set active = false for component db"):
        written_keys.set_active(definition.load(settings, "web"), "db", False)
    assert path.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        WEB.replace('name = "web"\n', 'name = """web"""\n'),
        WEB.replace('image = "postgres"', 'image = "postgres"\ncmd = ["""\n[[components]]\nname = "x"\n"""]'),
        WEB.replace('node = "rift"\n', 'node = "rift"\n#[[components]]\n#name = "x"\n'),
        WEB.replace("\nimage", '\ncmd = ["""\nname = "x"\n"""]\nimage'),
        WEB.replace("name", '"name"').replace("node", "'node'"),
        WEB.replace("[[components]]", "[[components]] # here"),
        WEB.replace("[[components]]", '[["components"]]'),
        WEB.replace("name = ", "name=").replace("node = ", "\tnode\t=\t"),
        WEB.replace('image = "postgres"', 'image = "postgres"\n[components.env]\nname = "x"\nnode = "y"'),
    ],
)
@pytest.mark.parametrize("component", ["", "api", "db"])
def test_an_unusual_file_is_edited_rightly_or_not_at_all(settings: Settings, text: str, component: str) -> None:
    path = write(settings, text)
    found = definition.load(settings, "web")
    try:
        written_keys.set_active(found, component, False)
    except CliError:
        assert path.read_bytes().decode() == text
        return
    assert tomllib.loads(path.read_text()) == with_active(text, component, False)


@pytest.mark.parametrize("component", ["", "api"])
def test_what_is_so_already_is_not_written(settings: Settings, component: str) -> None:
    path = write(settings, WEB)
    before = path.stat()
    assert not written_keys.set_active(definition.load(settings, "web"), component, True)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_there_and_back_is_the_file_as_it_was(settings: Settings) -> None:
    path = write(settings, COMMENTED)
    for component in ("", "db"):
        assert written_keys.set_active(definition.load(settings, "web"), component, False)
        assert written_keys.set_active(definition.load(settings, "web"), component, True)
    assert path.read_text() == COMMENTED


def test_a_linked_file_stays_a_link_and_its_target_changes(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "repository.toml"
    target.write_text(WEB)
    link = settings.services_dir / "web.toml"
    link.symlink_to(Path("..") / target.name)
    written_keys.set_active(definition.load(settings, "web"), "", False)
    assert link.is_symlink()
    assert link.readlink() == Path("..") / target.name
    assert tomllib.loads(target.read_text())["active"] is False


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_the_files_mode_stays(settings: Settings, mode: int) -> None:
    path = write(settings, WEB)
    path.chmod(mode)
    written_keys.set_active(definition.load(settings, "web"), "", False)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_nothing_is_left_beside_the_file(settings: Settings) -> None:
    path = write(settings, WEB)
    written_keys.set_active(definition.load(settings, "web"), "db", False)
    assert list(settings.services_dir.iterdir()) == [path]


def with_active(text: str, component: str, active: bool) -> dict[str, object]:
    """What the file should say after the edit."""
    data = tomllib.loads(text)
    table = next(each for each in data["components"] if each["name"] == component) if component else data
    table["active"] = active
    return data


# Comments that look like what an edit by lines could take for the real thing.
comments = st.sampled_from(
    ["", "# a comment", "# [[components]]", '# name = "api"', "# active = true", "  # = [ ] \" '", "#", "# ünïcode \t"]
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A right definition, with comments and blank lines anywhere, keys in any order, either line end."""

    def line(text: str) -> str:
        space = draw(st.sampled_from(["", "  ", "\t"]))
        return f"{draw(comments)}\n{space}{text} {draw(comments)}\n"

    def table(values: dict[str, str]) -> str:
        active = draw(st.sampled_from(["", "true", "false"]))
        values |= {"active": active} if active else {}
        equals = draw(st.sampled_from([" = ", "=", " =\t"]))
        return "".join(line(f"{key}{equals}{values[key]}") for key in draw(st.permutations(sorted(values))))

    text = table({"name": '"web"', "node": "'rift'"})
    for name in draw(st.lists(st.sampled_from(["api", "db", "web"]), min_size=1, unique=True)):
        text += line(draw(st.sampled_from(["[[components]]", "[[ components ]]", "[[components ]]"])))
        extra = draw(
            st.sampled_from(["[]", '["# no comment", "[[components]]"]', '[ # one\n"x",\n]', '["""\n[a]\n"""]'])
        )
        text += table({"name": f'"{name}"', "image": '"x:v1"', "cmd": extra})
        if draw(st.booleans()):
            text += line("[components.env]") + line('name = "x"') + line("active = 'no'")
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@given(documents(), st.data(), st.booleans())
def test_any_definition_keeps_everything_but_the_one_change(
    tmp_path_factory: pytest.TempPathFactory, text: str, data: st.DataObject, active: bool
) -> None:
    settings = settings_in(tmp_path_factory.getbasetemp())
    path = write(settings, text)
    found: Definition = definition.load(settings, "web")
    component = data.draw(st.sampled_from(["", *found.service.component_names]))
    try:
        changed = written_keys.set_active(found, component, active)
    except CliError:
        # A string over several lines may hold what looks like a header: then nothing is touched.
        assert '"""' in text
        assert path.read_bytes().decode() == text
        return
    after = path.read_bytes().decode()
    expected = with_active(text, component, active)
    assert tomllib.loads(after) == (expected if changed else tomllib.loads(text))
    assert definition.load(settings, "web").service == changed_service(found, component, active)
    # Every line but one is as it was, comments and blank lines too; tomlkit takes the spaces out of `[[ components ]]`.
    old, new = (each.replace("[[ ", "[[").replace(" ]]", "]]").splitlines() for each in (text, after))
    assert len(new) - len(old) in (0, 1)
    assert len(set(new) - set(old)) <= 1
    assert without_active(new) == without_active(old)


def without_active(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.strip().startswith("active")]


def changed_service(found: Definition, component: str, active: bool) -> object:
    service = found.service
    if not component:
        return msgspec.structs.replace(service, active=active)
    components = tuple(
        msgspec.structs.replace(each, active=active) if each.name == component else each for each in service.components
    )
    return msgspec.structs.replace(service, components=components)


def test_images_are_written_in_their_places(tmp_path: Path) -> None:
    text = (
        '# ours\nname = "web"\nnode = "rift"\n\n[[components]]  # the api\nname = "api"\n'
        'image = "x:v2"  # pinned\n\n[[components]]\nimage = "y:v1"\nname = "db"\n'
    )
    settings = settings_in(tmp_path)
    path = write(settings, text)
    written_keys.set_images(definition.load(settings, "web"), {"api": "x:v1", "db": "y:v0"})
    assert path.read_text() == text.replace("x:v2", "x:v1").replace("y:v1", "y:v0")
