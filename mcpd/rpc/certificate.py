"""The server's certificate: loads it, loads it again when its files are replaced, and warns before it expires."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

import structlog
import trio
from cryptography import x509

from mcpd.errors import ConfigError, RegistryError
from mcpd.registry.monitoring import MonitorLedger
from monitor.model import Alert

log = structlog.get_logger()

# A renewed certificate is served soon enough, and looking costs two stat(2).
_POLL_S = 60.0
# Renewal by hand needs somebody who has the time for it; automatic ones are due 30 days before the end at the latest.
TELL_BEFORE = timedelta(days=30)

# Of each file: inode, size, and the times at which its content and its mode changed.
_Stamp = tuple[tuple[int, int, int, int] | None, ...]


class Facts(NamedTuple):
    """Of the certificate that is served. ``serial`` is hexadecimal."""

    expires_at: datetime
    serial: str


class Messenger(Protocol):
    def submit(self, alert: Alert) -> None:
        """Has an alert delivered that the ledger has already."""


class Certificate:
    """A certificate and its key. Raises ConfigError when they cannot be loaded."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = (certificate, key)
        self._stamp: _Stamp = ()
        self._loaded: tuple[ssl.SSLContext, Facts]
        self.load()

    @property
    def tls(self) -> ssl.SSLContext:
        """What a new connection is secured with."""
        return self._loaded[0]

    @property
    def facts(self) -> Facts:
        return self._loaded[1]

    @property
    def path(self) -> Path:
        return self._paths[0]

    def load(self) -> None:
        """Reads both files. Raises ConfigError, and then what was loaded before stays."""
        # Before the files are read: what changes meanwhile is found at the next look.
        self._stamp = self._look()
        context = _tls_context(*self._paths)
        self._loaded = (context, _facts(self.path))

    def load_if_replaced(self) -> None:
        """As `load`, when a file has changed since the last time; a failure is logged, once per change."""
        if self._look() == self._stamp:
            return
        try:
            self.load()
            log.info("certificate replaced", expires_at=f"{self.facts.expires_at:%Y-%m-%d}", serial=self.facts.serial)
        except ConfigError as error:
            log.error(
                "the certificate was replaced by one that does not load; the old one stays in use", error=str(error)
            )

    def _look(self) -> _Stamp:
        return tuple(map(_stamp, self._paths))


async def watch(certificate: Certificate, ledger: MonitorLedger, messenger: Messenger) -> NoReturn:
    """Runs until cancelled."""
    while True:
        try:
            await tell_of_expiry(certificate, ledger, messenger, datetime.now(UTC))
        except RegistryError as error:
            log.error("the certificate's expiry could not be recorded; trying again", error=str(error))
        await trio.sleep(_POLL_S)
        certificate.load_if_replaced()


async def tell_of_expiry(certificate: Certificate, ledger: MonitorLedger, messenger: Messenger, now: datetime) -> None:
    """Tells of a certificate that expires soon, once for each. Raises RegistryError."""
    expires_at, serial = certificate.facts
    if expires_at - now > TELL_BEFORE:
        return
    days = (expires_at - now).days
    when = f"expires in {days} days, on" if days > 0 else "expires on" if expires_at > now else "has expired on"
    reason = f"the server's certificate {certificate.path} {when} {expires_at:%Y-%m-%d %H:%M} UTC; replace it"
    for alert in await ledger.record_expiry(serial, reason, now):
        log.warning("the certificate expires soon", expires_at=f"{expires_at:%Y-%m-%d %H:%M} UTC", serial=serial)
        messenger.submit(alert)


def _tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    # No resumption: tickets cost work and memory, and a replaced certificate is to be seen at once.
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise ConfigError(f"{certificate} and {key} are not a certificate and its key: {error.reason}") from None
    except OSError as error:
        raise ConfigError(f"{certificate} or {key} cannot be read: {error.strerror}") from None
    return context


def _facts(path: Path) -> Facts:
    try:
        first = x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not a certificate in PEM: {error}") from None
    return Facts(first.not_valid_after_utc, f"{first.serial_number:x}")


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
