"""A finding: the result of one check in a sentence, and the command that fixes the problem."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from protos import escapes

_COLOURS = {"OK": "32", "WARNING": "33", "FAILURE": "31"}


class Status(StrEnum):
    """With a WARNING the node works, but not always or not fully; with a FAILURE something does not work."""

    OK = "OK"
    WARNING = "WARNING"
    FAILURE = "FAILURE"


class Finding(msgspec.Struct, frozen=True):
    """``remedy`` is a command or a line for the configuration; empty when nothing is wrong."""

    name: str
    status: Status
    words: str
    remedy: str = ""


def ok(name: str, words: str) -> Finding:
    return Finding(name, Status.OK, words)


def warning(name: str, words: str, remedy: str = "") -> Finding:
    return Finding(name, Status.WARNING, words, remedy)


def failure(name: str, words: str, remedy: str = "") -> Finding:
    return Finding(name, Status.FAILURE, words, remedy)


def failed(findings: Iterable[Finding]) -> bool:
    return any(each.status is Status.FAILURE for each in findings)


def as_json(findings: Iterable[Finding]) -> str:
    return escapes.in_json(msgspec.json.format(msgspec.json.encode(list(findings)), indent=2).decode())


def as_table(findings: list[Finding], *, coloured: bool) -> str:
    """One line per finding; its remedy is on a line of its own, ready to copy."""
    width = max((len(each.name) for each in findings), default=0)
    lines = []
    for each in findings:
        status = f"{each.status:7}"
        if coloured:
            status = f"\033[{_COLOURS[each.status]}m{status}\033[0m"
        lines.append(f"{status}  {each.name:{width}}  {each.words}")
        if each.remedy:
            lines.append(f"{'':{9 + width}}    {each.remedy}")
    counts = [(sum(each.status is status for each in findings), status) for status in Status]
    lines.append(", ".join(f"{count} {status}" for count, status in counts))
    return "\n".join(lines)
