"""Writes the JSON Schema of what each command prints with `--output json`: `python docs/schemas/make.py [FOLDER]`."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from mcpctl.actions.adopt import AdoptionRow
from mcpctl.actions.alerts import Ledger
from mcpctl.actions.logs import LogRow
from mcpctl.actions.service_import import ImportRow
from mcpctl.actions.timeline import Timeline
from mcpctl.definitions.exporting.formats import Exported
from mcpctl.ui.rows.access import AuditRow, GrantRow, LogoutRow, WhoRow
from mcpctl.ui.rows.alerts import AlertRow, SilenceRow
from mcpctl.ui.rows.builds import BuildRow
from mcpctl.ui.rows.changes import OperationRow, OutcomeRow, PlanRow, ReportRow, RevisionRow, ServiceOutcomeRow
from mcpctl.ui.rows.definitions import DefinitionRow, EditRow, EffectiveRow
from mcpctl.ui.rows.files import ComparisonRow, FileRow, TransferRow
from mcpctl.ui.rows.images import ImagePushRow, ImageRow, PruneRow
from mcpctl.ui.rows.jobs import JobRow, StartedRunRow
from mcpctl.ui.rows.nodes import ListedNodeRow, NodeRow, SnapshotRow
from mcpctl.ui.rows.outdated import NewImageRow
from mcpctl.ui.rows.processes import ComponentProcessesRow
from mcpctl.ui.rows.routes import RouteRow
from mcpctl.ui.rows.secrets import SecretRemovedRow, SecretRow, SecretSetRow
from mcpctl.ui.rows.status import ComponentRow, EventRow, ServiceRow

# By the words of the command, joined by dashes, which is the file's name.
DOCUMENTS: dict[str, Any] = {
    "adopt": AdoptionRow,
    "alerts-ack": AlertRow,
    "alerts-list": Ledger,
    "alerts-silence": SilenceRow,
    "alerts-unsilence": list[SilenceRow],
    "audit": list[AuditRow],
    "build": list[BuildRow],
    "cancel": OperationRow,
    "diff-file": ComparisonRow,
    "events": list[EventRow],
    "history": list[RevisionRow],
    "image-list": list[ImageRow],
    "image-prune": PruneRow,
    "image-push": list[ImagePushRow],
    "jobs-list": list[JobRow],
    "jobs-run": StartedRunRow,
    "list": list[ServiceRow],
    "login": GrantRow,
    "logout": LogoutRow,
    "ls": list[FileRow],
    "maintenance": list[OutcomeRow],
    "node-list": list[ListedNodeRow],
    "node-show": list[NodeRow],
    "node-snapshot": SnapshotRow,
    "operations": list[OperationRow],
    "outdated": list[NewImageRow],
    "plan": list[PlanRow],
    "ps": list[ComponentRow],
    "pull": TransferRow,
    "purge": list[ServiceOutcomeRow],
    "push": TransferRow,
    "restart": list[OutcomeRow],
    "routes": list[RouteRow],
    "secret-list": list[SecretRow],
    "secret-remove": SecretRemovedRow,
    "secret-set": SecretSetRow,
    "service-edit": EditRow,
    "service-export": Exported,
    "service-import": ImportRow,
    "service-list": list[DefinitionRow],
    "service-show": EffectiveRow,
    "start": list[OutcomeRow],
    "status": list[ServiceRow],
    "stop": list[OutcomeRow],
    "sync": list[ServiceOutcomeRow],
    "timeline": Timeline,
    "top": list[ComponentProcessesRow],
    "undeploy": list[OutcomeRow],
    "whoami": list[WhoRow],
}
# These print a document a line.
LINES: dict[str, Any] = {
    "attach": ReportRow,
    "deploy": ReportRow,
    "logs": LogRow,
    "recover": ReportRow,
    "rollback": ReportRow,
}


def schema(command: str) -> dict[str, Any]:
    """Of one document that ``command`` prints."""
    kind = LINES[command] if command in LINES else DOCUMENTS[command]
    line = ", one line of it" if command in LINES else ""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"mcpctl {command.replace('-', ' ') if command != 'diff-file' else command} --output json{line}",
    }
    return head | _plain(msgspec.json.schema(kind))


def _plain(value: Any) -> Any:
    """Docstrings without their indentation, which Python 3.13 takes off by itself."""
    if isinstance(value, dict):
        return {
            key: inspect.cleandoc(each) if key == "description" and isinstance(each, str) else _plain(each)
            for key, each in value.items()
        }
    return [_plain(each) for each in value] if isinstance(value, list) else value


def write(folder: Path) -> None:
    for command in (*DOCUMENTS, *LINES):
        text = json.dumps(schema(command), indent=2, ensure_ascii=False)
        (folder / f"{command}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent)
