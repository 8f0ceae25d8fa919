#!/usr/bin/env python3
"""Runs `mcpctl outdated`, and a command of yours if there is something newer, or if that could not be found out.

    mcp-outdated COMMAND [ARGUMENT...]

COMMAND gets what there is to say as its last argument, and the facts that mcpd's alert command gets: as MCP_* in its
environment, and as one JSON object on stdin. No shell is involved. The exit status is 0 when all is well or COMMAND has
taken the news. It needs nothing but Python's own library: docs/images.md says how to install it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import NamedTuple

CURRENT, NEWS, PARTIAL = 0, 3, 4
# A workstation that has just been switched on may have no network yet.
TRIES = 3
PAUSE_S = float(os.environ.get("MCP_OUTDATED_PAUSE_S", "300"))
# Of mcpctl, which has deadlines of its own, and of the command.
CHECK_S, COMMAND_S = 600.0, 60.0
# A message that somebody reads, and less than execve(2) takes.
MOST_LINES, MOST_CHARACTERS = 20, 4000


class Outcome(NamedTuple):
    """``observed``: newer, unknown, or "" for nothing to tell."""

    observed: str
    words: str = ""


def main() -> int:
    command = sys.argv[1:]
    if not command or command[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if command else 2
    outcome = check()
    for _ in range(TRIES - 1):
        if outcome.observed != "unknown":
            break
        time.sleep(PAUSE_S)
        outcome = check()
    if not outcome.observed:
        return 0
    print(outcome.words)
    return tell(command, outcome)


def check() -> Outcome:
    """What mcpctl says."""
    argv = ["mcpctl", "outdated", "--exit-code", "--output", "json"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_S, check=False)
    except OSError as error:
        return Outcome("unknown", f"Images: mcpctl could not be started: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Outcome("unknown", f"Images: mcpctl did not end within {CHECK_S:g} s")
    if done.returncode == CURRENT:
        return Outcome("")
    lines = sentences(done.stdout)
    if done.returncode != NEWS:
        lines += done.stderr.decode(errors="replace").splitlines()
    is_known = done.returncode == NEWS
    head = "Images: there is something newer" if is_known else "Images: it could not be found out what is newer"
    return Outcome("newer" if is_known else "unknown", readable([head, *lines]))


def sentences(document: bytes) -> list[str]:
    """A line for each component that there is something to say of."""
    try:
        rows = [row for row in json.loads(document or b"[]") if row["state"] in ("rebuilt", "newer", "unknown")]
        return [sentence(row) for row in rows]
    except (ValueError, KeyError, TypeError):
        return []


def sentence(row: dict[str, str]) -> str:
    newest = ", ".join(dict.fromkeys(filter(None, (row["newest_of_major"], row["newest"]))))
    facts = "; ".join(filter(None, (row["state"], newest, row["message"])))
    return f"{row['service']}/{row['component']} on {row['node']} ({row['image']}): {facts}"


def readable(lines: list[str]) -> str:
    """One text, not too long, without what would do something to a terminal or end an argument."""
    shown = lines[: MOST_LINES + 1]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    clean = ("".join(each if each.isprintable() else " " for each in line) for line in shown)
    return "\n".join(clean)[:MOST_CHARACTERS]


def tell(command: list[str], outcome: Outcome) -> int:
    """Runs the command, which gets its time and no more."""
    facts: dict[str, str | int] = {
        "alert_id": 0,
        "node": socket.gethostname(),
        "service": "",
        "component": "",
        "kind": "image",
        "desired": "current",
        "observed": outcome.observed,
        "reason": outcome.words,
        "since": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "transitions": 0,
    }
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment |= {f"MCP_{name.upper()}": str(fact) for name, fact in facts.items()}
    try:
        process = subprocess.Popen(
            [*command, outcome.words], stdin=subprocess.PIPE, env=environment, start_new_session=True
        )
    except OSError as error:
        print(f"{command[0]} could not be started: {error.strerror}", file=sys.stderr)
        return 1
    try:
        process.communicate(json.dumps(facts).encode(), timeout=COMMAND_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"{command[0]} did not end within {COMMAND_S:g} s", file=sys.stderr)
        return 1
    if process.returncode:
        print(f"{command[0]} ended with {process.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
