"""The server's certificate: served anew when its files change, and told of once before it expires."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
import trio
import trio.testing
from cryptography import x509

from mcpd.errors import ConfigError
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.rpc import certificate
from mcpd.rpc.certificate import Certificate, tell_of_expiry
from mcpd.setup import pki
from monitor.model import Alert, AlertKind

# Two looks apart, and a little.
A_WHILE_S = 150.0


class Messenger:
    def __init__(self) -> None:
        self.told: list[Alert] = []

    def submit(self, alert: Alert) -> None:
        self.told.append(alert)


class Files:
    """A certificate's files, as an operator writes them."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        self._authority = pki.make_authority("n1")

    def put(self, pem: pki.Pem) -> None:
        self.certificate.write_bytes(pem.certificate)
        self.key.write_bytes(pem.key)

    def make(self) -> pki.Pem:
        return pki.make_server(self._authority, "n1", "127.0.0.1")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.put(made.make())
    return made


@pytest.fixture
def served(files: Files) -> Certificate:
    return Certificate(files.certificate, files.key)


def days(served: Certificate, left: float) -> datetime:
    """The time at which the certificate has ``left`` days to go."""
    return served.facts.expires_at - timedelta(days=left)


async def test_a_replaced_pair_is_served_within_two_looks(
    files: Files, served: Certificate, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    before, serial = served.tls, served.facts.serial
    async with Registry.open(tmp_path / "mcp.db") as registry, trio.open_nursery() as nursery:
        nursery.start_soon(certificate.watch, served, MonitorLedger(registry, "n1"), Messenger())
        await trio.sleep(A_WHILE_S)
        assert served.tls is before
        files.put(files.make())
        await trio.sleep(A_WHILE_S)
        assert served.tls is not before
        assert served.facts.serial != serial
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("harm", ["half", "garbage", "gone"])
def test_a_pair_that_does_not_load_is_told_once_and_the_old_one_stays(
    files: Files, served: Certificate, harm: str
) -> None:
    before = served.tls
    new = files.make()
    with structlog.testing.capture_logs() as lines:
        if harm == "half":
            files.certificate.write_bytes(new.certificate)
        elif harm == "garbage":
            files.key.write_bytes(b"no key\n")
        else:
            files.certificate.unlink()
        for _ in range(3):
            served.load_if_replaced()
        assert served.tls is before
        assert [line["log_level"] for line in lines] == ["error"]
        assert "PRIVATE KEY" not in str(lines)
        files.put(new)
        served.load_if_replaced()
    assert served.tls is not before
    assert served.facts.serial == f"{served_serial(new):x}"


def served_serial(pem: pki.Pem) -> int:
    return x509.load_pem_x509_certificate(pem.certificate).serial_number


def test_what_cannot_be_loaded_at_the_start_is_refused(files: Files) -> None:
    files.key.write_bytes(files.make().key)
    with pytest.raises(ConfigError, match="not a certificate and its key"):
        Certificate(files.certificate, files.key)


def test_only_tls_1_3_is_spoken(served: Certificate) -> None:
    assert served.tls.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(("left", "words"), [(29.5, "expires in 29 days"), (0.5, "expires on"), (-3, "has expired on")])
async def test_an_expiry_is_told_once_however_often_the_daemon_starts(
    served: Certificate, tmp_path: Path, left: float, words: str
) -> None:
    messenger, now = Messenger(), days(served, left)
    for _ in range(2):
        async with Registry.open(tmp_path / "mcp.db") as registry:
            for _ in range(2):
                await tell_of_expiry(served, MonitorLedger(registry, "n1"), messenger, now)
    async with Registry.open(tmp_path / "mcp.db") as registry:
        (event,) = await registry.events()
        # Open, it would be taken for a component's that is no longer declared.
        assert await MonitorLedger(registry, "n1").alerts(open_only=True) == ()
    (alert,) = messenger.told
    assert alert.kind is AlertKind.EXPIRY
    assert words in alert.reason
    assert (event.kind, event.message) == ("certificate", alert.reason)


async def test_the_next_certificate_is_told_of_again(files: Files, served: Certificate, tmp_path: Path) -> None:
    messenger = Messenger()
    async with Registry.open(tmp_path / "mcp.db") as registry:
        ledger = MonitorLedger(registry, "n1")
        await tell_of_expiry(served, ledger, messenger, days(served, 1))
        files.put(files.make())
        served.load_if_replaced()
        await tell_of_expiry(served, ledger, messenger, datetime.now(UTC))
        assert len(messenger.told) == 1
        await tell_of_expiry(served, ledger, messenger, days(served, 1))
        assert len(messenger.told) == 2


async def test_what_is_valid_for_long_is_not_told_of(served: Certificate, tmp_path: Path) -> None:
    messenger = Messenger()
    async with Registry.open(tmp_path / "mcp.db") as registry:
        await tell_of_expiry(served, MonitorLedger(registry, "n1"), messenger, days(served, 30.1))
        assert await registry.events() == ()
    assert messenger.told == []
