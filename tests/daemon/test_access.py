"""Who is let in: every RPC of the contract with every kind of token, over real TLS."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum

import grpc
import pytest

from mcpd.identity import tokens
from mcpd.identity.required_roles import REQUIRED_ROLE
from mcpd.model import Role
from mcpd.rpc.failures_by_peer import MAX_FAILURES
from protos.fingerprint import definition_hash
from protos.mcp import v1 as wire
from protos.spec import Component
from tests.support.calls import CALL_S, CONTRACT, LIST_SERVICES, Metadata, status_of
from tests.support.h2_client import connected, tls_context
from tests.support.waiting import until

from .conftest import HOST, Daemon, make_daemon

# The gate's limit.
MOST = 4 * 1024 * 1024


class Holder(Enum):
    """Who calls."""

    NOBODY = "no token"
    MALFORMED = "malformed authorization"
    STRANGER = "unknown token"
    EXPIRED = "expired token"
    REVOKED = "revoked token"
    VIEWER = "viewer"
    ADMIN = "admin"


@pytest.fixture(scope="module")
def credentials(daemon: Daemon) -> dict[Holder, Metadata]:
    path = daemon.folder / "tokens.json"
    long_ago = datetime.now(UTC) - timedelta(days=2)
    expired = tokens.add(path, "expired", Role.ADMIN, long_ago, timedelta(days=1))
    viewer = tokens.add(path, "viewer", Role.VIEWER, datetime.now(UTC))
    revoked = tokens.add(path, "revoked", Role.ADMIN, datetime.now(UTC))
    tokens.revoke(path, "revoked")
    return {
        Holder.NOBODY: (),
        Holder.MALFORMED: (("authorization", daemon.admin_token),),
        Holder.STRANGER: daemon.bearer(tokens.PREFIX + "x" * 43),
        Holder.EXPIRED: daemon.bearer(expired),
        Holder.REVOKED: daemon.bearer(revoked),
        Holder.VIEWER: daemon.bearer(viewer),
        Holder.ADMIN: daemon.bearer(),
    }


@pytest.mark.parametrize("path", CONTRACT, ids=lambda path: path.rpartition("/")[2])
@pytest.mark.parametrize("holder", Holder, ids=lambda holder: holder.value)
def test_every_rpc_lets_in_whom_the_role_table_names(
    channel: grpc.Channel, credentials: dict[Holder, Metadata], holder: Holder, path: str
) -> None:
    status, sentence = status_of(channel, path, credentials[holder])
    if holder not in (Holder.VIEWER, Holder.ADMIN):
        assert status is grpc.StatusCode.UNAUTHENTICATED, sentence
        assert sentence
    elif holder is Holder.VIEWER and REQUIRED_ROLE[path] is Role.ADMIN:
        assert status is grpc.StatusCode.PERMISSION_DENIED, sentence
        assert "viewer" in sentence
        assert "admin" in sentence
    else:
        refusals = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        failures = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
        assert status not in refusals + failures, sentence


def test_no_rpc_of_the_contract_is_open_to_everybody() -> None:
    assert len(CONTRACT) >= 24
    assert all(REQUIRED_ROLE[path] in (Role.VIEWER, Role.ADMIN) for path in CONTRACT)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic TOKEN", "TOKEN", "Bearer, TOKEN", "Bearer TOKEN x"])
def test_what_is_not_bearer_and_a_token_is_refused(channel: grpc.Channel, daemon: Daemon, value: str) -> None:
    metadata = (("authorization", value.replace("TOKEN", daemon.admin_token)),)
    status, _ = status_of(channel, LIST_SERVICES, metadata)
    assert status is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_schemes_case_does_not_matter(channel: grpc.Channel, daemon: Daemon, scheme: str) -> None:
    metadata = (("authorization", f"{scheme} {daemon.admin_token}"),)
    assert status_of(channel, LIST_SERVICES, metadata) == (grpc.StatusCode.OK, "")


def test_an_expired_token_is_told_when_it_ended(channel: grpc.Channel, credentials: dict[Holder, Metadata]) -> None:
    _, sentence = status_of(channel, LIST_SERVICES, credentials[Holder.EXPIRED])
    assert "expired" in sentence
    assert "UTC" in sentence


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize("holder", [Holder.NOBODY, Holder.STRANGER])
def test_reflection_tells_nothing_to_strangers(
    channel: grpc.Channel, credentials: dict[Holder, Metadata], holder: Holder, version: str
) -> None:
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    with pytest.raises(grpc.RpcError) as raised:
        list(channel.stream_stream(path)(iter([b"\x3a\x00"]), metadata=credentials[holder], timeout=CALL_S))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_made_token_works_at_once_and_a_revoked_one_no_longer(channel: grpc.Channel, daemon: Daemon) -> None:
    made = daemon.mcpd("token", "add", "shortlived")
    assert made.returncode == 0, made.stderr
    metadata = daemon.bearer(made.stdout.strip())
    assert status_of(channel, LIST_SERVICES, metadata)[0] is grpc.StatusCode.OK
    assert daemon.mcpd("token", "revoke", "shortlived").returncode == 0
    assert status_of(channel, LIST_SERVICES, metadata)[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("token", ["tökén", "two\nlines", "\x1b[31m", "mcp_unknown"])
def test_mcpctl_says_what_is_wrong_with_a_token(daemon: Daemon, token: str) -> None:
    refused = daemon.mcpctl("list", MCP_TOKEN=token)
    assert refused.returncode in (1, 2)
    assert "token" in refused.stderr
    assert "a bug in mcpctl" not in refused.stderr
    assert refused.stderr.replace("\n", "").isprintable()


def test_a_stream_that_is_open_ends_with_its_token(node: Daemon) -> None:
    path = node.folder / "tokens.json"
    revoked = tokens.add(path, "revoked", Role.ADMIN, datetime.now(UTC))
    demoted = tokens.add(path, "demoted", Role.ADMIN, datetime.now(UTC))
    lasting = tokens.add(path, "lasting", Role.VIEWER, datetime.now(UTC))
    node.start()
    with node.channel() as channel:

        def opened(rpc: str, token: str) -> grpc.Call:
            call: grpc.Call = channel.unary_stream("/mcp.v1.AgentService/" + rpc)(b"", metadata=node.bearer(token))
            return call

        # What it watches never comes: an admin's endless call that a node without podman has.
        ends = opened("WatchEvents", revoked)
        reflection = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        questions = Held()
        reflects = reflection(questions, metadata=node.bearer(revoked))
        loses = channel.stream_unary("/mcp.v1.AgentService/PushFile").future(questions, metadata=node.bearer(demoted))
        goes_on = opened("WatchEvents", lasting)
        until(lambda: status_of(channel, LIST_SERVICES, node.bearer(lasting))[0] is grpc.StatusCode.OK)
        assert not any(each.done() for each in (ends, reflects, loses, goes_on))  # type: ignore[attr-defined]
        tokens.revoke(path, "revoked")
        path.write_text(path.read_text().replace('"role": "admin"', '"role": "viewer"'))
        assert ends.code() is grpc.StatusCode.UNAUTHENTICATED
        assert reflects.code() is grpc.StatusCode.UNAUTHENTICATED
        assert loses.code() is grpc.StatusCode.PERMISSION_DENIED
        questions.end.set()
        assert goes_on.is_active()
        goes_on.cancel()
    assert "Traceback" not in node.log


class Held(Iterator[bytes]):
    """A client's stream that says nothing."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def __next__(self) -> bytes:
        self.end.wait(CALL_S)
        raise StopIteration


def test_a_broken_token_file_lets_nobody_in_until_it_is_mended(node: Daemon) -> None:
    path = node.folder / "tokens.json"
    node.start()
    with node.channel() as channel:
        assert status_of(channel, LIST_SERVICES, node.bearer())[0] is grpc.StatusCode.OK
        content = path.read_bytes()
        path.write_bytes(b"{")
        status, sentence = status_of(channel, LIST_SERVICES, node.bearer())
        assert status is grpc.StatusCode.UNAVAILABLE
        assert "tokens.json" in sentence
        path.write_bytes(content)
        assert status_of(channel, LIST_SERVICES, node.bearer())[0] is grpc.StatusCode.OK


# ------------------------------------------------------------------------------------------------ TLS


@pytest.fixture
def connection(daemon: Daemon) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, daemon.port), timeout=CALL_S) as opened:
        yield opened


def test_a_client_with_the_ca_gets_tls_1_3_and_http_2(daemon: Daemon, connection: socket.socket) -> None:
    with tls_context(daemon).wrap_socket(connection, server_hostname=HOST) as secured:
        assert secured.version() == "TLSv1.3"
        assert secured.selected_alpn_protocol() == "h2"


def test_a_client_that_knows_only_tls_1_2_is_refused(daemon: Daemon, connection: socket.socket) -> None:
    context = tls_context(daemon)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    # An alert, or a connection that just ends.
    with pytest.raises(OSError) as raised:
        context.wrap_socket(connection, server_hostname=HOST)
    assert not isinstance(raised.value, ssl.SSLCertVerificationError | TimeoutError)


def test_a_client_without_tls_gets_no_answer(daemon: Daemon, connection: socket.socket) -> None:
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
    received = b""
    try:
        while chunk := connection.recv(4096):
            received += chunk
    except ConnectionResetError:
        pass
    # At most a TLS alert record (RFC 8446, section 5.1): never an HTTP/2 frame.
    assert received[:1] in (b"", b"\x15")
    with grpc.insecure_channel(daemon.address) as channel:
        status, _ = status_of(channel, LIST_SERVICES, daemon.bearer())
    assert status is grpc.StatusCode.UNAVAILABLE


def test_a_client_that_trusts_another_ca_refuses_the_daemon(
    daemon: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_daemon(tmp_path_factory.mktemp("other") / "node")
    with pytest.raises(ssl.SSLCertVerificationError):
        with socket.create_connection((HOST, daemon.port), timeout=CALL_S) as opened:
            tls_context(other).wrap_socket(opened, server_hostname=HOST)
    config = other.folder / "mcp.toml"
    config.write_text(config.read_text().replace(other.address, daemon.address))
    refused = other.mcpctl("list")
    assert refused.returncode == 4
    assert f"node n1: the server at {daemon.address} is not trusted" in refused.stderr


# ------------------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize("path", [LIST_SERVICES, "/mcp.v1.AgentService/Deploy"])
def test_a_message_of_more_than_4_mib_is_refused(channel: grpc.Channel, daemon: Daemon, path: str) -> None:
    status, sentence = status_of(channel, path, daemon.bearer(), service_named("x", MOST + 1))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"{MOST + 1} bytes" in sentence
    assert "4 MiB" in sentence


def test_a_message_of_4_mib_is_read(channel: grpc.Channel, daemon: Daemon) -> None:
    status, sentence = status_of(channel, LIST_SERVICES, daemon.bearer(), service_named("x", MOST))
    assert status is grpc.StatusCode.INVALID_ARGUMENT, sentence


def service_named(letter: str, size: int) -> bytes:
    """A request of ``size`` bytes whose first field is a string of one letter."""
    body = size - 1 - 4  # the tag, and a length that needs four bytes
    length = bytes([body & 127 | 128, body >> 7 & 127 | 128, body >> 14 & 127 | 128, body >> 21])
    return b"\x0a" + length + letter.encode() * body


def test_who_guesses_tokens_has_to_wait_and_who_has_one_does_not(node: Daemon) -> None:
    node.start()
    with node.channel() as channel:
        assert status_of(channel, LIST_SERVICES, node.bearer())[0] is grpc.StatusCode.OK
        guesses = [status_of(channel, LIST_SERVICES, node.bearer(f"mcp_{each}"))[0] for each in range(MAX_FAILURES + 1)]
        assert set(guesses[:MAX_FAILURES]) == {grpc.StatusCode.UNAUTHENTICATED}
        assert guesses[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert status_of(channel, LIST_SERVICES, node.bearer())[0] is grpc.StatusCode.OK


# ------------------------------------------------------------------------------------------------ the log


def test_every_call_is_logged_with_its_caller_and_refused_ones_too(
    channel: grpc.Channel, daemon: Daemon, credentials: dict[Holder, Metadata]
) -> None:
    status_of(channel, "/mcp.v1.AgentService/StopService", credentials[Holder.VIEWER], b"\x0a\x03web")
    status_of(channel, "/mcp.v1.AgentService/Purge")
    lines = daemon.log.splitlines()
    refused = next(line for line in reversed(lines) if '"StopService"' in line)
    assert all(part in refused for part in ('"caller": "viewer"', '"role": "viewer"', '"PERMISSION_DENIED"', HOST))
    unknown = next(line for line in reversed(lines) if '"Purge"' in line and '"caller": ""' in line)
    assert all(part in unknown for part in ('"UNAUTHENTICATED"', HOST))


def test_what_never_reaches_a_method_is_in_the_log_and_the_audit_too(node: Daemon) -> None:
    node.start()
    health = "/grpc.health.v1.Health/Check"
    with connected(node) as raw:
        raw.begin()
        raw.status(raw.headers("/mcp.v1.AgentService/Nonsense", end_stream=True))
        raw.headers("/favicon.ico", (":method", "GET"), end_stream=True)
        reset = raw.headers("/grpc.health.v1.Health/Watch")
        raw.h2.reset_stream(reset)
        raw.flush()
        for _ in range(50):
            stream = raw.headers(health)
            raw.h2.send_data(stream, bytes(5), end_stream=True)
            raw.flush()
            assert raw.status(stream) == "0"

    def kept() -> dict[tuple[str, str], str]:
        listed = node.mcpctl("audit", "--output", "json")
        assert listed.returncode == 0, listed.stderr
        return {(each["method"], each["status"]): each["target"] for each in json.loads(listed.stdout)}

    until(lambda: ("Check", "OK") in kept(), "they are in the audit table")
    found = kept()
    assert found["unknown", "UNIMPLEMENTED"] == "/mcp.v1.AgentService/Nonsense"
    assert found["unknown", "UNKNOWN"] == "GET /favicon.ico"
    assert ("Watch", "CANCELLED") in found
    assert node.terminate() == 0
    lines = [json.loads(line) for line in node.log.splitlines() if '"Check"' in line]
    assert [line.get("calls", 1) for line in lines] == [1, 49]


def test_no_token_is_in_the_daemons_log(
    channel: grpc.Channel, daemon: Daemon, credentials: dict[Holder, Metadata]
) -> None:
    for metadata in credentials.values():
        status_of(channel, LIST_SERVICES, metadata)
    sent = {value.rpartition(" ")[2] for metadata in credentials.values() for _, value in metadata}
    assert daemon.admin_token in sent
    assert '"ListServices"' in daemon.log
    assert not [token for token in sent if token in daemon.log]
    assert tokens.PREFIX not in daemon.log


# -- what a call tells whom

AGENT = "/mcp.v1.AgentService/"


def test_what_is_declared_can_be_compared_by_an_admin_and_guessed_by_no_viewer(
    channel: grpc.Channel, credentials: dict[Holder, Metadata]
) -> None:
    def hashes(holder: Holder) -> list[str]:
        call = channel.unary_unary(AGENT + "GetStatus")
        answer = call(bytes(wire.GetStatusRequest(service="board")), metadata=credentials[holder], timeout=CALL_S)
        (service,) = wire.GetStatusResponse().parse(answer).services
        return [each.definition_hash for each in service.components]

    assert hashes(Holder.ADMIN) == [definition_hash(Component("board", "localhost/board:v2"))]
    assert hashes(Holder.VIEWER) == [""]


def test_the_audit_log_is_followed_as_it_is_written(channel: grpc.Channel, credentials: dict[Holder, Metadata]) -> None:
    admin = credentials[Holder.ADMIN]
    listed = channel.unary_unary(AGENT + "ListAudit")(b"", metadata=admin, timeout=CALL_S)
    newest = wire.ListAuditResponse().parse(listed).newest_id
    request = wire.WatchAuditRequest(caller="viewer", method="ListServices", after_id=newest)
    watch = channel.unary_stream(AGENT + "WatchAudit")(bytes(request), metadata=admin, timeout=CALL_S)
    for holder in (Holder.ADMIN, Holder.VIEWER):
        status_of(channel, LIST_SERVICES, credentials[holder])
    entry = wire.WatchAuditResponse().parse(next(watch)).entry
    watch.cancel()
    assert (entry.method, entry.caller, entry.status) == ("ListServices", "viewer", "OK")
    assert entry.id > newest


def test_the_newest_event_is_named_whatever_is_asked_for(channel: grpc.Channel, daemon: Daemon) -> None:
    def ask(**wanted: str) -> wire.ListEventsResponse:
        request = bytes(wire.ListEventsRequest(**wanted))
        answer = channel.unary_unary(AGENT + "ListEvents")(request, metadata=daemon.bearer(), timeout=CALL_S)
        return wire.ListEventsResponse().parse(answer)

    everything, nothing = ask(), ask(service="board")
    assert everything.newest_id == everything.events[-1].id == nothing.newest_id
    assert nothing.events == []
