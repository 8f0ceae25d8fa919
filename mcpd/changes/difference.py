"""How two declarations of a component differ, field by field, in an operator's words. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

import msgspec

from protos.spec import Component, Heal, Health, Resources

# What a value of an environment variable is shown as: people put secrets there.
_HIDDEN = "(not shown)"


class Source(StrEnum):
    """Where a value comes from: the definition file, this program's default, or the agent's own settings."""

    DEFINITION = "definition"
    DEFAULT = "default"
    NODE = "node"


class FieldChange(msgspec.Struct, frozen=True):
    """One field. ``field`` is its path in a definition file; ``before`` and ``after`` are empty when it is not set."""

    field: str
    before: str
    after: str
    source: Source


def difference(before: Component, after: Component, heal: Heal) -> tuple[FieldChange, ...]:
    """The fields that differ, in the order of a definition file; ``heal`` is the node's own setting."""
    old, new = _flat(before, heal), _flat(after, heal)
    fields = [*new, *(field for field in old if field not in new)]
    return tuple(
        FieldChange(field, *_shown(field, old.get(field, ""), new.get(field, "")), _source(field, after))
        for field in fields
        if old.get(field, "") != new.get(field, "")
    )


def _flat(component: Component, heal: Heal) -> dict[str, str]:
    """Every field with its text, by its path; what a container is told nothing of is left out."""
    flat: dict[str, str] = {}
    for name in component.__struct_fields__:
        value = getattr(component, name)
        if name == "heal":
            flat[name] = value or heal
        elif isinstance(value, Mapping):
            flat |= {f"{name}.{key}": text for key, text in sorted(value.items())}
        elif isinstance(value, Health | Resources):
            fields = ((each, getattr(value, each)) for each in value.__struct_fields__)
            flat |= {f"{name}.{each}": _text(each_value) for each, each_value in fields if each_value}
        elif name != "name":
            flat[name] = _text(value)
    return flat


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return f"{value.total_seconds()}".removesuffix(".0") + "s"
    if isinstance(value, tuple):
        return msgspec.json.encode(value).decode() if value else ""
    return str(value)


def _shown(field: str, before: str, after: str) -> tuple[str, str]:
    if not field.startswith("env."):
        return before, after
    return (_HIDDEN if before else ""), (_HIDDEN if after else "")


def _source(field: str, after: Component) -> Source:
    top, _, rest = field.partition(".")
    if top == "heal" and after.heal is None:
        return Source.NODE
    holder: Any = after
    if isinstance(getattr(after, top), Health | Resources):
        holder, top = getattr(after, top), rest
    elif rest:  # an environment variable, or what a probe had that is gone
        return Source.DEFINITION
    default = next(each.default for each in msgspec.structs.fields(type(holder)) if each.name == top)
    return Source.DEFAULT if getattr(holder, top) == default else Source.DEFINITION
