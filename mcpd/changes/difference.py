"""How two declarations of a component differ, field by field, in an operator's words. Pure functions.

Nothing here knows a key by its name but what needs words of its own: what is hidden, and what has many lines.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

import msgspec

from protos.fingerprint import default_of
from protos.parts import ConfigFile, Heal
from protos.spec import Component

# What a value of these tables is shown as: people put secrets there.
_HIDDEN = "(not shown)"
_HIDES = ("env.", "build.args.")
# Of a diff; a config that is another file altogether need not fill a screen ten times.
_MAX_DIFF_LINES = 500
_MAX_DIFF_LINE = 2000


class Source(StrEnum):
    """Where a value comes from: the definition file, this program's default, or the agent's own settings."""

    DEFINITION = "definition"
    DEFAULT = "default"
    NODE = "node"


class FieldChange(msgspec.Struct, frozen=True):
    """One field. ``field`` is its path in a definition file; ``before`` and ``after`` are empty when it is not set.

    ``diff``: how a text of many lines differs; ``before`` and ``after`` only name it then.
    """

    field: str
    before: str
    after: str
    source: Source
    diff: str = ""


def difference(before: Component, after: Component, heal: Heal) -> tuple[FieldChange, ...]:
    """The fields of one component that differ, in the order of a definition file; ``heal`` is the node's setting."""
    if before == after:
        return ()
    old, new = _flat(before, heal), _flat(after, heal)
    fields = [*new, *(field for field in old if field not in new)]
    changes = []
    for field in fields:
        was, is_now = old.get(field, ""), new.get(field, "")
        if was == is_now:
            continue
        if isinstance(was or is_now, _Text):
            changes.append(_text_change(field, was, is_now))
        else:
            changes.append(FieldChange(field, *_shown(field, was, is_now), _source(field, after)))
    return tuple(changes)


class _Text(str):
    """A text of many lines."""


def _flat(component: Component, heal: Heal) -> dict[str, str]:
    """Every field with its text, by its path."""
    flat: dict[str, str] = {}
    for name in component.__struct_fields__:
        value = getattr(component, name)
        if name == "heal":
            flat[name] = value or heal
        elif name == "configs":
            flat |= dict(_configs(value))
        elif name == "entrypoint" and value == ():
            flat[name] = "[]"  # none, which is something else than the image's
        else:
            flat |= dict(_leaves(name, value))
    return flat


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, msgspec.Struct):
        fields = ((each, getattr(value, each)) for each in value.__struct_fields__)
        for name, each in fields:
            if each:
                yield from _leaves(f"{path}.{name}", each)
    elif isinstance(value, Mapping):
        for key, each in sorted(value.items()):
            yield f"{path}.{key}", _text(each) or '""'
    else:
        yield path, _text(value)


def _configs(configs: tuple[ConfigFile, ...]) -> Iterator[tuple[str, str]]:
    for each in configs:
        path = f"configs.{each.target}"
        yield path, _Text(each.content or "")
        yield f"{path}.mode", f"{each.mode:04o}"
        yield from ((f"{path}.{name}", str(getattr(each, name))) for name in ("uid", "gid") if getattr(each, name))


def _text_change(field: str, before: str, after: str) -> FieldChange:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    shown = [each if len(each) <= _MAX_DIFF_LINE else each[:_MAX_DIFF_LINE] + "..." for each in lines]
    if len(shown) > _MAX_DIFF_LINES:
        shown = [*shown[:_MAX_DIFF_LINES], f"... and {len(shown) - _MAX_DIFF_LINES} lines more"]
    # Without the two lines that would name two files.
    return FieldChange(field, _named(before), _named(after), Source.DEFINITION, "\n".join(shown[2:]))


def _named(text: str) -> str:
    """A text, in short, and without anything by which a guess could be confirmed."""
    count = len(text.splitlines())
    return f"{count} {'line' if count == 1 else 'lines'}" if text else ""


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
    if not field.startswith(_HIDES):
        return before, after
    return (_HIDDEN if before else ""), (_HIDDEN if after else "")


def _source(field: str, after: Component) -> Source:
    top, _, rest = field.partition(".")
    if top == "heal" and after.heal is None:
        return Source.NODE
    holder: msgspec.Struct = after
    if isinstance(getattr(after, top), msgspec.Struct):
        holder, top = getattr(after, top), rest.partition(".")[0]
    elif rest:  # of a table, or what a probe had that is gone
        return Source.DEFINITION
    return Source.DEFAULT if getattr(holder, top) == default_of(type(holder), top) else Source.DEFINITION
