"""`mcp.toml`: what it may say, and how the token and the paths in it are found."""

import os
from pathlib import Path

import pytest

from mcpctl import config
from mcpctl.config import NodeState, Settings
from mcpctl.errors import UsageError

FULL = """
[services]
dir = "~/.config/mcp/services"
[tls]
ca_cert = "~/.config/mcp/ca.pem"
[mcias]
server_url = "https://mcias.example.net:8443"
service_name = "mcp"
[auth]
token_path = "~/.config/mcp/token"
username = "mcp-operator"                  # optional, unattended use (S3)
password_file = "~/.config/mcp/credentials"
[[nodes]]
name = "rift"
address = "100.95.252.120:9444"
state = "active"                           # active | inactive | down (E1)
[[nodes]]
name = "orion"
address = "[fd00::1]:9444"
state = "down"
ca_cert = "nodes/orion/ca.pem"
token_path = "/run/orion.token"
"""
ONE_NODE = '[[nodes]]\nname = "rift"\naddress = "127.0.0.1:9444"\n'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and nothing of mcp in the environment."""
    for name in [name for name in os.environ if name.startswith("MCP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mcp.toml"


def load(path: Path, text: str) -> Settings:
    path.write_text(text)
    return config.load(path)


def problems(path: Path, text: str) -> list[str]:
    """What is said of a file, a line a problem, each of which must name the file."""
    with pytest.raises(UsageError) as raised:
        load(path, text)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


# -- what it says


def test_the_full_example_loads(path: Path, home: Path) -> None:
    settings = load(path, FULL)
    mine = home / ".config/mcp"
    assert settings.services_dir == mine / "services"
    assert settings.config.mcias is not None
    assert settings.config.mcias.server_url == "https://mcias.example.net:8443"
    assert settings.config.auth.username == "mcp-operator"
    assert settings.config.auth.password_file == mine / "credentials"
    rift, orion = settings.nodes
    assert (rift.name, rift.host_port, rift.state) == ("rift", ("100.95.252.120", 9444), NodeState.ACTIVE)
    assert (orion.name, orion.host_port, orion.state) == ("orion", ("fd00::1", 9444), NodeState.DOWN)


def test_a_nodes_own_ca_goes_before_the_common_one(path: Path, home: Path) -> None:
    settings = load(path, FULL)
    rift, orion = settings.nodes
    assert settings.ca_cert(rift) == home / ".config/mcp/ca.pem"
    assert settings.ca_cert(orion) == path.parent / "nodes/orion/ca.pem"


@pytest.mark.parametrize("url", ["https://m", "https://m:8443/", "https://[::1]", "https://[::1]:8443/mcias"])
def test_mcias_is_trusted_by_a_ca_of_its_own_or_that_of_the_nodes(path: Path, url: str) -> None:
    text = f'[tls]\nca_cert = "nodes.pem"\n[mcias]\nserver_url = "{url}"\n'
    common, own = load(path, text).session.account.server, load(path, text + 'ca_cert = "m.pem"').session.account.server
    assert common == (url, "mcp", path.parent / "nodes.pem")
    assert own == (url, "mcp", path.parent / "m.pem")


def test_relative_paths_start_at_the_files_folder(
    path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    settings = load(path, '[services]\ndir = "defs"\n[tls]\nca_cert = "../ca.pem"\n' + ONE_NODE)
    assert settings.services_dir == path.parent / "defs"
    assert settings.ca_cert(settings.node("rift")) == path.parent / "../ca.pem"


def test_without_paths_everything_is_beside_the_file(path: Path) -> None:
    settings = load(path, ONE_NODE)
    (path.parent / "token").write_text("secret\n")
    (path.parent / "token").chmod(0o600)
    rift = settings.node("rift")
    assert settings.services_dir == path.parent / "services"
    assert settings.ca_cert(rift) == path.parent / "ca.pem"
    assert settings.token(rift) == "secret"


def test_an_empty_file_has_no_nodes(path: Path) -> None:
    settings = load(path, "")
    assert settings.nodes == ()
    with pytest.raises(UsageError, match="mcpctl node add NAME ADDRESS"):
        settings.node("rift")


def test_a_node_that_is_not_there_is_named_with_the_nearest(path: Path) -> None:
    settings = load(path, FULL)
    with pytest.raises(UsageError, match=rf"no node 'rfit' in {path}; did you mean rift\?"):
        settings.node("rfit")
    with pytest.raises(UsageError, match="it has rift, orion"):
        settings.node("x")


# -- which file


def test_the_option_goes_before_the_environment_and_that_before_the_default(
    path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = home / ".config/mcp/mcp.toml"
    default.parent.mkdir(parents=True)
    default.write_text(ONE_NODE.replace("rift", "default"))
    assert config.load(None).nodes[0].name == "default"
    (home / "env.toml").write_text(ONE_NODE.replace("rift", "env"))
    monkeypatch.setenv("MCP_CONFIG", "~/env.toml")
    assert config.load(None).nodes[0].name == "env"
    assert load(path, ONE_NODE).nodes[0].name == "rift"


def test_a_missing_file_is_named_with_what_makes_one(path: Path) -> None:
    with pytest.raises(UsageError, match=rf"{path} does not exist; `mcpd init`"):
        config.load(path)


def test_a_folder_in_its_place_is_an_error_with_a_name(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UsageError, match=rf"{path} cannot be read"):
        config.load(path)


# -- what is wrong with it

WRONG = {
    "unknown key": ("[services]\ndirr = 'x'\n", "services.dirr: unknown key; did you mean dir?"),
    "unknown table": ("[nodez]\n", "nodez: unknown key; did you mean nodes?"),
    "unknown key of a node": (ONE_NODE + "adress = 'x'\n", "nodes[0].adress: unknown key; did you mean address?"),
    "wrong type": ("[tls]\nca_cert = 5\n", "tls.ca_cert: expected a string, found 5"),
    "a table that is none": ("services = 'x'\n", "services: expected a table, found 'x'"),
    "nodes as one table": ("[nodes]\nname = 'rift'\n", "nodes: expected a list, found a table"),
    "no address": ("[[nodes]]\nname = 'rift'\n", "nodes[0].address: is missing"),
    "a bad address": ("[[nodes]]\nname = 'rift'\naddress = 'rift'\n", "nodes[0].address: 'rift' is not an address"),
    "a bad port": ("[[nodes]]\nname = 'a'\naddress = 'a:99999'\n", "nodes[0].address: 'a:99999' has port '99999'"),
    "a bad name": ("[[nodes]]\nname = 'R!'\naddress = 'a:1'\n", "nodes[0].name: 'R!' is not a name"),
    "a bad state": (ONE_NODE + "state = 'up'\n", "nodes[0].state: found 'up'; allowed: active, inactive, down"),
    "a duplicate node": (ONE_NODE + ONE_NODE, "nodes[1].name: duplicate node 'rift'"),
    "not TOML": ("[services\n", "is not TOML"),
    "a key twice": ("[services]\n[services]\n", "is not TOML"),
    "MCIAS without TLS": (
        "[mcias]\nserver_url = 'http://m:8443'\n",
        "mcias.server_url: 'http://m:8443' must begin with https://, because passwords are sent there",
    ),
    "a user in the URL": ("[mcias]\nserver_url = 'https://u@m'\n", "mcias.server_url: must be https://HOST[:PORT]"),
    "a query in the URL": ("[mcias]\nserver_url = 'https://m/?x'\n", "mcias.server_url: must be https://HOST[:PORT]"),
    "a port that is none": ("[mcias]\nserver_url = 'https://m:99999'\n", "mcias.server_url: is not a URL: "),
    "no address of MCIAS": ("[mcias]\n", "mcias.server_url: is missing"),
    "an empty name of the service": (
        "[mcias]\nserver_url = 'https://m'\nservice_name = ''\n",
        "mcias.service_name: '' is not a name",
    ),
    "a CA that is no path": ("[mcias]\nserver_url = 'https://m'\nca_cert = ''\n", "mcias.ca_cert: '' is not a path"),
    "an empty user name": ("[auth]\nusername = ''\n", "auth.username: '' is not a name"),
    "a password of nobody": (
        "[auth]\npassword_file = 'p'\n[mcias]\nserver_url = 'https://m'\n",
        "auth.username: is missing, but auth.password_file needs it",
    ),
    "a password for nothing": (
        "[auth]\nusername = 'u'\npassword_file = 'p'\n",
        "mcias: is missing, but auth.password_file needs it",
    ),
    "a bad URL": ("[mcias]\nserver_url = 'example.net'\n", "mcias.server_url: 'example.net' is not a URL"),
}


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_with_file_and_key(path: Path, text: str, problem: str) -> None:
    (found,) = problems(path, text)
    assert found.startswith(problem)


def test_all_problems_are_told_at_once(path: Path) -> None:
    found = problems(path, "[tls]\nca_cert = 5\n[auth]\nuser = 'x'\n[[nodes]]\nname = 'R!'\naddress = ':1'\n")
    assert {each.partition(": ")[0] for each in found} == {
        "tls.ca_cert",
        "auth.user",
        "nodes[0].name",
        "nodes[0].address",
    }


def test_bytes_that_are_not_utf_8_are_a_problem_of_the_file(path: Path) -> None:
    path.write_bytes(b"# \xff\n")
    with pytest.raises(UsageError, match=rf"{path}: is not UTF-8"):
        config.load(path)


@pytest.mark.parametrize("text", ["~nobody-has-this-name/services", "a\\u0000b"])
def test_a_path_that_cannot_be_one_is_a_problem_and_no_crash(path: Path, text: str) -> None:
    (found,) = problems(path, f'[services]\ndir = "{text}"\n')
    assert found.startswith("services.dir: ")


# -- the token


@pytest.fixture
def token_file(path: Path) -> Path:
    file = path.parent / "token"
    file.write_text("from-file\n")
    file.chmod(0o600)
    return file


def test_the_environments_token_goes_before_the_files(
    path: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(path, ONE_NODE)
    rift = settings.node("rift")
    assert settings.token(rift) == "from-file"
    monkeypatch.setenv("MCP_TOKEN", " from-environment\n")
    assert settings.token(rift) == "from-environment"
    token_file.unlink()
    assert settings.token(rift) == "from-environment"


@pytest.mark.usefixtures("token_file")
@pytest.mark.parametrize("value", ["", "  \n"])
def test_an_empty_token_in_the_environment_is_none(path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MCP_TOKEN", value)
    settings = load(path, ONE_NODE)
    assert settings.token(settings.node("rift")) == "from-file"


@pytest.mark.usefixtures("token_file")
def test_a_nodes_own_token_file_goes_before_the_common_one(path: Path) -> None:
    own = path.parent / "rift.token"
    own.write_text("own")
    own.chmod(0o600)
    settings = load(path, ONE_NODE + 'token_path = "rift.token"\n')
    assert settings.token(settings.node("rift")) == "own"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_token_file_that_others_can_reach_is_refused_with_what_mends_it(
    path: Path, token_file: Path, mode: int
) -> None:
    settings = load(path, ONE_NODE)
    token_file.chmod(mode)
    with pytest.raises(UsageError, match=f"chmod 600 {token_file}") as raised:
        settings.token(settings.node("rift"))
    assert "from-file" not in str(raised.value)


def test_a_token_file_of_somebody_else_is_refused(
    path: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(path, ONE_NODE)
    monkeypatch.setattr(os, "geteuid", lambda: token_file.stat().st_uid + 1)
    with pytest.raises(UsageError, match=f"{token_file} belongs to another user") as raised:
        settings.token(settings.node("rift"))
    assert "from-file" not in str(raised.value)


def test_a_token_file_that_is_no_file_is_refused_and_not_waited_for(path: Path, token_file: Path) -> None:
    token_file.unlink()
    settings = load(path, ONE_NODE)
    os.mkfifo(token_file, 0o600)
    with pytest.raises(UsageError, match=f"{token_file} cannot be used: it is not a regular file"):
        settings.token(settings.node("rift"))
    token_file.unlink()
    token_file.mkdir(0o700)
    with pytest.raises(UsageError, match=f"{token_file} cannot be used: it is not a regular file"):
        settings.token(settings.node("rift"))


def test_a_file_that_is_too_large_for_a_token_is_refused(path: Path, token_file: Path) -> None:
    token_file.write_text("x" * 100_000)
    settings = load(path, ONE_NODE)
    with pytest.raises(UsageError, match=f"{token_file} cannot be used: it is not a regular file, or it is too large"):
        settings.token(settings.node("rift"))


@pytest.mark.parametrize("content", [b"", b" \n", b"two\nlines\n", "tökén".encode(), b"a\0b", b"\x1b[31m"])
def test_a_file_that_holds_no_token_is_refused(path: Path, token_file: Path, content: bytes) -> None:
    token_file.write_bytes(content)
    settings = load(path, ONE_NODE)
    with pytest.raises(UsageError, match=f"{token_file} does not contain a token"):
        settings.token(settings.node("rift"))


def test_a_token_file_that_is_not_text_is_refused(path: Path, token_file: Path) -> None:
    token_file.write_bytes(b"\xff\xfe")
    settings = load(path, ONE_NODE)
    with pytest.raises(UsageError, match=f"{token_file} cannot be read"):
        settings.token(settings.node("rift"))


def test_without_a_token_the_node_and_both_places_are_named(path: Path) -> None:
    settings = load(path, ONE_NODE)
    with pytest.raises(UsageError, match=rf"node rift: {path.parent / 'token'} does not exist, and MCP_TOKEN"):
        settings.token(settings.node("rift"))


def test_a_token_in_the_environment_that_no_header_can_carry_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_TOKEN", "tökén")
    settings = load(path, ONE_NODE)
    with pytest.raises(UsageError, match="MCP_TOKEN"):
        settings.token(settings.node("rift"))
