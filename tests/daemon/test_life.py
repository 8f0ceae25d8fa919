"""How the daemon starts, refuses to start, re-reads its certificate and ends."""

import signal
import socket
import sqlite3
import ssl
from collections.abc import Callable

import grpc
import pytest
from cryptography import x509

from mcpd.setup import pki
from tests.support.waiting import until

from .conftest import HOST, NODE, Daemon

CALL_S = 20.0
HEALTH = "/grpc.health.v1.Health/"


def check_health(channel: grpc.Channel) -> None:
    # grpc.health.v1: status SERVING is 1 in field 1.
    assert channel.unary_unary(HEALTH + "Check")(b"", timeout=CALL_S) == b"\x08\x01"


# ------------------------------------------------------------------------------------------------ the end


def assert_ended_in_order(node: Daemon) -> None:
    assert "mcpd stopped; containers keep running" in node.log
    assert "Traceback" not in node.log
    with sqlite3.connect(node.folder / "mcp.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    assert not node.accepts()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0_while_a_client_stays_connected(node: Daemon, number: signal.Signals) -> None:
    node.start()
    with node.channel() as channel:
        check_health(channel)
        node.signal(number)
        assert node.process is not None
        assert node.process.wait(CALL_S) == 0
    assert_ended_in_order(node)


def test_it_ends_while_clients_hang_half_way(node: Daemon) -> None:
    """One has connected and says nothing, one has stopped after the handshake, one watches."""
    node.start()
    context = ssl.create_default_context(cafile=node.ca)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((HOST, node.port)),
        socket.create_connection((HOST, node.port)) as plain,
        context.wrap_socket(plain, server_hostname=HOST),
        node.channel() as channel,
    ):
        watch = channel.unary_stream(HEALTH + "Watch")(b"")
        assert next(watch) == b"\x08\x01"
        assert node.terminate() == 0
        with pytest.raises(grpc.RpcError) as raised:
            list(watch)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert_ended_in_order(node)


def test_it_starts_again_where_it_ended(node: Daemon) -> None:
    node.start()
    assert node.terminate() == 0
    node.start()
    assert node.mcpctl("list").returncode == 0
    assert node.terminate() == 0


# ------------------------------------------------------------------------------------------------ the certificate


def renew(node: Daemon) -> tuple[bytes, pki.Pem]:
    """A new authority's certificate (which stands in ca.pem) and a server's, as DER and PEM; not yet in place."""
    authority = pki.make_authority(NODE)
    server = pki.make_server(authority, NODE, HOST)
    node.ca.write_bytes(authority.pem.certificate)
    return ssl.PEM_cert_to_DER_cert(server.certificate.decode()), server


def put(node: Daemon, pem: pki.Pem) -> None:
    (node.folder / "certs/cert.pem").write_bytes(pem.certificate)
    (node.folder / "certs/key.pem").write_bytes(pem.key)


def test_sighup_takes_a_replaced_certificate_for_new_connections_and_keeps_the_old_ones(node: Daemon) -> None:
    node.start()
    before = node.certificate()
    with node.channel() as old:
        check_health(old)
        new_certificate, pem = renew(node)
        put(node, pem)
        assert node.certificate() == before
        node.signal(signal.SIGHUP)
        until(lambda: node.certificate() == new_certificate, "new connections see the new certificate")
        check_health(old)
    with node.channel() as new:
        check_health(new)
    assert node.mcpctl("list").returncode == 0
    assert "certificate reloaded" in node.log


def test_sighup_reads_the_rules_again_and_says_what_waits_for_a_restart(node: Daemon) -> None:
    node.start()
    node.edit('alert_timeout = "30s"', 'alert_timeout = "5s"')
    node.signal(signal.SIGHUP)
    wait_for_line(node, "configuration reloaded", 1)
    assert "take effect when mcpd restarts" not in node.log
    node.edit('resync_interval = "1d"', 'resync_interval = "7s"')
    node.signal(signal.SIGHUP)
    wait_for_line(node, "these keys have changed; they take effect when mcpd restarts", 1)
    assert '"keys": ["monitor.resync_interval"]' in node.log


def test_sighup_with_a_broken_configuration_takes_the_certificate_and_keeps_the_rest(node: Daemon) -> None:
    node.start()
    new_certificate, pem = renew(node)
    put(node, pem)
    node.edit('cooldown = "15m"', "cooldown = 5")
    node.signal(signal.SIGHUP)
    wait_for_line(node, "the configuration was not reloaded", 1)
    assert node.certificate() == new_certificate
    assert "monitor.cooldown" in node.log


def garbage_certificate(node: Daemon, _: pki.Pem) -> None:
    (node.folder / "certs/cert.pem").write_text("no certificate\n")


def garbage_key(node: Daemon, pem: pki.Pem) -> None:
    put(node, pki.Pem(pem.certificate, b"no key\n"))


def no_certificate(node: Daemon, _: pki.Pem) -> None:
    (node.folder / "certs/cert.pem").unlink()


def no_key(node: Daemon, pem: pki.Pem) -> None:
    put(node, pem)
    (node.folder / "certs/key.pem").unlink()


def only_the_certificate(node: Daemon, pem: pki.Pem) -> None:
    """As a renewal looks that is half done, or was given the wrong key."""
    (node.folder / "certs/cert.pem").write_bytes(pem.certificate)


def only_the_key(node: Daemon, pem: pki.Pem) -> None:
    (node.folder / "certs/key.pem").write_bytes(pem.key)


def test_sighup_with_a_broken_certificate_keeps_the_old_and_says_so(node: Daemon) -> None:
    node.start()
    before = node.certificate()
    old = pki.Pem((node.folder / "certs/cert.pem").read_bytes(), (node.folder / "certs/key.pem").read_bytes())
    _, pem = renew(node)
    ways = (garbage_certificate, garbage_key, no_certificate, no_key, only_the_certificate, only_the_key)
    harmful = []
    for count, harm in enumerate(ways, start=1):
        harm(node, pem)
        node.signal(signal.SIGHUP)
        wait_for_line(node, "the certificate was not reloaded", count)
        if not node.accepts() or node.certificate() != before:
            harmful.append(harm.__name__)
        put(node, old)
        node.signal(signal.SIGHUP)
        wait_for_line(node, "certificate reloaded", count)
    assert harmful == []
    assert "Traceback" not in node.log


def wait_for_line(node: Daemon, event: str, count: int) -> None:
    """Returns when the event has been logged so often."""
    lines = f'"event": "{event}'
    until(lambda: node.log.count(lines) == count, f"{event} is logged {count} times")


def test_the_served_certificate_is_the_one_that_init_made(daemon: Daemon) -> None:
    pem = (daemon.folder / "certs/cert.pem").read_bytes()
    assert x509.load_der_x509_certificate(daemon.certificate()) == x509.load_pem_x509_certificate(pem)


# ------------------------------------------------------------------------------------------------ refused starts


def assert_refused_clearly(node: Daemon, *parts: str) -> None:
    assert "Traceback" not in node.log
    messages = [line for line in node.log.splitlines() if not line.startswith("{")]
    assert messages[0].startswith("mcpd: ")
    assert [part for part in parts if part not in "\n".join(messages)] == []


def test_a_second_daemon_on_the_same_address_says_so_and_ends(daemon: Daemon, node: Daemon) -> None:
    node.edit(node.address, daemon.address)
    assert node.run_to_end() == 1
    assert_refused_clearly(node, HOST, str(daemon.port), "is another mcpd running?")
    assert daemon.accepts()


def test_a_database_of_a_newer_schema_is_refused_and_left_alone(node: Daemon) -> None:
    path = node.folder / "mcp.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE services (name TEXT, reach TEXT)")
        database.execute("PRAGMA user_version = 999")
    database.close()
    before = path.read_bytes()
    assert node.run_to_end() == 1
    assert_refused_clearly(node, str(path), "newer mcpd", "999")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(node: Daemon) -> None:
    path = node.folder / "mcp.db"
    path.write_bytes(b"not a database" * 1000)
    assert node.run_to_end() == 1
    assert_refused_clearly(node, str(path))
    assert path.read_bytes() == b"not a database" * 1000


def test_a_key_of_another_certificate_is_refused(node: Daemon) -> None:
    _, pem = renew(node)
    only_the_key(node, pem)
    assert node.run_to_end() != 0
    assert_refused_clearly(node, "cert.pem", "key.pem")


def replace(before: str, after: str) -> Callable[[Daemon], None]:
    return lambda node: node.edit(before.replace("ADDRESS", node.address), after)


ALERT_COMMAND = '["/usr/local/bin/notify", "--channel", "mcp"]'
REFUSED: dict[str, tuple[Callable[[Daemon], None], tuple[str, ...]]] = {
    "a wildcard address": (
        replace("ADDRESS", "0.0.0.0:9444"),
        ("server.grpc_addr", "0.0.0.0:9444", "listen on every interface"),
    ),
    "no host": (replace("ADDRESS", ":9444"), ("server.grpc_addr", "':9444'", "grpc_addr = ")),
    "a host name": (replace("ADDRESS", "localhost:9444"), ("server.grpc_addr", "not an IP address")),
    "an alert command for a shell": (
        replace(ALERT_COMMAND, '"notify --channel mcp"'),
        ("monitor.alert_command", 'alert_command = ["notify", "--channel", "mcp"]'),
    ),
    "no key file": (lambda node: (node.folder / "certs/key.pem").unlink(), ("server.tls_key", "does not exist")),
    "an unknown key": (replace("retention", "retenshun"), ("monitor.retenshun", "unknown key", "retention?")),
    "not TOML": (replace("[monitor]", "[monitor"), ("is not TOML",)),
    "no file": (lambda node: node.config.unlink(), ("does not exist", "mcpd init")),
}


@pytest.mark.parametrize(("harm", "parts"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_configuration_is_refused_with_a_sentence(
    node: Daemon, harm: Callable[[Daemon], None], parts: tuple[str, ...]
) -> None:
    harm(node)
    assert node.run_to_end() == 2
    assert_refused_clearly(node, str(node.config), *parts)
    (_message,) = node.log.splitlines()


def test_every_problem_of_a_configuration_is_told_at_once(node: Daemon) -> None:
    node.edit(node.address, "0.0.0.0:9444")
    node.edit(ALERT_COMMAND, '"notify"')
    node.edit("retention", "retenshun")
    assert node.run_to_end() == 2
    assert_refused_clearly(node, "server.grpc_addr", "monitor.alert_command", "monitor.retenshun")


def test_it_waits_for_an_address_that_does_not_exist_yet_and_can_be_ended_meanwhile(node: Daemon) -> None:
    """192.0.2.1 is for documentation (RFC 5737): no machine has it."""
    node.edit(f"{HOST}:{node.port}", f"192.0.2.1:{node.port}")
    node.spawn()
    until(lambda: "waiting for the address to exist on this machine" in node.log)
    assert node.terminate() == 0
    assert "mcpd stopped; containers keep running" in node.log
