"""Of what a node installs, what a workstation needs: mcpctl's own dependencies, and what those bring along."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]

_HEADER = """\
# What mcpctl alone needs, on a workstation: a part of requirements.lock. `python -m tests.documents` writes it.
"""
_PIN = re.compile(r"([A-Za-z0-9._-]+)(\[[^]]*\])?==")


def page() -> str:
    """requirements-mcpctl.lock."""
    pins = dict(_pins((REPOSITORY / "requirements.lock").read_text().splitlines()))
    return _HEADER + "".join(f"{pins[name]}\n" for name in sorted(wanted(base(), pins)))


def base() -> list[str]:
    """What pyproject.toml says that mcpctl needs."""
    return list(_project()["dependencies"])


def daemon() -> list[str]:
    """What the extra adds that mcpd needs."""
    return list(_project()["optional-dependencies"]["daemon"])


def wanted(requirements: Iterable[str], pins: Mapping[str, str]) -> set[str]:
    """Their names and those of what they bring along, whatever the platform, as far as it is pinned."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        each = waiting.pop()
        name = canonicalize_name(each.name)
        if name not in pins:
            continue
        # "": what it always needs.
        for extra in {"", *each.extras} - {known for other, known in found if other == name}:
            found.add((name, extra))
            waiting += _of(each.name, extra)
    return {name for name, _ in found}


def _of(name: str, extra: str) -> Iterator[Requirement]:
    for text in metadata.requires(name) or ():
        each = Requirement(text)
        asks_for_extra = "extra ==" in str(each.marker)
        if asks_for_extra == bool(extra) and (not extra or (each.marker and each.marker.evaluate({"extra": extra}))):
            yield each


def _pins(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """By name, the lines that pin it, hashes included; without what says why it is there."""
    name, kept = "", list[str]()
    for line in lines:
        if match := _PIN.match(line):
            if name:
                yield name, "\n".join(kept)
            name, kept = canonicalize_name(match[1]), [line]
        elif line.strip().startswith("--hash"):
            kept.append(line)
    if name:
        yield name, "\n".join(kept)


def _project() -> dict[str, list[str] | dict[str, list[str]]]:
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]
