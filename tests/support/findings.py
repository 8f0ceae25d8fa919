"""What `mcpd check` finds, for tests: the users whom it looks at, and what holds for every finding."""

from __future__ import annotations

from datetime import UTC, datetime

from mcpd.checks.finding import Finding, Status
from mcpd.checks.user import Owner, Range

NOW = datetime.now(UTC)
GIB = 2**30
ROOT = Owner("root", 0, 0, rootless=False)
MCP = Owner("mcp", 1000, 1000, True, (Range("mcp", 100000, 65536),), (Range("mcp", 200000, 65536),))


def status(found: Finding | list[Finding]) -> Status:
    if isinstance(found, list):
        (found,) = found
    assert found.words
    # Whoever is told that something is wrong is told what to do.
    assert bool(found.remedy) is (found.status is not Status.OK), found
    return found.status


def named(found: list[Finding], name: str) -> Finding:
    (one,) = (each for each in found if each.name == name)
    status(one)
    return one
