"""The RPCs of secrets, over TLS, with podman's secrets behind a socket: roles, what is refused, what is logged."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest

from mcpd.identity import tokens
from mcpd.model import Role
from protos.mcp import v1
from tests.support.calls import Metadata
from tests.support.calls import status_of as ended
from tests.support.pretended_secrets import NoSuchSecretError, PretendedSecrets, RefusedSecretError

from .conftest import Daemon, copy_daemon, serving

AGENT = "/mcp.v1.AgentService/"
VALUE = b"planted-value"


class _Podman(socketserver.ThreadingUnixStreamServer):
    """Answers pings, has secrets, and no containers."""

    daemon_threads = True

    def __init__(self, socket: Path, secrets: PretendedSecrets) -> None:
        self.secrets = secrets
        super().__init__(str(socket), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Podman

    def address_string(self) -> str:
        return "mcpd"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        """Says nothing."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.removeprefix("/v4.0.0/libpod")
        if path == "/secrets/json":
            self._say(200, self.server.secrets.listed())
        elif path == "/_ping":
            self._say(200, "OK")
        elif path == "/containers/json":
            self._say(200, [])
        else:
            self._say(404, {"message": f"not pretended: {path}"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        (name,) = parse_qs(urlsplit(self.path).query)["name"]
        try:
            self._say(200, {"ID": self.server.secrets.create(name, body)})
        except RefusedSecretError as error:
            self._say(500, {"message": str(error)})

    def do_DELETE(self) -> None:
        try:
            self.server.secrets.remove(self.path.rpartition("/")[2])
            self._say(204, None)
        except NoSuchSecretError as error:
            self._say(404, {"message": str(error)})

    def _say(self, status: int, answer: object) -> None:
        content = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Libpod-API-Version", "4.3.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture(scope="module")
def daemon(template: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    made = copy_daemon(template, tmp_path_factory.mktemp("secrets") / "node")
    with serving(made):
        yield made


@pytest.fixture(scope="module")
def store(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PretendedSecrets]:
    with _Podman(daemon.podman_socket, PretendedSecrets(tmp_path_factory.mktemp("store"))) as podman:
        threading.Thread(target=podman.serve_forever, daemon=True).start()
        yield podman.secrets
        podman.shutdown()


@pytest.fixture
def kept(store: PretendedSecrets) -> PretendedSecrets:
    store.kept.clear()
    return store


def status_of(daemon: Daemon, method: str, request: Any, metadata: Metadata = ()) -> tuple[str, str]:
    with daemon.channel() as channel:
        code, words = ended(channel, AGENT + method, metadata or daemon.bearer(), bytes(request))
    return code.name, words


def listed(daemon: Daemon, metadata: Metadata) -> v1.ListSecretsResponse:
    with daemon.channel() as channel:
        call = channel.unary_unary(AGENT + "ListSecrets")
        return v1.ListSecretsResponse().parse(call(b"", metadata=metadata, timeout=20))


def test_an_admin_sets_and_removes_and_a_viewer_only_looks(daemon: Daemon, kept: PretendedSecrets) -> None:
    token = tokens.add(daemon.folder / "tokens.json", "looker", Role.VIEWER, datetime.now(UTC))
    viewer = daemon.bearer(token)
    request = v1.SetSecretRequest("db-password", VALUE)
    assert status_of(daemon, "SetSecret", request) == ("OK", "")
    assert (
        status_of(daemon, "SetSecret", v1.SetSecretRequest("db-password", b"other"), viewer)[0] == "PERMISSION_DENIED"
    )
    assert status_of(daemon, "RemoveSecret", v1.RemoveSecretRequest("db-password"), viewer)[0] == "PERMISSION_DENIED"
    assert kept.value("db-password") == VALUE
    (only,) = listed(daemon, viewer).secrets
    assert (only.name, only.driver) == ("db-password", "file")
    assert status_of(daemon, "RemoveSecret", v1.RemoveSecretRequest("db-password")) == ("OK", "")
    assert not kept.kept
    tokens.revoke(daemon.folder / "tokens.json", "looker")


def test_the_largest_value_comes_through(daemon: Daemon, kept: PretendedSecrets) -> None:
    value = bytes(range(256)) * 1999
    for _ in range(2):
        assert status_of(daemon, "SetSecret", v1.SetSecretRequest("large", value)) == ("OK", "")
    assert [(each.name, each.value) for each in kept.kept.values()] == [("large", value)]


def test_how_what_cannot_be_is_refused(daemon: Daemon, kept: PretendedSecrets) -> None:
    assert status_of(daemon, "SetSecret", v1.SetSecretRequest("x")) == (
        "INVALID_ARGUMENT",
        "the value of x is empty, which podman does not take",
    )
    assert status_of(daemon, "SetSecret", v1.SetSecretRequest("a b", VALUE))[0] == "INVALID_ARGUMENT"
    assert status_of(daemon, "SetSecret", v1.SetSecretRequest("x", bytes(600_000)))[0] == "INVALID_ARGUMENT"
    kept.create("x", VALUE)
    assert status_of(daemon, "SetSecret", v1.SetSecretRequest("x", VALUE, must_be_new=True)) == (
        "ALREADY_EXISTS",
        "there is a secret x already; without --new it gets the new value",
    )
    assert status_of(daemon, "RemoveSecret", v1.RemoveSecretRequest("y")) == (
        "NOT_FOUND",
        "there is no secret y on n1",
    )


def test_without_podman_nothing_is_set(template: Daemon, tmp_path: Path) -> None:
    made = copy_daemon(template, tmp_path / "node")
    with serving(made):
        code, words = status_of(made, "SetSecret", v1.SetSecretRequest("x", VALUE))
    assert code == "UNAVAILABLE"
    assert "podman does not answer" in words
    assert VALUE.decode() not in words


def test_the_log_and_the_audit_name_the_secret_and_nothing_has_a_value(daemon: Daemon, kept: PretendedSecrets) -> None:
    for value in (VALUE, VALUE + b"2"):
        status_of(daemon, "SetSecret", v1.SetSecretRequest("named-here", value))
    # The value at the place of the name.
    status_of(daemon, "SetSecret", v1.SetSecretRequest("planted value!", b"named-here"))
    assert kept.value("named-here") == VALUE + b"2"
    lines = [json.loads(line) for line in daemon.log.splitlines() if '"SetSecret"' in line]
    assert [each["target"] for each in lines[-3:]] == ["secret named-here", "secret named-here", "secret"]
    assert "planted" not in daemon.log
    for path in daemon.folder.glob("mcp.db*"):
        assert b"planted" not in path.read_bytes(), path


def test_mcpctl_does_all_of_it(daemon: Daemon, kept: PretendedSecrets, tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(VALUE)
    for words in (("created",), ("a new value",)):
        done = daemon.mcpctl("secret", "set", "x", "--file", str(tmp_path / "value"))
        assert (done.returncode, done.stderr) == (0, "")
        assert words[0] in done.stdout
    assert kept.value("x") == VALUE
    assert json.loads(daemon.mcpctl("secret", "list", "--output", "json").stdout)[0]["name"] == "x"
    assert daemon.mcpctl("secret", "remove", "x").stdout == "x has been removed from n1\n"


def test_a_stranger_learns_nothing(daemon: Daemon, kept: PretendedSecrets) -> None:
    kept.create("db-password", VALUE)
    with daemon.channel() as channel:
        for method in ("ListSecrets", "SetSecret", "RemoveSecret"):
            code, words = ended(channel, AGENT + method)
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert "db-password" not in words
