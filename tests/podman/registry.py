"""A real docker-registry on loopback: plain, or with TLS and a password."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mcpd.setup import pki
from tests.support.waiting import accepts, free_port, until

USER, PASSWORD = "operator", "correct horse"
# PASSWORD, as htpasswd(1) -B would hash it (bcrypt): all that docker-registry takes.
_HASH = "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"


class Secured(NamedTuple):
    """Where it is, and the CA that its certificate is signed by."""

    address: str
    ca: Path


@contextlib.contextmanager
def plain(folder: Path) -> Iterator[str]:
    """The address of a registry that anybody may use, without TLS."""
    port = free_port()
    with _running(folder, port, ""):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def secured(folder: Path) -> Iterator[Secured]:
    """A registry with a certificate of its own CA, which only USER with PASSWORD may use."""
    port = free_port()
    authority = pki.make_authority("registry")
    server = pki.make_server(authority, "registry", "127.0.0.1")
    for name, content in (
        ("ca.pem", authority.pem.certificate),
        ("cert.pem", server.certificate),
        ("key.pem", server.key),
    ):
        (folder / name).write_bytes(content)
    (folder / "htpasswd").write_text(f"{USER}:{_HASH}\n")
    more = (
        f"  tls:\n    certificate: {folder}/cert.pem\n    key: {folder}/key.pem\n"
        f"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n"
    )
    with _running(folder, port, more):
        yield Secured(f"127.0.0.1:{port}", folder / "ca.pem")


@contextlib.contextmanager
def _running(folder: Path, port: int, more: str) -> Iterator[None]:
    program = shutil.which("docker-registry")
    assert program, "docker-registry is missing; contrib/test installs it"
    settings = folder / "config.yml"
    settings.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
        f"http:\n  addr: 127.0.0.1:{port}\n{more}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(settings)], stdout=log, stderr=log)
    try:
        until(lambda: accepts(port))
        yield
    finally:
        process.terminate()
        process.wait()
