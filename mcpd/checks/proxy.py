"""Checks what mcpd needs to tell the proxy of routes."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from mcpd.checks.finding import Finding, failure, ok, warning
from mcpd.config import settings as config
from mcpd.config.settings import ProxyKind
from mcpd.routing import certificates

NAME, CERTIFICATES = "proxy", "route certificates"

# A proxy on this machine answers at once, or hangs.
_ANSWER_S = 5.0


def look(settings: config.Proxy) -> list[Finding]:
    problems = list(_of_kind(settings))
    found = problems or [ok(NAME, f"{settings.kind}, {', '.join(str(each.port) for each in settings.listeners)}")]
    return [*found, *(_of_certificates(settings.certificates) if settings.certificates else ())]


def _of_kind(settings: config.Proxy) -> Iterator[Finding]:
    if settings.file:
        yield from _of_file(settings.file)
    if settings.kind is ProxyKind.HAPROXY and settings.socket:
        yield from _of_haproxy(settings, settings.socket)
    elif settings.kind is ProxyKind.TRAEFIK:
        yield from _of_traefik(settings.api or "")
    elif settings.kind is ProxyKind.COMMAND:
        yield from _of_program(settings.command[0], 'command = ["/path/to/program"] in [proxy]')


def _of_file(file: Path) -> Iterator[Finding]:
    if not file.parent.is_dir():
        yield failure(NAME, f"the folder {file.parent} does not exist, and mcpd writes into it", f"mkdir {file.parent}")
    elif not os.access(file.parent, os.W_OK | os.X_OK, effective_ids=True):
        owner = f"chown $(id -u) {file.parent}"
        yield failure(NAME, f"mcpd cannot write into {file.parent}, which the proxy reads", owner)


def _of_haproxy(settings: config.Proxy, path: Path) -> Iterator[Finding]:
    if settings.program:
        yield from _of_program(settings.program, 'program = "/usr/sbin/haproxy" in [proxy], or "" for no check')
    start = f"haproxy -W -S {path},level,admin -f {settings.file}"
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ANSWER_S)
            client.connect(str(path))
    except FileNotFoundError:
        yield warning(NAME, f"HAProxy has no socket at {path}: it does not run yet", start)
    except OSError as error:
        yield warning(NAME, f"HAProxy's socket {path} cannot be used: {error.strerror or error}", start)


def _of_traefik(api: str) -> Iterator[Finding]:
    try:
        answer = httpx.get(f"{api}/api/version", timeout=_ANSWER_S, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        mend = "start Traefik with --api.insecure=true and an entry point `traefik` at that address"
        yield warning(NAME, f"Traefik's API does not answer at {api}: {error}", mend)


def _of_program(program: str, mend: str) -> Iterator[Finding]:
    if not os.access(program, os.X_OK, effective_ids=True):
        yield failure(NAME, f"{program} cannot be executed by this user", mend)


def _of_certificates(folder: Path) -> list[Finding]:
    # What certbot keeps in several files is put together; nothing of that is kept here.
    with tempfile.TemporaryDirectory() as aside:
        found = certificates.read(folder, Path(aside))
    problems = [warning(CERTIFICATES, each, "see docs/routes.md") for each in found.problems]
    names = sorted({name for each in found.certificates for name in each.names})
    return problems or [ok(CERTIFICATES, f"for {', '.join(names)}" if names else f"none in {folder} yet")]
