"""What things are called: by compose, and here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mcpctl.importing.told import Told
from protos import naming


class Names(msgspec.Struct, frozen=True):
    """``project`` is compose's name for the file, ``service`` ours; ``components`` are ours by the file's keys."""

    project: str
    service: str
    components: Mapping[str, str]

    def container(self, key: str) -> str:
        return naming.container_name(self.service, self.components[key], self.components.values())


def project_name(document: Mapping[str, Any], folder: Path) -> str:
    """The file's own, else its folder's as compose makes a project's of it."""
    return str(document.get("name") or re.sub(r"[^a-z0-9_-]", "", folder.name.lower()).lstrip("_-") or "compose")


def our_name(name: str, path: str, told: Told) -> str:
    """A name as it is allowed here; unchanged where none can be made of it, for the definition's rules to refuse."""
    made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
    if made != name and naming.is_name(made):
        told.lost(path, f"{name!r} is no name here ({naming.NAME_RULE}): called {made}")
        return made
    return name
