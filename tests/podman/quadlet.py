"""Quadlet itself: what it makes of units, as the words that systemd runs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

# Where Debian and Fedora have it; another place can be given.
_GENERATORS = (
    os.environ.get("MCP_QUADLET_GENERATOR", ""),
    "/usr/libexec/podman/quadlet",
    "/usr/lib/systemd/system-generators/podman-system-generator",
)


def needed() -> None:
    """Skips the test where there is none."""
    if not _generator():
        pytest.skip(
            "there is no Quadlet here: podman before 4.4, or its generator is elsewhere (MCP_QUADLET_GENERATOR)"
        )


def _generator() -> str:
    return next((each for each in _GENERATORS if each and Path(each).exists()), "")


def units(folder: Path) -> dict[str, list[str]]:
    """What Quadlet makes of the files in ``folder``: the words of each service's ExecStart=, by service."""
    done = subprocess.run(
        [_generator(), "--dryrun"],
        env={**os.environ, "QUADLET_UNIT_DIRS": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    units: dict[str, list[str]] = {}
    name = ""
    for line in done.stdout.split("\n"):
        if line.startswith("---") and line.endswith("---"):
            name = line.strip("-")
        elif line.startswith("ExecStart="):
            units[name] = systemd_words(line.removeprefix("ExecStart="))
    return units


_WORD = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+')
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|(.))")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "s": " "}


def systemd_words(text: str) -> list[str]:
    """As systemd reads a command line: quotes, C escapes, then %% and $$ (systemd.service(5), systemd.syntax(7))."""
    words = []
    for match in _WORD.finditer(text):
        word = re.sub(r'(?<!\\)((?:\\\\)*)"', r"\1", match[0])
        word = _ESCAPED.sub(
            lambda found: chr(int(found[1], 16)) if found[1] else _LETTERS.get(found[2], found[2]), word
        )
        words.append(word.replace("%%", "%").replace("$$", "$"))
    return words


def option(words: list[str], name: str) -> set[str]:
    """The values of an option, whether given as one word or as two."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return {word.partition("=")[2] or after for word, after in pairs if word.partition("=")[0] == name}
