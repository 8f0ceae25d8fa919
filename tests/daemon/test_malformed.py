"""Bytes that are no message, to every RPC: a status that says whose fault it is, and a daemon that lives on."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
import trio
from grpclib.const import Cardinality
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from protos.mcp.v1 import AgentServiceBase
from tests.support.examples import EXAMPLES

from .conftest import Daemon, copy_daemon, fill_registry, serving

CONTRACT = AgentServiceBase().__mapping__()
LIST_SERVICES = "/mcp.v1.AgentService/ListServices"
CALL_S = 20.0
# For streams that end when their caller has seen enough.
ENDLESS_S = 0.2
ENDLESS = ("WatchEvents", "WatchAudit", "Logs", "WatchOperation")
OURS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)

# A service {name, node, components {name, image}} as field 1, as Deploy and Plan have it.
SPEC = b"\x0a\x1f\x0a\x03web\x12\x02n1\x1a\x14\x0a\x03api\x12\x0dlocalhost/a:1"
TARGET = b"\x0a\x03web\x12\x03api"


@pytest.fixture(scope="module")
def target(template: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Not the daemon that others share: some of the bytes may be a message after all, and change something."""
    made = copy_daemon(template, tmp_path_factory.mktemp("malformed") / "node")
    trio.run(fill_registry, made.folder)
    with serving(made):
        yield made


@pytest.fixture(scope="module")
def target_channel(target: Daemon) -> Iterator[grpc.Channel]:
    with target.channel() as opened:
        yield opened


def tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def field_of(number: int, wire_type: int, payload: bytes) -> bytes:
    """A field whose payload need not be of its wire type."""
    length = varint(len(payload)) if wire_type == 2 else b""
    return tag(number, wire_type) + length + payload


FIELDS = st.builds(field_of, st.integers(1, 20), st.integers(0, 7), st.binary(max_size=20))
NUMBERS = st.builds(lambda number, value: tag(number, 0) + varint(value), st.integers(1, 20), st.integers(0, 2**70))
LENGTHS = st.builds(lambda number, size: tag(number, 2) + varint(size), st.integers(1, 20), st.integers(0, 2**64 - 1))
TRUNCATED = st.builds(lambda message, end: message[:end], st.sampled_from([SPEC, TARGET, SPEC * 2]), st.integers(0, 60))
NESTED = st.builds(lambda number, inner: field_of(number, 2, b"".join(inner)), st.integers(1, 6), st.lists(FIELDS))
MESSAGES = st.one_of(
    st.binary(max_size=200), TRUNCATED, LENGTHS, NUMBERS, NESTED, st.lists(FIELDS | NUMBERS | NESTED).map(b"".join)
)


def outcome(channel: grpc.Channel, path: str, metadata: tuple[tuple[str, str], ...], request: bytes) -> grpc.StatusCode:
    timeout = ENDLESS_S if path.endswith(ENDLESS) else CALL_S
    try:
        match CONTRACT[path].cardinality:
            case Cardinality.UNARY_UNARY:
                channel.unary_unary(path)(request, metadata=metadata, timeout=timeout)
            case Cardinality.UNARY_STREAM:
                list(channel.unary_stream(path)(request, metadata=metadata, timeout=timeout))
            case _:
                channel.stream_unary(path)(iter([request, request]), metadata=metadata, timeout=timeout)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize("path", CONTRACT, ids=lambda path: path.rpartition("/")[2])
def test_bytes_of_no_message_are_refused(target: Daemon, target_channel: grpc.Channel, path: str) -> None:
    few = path.endswith(ENDLESS)

    # What never ends takes its whole time, each time.
    number = max(2, EXAMPLES // 12) if few else EXAMPLES

    @settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
    @example(b"\xff" * 11)
    @example(b"\x0b" * 200)
    @example(b"\x0a\x02\xff\xfe")
    @given(MESSAGES)
    def send(request: bytes) -> None:
        code = outcome(target_channel, path, target.bearer(), request)
        assert code not in OURS, f"{path} answered {code} to {request.hex()}"
        assert few or code is not grpc.StatusCode.DEADLINE_EXCEEDED, f"{path} did not answer {request.hex()}"

    send()
    assert target_channel.unary_unary(LIST_SERVICES)(b"", metadata=target.bearer(), timeout=CALL_S)
    assert "call crashed" not in target.log
    assert "Traceback" not in target.log


@pytest.mark.parametrize("request_bytes", [b"\xff" * 11, b"\x0a\x7fabc", b"\x0a\x02\xff\xfe"])
def test_the_health_check_refuses_what_is_no_message(channel: grpc.Channel, request_bytes: bytes) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/grpc.health.v1.Health/Check")(request_bytes, timeout=CALL_S)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
