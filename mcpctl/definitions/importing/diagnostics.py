"""Reads the plain values of a compose file, and collects what is wrong with them or said otherwise in a definition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from mcpctl.definitions.loss import Grade, Loss, Warned
from protos import grammar

# What is only ignored, without another word about it.
NO_MEANING = "has no meaning here"

# As compose reads what stands for a boolean (its loader's interpolation).
_TRUE, _FALSE = frozenset({"true", "yes", "on", "y", "t", "1"}), frozenset({"false", "no", "off", "n", "f", "0", ""})
_BYTES = re.compile(r"([0-9]{1,20}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})\s*(b|[kmgtp](?:i?b)?)?", re.IGNORECASE)
# Compose counts in powers of 1024 (11-extension.md, byte values).
_FACTORS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(us|µs|ns|ms|s|m|h|d|w)")
_OURS = {"ms", "s", "m", "h", "d"}
_IN_MS = {"us": Fraction(1, 1000), "µs": Fraction(1, 1000), "ns": Fraction(1, 10**6), "w": Fraction(7 * 86_400_000)}
_MAX_SHOWN = 40


class Diagnostics:
    """What is told of one import. A value that is a problem is read as an empty one, so that all are found."""

    def __init__(self) -> None:
        self._losses: dict[Loss, None] = {}
        self._warnings: dict[Warned, None] = {}
        self._problems: dict[str, None] = {}
        # Variables that are not set, and where the first of each is.
        self.unset: dict[str, str] = {}

    @property
    def losses(self) -> tuple[Loss, ...]:
        return tuple(self._losses)

    @property
    def warnings(self) -> tuple[Warned, ...]:
        return tuple(self._warnings)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(self._problems)

    def lost(self, path: str, message: str) -> None:
        """It behaves differently, and a user would notice."""
        self._losses[Loss(path, message, Grade.LOST)] = None

    def changed(self, path: str, message: str) -> None:
        """It is written otherwise here, and works the same."""
        self._losses[Loss(path, message, Grade.CHANGED)] = None

    def ignored(self, path: str, message: str = NO_MEANING) -> None:
        """Nothing depends on it here."""
        self._losses[Loss(path, message, Grade.IGNORED)] = None

    def warn(self, path: str, message: str) -> None:
        self._warnings[Warned(path, message)] = None

    def wrong(self, path: str, message: str) -> None:
        self._problems[f"{path}: {message}"] = None

    def ignore_others(self, value: dict[str, Any], known: frozenset[str] | tuple[str, ...], path: str) -> None:
        """Keys that nobody here knows: of another program's, or misspelled, which compose refuses."""
        for key in value:
            if key not in known:
                self.ignored(f"{path}.{key}")

    # -- plain values

    def mapping(self, value: Any, path: str) -> dict[str, Any]:
        if value is None or value == "":
            return {}
        if not isinstance(value, dict):
            self.wrong(path, f"expected a mapping, found {_kind(value)}")
            return {}
        return value

    def items(self, value: Any, path: str) -> list[Any]:
        if value is None or value == "":
            return []
        if not isinstance(value, list):
            self.wrong(path, f"expected a list, found {_kind(value)}")
            return []
        return value

    def words(self, value: Any, path: str) -> list[str]:
        """A list of strings, or one string; those that are empty are none."""
        if isinstance(value, str):
            return [value] if value.strip() else []
        several = (self.text(each, f"{path}[{index}]") for index, each in enumerate(self.items(value, path)))
        return [each for each in several if each.strip()]

    def pairs(self, value: Any, path: str) -> Iterator[tuple[str, str | None]]:
        """A mapping, or a list of ``NAME=VALUE``."""
        if isinstance(value, list):
            for index, each in enumerate(value):
                # One that became a mapping by a colon that was meant as =.
                if isinstance(each, dict):
                    yield from self.pairs(each, f"{path}[{index}]")
                    continue
                name, is_set, text = self.text(each, f"{path}[{index}]").partition("=")
                if name.strip():
                    yield name.strip(), text if is_set else None
            return
        for name, found in self.mapping(value, path).items():
            if name.strip():
                yield name.strip(), None if found is None else self.text(found, f"{path}.{name}")

    def texts(self, value: Any, path: str) -> dict[str, str]:
        """A table of strings; what has no value has an empty one."""
        return {name: text or "" for name, text in self.pairs(value, path)}

    def text(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            self.wrong(path, f"expected a string, found {_kind(value)}")
            return ""
        return value

    def boolean(self, value: Any, path: str) -> bool:
        text = "" if value is None else self.text(value, path).strip().lower()
        if text not in _TRUE and text not in _FALSE:
            self.wrong(path, f"{text[:_MAX_SHOWN]!r} is neither true nor false")
        return text in _TRUE

    def is_true(self, value: Any) -> bool:
        return isinstance(value, str) and value.strip().lower() in _TRUE

    def number(self, value: Any, path: str) -> int:
        text = self.text(value, path).strip()
        if not re.fullmatch(r"-?[0-9]{1,18}(\.0*)?", text):
            if text:
                self.wrong(path, f"{text[:_MAX_SHOWN]!r} is not a whole number")
            return 0
        return int(text.partition(".")[0])

    def duration(self, value: Any, path: str) -> str | None:
        """Compose's ``1m30s`` in our notation, which has no weeks and no microseconds. Bare numbers are seconds."""
        text = self.text(value, path).strip()
        if not text:
            return None
        made = f"{text}s" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else text
        parts = _DURATION_PART.findall(made) if len(made) <= _MAX_SHOWN else []
        made = "".join(_duration_part(*each) for each in parts) if parts and not _DURATION_PART.sub("", made) else made
        try:
            grammar.duration(made)
        except ValueError as error:
            self.wrong(path, str(error))
            return None
        return made

    def size(self, value: Any, path: str) -> int:
        """In bytes."""
        text = self.text(value, path).strip()
        if not text:
            return 0
        match = _BYTES.fullmatch(text)
        if match is None:
            self.wrong(path, f"{text[:_MAX_SHOWN]!r} is not a size: a number and b, k, m or g, say 512m")
            return 0
        return int(Fraction(match[1].rstrip(".")) * _FACTORS[(match[2] or "b").lower()[0]])

    def cpus(self, value: Any, path: str) -> float:
        text = self.text(value, path).strip()
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}", text):
            if text:
                self.wrong(path, f"{text[:_MAX_SHOWN]!r} is not a number of CPUs, say 0.5")
            return 0.0
        return float(text)


def _duration_part(number: str, unit: str) -> str:
    number = f"0{number}" if number.startswith(".") else number
    return f"{number}{unit}" if unit in _OURS else f"{float(Fraction(number) * _IN_MS[unit]):.6f}ms"


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "nothing"
