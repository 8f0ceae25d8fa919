"""Definitions of services: what is wrong with one, told as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.errors import UsageError
from tests.support.definition_files import WEB, problems, settings_in, write


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
    "wrong type inside a list": (
        '["/srv/web:/data"]',
        "[7]",
        "components[0].volumes[0]: expected a string or a table, found 7",
    ),
    "a string for a truth": (
        'node = "rift"',
        'node = "rift"\nactive = "yes"',
        "active: expected true or false, found 'yes'",
    ),
    "bad image reference": ('"postgres"', '"Postgres:"', "components[1].image: 'Postgres:' is not an image reference"),
    "no image": ('image = "postgres"\n', "", "components[1].image: is missing"),
    "duplicate component": ('name = "db"', 'name = "api"', "components[1].name: duplicate component 'api'"),
    "port 99999": ("8080:80", "99999:80", "components[0].ports[0]: '127.0.0.1:99999:80' has port 99999; a port is 1"),
    "a volume without a target": ("/srv/web:/data", "data", "components[0].volumes[0]: 'data' mounts at 'data'"),
    "another name than the file's": ('name = "web"', 'name = "wob"', "name: is 'wob', but the file is web.toml"),
    "an unknown node": ('"rift"', '"rfit"', "node: 'rfit' is not a node in "),
    "not TOML": ('node = "rift"', "node = rift", "is not TOML: "),
    "no components": (WEB[WEB.index("[[") :], "components = []\n", "components: is empty"),
    "a circle": (
        'image = "postgres"',
        'image = "postgres"\ndepends_on = ["db"]',
        "components: depends_on has a cycle: db -> db",
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
        "a volume without a target",
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
