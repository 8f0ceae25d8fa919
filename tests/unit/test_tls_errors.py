"""Each way for a server's certificate to be wrong has its own words, seen in real handshakes."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from mcpctl.auth import tls
from mcpd.setup import pki


def refused(folder: Path, authority: pki.Authority, server: pki.Pem, name: str) -> str:
    """What is said of ``server``'s certificate by a client that trusts ``authority`` and looks for ``name``."""
    ca, chain = folder / "ca.pem", folder / "server.pem"
    ca.write_bytes(authority.pem.certificate)
    chain.write_bytes(server.certificate + server.key)
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(chain)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with pytest.raises(OSError), accepting.wrap_socket(theirs, server_side=True) as secured:  # noqa: PT012
            secured.recv(1)
            raise OSError

    server_thread = threading.Thread(target=serve)
    server_thread.start()
    try:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            tls.context(ca, "node n1", ssl.TLSVersion.TLSv1_3).wrap_socket(ours, server_hostname=name)
    finally:
        ours.close()
        server_thread.join()
    return tls.why_not_trusted(caught.value, ca)


@pytest.fixture
def authority() -> pki.Authority:
    return pki.make_authority("n1")


def test_another_ca_is_named(tmp_path: Path, authority: pki.Authority) -> None:
    server = pki.make_server(pki.make_authority("other"), "n1", "127.0.0.1")
    said = refused(tmp_path, authority, server, "127.0.0.1")
    assert f"{tmp_path / 'ca.pem'} did not sign its certificate" in said
    assert "is that the right CA?" in said


def test_another_name_is_named(tmp_path: Path, authority: pki.Authority) -> None:
    said = refused(tmp_path, authority, pki.make_server(authority, "n1", "127.0.0.1"), "127.0.0.2")
    assert "its certificate is for another name" in said
    assert "127.0.0.2" in said


@pytest.mark.parametrize(
    ("days", "words"), [(-4000, "its certificate has expired"), (4000, "is not valid yet; compare the clocks")]
)
def test_a_certificate_of_another_time_says_which(
    tmp_path: Path, authority: pki.Authority, monkeypatch: pytest.MonkeyPatch, days: int, words: str
) -> None:
    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=days)

    monkeypatch.setattr(pki, "datetime", Moved)
    server = pki.make_server(authority, "n1", "127.0.0.1")
    assert words in refused(tmp_path, authority, server, "127.0.0.1")
