"""Whose certificate a registry must have: the system's CAs, and what containers-certs.d(5) adds."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path

from mcpctl.auth import tls
from mcpctl.errors import UsageError

# In the order in which podman looks; the first that has a folder for the registry counts.
_ROOTS = ("~/.config/containers/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")


def context(registry: str, roots: Iterable[Path] | None = None) -> ssl.SSLContext:
    """For a client of HOST[:PORT]. Raises UsageError for a damaged file."""
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not made.cert_store_stats()["x509_ca"] and not ssl.get_default_verify_paths().capath:
        _add_bundled(made)
    folder = _folder(registry, roots)
    if folder:
        for path in sorted(folder.glob("*.crt")):
            _add(made, path)
        for path in sorted(folder.glob("*.cert")):
            _show(made, path)
    return made


def not_trusted(registry: str, error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with its certificate, and what mends it."""
    said = tls.why_not_trusted(error, Path())
    if said.startswith("its certificate"):
        return f"the image registry {registry} is not trusted: {said}"
    return (
        f"the image registry {registry} is not trusted: {error.verify_message}; if it has a CA of its own, put that "
        f"into /etc/containers/certs.d/{registry}/ca.crt or ~/.config/containers/certs.d/{registry}/ca.crt"
    )


def _folder(registry: str, roots: Iterable[Path] | None) -> Path | None:
    searched: Sequence[Path] = [Path(each).expanduser() for each in _ROOTS] if roots is None else list(roots)
    return next((path for path in (root / registry for root in searched) if path.is_dir()), None)


def _add_bundled(made: ssl.SSLContext) -> None:
    """A Python that knows of no CAs of the system has those that httpx brings."""
    import certifi

    made.load_verify_locations(certifi.where())


def _add(made: ssl.SSLContext, path: Path) -> None:
    try:
        made.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{path} is not a CA certificate: {error.strerror or error}") from None


def _show(made: ssl.SSLContext, path: Path) -> None:
    """A certificate of our own, for a registry that asks for one."""
    try:
        # A key with a passphrase would be asked for on the terminal.
        made.load_cert_chain(path, path.with_suffix(".key"), password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"{path} and {path.with_suffix('.key').name} beside it are not a certificate and its key, without a "
            f"passphrase: {error.strerror or error}"
        ) from None
