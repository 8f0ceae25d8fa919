"""Service definitions: what is wrong with one, told as a whole; and the one edit that is made in them."""

import stat
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl import config
from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.definitions.definition import Definition
from mcpctl.errors import CliError, UsageError

NODES = '[[nodes]]\nname = "rift"\naddress = "127.0.0.1:9444"\n[[nodes]]\nname = "orion"\naddress = "127.0.0.2:9444"\n'
WEB = """\
name = "web"
node = "rift"

[[components]]
name = "api"
image = "registry.example.net:5000/web/api:v1"
ports = ["127.0.0.1:8080:80"]
volumes = ["/srv/web:/data"]

[[components]]
name = "db"
image = "postgres"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def settings_in(folder: Path) -> Settings:
    (folder / "services").mkdir(exist_ok=True)
    (folder / "mcp.toml").write_text(NODES)
    return config.load(folder / "mcp.toml")


def write(settings: Settings, text: str | bytes, name: str = "web") -> Path:
    path = settings.services_dir / f"{name}.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(settings: Settings, name: str = "web") -> list[str]:
    """What is said of a definition, a line a problem, each of which must name the file."""
    path = settings.services_dir / f"{name}.toml"
    with pytest.raises(UsageError) as raised:
        definition.load(settings, name)
    lines = str(raised.value).splitlines()
    assert [line for line in lines if not line.startswith(f"{path}: ")] == []
    return [line.removeprefix(f"{path}: ") for line in lines]


# -- reading


def test_a_right_definition_is_read(settings: Settings) -> None:
    path = write(settings, WEB)
    found = definition.load(settings, "web")
    assert found.path == path
    assert (found.service.name, found.service.node, found.service.active) == ("web", "rift", True)
    assert found.service.component_names == ("api", "db")
    assert found.service.components[0].ports == ("127.0.0.1:8080:80",)


def test_a_service_without_a_file_is_named_with_the_nearest(settings: Settings) -> None:
    write(settings, WEB)
    with pytest.raises(UsageError, match=rf"no service 'wbe': {settings.services_dir}/wbe.toml .* did you mean web\?"):
        definition.load(settings, "wbe")


@pytest.mark.parametrize("name", ["", "..", "../mcp", "a/b", "Web", "web.toml", "web\0"])
def test_a_name_never_leads_out_of_the_folder(settings: Settings, name: str) -> None:
    with pytest.raises(UsageError, match="no service"):
        definition.load(settings, name)


WRONG: dict[str, tuple[str, str, str]] = {
    "unknown key": (
        'name = "db"',
        'name = "db"\nimmage = "x"',
        "components[1].immage: unknown key; did you mean image?",
    ),
    "unknown key of the service": (
        'node = "rift"',
        'node = "rift"\nactiv = true',
        "activ: unknown key; did you mean active?",
    ),
    "wrong type": ('ports = ["127.0.0.1:8080:80"]', "ports = 8080", "components[0].ports: expected a list, found 8080"),
    "wrong type inside a list": ('["/srv/web:/data"]', "[7]", "components[0].volumes[0]: expected a string, found 7"),
    "a string for a truth": (
        'node = "rift"',
        'node = "rift"\nactive = "yes"',
        "active: expected true or false, found 'yes'",
    ),
    "bad image reference": ('"postgres"', '"Postgres:"', "components[1].image: 'Postgres:' is not an image reference"),
    "no image": ('image = "postgres"\n', "", "components[1].image: is missing"),
    "duplicate component": ('name = "db"', 'name = "api"', "components[1].name: duplicate component 'api'"),
    "port 99999": ("8080:80", "99999:80", "components[0].ports[0]: '127.0.0.1:99999:80' has port 99999; a port is 1"),
    "a volume without a colon": ("/srv/web:/data", "/data", "components[0].volumes[0]: '/data' is not a volume"),
    "another name than the file's": ('name = "web"', 'name = "wob"', "name: is 'wob', but the file is web.toml"),
    "an unknown node": ('"rift"', '"rfit"', "node: 'rfit' is not a node in "),
    "not TOML": ('node = "rift"', "node = rift", "is not TOML: "),
    "no components": (WEB[WEB.index("[[") :], "components = []\n", "components: is empty"),
    "a circle": (
        'image = "postgres"',
        'image = "postgres"\ndepends_on = ["db"]',
        "components: depends_on goes round in a circle: db -> db",
    ),
}


@pytest.mark.parametrize(("before", "after", "problem"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_with_file_and_key(settings: Settings, before: str, after: str, problem: str) -> None:
    assert before in WEB
    write(settings, WEB.replace(before, after, 1))
    (found,) = problems(settings)
    assert found.startswith(problem)


def test_an_unknown_node_is_told_with_the_nearest_and_where_nodes_are(settings: Settings) -> None:
    write(settings, WEB.replace("rift", "rfit"))
    (found,) = problems(settings)
    assert found == f"node: 'rfit' is not a node in {settings.path}; did you mean rift?"


def test_all_problems_of_a_file_are_told_at_once(settings: Settings) -> None:
    text = WEB
    for kind in (
        "unknown key",
        "bad image reference",
        "port 99999",
        "a volume without a colon",
        "a string for a truth",
    ):
        before, after, _ = WRONG[kind]
        text = text.replace(before, after, 1)
    write(settings, text)
    keys = [each.partition(": ")[0] for each in problems(settings)]
    assert sorted(keys) == [
        "active",
        "components[0].ports[0]",
        "components[0].volumes[0]",
        "components[1].image",
        "components[1].immage",
    ]


def test_disagreements_with_file_and_nodes_are_told_together(settings: Settings) -> None:
    write(settings, WEB.replace('"web"', '"wob"').replace("rift", "nowhere"))
    assert [each.partition(": ")[0] for each in problems(settings)] == ["name", "node"]


def single(service: str, component: str, node: str = "rift") -> str:
    return f'name = "{service}"\nnode = "{node}"\n[[components]]\nname = "{component}"\nimage = "x"\n'


def test_a_container_name_that_another_service_would_have_is_told(settings: Settings) -> None:
    write(settings, single("a", "b-c"), "a")
    write(settings, single("a-b", "c"), "a-b")
    (found,) = problems(settings, "a")
    assert found == "components[0].name: its container name a-b-c is also that of a-b/c; rename one of them"
    (found,) = problems(settings, "a-b")
    assert found == "components[0].name: its container name a-b-c is also that of a/b-c; rename one of them"


def test_the_same_container_name_on_another_node_is_fine(settings: Settings) -> None:
    write(settings, single("a", "b-c"), "a")
    write(settings, single("a-b", "c", "orion"), "a-b")
    assert definition.load(settings, "a").service.name == "a"


def test_a_broken_neighbour_is_not_this_services_problem(settings: Settings) -> None:
    write(settings, WEB)
    write(settings, b"\xff", "broken")
    (settings.services_dir / "folder.toml").mkdir()
    assert definition.load(settings, "web").service.name == "web"


def test_a_host_port_that_another_service_of_the_node_declares_names_both_keys(settings: Settings) -> None:
    write(settings, WEB.replace('"web"', '"big"').replace("127.0.0.1:", ""), "big")
    write(settings, WEB)
    with pytest.raises(UsageError) as raised:
        definition.check_ports(settings, definition.load(settings, "web"))
    assert str(raised.value) == (
        f"{settings.services_dir}/web.toml: components[0].ports[0]: publishes '127.0.0.1:8080:80' on rift, as big.toml "
        "does (components[0].ports[0]: '8080:80'); change one"
    )
    # Both can be read: one of them may have to be stopped.
    assert definition.every(settings)[1] == []
    found, wrong = definition.without_clashes(settings, *definition.every(settings))
    assert (found, len(wrong)) == ([], 2)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('node = "rift"', 'node = "orion"'),
        ('node = "rift"', 'node = "rift"\nactive = false'),
        ("8080:80", "8080:80/udp"),
        ('image = "registry', 'network = "host"\nimage = "registry'),
    ],
)
def test_a_host_port_is_shared_by_what_never_meets(settings: Settings, before: str, after: str) -> None:
    write(settings, WEB.replace('"web"', '"big"').replace(before, after, 1), "big")
    write(settings, WEB)
    definition.check_ports(settings, definition.load(settings, "web"))


def test_a_copy_that_has_no_name_of_its_own_yet_is_to_blame_and_not_its_original(settings: Settings) -> None:
    write(settings, WEB)
    write(settings, WEB, "copy")
    definition.check_ports(settings, definition.load(settings, "web"))
    assert problems(settings, "copy") == ["name: is 'web', but the file is copy.toml; rename one of them"]


def test_a_file_of_5_mib_is_not_read(settings: Settings) -> None:
    write(settings, WEB + "#" * 5 * 2**20)
    (found,) = problems(settings)
    assert found == "is 5.0 MiB long; at most 1 MiB is read"


@pytest.mark.parametrize(
    "content", [b"\xff\xfe" + WEB.encode("utf-16-le"), WEB.replace("web", "wäb").encode("latin-1")]
)
def test_a_file_that_is_not_utf_8_says_where(settings: Settings, content: bytes) -> None:
    write(settings, content)
    (found,) = problems(settings)
    assert found.startswith("is not UTF-8: ")
    assert " at byte " in found


@pytest.mark.parametrize("text", ["x = " + "[" * 5000, "x" + ".a" * 5000 + " = 1", ""])
def test_a_strange_file_is_a_problem_and_no_crash(settings: Settings, text: str) -> None:
    write(settings, text)
    assert problems(settings)


def test_a_file_that_cannot_be_read_says_why(settings: Settings) -> None:
    path = write(settings, WEB)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="web"):
        definition.load(settings, "web")
    with pytest.raises(UsageError, match=f"{path}: cannot be read: "):
        definition.read(settings, path)


@given(text=st.text(max_size=200) | st.binary(max_size=200))
def test_no_content_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str | bytes) -> None:
    settings = settings_in(tmp_path_factory.getbasetemp())
    write(settings, text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    assert problems(settings)


# -- the edit


def edited(settings: Settings, text: str, component: str, active: bool) -> str:
    """The file after the edit, with its line ends as they are."""
    path = write(settings, text)
    assert definition.set_active(definition.load(settings, "web"), component, active)
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
        definition.set_active(definition.load(settings, "web"), "db", False)
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
        definition.set_active(found, component, False)
    except CliError:
        assert path.read_bytes().decode() == text
        return
    assert tomllib.loads(path.read_text()) == with_active(text, component, False)


@pytest.mark.parametrize("component", ["", "api"])
def test_what_is_so_already_is_not_written(settings: Settings, component: str) -> None:
    path = write(settings, WEB)
    before = path.stat()
    assert not definition.set_active(definition.load(settings, "web"), component, True)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_there_and_back_is_the_file_as_it_was(settings: Settings) -> None:
    path = write(settings, COMMENTED)
    for component in ("", "db"):
        assert definition.set_active(definition.load(settings, "web"), component, False)
        assert definition.set_active(definition.load(settings, "web"), component, True)
    assert path.read_text() == COMMENTED


def test_a_linked_file_stays_a_link_and_its_target_changes(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "repository.toml"
    target.write_text(WEB)
    link = settings.services_dir / "web.toml"
    link.symlink_to(Path("..") / target.name)
    definition.set_active(definition.load(settings, "web"), "", False)
    assert link.is_symlink()
    assert link.readlink() == Path("..") / target.name
    assert tomllib.loads(target.read_text())["active"] is False


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_the_files_mode_stays(settings: Settings, mode: int) -> None:
    path = write(settings, WEB)
    path.chmod(mode)
    definition.set_active(definition.load(settings, "web"), "", False)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_nothing_is_left_beside_the_file(settings: Settings) -> None:
    path = write(settings, WEB)
    definition.set_active(definition.load(settings, "web"), "db", False)
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
        changed = definition.set_active(found, component, active)
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
