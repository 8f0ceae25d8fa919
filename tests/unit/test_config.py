"""mcpd.toml: what is accepted, and how everything else is refused."""

from datetime import timedelta
from pathlib import Path

import pytest

from mcpd.config.rules import explicit_address
from mcpd.config.settings import READ_AGAIN, AuthMode, Config, load, needs_restart
from mcpd.errors import ConfigError
from protos.parts import Heal

FULL = """
[node]
name = "rift"
[server]
grpc_addr = "100.95.252.120:9444"
tls_cert = "certs/cert.pem"
tls_key  = "certs/key.pem"
[auth]
mode = "tokens"
[mcias]
server_url = "https://mcias.example.net:8443"
ca_cert = "certs/ca.pem"
[database]
path = "/srv/mcp/mcp.db"
[files]
root = "/srv"
max_size = "1GiB"
[podman]
socket = ""
[monitor]
alert_command = ["/usr/local/bin/notify", "--channel", "mcp"]
alert_timeout = "30s"
cooldown = "15m"
drift_grace = "10s"
flap_threshold = 3
flap_window = "10m"
resync_interval = "60s"
retention = "90d"
heal = "alert"
"""
LEAST = """
[node]
name = "rift"
[server]
grpc_addr = "127.0.0.1:9444"
tls_cert = "certs/cert.pem"
tls_key  = "certs/key.pem"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    certs = tmp_path / "certs"
    certs.mkdir()
    for name in ("cert.pem", "key.pem"):
        (certs / name).touch()
    return tmp_path


def loaded(folder: Path, text: str) -> Config:
    path = folder / "mcpd.toml"
    path.write_text(text)
    return load(path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        loaded(folder, text)
    message = str(refused.value)
    assert all(line.startswith(str(folder / "mcpd.toml")) for line in message.splitlines())
    return message


def test_the_documented_example_is_accepted(folder: Path) -> None:
    config = loaded(folder, FULL)
    assert config.node.name == "rift"
    assert config.server.grpc_addr == ("100.95.252.120", 9444)
    assert config.auth.mode is AuthMode.TOKENS
    assert config.database.path == Path("/srv/mcp/mcp.db")
    assert config.files.max_size == 2**30
    assert config.monitor.alert_command == ("/usr/local/bin/notify", "--channel", "mcp")
    assert config.monitor.cooldown == timedelta(minutes=15)
    assert config.monitor.retention == timedelta(days=90)
    assert config.monitor.heal is Heal.ALERT


def test_the_example_says_the_defaults(folder: Path) -> None:
    full, least = loaded(folder, FULL), loaded(folder, LEAST)
    assert (least.auth.mode, least.files) == (full.auth.mode, full.files)
    assert least.monitor.alert_command == ()
    for field in full.monitor.__struct_fields__:
        if field != "alert_command":
            assert getattr(least.monitor, field) == getattr(full.monitor, field)


@pytest.mark.parametrize("address", ["0.0.0.0:9444", "[::]:9444", ":9444", "[::ffff:0.0.0.0]:9444"])
def test_a_wildcard_address_is_refused(folder: Path, address: str) -> None:
    message = refusal(folder, LEAST.replace("127.0.0.1:9444", address))
    assert "server.grpc_addr" in message
    assert "every interface" in message
    assert "100.95.252.120:9444" in message


@pytest.mark.parametrize("address", ["localhost:9444", "rift.example.net:9444", "*:9444"])
def test_a_host_name_is_refused(folder: Path, address: str) -> None:
    message = refusal(folder, LEAST.replace("127.0.0.1:9444", address))
    assert "names a host, not an IP address" in message


@pytest.mark.parametrize("address", ["127.0.0.1", "9444", "127.0.0.1:0", "127.0.0.1:http", "::1:9444", ""])
def test_an_address_without_a_usable_port_is_refused(folder: Path, address: str) -> None:
    assert "server.grpc_addr" in refusal(folder, LEAST.replace("127.0.0.1:9444", address))


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert explicit_address("[fd00::1]:9444") == ("fd00::1", 9444)


def test_a_string_for_the_alert_command_is_refused_with_the_array_to_write(folder: Path) -> None:
    message = refusal(folder, LEAST + """[monitor]\nalert_command = "/usr/bin/notify --title 'it broke'"\n""")
    assert 'alert_command = ["/usr/bin/notify", "--title", "it broke"]' in message


def test_an_alert_command_that_no_shell_could_read_is_refused_too(folder: Path) -> None:
    assert "monitor.alert_command" in refusal(folder, LEAST + '[monitor]\nalert_command = "/bin/x it\'s"\n')


@pytest.mark.parametrize("command", ["[]", '[""]', '["notify"]', '["/bin/x", 1]', '["/bin/x", "a\\u0000b"]', "5"])
def test_an_alert_command_that_cannot_be_run_is_refused(folder: Path, command: str) -> None:
    assert "monitor.alert_command" in refusal(folder, LEAST + f"[monitor]\nalert_command = {command}\n")


def test_a_missing_key_file_is_told_by_its_key(folder: Path) -> None:
    (folder / "certs/key.pem").unlink()
    message = refusal(folder, LEAST)
    assert "server.tls_key" in message
    assert str(folder / "certs/key.pem") in message
    assert "tls_cert" not in message


def test_a_key_path_that_no_file_can_have_is_refused(folder: Path) -> None:
    assert "server.tls_key" in refusal(folder, LEAST.replace("certs/key.pem", "k" * 300))


def test_a_home_folder_that_does_not_exist_is_refused(folder: Path) -> None:
    assert "server.tls_key" in refusal(folder, LEAST.replace("certs/key.pem", "~nobody-has-this-name/key.pem"))


def test_unknown_keys_are_told_with_the_ones_that_were_meant(folder: Path) -> None:
    message = refusal(folder, LEAST.replace("grpc_addr", "grpc_adr") + "[monitr]\n")
    assert "server.grpc_adr: unknown key; did you mean grpc_addr?" in message
    assert "server.grpc_addr: is missing" in message
    assert "monitr: unknown key; did you mean monitor?" in message


def test_all_problems_are_told_at_once(folder: Path) -> None:
    text = '[node]\nname = "Rift"\n[server]\ngrpc_addr = ":1"\n[files]\nmax_size = "big"\n[monitor]\nheal = "maybe"\n'
    message = refusal(folder, text)
    for path in ("node.name", "server.grpc_addr", "server.tls_cert", "files.max_size", "monitor.heal"):
        assert f": {path}: " in message


@pytest.mark.parametrize("value", ["0", "-1"])
def test_a_flap_threshold_below_one_is_refused(folder: Path, value: str) -> None:
    assert "monitor.flap_threshold" in refusal(folder, LEAST + f"[monitor]\nflap_threshold = {value}\n")


def test_relative_paths_start_at_the_files_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    text = LEAST + '[mcias]\nserver_url = "https://x"\nca_cert = "ca.pem"\n[database]\npath = "db/mcp.db"\n'
    config = loaded(folder, text)
    assert config.server.tls_cert == folder / "certs/cert.pem"
    assert config.auth.tokens_path == folder / "tokens.json"
    assert config.database.path == folder / "db/mcp.db"
    assert config.podman_socket == folder / "run/podman.sock"
    assert config.mcias is not None
    assert config.mcias.ca_cert == folder / "ca.pem"


@pytest.mark.parametrize("section", ['[files]\nroot = "data"\n', '[podman]\nsocket = "podman.sock"\n'])
def test_no_relative_path_depends_on_the_working_folder(folder: Path, section: str) -> None:
    config = loaded(folder, LEAST + section)
    assert config.files.root.is_absolute()
    assert config.podman_socket.is_absolute()


def test_a_relative_name_of_the_file_itself_is_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(folder, LEAST)
    monkeypatch.chdir(folder)
    assert load(Path("mcpd.toml")).database.path == folder / "mcp.db"


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    config = loaded(folder, LEAST + '[database]\npath = "~/mcp.db"\n')
    assert config.database.path == folder / "mcp.db"


def test_mode_mcias_needs_its_section(folder: Path) -> None:
    assert "mcias: is missing" in refusal(folder, LEAST + '[auth]\nmode = "mcias"\n')


def test_a_socket_whose_path_is_too_long_for_the_kernel_is_refused(folder: Path) -> None:
    message = refusal(folder, LEAST + f'[podman]\nrun_dir = "{"x" * 100}"\n')
    assert "podman.run_dir" in message
    assert "107 bytes" in message


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mcpd init"):
        load(tmp_path / "mcpd.toml")


def test_a_folder_in_its_place_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_a_file_that_is_not_toml_is_a_configuration_error(folder: Path) -> None:
    assert "not TOML" in refusal(folder, "[node")


# -- what is read again


def test_what_a_daemon_reads_again_needs_no_restart_and_everything_else_does(folder: Path) -> None:
    def read(text: str) -> Config:
        (folder / "mcpd.toml").write_text(text)
        return load(folder / "mcpd.toml")

    before = read(FULL)
    assert needs_restart(before, read(FULL)) == []
    again = (
        FULL.replace('"30s"', '"5s"').replace('"15m"', '"1m"').replace('"90d"', '"9d"').replace("ca.pem", "other.pem")
    )
    assert needs_restart(before, read(again)) == []
    other = FULL.replace('"1GiB"', '"2GiB"').replace('heal = "alert"', 'heal = "restart"').replace(":9444", ":9445")
    assert needs_restart(before, read(other)) == ["server.grpc_addr", "files.max_size", "monitor.heal"]
    assert needs_restart(before, read(FULL + '[metrics]\naddress = "127.0.0.1:9"\n')) == ["metrics"]


def test_the_documents_name_what_is_read_again() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs/systemd.md").read_text()
    assert [name for names in READ_AGAIN.values() for name in names if f"`{name}`" not in text] == []
