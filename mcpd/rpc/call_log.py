"""Logs every call: a line in the daemon's log and a row in the audit table (audit S5). Anonymous calls are counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog

from mcpd.registry.audit import AuditEntry
from mcpd.rpc.anonymous_calls import AnonymousCalls
from mcpd.rpc.call import SHOWN_CHARS, Call
from protos import grammar
from protos.mcp import v1 as wire

log = structlog.get_logger()

# Requests that are about a row of a ledger, and what that is called in the audit log.
_NUMBERED: Mapping[type, str] = {
    wire.AckAlertRequest: "alert",
    wire.UnsilenceAlertRequest: "silence",
    wire.WatchOperationRequest: "operation",
    wire.CancelOperationRequest: "operation",
}
_ABOUT_A_SECRET = (wire.ListSecretsRequest, wire.SetSecretRequest, wire.RemoveSecretRequest)


class CallLog:
    """``audit`` takes the entries for the audit table."""

    def __init__(self, audit: Callable[[AuditEntry], None]) -> None:
        self._audit = audit
        self._anonymous = AnonymousCalls()

    def ended(self, call: Call) -> None:
        """One line in the log for every call of somebody, and one in the audit table; strangers' are counted."""
        entry = AuditEntry(
            at=call.at,
            method=call.method.rpartition("/")[2],
            caller=call.caller.name if call.caller else "",
            role=str(call.caller.role) if call.caller else "",
            peer=call.peer,
            target=call.target,
            status=call.status.name,
            duration=timedelta(seconds=time.monotonic() - call.started),
        )
        if call.caller or self._anonymous.is_first(entry, call.address):
            self._tell(entry)

    def tell_counted(self, *, all_of_them: bool = False) -> None:
        """Tells of the strangers' calls of the minutes that are over."""
        for entry in self._anonymous.due(all_of_them=all_of_them):
            self._tell(entry)

    def _tell(self, entry: AuditEntry) -> None:
        fields = ("method", "caller", "role", "peer", "target", "status")
        told = {name: getattr(entry, name) for name in fields}
        if entry.calls > 1:
            told["calls"] = entry.calls
        log.info("rpc", **told, ms=round(entry.duration / timedelta(milliseconds=1), 1))
        self._audit(entry)


def target_of(request: Any, program: str = "") -> str:
    """What the call is about, for its log line: of a request, or of a target itself; and the program that it runs."""
    if program:
        return f"{target_of(request)} {program}"[:SHOWN_CHARS]
    if (kind := _NUMBERED.get(type(request))) and request.id:
        return f"{kind} {request.id}"
    if isinstance(request, _ABOUT_A_SECRET):
        return _secret(request.name)
    service = getattr(request, "service", "")
    name = getattr(service, "name", service)
    component = getattr(request, "component", "")
    path = getattr(request, "path", "")
    return "/".join(part for part in (name, component, path) if isinstance(part, str) and part)[:SHOWN_CHARS]


def _secret(name: str) -> str:
    """What is no name may be a value that came to the wrong place."""
    try:
        return f"secret {grammar.secret(name)}"[:SHOWN_CHARS]
    except ValueError:
        return "secret"
