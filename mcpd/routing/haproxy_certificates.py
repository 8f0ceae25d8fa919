"""Which certificate HAProxy serves for a host, and which one it has loaded. Pure functions."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from mcpd.routing.claims import certificate_for
from mcpd.routing.haproxy_master import field
from mcpd.routing.table import Certificate

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def listed(certificates: Collection[Certificate], hosts: Collection[str]) -> str:
    """The text of a crt-list with which each of ``hosts`` gets what `mcpd.routing.claims.certificate_for` says.

    HAProxy takes the first that has the name, and one with a wildcard only when no other has it; so one that is to be
    taken all the same is listed with that name. A client that names none of all gets the first: those that share no
    name come first, so that it does not change with every renewal.
    """
    extra = _extra_names(certificates, hosts)
    among = set(shared(certificates, hosts))
    lines = []
    for each in sorted(certificates, key=lambda each: (each in among, each in among and -each.until.timestamp())):
        # A list of names is in place of those in the certificate.
        names = (*each.names, *extra[each.path]) if each.path in extra else ()
        lines.append(" ".join((str(each.path), *names)))
    return "".join(f"{line}\n" for line in lines)


def shared(certificates: Collection[Certificate], hosts: Collection[str]) -> tuple[Certificate, ...]:
    """Those that have a name in the list that another has, too. One renewed in a running worker gives way to it."""
    extra = _extra_names(certificates, hosts)
    names = {each.path: {*each.names, *extra.get(each.path, ())} for each in certificates}
    count = Counter(name for some in names.values() for name in some)
    return tuple(each for each in certificates if any(count[name] > 1 for name in names[each.path]))


def identity(pem: str) -> tuple[str, int]:
    """What HAProxy tells of a certificate: the fingerprint (SHA-1, as HAProxy has it), and how long its chain is."""
    blocks = _CERTIFICATE.findall(pem)
    if not blocks:
        return "", 0
    try:
        first = ssl.PEM_cert_to_DER_cert(blocks[0])
    except ValueError:
        return "", 0
    return hashlib.sha1(first, usedforsecurity=False).hexdigest().upper(), len(blocks) - 1


def loaded_identity(answer: str) -> tuple[str, int]:
    """The same of ``show ssl cert``'s answer; without a fingerprint: the worker has none from that file."""
    chain = [line for line in answer.splitlines() if line.startswith("Chain Subject: ")]
    return field(answer, "SHA1 FingerPrint"), len(chain)


def _extra_names(certificates: Collection[Certificate], hosts: Iterable[str]) -> Mapping[Path, Collection[str]]:
    """Hosts that a wildcard is to serve though another certificate names them, by the file of the wildcard."""
    named = {name for each in certificates for name in each.names}
    extra: dict[Path, list[str]] = {}
    for host in sorted(named.intersection(hosts)):
        best = certificate_for(host, certificates)
        if best is not None and host not in best.names:
            extra.setdefault(best.path, []).append(host)
    return extra
