"""What `mcpctl service edit` does: a draft in the editor, the plan of it, and then the definition is replaced."""

from __future__ import annotations

import sys
from pathlib import Path

from mcpctl.actions.plan import Wanted, plan_one
from mcpctl.config import Settings
from mcpctl.definitions import draft as drafts
from mcpctl.definitions.definition import Definition
from mcpctl.errors import DONE, CliError, UsageError
from mcpctl.ui import render
from mcpctl.ui.output import How, put
from mcpctl.ui.rows.definitions import EditRow
from protos import naming

# What becomes of a definition that was edited.
_WRITTEN, _UNCHANGED, _NOT_BEGUN = "written", "unchanged", "not written: the draft was not changed"


def edit(settings: Settings, service: str, how: How, *, new: bool, yes: bool) -> int:
    """Raises CliError: the definition is as it was."""
    path, before = _to_edit(settings, service, new)
    content = _template(settings, service) if before is None else before
    with drafts.draft(path, content) as draft:
        found = drafts.checked(settings, draft)
        if not draft.is_changed():
            return _edited(how, path, _NOT_BEGUN if before is None else _UNCHANGED)
        if not how.structured:
            for line in draft.difference():
                render.say((line, {"+": "green", "-": "red"}.get(line[:1], "")))
            _show_plan(settings, Definition(path, found.service))
        if sys.stdin.isatty() and not yes and not drafts.asked(f"Write {path}?", default=False):
            raise CliError(f"{path} was not changed")
        drafts.replace(path, draft.text(), before)
    return _edited(how, path, _WRITTEN)


def _to_edit(settings: Settings, name: str, new: bool) -> tuple[Path, bytes | None]:
    """The definition's file and what it holds; None when it is to be made. Raises UsageError."""
    path = settings.services_dir / f"{name}.toml"
    if not naming.is_name(name):
        raise UsageError(f"{name!r} is not a valid service name: {naming.NAME_RULE}")
    if path.is_file():
        if new:
            raise UsageError(f"{path} already exists; edit it without --new")
        return path, path.read_bytes()
    if not settings.services_dir.is_dir():
        raise UsageError(f"{settings.services_dir} does not exist; set services.dir in {settings.path}")
    if not new and not (sys.stdin.isatty() and drafts.asked(f"{path} does not exist. Create it?", default=False)):
        raise UsageError(f"no service {name!r}: {path} does not exist; --new creates it")
    return path, None


def _template(settings: Settings, name: str) -> bytes:
    node = next((each.name for each in settings.active_nodes), "NODE")
    return drafts.TEMPLATE.replace("NAME", name).replace("NODE", node).encode()


def _show_plan(settings: Settings, found: Definition) -> None:
    """As `mcpctl plan` does; a node that cannot be asked is said."""
    try:
        plan_one(settings, Wanted(found), how=How())
    except CliError as error:
        render.note(f"mcpctl: no plan available: {error}")


def _edited(how: How, path: Path, outcome: str) -> int:
    if how.structured:
        put(how, EditRow(str(path), outcome == _WRITTEN))
    else:
        render.note(f"{path}: {outcome}")
    return DONE
