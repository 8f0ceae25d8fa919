"""Real compose files, and a plausible value for every variable that one asks for."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_GUESSES = (
    (r"PORT", lambda n: str(20000 + n)),
    (r"^(P?[UG]ID|.*_[UG]ID)$", lambda _: "1000"),
    (r"CPU", lambda _: "1"),
    (r"MEM|_SIZE|LIMIT", lambda _: "256m"),
    (r"DIR|PATH|LOCATION|FOLDER|ROOT|VOLUME|STORAGE|DATA$", lambda n: f"/srv/x{n}"),
    (r"IMAGE", lambda _: "docker.io/library/x:1"),
    (r"VERSION|TAG", lambda _: "1.0"),
    (r"RESTART", lambda _: "unless-stopped"),
    (r"URL|URI", lambda _: "https://x.example"),
)


def files(folder: Path) -> list[Path]:
    """Every compose file below it."""
    found = [each for each in sorted(folder.rglob("*.y*ml")) if each.is_file()]
    return [each for each in found if re.search(r"^services:", each.read_text(errors="replace"), re.MULTILINE)]


def plausible(file: Path) -> dict[str, str]:
    names = set(re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", file.read_text(errors="replace")))
    return {name: _value(name) for name in names}


def _value(name: str) -> str:
    number = int(hashlib.sha256(name.encode()).hexdigest()[:6], 16) % 20000
    return next((make(number) for pattern, make in _GUESSES if re.search(pattern, name.upper())), "value")
