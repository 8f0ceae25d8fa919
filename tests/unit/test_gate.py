"""What a failure is told as; the rest of the gate is tried with real calls, in tests/daemon."""

from __future__ import annotations

import pytest
from grpclib import Status

from mcpd.errors import NotFoundError
from mcpd.rpc.call import Call
from mcpd.rpc.call_log import target_of
from mcpd.rpc.grpc_status import status_of
from protos.mcp import v1 as wire

WRITE_AFTER_CLOSE = AttributeError("'NoneType' object has no attribute '_write_appdata'")


def status(error: Exception, *, has_gone: bool) -> Status:
    return status_of(error, Call("/mcp.v1.AgentService/ListEvents", "10.0.0.1:1"), has_gone=has_gone)[0]


def test_a_write_to_a_client_that_has_gone_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(WRITE_AFTER_CLOSE, has_gone=True) is Status.CANCELLED
    assert status(ConnectionResetError(), has_gone=True) is Status.CANCELLED
    assert "call crashed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "has_gone"), [(WRITE_AFTER_CLOSE, False), (ZeroDivisionError(), True), (KeyError("x"), True)]
)
def test_anything_else_is_one_and_told_to_the_log_alone(
    error: Exception, has_gone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(error, has_gone=has_gone) is Status.INTERNAL
    assert "call crashed" in capsys.readouterr().out


def test_what_a_person_can_act_on_is_told_whoever_still_listens() -> None:
    assert status(NotFoundError("no such service"), has_gone=True) is Status.NOT_FOUND


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        (wire.UnsilenceAlertRequest(id=3), "silence 3"),
        (wire.UnsilenceAlertRequest(service="web", component="api"), "web/api"),
        (wire.AckAlertRequest(id=7), "alert 7"),
        (wire.WatchOperationRequest(id=9), "operation 9"),
        (wire.CancelOperationRequest(id=9), "operation 9"),
        (wire.SilenceAlertRequest(service="web"), "web"),
    ],
)
def test_the_audit_log_names_what_a_call_is_about_also_when_it_has_a_number_alone(
    request_: object, target: str
) -> None:
    assert target_of(request_) == target
