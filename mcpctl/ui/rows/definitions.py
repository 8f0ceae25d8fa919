"""How definitions are printed."""

from __future__ import annotations

from typing import Any

import msgspec


class DefinitionRow(msgspec.Struct, frozen=True):
    """One definition file. ``error`` not empty: it is wrong, and nothing else of it is known."""

    name: str
    node: str
    active: bool | None
    components: tuple[str, ...]
    file: str
    error: str = ""


class EffectiveRow(msgspec.Struct, frozen=True):
    """A definition as it is effective: every field of it, defaults included, in a definition's own notations."""

    file: str
    service: dict[str, Any]


class EditRow(msgspec.Struct, frozen=True):
    file: str
    changed: bool


class WrittenRow(msgspec.Struct, frozen=True):
    file: str
