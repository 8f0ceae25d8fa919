"""An image registry that does what a test wants: the OCI distribution API over a real socket, with all its oddities."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from mcpctl.images.registries.reference import Reference
from mcpctl.images.registries.registry import Registries, Tags
from mcpd.setup import pki

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_TLS_HANDSHAKE = b"\x16"


class Asked(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")


class Reply(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def a_manifest(image_id: str) -> bytes:
    """Of an image with that id; its layers matter to nobody."""
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": f"sha256:{image_id}"}}).encode()


def a_list(*manifests: bytes, **more: Any) -> bytes:
    found = [{"digest": digest(each), "platform": {"os": "linux"}} for each in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": found} | more).encode()


class ImageRegistry:
    """Has what is in ``images``: manifests by tag or digest, by repository. ``first`` may answer in its place."""

    def __init__(self, port: int, scheme: str) -> None:
        self.address = f"127.0.0.1:{port}"
        self.scheme = scheme
        self.images: dict[str, dict[str, bytes]] = {}
        self.first: Callable[[Asked], Reply | None] = lambda _: None
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    def put(self, repository: str, tag: str, content: bytes) -> str:
        """Returns the digest."""
        self.images.setdefault(repository, {}).update({tag: content, digest(content): content})
        return digest(content)

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        return self.first(asked) or self._plain(asked)

    def _plain(self, asked: Asked) -> Reply:
        if asked.path == "/v2/":
            return Reply(body=b"{}")
        if asked.path.endswith("/tags/list"):
            found = self.images.get(asked.path.removeprefix("/v2/").removesuffix("/tags/list"))
            tags = [each for each in found or () if ":" not in each]
            return Reply(404) if found is None else Reply(body=json.dumps({"tags": tags}).encode())
        repository, _, wanted = asked.path.removeprefix("/v2/").partition("/manifests/")
        content = self.images.get(repository, {}).get(wanted)
        return Reply(404) if content is None else Reply(200, content, {"Docker-Content-Digest": digest(content)})


class OneImage(Registries):
    """In place of what asks registries: every reference has the same digest, and its own tag alone."""

    def __init__(self, digest: str) -> None:
        super().__init__()
        self._digest = digest

    async def digest(self, reference: Reference) -> str | None:
        return self._digest

    async def tags(self, reference: Reference) -> Tags:
        return Tags((reference.tag,), complete=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer is one packet, which nobody acknowledges late.
    wbufsize = -1
    registry: ImageRegistry

    def handle(self) -> None:
        # Without TLS, a client that begins with it would be waited for.
        if self.registry.scheme == "https" or self.connection.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE:
            with contextlib.suppress(OSError):
                super().handle()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        status, content, more = self.registry.answer(Asked(self.command, url.path, query, headers, body))
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def serving(folder: Path | None = None) -> Iterator[ImageRegistry]:
    """On loopback; with TLS when there is a ``folder``, where the CA's certificate is put as ``ca.crt``."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    registry = ImageRegistry(server.server_port, "https" if folder else "http")
    handler.registry = registry  # type: ignore[attr-defined]
    if folder:
        server.socket = _context(folder).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _context(folder: Path) -> ssl.SSLContext:
    authority = pki.make_authority("registry")
    made = pki.make_server(authority, "registry", "127.0.0.1")
    (folder / "ca.crt").write_bytes(authority.pem.certificate)
    (folder / "server.pem").write_bytes(made.certificate + made.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context
