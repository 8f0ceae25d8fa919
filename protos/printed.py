"""Messages that end with the lines which a container printed last: both ends tell them from what happened."""

from __future__ import annotations

# Stands between what happened and those lines, which are below it and for admins alone.
PRINTED = "; it printed last:"


def headline(message: str) -> str:
    """What happened, without what a container printed: for tables and ledgers, whose reader may see no logs."""
    return message.partition("\n")[0].removesuffix(PRINTED)


def with_sequel(message: str, sequel: str) -> str:
    """A message that says one thing more, before the lines that a container printed, if it has any."""
    head, printed, lines = message.partition(f"{PRINTED}\n")
    return f"{head}; {sequel}{printed}{lines}"
