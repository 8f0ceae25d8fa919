"""`mcpd init`: what it writes, what it prints, and that a workstation and a TLS client can use it."""

import os
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from mcpd.config import settings as config
from mcpd.errors import ConfigError, RefusedError
from mcpd.identity.tokens import TokenFile
from mcpd.model import Caller, Role
from mcpd.setup.init import initialize

ADDRESS = "127.0.0.1:9444"
FILES = {
    "admin.token": 0o600,
    "certs/ca-key.pem": 0o600,
    "certs/ca.pem": 0o644,
    "certs/cert.pem": 0o644,
    "certs/key.pem": 0o600,
    "mcpd.toml": 0o644,
    "tokens.json": 0o600,
}


def caller_of(file: TokenFile, token: str, now: datetime) -> Caller:
    return trio.run(file.caller, token, now)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mcp"


def files_in(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def test_it_writes_these_files_and_the_secret_ones_for_their_owner_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        initialize(folder, "rift", ADDRESS)
    finally:
        os.umask(before)
    assert {name: stat.S_IMODE(path.stat().st_mode) for name, path in files_in(folder).items()} == FILES


def test_the_configuration_that_it_writes_is_accepted(folder: Path) -> None:
    initialize(folder, "rift", ADDRESS)
    loaded = config.load(folder / "mcpd.toml")
    assert loaded.node.name == "rift"
    assert loaded.server.grpc_addr == ("127.0.0.1", 9444)
    assert loaded.auth.tokens_path == folder / "tokens.json"


def test_the_configuration_that_it_writes_says_the_defaults(folder: Path) -> None:
    initialize(folder, "rift", ADDRESS)
    loaded = config.load(folder / "mcpd.toml")
    assert loaded.files == config.Files()
    for field in loaded.monitor.__struct_fields__:
        if field != "alert_command":
            assert getattr(loaded.monitor, field) == getattr(config.Monitor(), field)


def test_the_admin_token_that_it_writes_is_the_admins(folder: Path) -> None:
    initialize(folder, "rift", ADDRESS)
    token = (folder / "admin.token").read_text().strip()
    assert caller_of(TokenFile(folder / "tokens.json"), token, datetime.now(UTC)) == Caller("admin", Role.ADMIN)


def test_it_prints_the_ca_and_no_secret(folder: Path) -> None:
    printed = initialize(folder, "rift", ADDRESS)
    assert (folder / "certs/ca.pem").read_text() in printed
    assert (folder / "admin.token").read_text().strip() not in printed
    assert "PRIVATE KEY" not in printed
    assert str(folder / "admin.token") in printed


@pytest.mark.parametrize("name", FILES)
def test_it_never_overwrites_and_then_writes_nothing(folder: Path, name: str) -> None:
    present = folder / name
    present.parent.mkdir(parents=True)
    present.write_text("mine")
    with pytest.raises(RefusedError, match="never overwrites") as refused:
        initialize(folder, "rift", ADDRESS)
    assert str(present) in str(refused.value)
    assert present.read_text() == "mine"
    assert list(files_in(folder)) == [name]


def test_a_second_time_it_leaves_everything_as_it_was(folder: Path) -> None:
    initialize(folder, "rift", ADDRESS)
    before = {name: path.read_bytes() for name, path in files_in(folder).items()}
    with pytest.raises(RefusedError):
        initialize(folder, "rift", ADDRESS)
    assert {name: path.read_bytes() for name, path in files_in(folder).items()} == before


@pytest.mark.parametrize(
    ("node", "address"),
    [("Rift", ADDRESS), ("", ADDRESS), ("rift", "0.0.0.0:9444"), ("rift", ":9444"), ("rift", "localhost:9444")],
)
def test_a_bad_name_or_address_is_refused_before_anything_is_written(folder: Path, node: str, address: str) -> None:
    with pytest.raises(ConfigError):
        initialize(folder, node, address)
    assert not folder.exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_printed_lines_set_up_a_workstation_when_pasted(folder: Path, tmp_path: Path) -> None:
    printed = initialize(folder, "rift", ADDRESS)
    lines = printed.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("mkdir -p"))
    last = next(number for number, line in enumerate(lines) if "ssh root@" in line)
    home, programs = tmp_path / "home", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    ssh = programs / "ssh"
    ssh.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    ssh.chmod(0o755)
    environment = {"HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-e"], input="\n".join(lines[first : last + 1]), text=True, check=True, env=environment)
    mine = home / ".config/mcp"
    (node,) = tomllib.loads((mine / "mcp.toml").read_text())["nodes"]
    assert (node["name"], node["address"]) == ("rift", ADDRESS)
    ca, token = (Path(node[key].replace("~", str(home))) for key in ("ca_cert", "token_path"))
    assert ca.read_text() == (folder / "certs/ca.pem").read_text()
    assert token.read_text() == (folder / "admin.token").read_text()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert (mine / "services").is_dir()


def client_context(ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def handshake(folder: Path, client: ssl.SSLContext, name: str) -> str | None:
    """Connects over loopback to a server that uses the written certificate; returns the TLS version."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "certs/cert.pem", folder / "certs/key.pem")

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(10)
        with connection:
            try:
                with server.wrap_socket(connection, server_side=True) as secured:
                    secured.sendall(b"hello")
            except OSError:
                pass  # a client that refuses the certificate hangs up

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=10) as plain:
                with client.wrap_socket(plain, server_hostname=name) as secured:
                    assert secured.recv(5) == b"hello"
                    return secured.version()
        finally:
            thread.join()


@pytest.mark.parametrize("name", ["127.0.0.1", "rift"])
def test_a_client_that_trusts_the_ca_accepts_the_server_by_address_and_by_name(folder: Path, name: str) -> None:
    initialize(folder, "rift", ADDRESS)
    assert handshake(folder, client_context(folder / "certs/ca.pem"), name) == "TLSv1.3"


def test_a_client_refuses_the_server_under_another_address(folder: Path) -> None:
    initialize(folder, "rift", "127.0.0.2:9444")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, client_context(folder / "certs/ca.pem"), "127.0.0.1")


def test_a_client_that_trusts_another_nodes_ca_refuses_the_server(folder: Path, tmp_path: Path) -> None:
    initialize(folder, "rift", ADDRESS)
    initialize(tmp_path / "other", "rift", ADDRESS)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, client_context(tmp_path / "other/certs/ca.pem"), "127.0.0.1")


def test_an_ipv6_address_is_set_up_as_well(folder: Path) -> None:
    initialize(folder, "rift", "[::1]:9444")
    assert config.load(folder / "mcpd.toml").server.grpc_addr == ("::1", 9444)
    assert handshake(folder, client_context(folder / "certs/ca.pem"), "::1") == "TLSv1.3"
