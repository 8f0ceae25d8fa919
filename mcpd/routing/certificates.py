"""The certificates that are in a folder for the proxy: read, and checked for what clients would stumble over.

A certificate without those that lead to its authority works in a browser that happens to know them, and nowhere else;
that and the like is said here, before a proxy serves it.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from mcpd.routing.table import Certificate
from protos import atomic

# A chain of RSA certificates and a key have some 12 KiB.
_MOST_BYTES = 1 << 20
# certbot(1): what it keeps up to date in /etc/letsencrypt/live/NAME.
CHAIN, KEY = "fullchain.pem", "privkey.pem"
# A filesystem has it where it is mounted, for fsck(8); only root may look into it.
_NOT_OURS = "lost+found"
# In the folder for combined files: ours, and what a killed mcpd has left of one (`atomic.write`).
_COMBINED = re.compile(r"[^.].*\.pem|\..*\.pem\.[0-9a-f]{8}", re.DOTALL)
_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PEM_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL)


class Found(NamedTuple):
    """``problems``: a sentence for each file that is not used, and why."""

    certificates: tuple[Certificate, ...]
    problems: tuple[str, ...]


class _ProblemError(Exception):
    """Why a file is not used: the rest of a sentence that begins with the file."""


def read(folder: Path, combined: Path, now: datetime | None = None) -> Found:
    """The certificates in ``folder``, sorted: of every file NAME.pem, and of every folder as certbot makes them.

    NAME.pem has the certificate, those that lead to its authority, and its key. certbot's NAME/ has fullchain.pem and
    privkey.pem; one file with both is written to NAME.pem in the folder ``combined``, mode 0600, for the proxy, and
    removed when there is no such NAME/ any more. A file that cannot be used hides no other, whatever is wrong with it.
    Raises nothing, and no problem has anything of a key in it.
    """
    now = now or datetime.now(UTC)
    certificates, problems, made = [], [], set()
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        return Found((), (f"{folder} cannot be read: {_why(error)}",))
    for entry in entries:
        try:
            reader = _reader(entry)
            if reader is _read_pair:
                made.add(f"{entry.name}.pem")
            if reader is not None:
                certificates.append(reader(entry, combined, now))
        except _ProblemError as problem:
            problems.append(f"{_shown(entry)} {problem}")
        except OSError as error:
            # Whether it is one of certbot's nobody knows.
            made.add(f"{entry.name}.pem")
            problems.append(f"{_shown(entry)} is not used: it cannot be read: {_why(error)}")
        # `cryptography` lists nowhere what it raises of what it does not know; its words may have some of the key.
        except Exception as error:
            problems.append(f"{_shown(entry)} is not used: something in it is not known here ({type(error).__name__})")
    problems += _remove_others(combined, made)
    return Found(tuple(sorted(certificates)), tuple(problems))


def _reader(entry: Path) -> Callable[[Path, Path, datetime], Certificate] | None:
    """Raises OSError, and _ProblemError."""
    if entry.name.startswith(".") or entry.name == _NOT_OURS:
        return None
    is_folder = stat.S_ISDIR(entry.stat().st_mode) if _exists(entry) else False
    if is_folder and not (_exists(entry / CHAIN) or _exists(entry / KEY)):
        return None
    if not is_folder and entry.suffix != ".pem":
        return None
    if _shown(entry) != str(entry):
        # Nobody could be told of it, the proxy least of all.
        raise _ProblemError("is not used: its name is not UTF-8")
    return _read_pair if is_folder else _read_file


def _exists(path: Path) -> bool:
    """As `Path.exists`, which does not say which errors it raises. Raises OSError when nobody can know."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _remove_others(combined: Path, made: Collection[str]) -> Iterator[str]:
    """Removes files of ours with keys that nothing needs any more; yields a sentence for each that cannot be."""
    try:
        found = sorted(each for each in combined.iterdir() if _COMBINED.fullmatch(each.name) and each.name not in made)
    except OSError:
        return  # there is none, or who writes into it tells
    for each in found:
        try:
            if stat.S_ISREG(each.lstat().st_mode):
                each.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            yield f"{_shown(each)} is not used any more, has a key in it, and cannot be removed: {_why(error)}"


def _read_file(path: Path, _: Path, now: datetime) -> Certificate:
    content = _content(path, is_secret=True)
    return _checked(path, _chain(content), _key(content), now)


def _read_pair(folder: Path, combined: Path, now: datetime) -> Certificate:
    chain, key = _content(folder / CHAIN, is_secret=False), _content(folder / KEY, is_secret=True)
    written = combined / f"{folder.name}.pem"
    certificate = _checked(written, _chain(chain), _key(key), now)
    content = chain.rstrip() + b"\n" + key.rstrip() + b"\n"
    try:
        if not written.exists() or written.read_bytes() != content:
            atomic.write(written, content, mode=atomic.PRIVATE)
    except OSError as error:
        raise _ProblemError(f"is not used: {written} cannot be written: {_why(error)}") from None
    return certificate


def _content(path: Path, *, is_secret: bool) -> bytes:
    try:
        # Not to wait for a writer, should it be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise _ProblemError(f"is not used: {path.name} is not a file")
            if is_secret and found.st_mode & stat.S_IRWXO:
                raise _ProblemError(f"is not used: everybody may read or change the key in it; `chmod o= {path}`")
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _ProblemError(f"is not used: {path.name} cannot be read: {_why(error)}") from None
    if len(content) > _MOST_BYTES:
        raise _ProblemError(f"is not used: {path.name} has more than {_MOST_BYTES >> 20} MiB")
    return content


def _chain(content: bytes) -> tuple[x509.Certificate, ...]:
    try:
        chain = tuple(x509.load_pem_x509_certificate(each[0]) for each in _PEM_CERTIFICATE.finditer(content))
    except (ValueError, x509.InvalidVersion):
        raise _ProblemError("is not used: one of its certificates is damaged") from None
    if not chain:
        raise _ProblemError("is not used: it has no certificate in PEM")
    return chain


def _key(content: bytes) -> bytes:
    """The public half, as SubjectPublicKeyInfo."""
    found = _PEM_KEY.search(content)
    if found is None:
        raise _ProblemError("is not used: it has no private key in PEM")
    try:
        key = serialization.load_pem_private_key(found[0], password=None)
    except TypeError:
        raise _ProblemError("is not used: its key has a passphrase, which nobody can type; remove it") from None
    # What they say may have some of the key in it.
    except (ValueError, UnsupportedAlgorithm):
        raise _ProblemError("is not used: its key is damaged, or of a kind that is not known here") from None
    return _public(key.public_key())


def _checked(path: Path, chain: tuple[x509.Certificate, ...], key: bytes, now: datetime) -> Certificate:
    leaf = chain[0]
    if _public(leaf.public_key()) != key:
        raise _ProblemError("is not used: its key is not that of its first certificate")
    if now >= leaf.not_valid_after_utc:
        raise _ProblemError(f"is not used: it has expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    if now < leaf.not_valid_before_utc:
        raise _ProblemError(f"is not used: it is valid from {leaf.not_valid_before_utc:%Y-%m-%d} on")
    _check_chain(chain, now)
    names = _names(leaf)
    if not names:
        raise _ProblemError("is not used: it is for no host (it has no DNS name in subjectAltName)")
    return Certificate(path, names, leaf.not_valid_after_utc, leaf.fingerprint(hashes.SHA256()).hex())


def _check_chain(chain: tuple[x509.Certificate, ...], now: datetime) -> None:
    for certificate, issuer in pairwise(chain):
        if not _is_issued_by(certificate, issuer):
            raise _ProblemError(
                f"is not used: after the certificate of {_words(certificate.subject)} comes that of "
                f"{_words(issuer.subject)}, and not that of its issuer, {_words(certificate.issuer)}: each must be "
                f"followed by its issuer's, as in {CHAIN}"
            )
        if now >= issuer.not_valid_after_utc:
            raise _ProblemError(
                f"is not used: the certificate of its issuer {_words(issuer.subject)} has expired on "
                f"{issuer.not_valid_after_utc:%Y-%m-%d}"
            )
    leaf = chain[0]
    if len(chain) > 1 or _is_issued_by(leaf, leaf) or _is_issued_by_a_root(leaf):
        return
    raise _ProblemError(
        f"has a certificate of {_words(leaf.issuer)}, and not that one's own: put the full chain into it ({CHAIN})"
    )


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_issued_by_a_root(certificate: x509.Certificate) -> bool:
    name = certificate.issuer.public_bytes()
    # Only these are looked into: of some in the system's store cryptography thinks that it should not read them.
    return any(_is_issued_by_root(certificate, each) for each in _roots() if name in each)


def _is_issued_by_root(certificate: x509.Certificate, root: bytes) -> bool:
    try:
        return _is_issued_by(certificate, x509.load_der_x509_certificate(root))
    except (ValueError, x509.InvalidVersion):
        return False


@cache
def _roots() -> tuple[bytes, ...]:
    """Whom the system trusts, in DER. Kept: they change with the system's packages."""
    paths = ssl.get_default_verify_paths()
    files = [Path(paths.cafile)] if paths.cafile else []
    if not files and paths.capath:
        files = sorted(Path(paths.capath).glob("*"))
    return tuple(root for file in files for root in _roots_in(file))


def _roots_in(file: Path) -> Iterator[bytes]:
    try:
        content = file.read_bytes()
    except OSError:
        return
    for each in _PEM_CERTIFICATE.finditer(content):
        try:
            yield ssl.PEM_cert_to_DER_cert(each[0].decode("ascii"))
        except ValueError:
            continue


def _public(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(encoded, bytes)
    return encoded


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(sorted({each.lower() for each in extension.value.get_values_for_type(x509.DNSName)}))


def _words(name: x509.Name) -> str:
    """As people say it: Let's Encrypt R3."""
    parts = [
        str(each.value)
        for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
        for each in name.get_attributes_for_oid(kind)
    ]
    words = " ".join(parts) or name.rfc4514_string() or "somebody without a name"
    return "".join(each if each.isprintable() else " " for each in words)


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _shown(path: Path) -> str:
    """What can be printed and sent of a path, whose name may be any bytes."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")
