"""Calls of any RPC of the contract, by its path, and how they end."""

import grpc
from grpclib.const import Cardinality

from protos.mcp.v1 import AgentServiceBase

CONTRACT = AgentServiceBase().__mapping__()
LIST_SERVICES = "/mcp.v1.AgentService/ListServices"
CALL_S = 20.0
ENDLESS_S = 2.0
Metadata = tuple[tuple[str, str], ...]


def status_of(
    channel: grpc.Channel, path: str, metadata: Metadata = (), request: bytes = b""
) -> tuple[grpc.StatusCode, str]:
    """How a call of ``path`` ends, and with which sentence; an empty request is the default message."""
    cardinality = CONTRACT[path].cardinality
    try:
        if cardinality is Cardinality.UNARY_UNARY:
            channel.unary_unary(path)(request, metadata=metadata, timeout=CALL_S)
        elif cardinality is Cardinality.UNARY_STREAM:
            # One that never ends is let in when its deadline is what ends it.
            deadline = ENDLESS_S if path.endswith(("/WatchEvents", "/WatchAudit")) else CALL_S
            list(channel.unary_stream(path)(request, metadata=metadata, timeout=deadline))
        elif cardinality is Cardinality.STREAM_STREAM:
            list(channel.stream_stream(path)(iter([request]), metadata=metadata, timeout=CALL_S))
        else:
            channel.stream_unary(path)(iter([request]), metadata=metadata, timeout=CALL_S)
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""
