"""Checks the gRPC server as clients see it: its address, certificate and key."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
import stat
from datetime import datetime
from pathlib import Path

from cryptography import x509

from mcpd.checks.finding import Finding, failure, ok, warning
from mcpd.config.settings import Server
from mcpd.errors import ConfigError
from mcpd.rpc.certificate import TELL_BEFORE, Certificate

CERTIFICATE, NAMES, KEY, ADDRESS = "certificate", "certificate names", "private key", "address"
# A daemon on this machine presents its certificate within milliseconds.
_SHOW_S = 3.0


def look_certificate(server: Server, now: datetime) -> list[Finding]:
    """Checks the files on disk, even when a running daemon still uses older ones."""
    key = judge_key_mode(server.tls_key, server.tls_key.stat().st_mode)
    renew = (
        f"replace {server.tls_cert} and {server.tls_key} with a certificate and its key; mcpd reloads them on its own"
    )
    try:
        Certificate(server.tls_cert, server.tls_key)
        certificate = x509.load_pem_x509_certificate(server.tls_cert.read_bytes())
    except ConfigError as error:
        return [failure(CERTIFICATE, str(error), renew), key]
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return [judge_dates(start, end, now, renew), judge_names(certificate, server.grpc_addr[0], renew), key]


def judge_dates(start: datetime, end: datetime, now: datetime, renew: str) -> Finding:
    if now < start:
        words = f"valid only from {start:%Y-%m-%d %H:%M} UTC on, and this machine's clock says {now:%Y-%m-%d %H:%M}"
        return failure(
            CERTIFICATE, words, "timedatectl set-ntp true   # if the clock is wrong; else another certificate"
        )
    if now >= end:
        return failure(CERTIFICATE, f"expired on {end:%Y-%m-%d %H:%M} UTC; mcpctl refuses it", renew)
    left = f"expires on {end:%Y-%m-%d}, in {(end - now).days} days"
    return warning(CERTIFICATE, left, renew) if end - now <= TELL_BEFORE else ok(CERTIFICATE, left)


def judge_names(certificate: x509.Certificate, address: str, renew: str) -> Finding:
    """Clients ask for the name or address that they dialled (RFC 9525)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return failure(NAMES, "the certificate has no subjectAltName, so no client accepts it", renew)
    addresses = names.get_values_for_type(x509.IPAddress)
    shown = ", ".join([*map(str, addresses), *names.get_values_for_type(x509.DNSName)])
    if ipaddress.ip_address(address) not in addresses:
        words = f"{shown or 'none'}: clients that dial {address} refuse it; those that dial one of its names do not"
        return warning(NAMES, words, renew)
    return ok(NAMES, shown)


def judge_key_mode(path: Path, mode: int) -> Finding:
    bits = f"{path} has mode {stat.S_IMODE(mode):04o}"
    mend = f"chmod 600 {path}"
    if mode & stat.S_IRWXO:
        return failure(KEY, f"{bits}: every user of this machine can impersonate this node", mend)
    if mode & stat.S_IRWXG:
        return warning(KEY, f"{bits}: its group can impersonate this node", mend)
    return ok(KEY, bits)


def look_address(server: Server) -> list[Finding]:
    host, port = server.grpc_addr
    (family, _, _, _, where), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    with socket.socket(family) as probe:
        # As mcpd does: what is left of old connections holds no port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            ours = error.errno == errno.EADDRINUSE and _shows(host, port, server.tls_cert)
            return [judge_bind(host, port, error, ours=ours)]
    return [ok(ADDRESS, f"{host} port {port} is free")]


def judge_bind(host: str, port: int, error: OSError, *, ours: bool) -> Finding:
    """``ours``: whether a server with our certificate answers there."""
    if ours:
        return ok(ADDRESS, f"{host} port {port} is in use by this node's mcpd, which is running")
    if error.errno == errno.EADDRNOTAVAIL:
        return warning(ADDRESS, f"no interface has {host} now; mcpd waits for it", "ip address show")
    if error.errno == errno.EADDRINUSE:
        words = f"{host} port {port} is taken by another program, or by an mcpd with another certificate"
        return failure(ADDRESS, words, f"ss -ltnp 'sport = :{port}'   # shows which")
    return failure(ADDRESS, f"{host} port {port} cannot be used: {error.strerror}", "choose a port from 1024 on")


def _shows(host: str, port: int, certificate: Path) -> bool:
    """Whether a server at that address has the certificate in this file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is sent to it, and its whole certificate is compared.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout=_SHOW_S) as plain:
            with context.wrap_socket(plain) as secured:
                shown = secured.getpeercert(binary_form=True)
        return shown == ssl.PEM_cert_to_DER_cert(_first(certificate.read_text()))
    except (OSError, ValueError):
        return False


def _first(pem: str) -> str:
    """The first certificate of a chain."""
    end = "-----END CERTIFICATE-----"
    return pem[pem.index("-----BEGIN CERTIFICATE-----") : pem.index(end) + len(end)]
