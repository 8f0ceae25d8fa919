"""What `mcpd check` says of the certificate and of the address."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from datetime import datetime, timedelta

import msgspec
import pytest

from mcpd.checks import finding
from mcpd.checks import server as server_checks
from mcpd.checks.finding import Status
from mcpd.config import settings as config
from mcpd.setup import pki
from tests.support.findings import NOW, named, status

# -- the certificate


def test_the_certificate_that_init_makes_is_good(settings: config.Config) -> None:
    assert {each.name: status(each) for each in server_checks.look_certificate(settings.server, NOW)} == {
        "certificate": Status.OK,
        "certificate names": Status.OK,
        "private key": Status.OK,
    }


@pytest.mark.parametrize(
    ("moved", "verdict"),
    [
        (timedelta(days=-826), Status.FAILURE),  # expired a day ago
        (timedelta(days=-800), Status.WARNING),  # expires in 25 days
        (timedelta(days=-790), Status.OK),
        (timedelta(days=1), Status.FAILURE),  # not valid before tomorrow
    ],
)
def test_a_certificate_must_be_valid_for_a_while(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, moved: timedelta, verdict: Status
) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
            return NOW + moved

    monkeypatch.setattr(pki, "datetime", Then)
    made = pki.make_server(pki.make_authority("rift"), "rift", "127.0.0.1")
    settings.server.tls_cert.write_bytes(made.certificate)
    settings.server.tls_key.write_bytes(made.key)
    assert named(server_checks.look_certificate(settings.server, NOW), "certificate").status is verdict


def test_a_certificate_for_another_address_is_told(settings: config.Config) -> None:
    made = pki.make_server(pki.make_authority("rift"), "rift", "127.0.0.2")
    settings.server.tls_cert.write_bytes(made.certificate)
    settings.server.tls_key.write_bytes(made.key)
    assert named(server_checks.look_certificate(settings.server, NOW), "certificate names").status is Status.WARNING


def test_the_authoritys_own_certificate_names_nobody() -> None:
    made = pki.make_authority("rift").certificate
    assert status(server_checks.judge_names(made, "127.0.0.1", "renew")) is Status.FAILURE


def test_a_key_of_another_certificate_and_garbage_are_told_without_showing_them(settings: config.Config) -> None:
    other = pki.make_server(pki.make_authority("rift"), "rift", "127.0.0.1")
    for content in (other.key, b"garbage", b""):
        settings.server.tls_key.write_bytes(content)
        found = server_checks.look_certificate(settings.server, NOW)
        assert named(found, "certificate").status is Status.FAILURE
        assert "PRIVATE" not in finding.as_json(found)


@pytest.mark.parametrize(
    ("mode", "verdict"),
    [(0o600, Status.OK), (0o400, Status.OK), (0o640, Status.WARNING), (0o644, Status.FAILURE), (0o602, Status.FAILURE)],
)
def test_a_key_is_for_its_owner(settings: config.Config, mode: int, verdict: Status) -> None:
    settings.server.tls_key.chmod(mode)
    assert named(server_checks.look_certificate(settings.server, NOW), "private key").status is verdict


# -- the address


def test_a_free_port_is_good_and_still_free_afterwards(settings: config.Config) -> None:
    for _ in range(2):
        assert status(server_checks.look_address(settings.server)) is Status.OK


def test_a_port_that_is_taken_is_told(settings: config.Config) -> None:
    with socket.create_server(settings.server.grpc_addr) as listener:
        # It says no word of TLS, so that the look need not wait for any.
        threading.Thread(target=lambda: listener.accept()[0].close()).start()
        assert status(server_checks.look_address(settings.server)) is Status.FAILURE


def test_an_mcpd_of_ours_may_hold_it(settings: config.Config) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(settings.server.tls_cert, settings.server.tls_key)

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            accepted, _ = listener.accept()
            try:
                with server.wrap_socket(accepted, server_side=True) as secured:
                    secured.recv(1)
            except OSError:
                pass

    with socket.create_server(settings.server.grpc_addr) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            assert status(server_checks.look_address(settings.server)) is Status.OK
            other = pki.make_server(pki.make_authority("rift"), "rift", "127.0.0.1")
            settings.server.tls_cert.write_bytes(other.certificate)
            assert status(server_checks.look_address(settings.server)) is Status.FAILURE
        finally:
            thread.join()


def test_an_address_that_no_interface_has_is_waited_for(settings: config.Config) -> None:
    # TEST-NET-1 (RFC 5737) is nobody's.
    server = msgspec.structs.replace(settings.server, grpc_addr=("192.0.2.1", 9444))
    assert status(server_checks.look_address(server)) is Status.WARNING


def test_a_port_that_we_may_not_have_is_told() -> None:
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
    assert status(server_checks.judge_bind("127.0.0.1", 80, denied, ours=False)) is Status.FAILURE
