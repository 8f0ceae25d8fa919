"""Writes the JSON Schema of what each command prints with `--output json`: `python docs/schemas/make.py [FOLDER]`."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from mcpctl.actions.alerts import Ledger
from mcpctl.actions.logs import LogRow
from mcpctl.actions.timeline import Timeline
from mcpctl.commands.adopt import AdoptionRow
from mcpctl.commands.service import ImportRow
from mcpctl.definitions.exporting.formats import Exported
from mcpctl.ui import rows

# By the words of the command, joined by dashes, which is the file's name.
DOCUMENTS: dict[str, Any] = {
    "adopt": AdoptionRow,
    "alerts-ack": rows.AlertRow,
    "alerts-list": Ledger,
    "alerts-silence": rows.SilenceRow,
    "alerts-unsilence": list[rows.SilenceRow],
    "audit": list[rows.AuditRow],
    "cancel": rows.OperationRow,
    "diff-file": rows.ComparisonRow,
    "events": list[rows.EventRow],
    "list": list[rows.ServiceRow],
    "login": rows.GrantRow,
    "logout": rows.LogoutRow,
    "ls": list[rows.FileRow],
    "node-list": list[rows.ListedNodeRow],
    "node-prune": rows.PruneRow,
    "node-show": list[rows.NodeRow],
    "node-snapshot": rows.SnapshotRow,
    "operations": list[rows.OperationRow],
    "plan": list[rows.PlanRow],
    "ps": list[rows.ComponentRow],
    "pull": rows.TransferRow,
    "purge": list[rows.ServiceOutcomeRow],
    "push": rows.TransferRow,
    "restart": list[rows.OutcomeRow],
    "service-edit": rows.EditRow,
    "service-export": Exported,
    "service-import": ImportRow,
    "service-list": list[rows.DefinitionRow],
    "service-show": rows.EffectiveRow,
    "start": list[rows.OutcomeRow],
    "status": list[rows.ServiceRow],
    "stop": list[rows.OutcomeRow],
    "sync": list[rows.ServiceOutcomeRow],
    "timeline": Timeline,
    "undeploy": list[rows.OutcomeRow],
    "whoami": list[rows.WhoRow],
}
# These print a document a line.
LINES: dict[str, Any] = {
    "attach": rows.ReportRow,
    "deploy": rows.ReportRow,
    "logs": LogRow,
    "recover": rows.ReportRow,
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
