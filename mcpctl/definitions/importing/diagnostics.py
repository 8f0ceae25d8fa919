"""Reads the plain values of a compose file, and collects what is wrong with them or cannot be said in a definition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from mcpctl.definitions.loss import Loss
from protos import grammar

# Compose's booleans, as `composefile` leaves them.
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_BYTES = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)\s*(b|k|kb|m|mb|g|gb)?", re.IGNORECASE)
# Compose counts in powers of 1024 (11-extension.md, byte values).
_FACTORS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)")


class Diagnostics:
    """Losses and problems of one file. A value that is a problem is read as an empty one, so that all are found."""

    def __init__(self) -> None:
        self.losses: list[Loss] = []
        self.problems: list[str] = []

    def lost(self, path: str, message: str) -> None:
        self.losses.append(Loss(path, message))

    def wrong(self, path: str, message: str) -> None:
        self.problems.append(f"{path}: {message}")

    # -- plain values

    def mapping(self, value: Any, path: str) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(path, "expected a mapping")
            return {}
        return value

    def items(self, value: Any, path: str) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(path, "expected a list")
            return []
        return value

    def pairs(self, value: Any, path: str) -> Iterator[tuple[str, str | None]]:
        """A mapping, or a list of ``NAME=VALUE``."""
        if isinstance(value, list):
            for index, each in enumerate(value):
                name, is_set, text = self.text(each, f"{path}[{index}]").partition("=")
                yield name, text if is_set else None
            return
        for name, each in self.mapping(value, path).items():
            yield name, None if each is None else self.text(each, f"{path}.{name}")

    def text(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            self.wrong(path, f"expected a string, found {_kind(value)}")
            return ""
        return value

    def number(self, value: Any, path: str) -> int:
        text = self.text(value, path)
        if not re.fullmatch(r"[0-9]{1,18}", text):
            if text:
                self.wrong(path, f"{text[:40]!r} is not a whole number")
            return 0
        return int(text)

    def duration(self, value: Any, path: str) -> str | None:
        """Compose's ``1m30s`` in our notation, which has no microseconds."""
        text = self.text(value, path)
        text = "".join(
            f"{float(number) / 1000:.3f}ms" if unit == "us" else f"{number}{unit}"
            for number, unit in _DURATION_PART.findall(text)
            if _DURATION_PART.sub("", text) == ""
        )
        try:
            grammar.duration(text or str(value))
        except ValueError as error:
            self.wrong(path, str(error))
            return None
        return text

    def size(self, value: Any, path: str) -> int:
        """In bytes."""
        text = self.text(value, path)
        match = _BYTES.fullmatch(text.strip())
        if match is None:
            self.wrong(path, f"{text[:40]!r} is not a size: a number and b, k, m or g")
            return 0
        return int(Fraction(match[1]) * _FACTORS[(match[2] or "b").lower()[0]])

    def cpus(self, value: Any, path: str) -> float:
        text = self.text(value, path)
        if not re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", text):
            self.wrong(path, f"{text[:40]!r} is not a number of CPUs")
            return 0.0
        return float(text)


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "nothing"
