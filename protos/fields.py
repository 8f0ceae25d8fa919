"""The field types that files and messages share, each with the rule for its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from protos import grammar, podman_notation
from protos.validation import Rule, checked


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{text!r} cannot be expanded: {error}") from None


def whole_number(least: int, most: int) -> Rule:
    """An integer within bounds, both included."""

    def within(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"{value} is out of range: {least} to {most}")
        return value

    return Rule(within, (int,))


def pairs(name: Callable[[str], object], value: Callable[[str], object]) -> Rule:
    """A table of strings or integers, or a list of ``NAME=VALUE`` as podman-run(1) takes them; always a table after."""

    def parse(given: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, text in _as_pairs(given):
            name(key)
            if isinstance(text, bool) or not isinstance(text, (str, int)):
                raise ValueError(f"{key}: expected a string or an integer")
            try:
                value(str(text))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
            found[key] = str(text)
        return found

    return Rule(parse, (dict, list, tuple))


def _as_pairs(given: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> list[tuple[str, Any]]:
    if isinstance(given, Mapping):
        return list(given.items())
    found = []
    for each in given:
        key, is_set, text = each.partition("=") if isinstance(each, str) else ("", "", "")
        if not is_set:
            raise ValueError(f"{each!r} is not NAME=VALUE")
        found.append((key, text))
    return found


FilePath = Annotated[Path, Rule(_path)]
Name = Annotated[str, checked(grammar.name)]
Image = Annotated[str, checked(grammar.image)]
Duration = Annotated[timedelta, Rule(grammar.duration, (str, timedelta))]
PositiveDuration = Annotated[timedelta, Rule(grammar.positive_duration, (str, timedelta))]
Size = Annotated[int, Rule(grammar.size, (str, int))]
Argument = Annotated[str, checked(grammar.argument)]
Word = Annotated[str, checked(grammar.word)]
NetworkAddress = Annotated[str, checked(grammar.host_port)]
InsidePath = Annotated[str, checked(podman_notation.absolute_path)]
Resource = Annotated[str, checked(podman_notation.resource)]
Id = Annotated[int, whole_number(0, 2**32 - 2)]
FileMode = Annotated[int, Rule(podman_notation.file_mode, (str, int))]
Labels = Mapping[Annotated[str, checked(podman_notation.label_name)], Argument]
