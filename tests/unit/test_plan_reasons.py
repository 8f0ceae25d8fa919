"""How a line of a plan reads, whatever the reason that the node gives."""

from __future__ import annotations

import pytest

from mcpctl.actions.plan import what_happens
from mcpctl.ui.rows.changes import ComponentPlanRow


@pytest.mark.parametrize(
    ("action", "reason", "line"),
    [
        ("none", "unchanged", "unchanged"),
        ("none", "", "unchanged"),
        ("none", "as declared", "unchanged (as declared)"),
        ("ignore", "no longer defined", "left alone (no longer defined)"),
        ("start", "is exited", "start (it is exited)"),
        ("stop", "should be stopped", "stop (it should be stopped)"),
        ("rename", "is called web", "rename (it is called web)"),
        ("create", "does not exist yet", "create (it does not exist yet)"),
        ("replace", "the definition changed", "replace (the definition changed)"),
        ("replace", "issue 7", "replace (issue 7)"),
        ("migrate", "", "migrate"),
    ],
)
def test_a_line_says_what_happens_and_why(action: str, reason: str, line: str) -> None:
    assert "".join(what_happens(ComponentPlanRow("db", action, reason, ()))) == line
