"""Variables in compose files and env files, by the rules of the Compose Specification (12-interpolation.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

# What variables may come to in one text. Each can name others many times, and a few lines would fill any memory.
MAX_EXPANDED = 2**20
# More than anybody writes; each is looked at again from its beginning.
_MOST_MALFORMED = 100
_MOST_NESTED = 40
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")


class InterpolationError(ValueError):
    """Why the variables of a text cannot be replaced. It does not say the text: there are passwords in some."""


class _Malformed(InterpolationError):
    """What follows a $ is no variable."""


def expanded(
    text: str,
    environment: Mapping[str, str],
    missing: Callable[[str], None],
    malformed: Callable[[str], None] | None = None,
) -> str:
    """``$VAR``, ``${VAR}`` and its operators replaced.

    ``missing`` is told of each variable that is not set and has no default: nothing stands in its place, as with
    compose. ``malformed`` is told why a $ begins no variable, and it stands for itself; without it, such a one is
    refused. Raises InterpolationError.
    """
    return _Interpolation(text, environment, missing, malformed).result()


class _Interpolation:
    def __init__(
        self,
        text: str,
        environment: Mapping[str, str],
        missing: Callable[[str], None],
        malformed: Callable[[str], None] | None,
    ) -> None:
        self._text = text
        self._environment = environment
        self._missing = missing
        self._malformed = malformed
        self._at = 0
        self._nested = 0
        self._left = MAX_EXPANDED

    def result(self) -> str:
        parts: list[str] = []
        unclosed = 0
        while self._at < len(self._text):
            dollar = self._text.find("$", self._at)
            dollar = len(self._text) if dollar < 0 else dollar
            parts.append(self._text[self._at : dollar])
            self._at = dollar + 1
            if dollar == len(self._text):
                break
            try:
                parts.append(self._variable(wanted=True))
            except _Malformed as error:
                if self._malformed is None:
                    raise
                unclosed += self._text.startswith("{", dollar + 1)
                if unclosed > _MOST_MALFORMED:
                    raise
                self._malformed(str(error))
                parts.append("$")
                self._at, self._nested = dollar + 1, 0
        return "".join(parts)

    def _until_brace(self, wanted: bool) -> str:
        """Up to the brace. Not ``wanted``: its value is thrown away, so that nothing in it can be missing."""
        parts: list[str] = []
        start = self._at
        self._nested += 1
        if self._nested > _MOST_NESTED:
            raise _Malformed(f"character {start} is in more than {_MOST_NESTED} nested ${{; write fewer")
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "}":
                self._nested -= 1
                return "".join(parts)
            self._at += 1
            parts.append(self._variable(wanted) if char == "$" else char)
        raise _Malformed(f"a ${{ before character {start + 1} is never closed; add the }}")

    def _variable(self, wanted: bool) -> str:
        place = self._at
        rest = self._text[self._at : self._at + 1]
        if rest == "$":
            self._at += 1
            return "$"
        braced = rest == "{"
        match = _NAME.match(self._text, self._at + braced)
        if match is None:
            raise _Malformed(f"character {place} is a $ that begins no variable; write $$ for a dollar sign")
        self._at = match.end()
        if not braced:
            return self._value(match[0], wanted)
        found = self._operated(match[0], wanted)
        if self._text[self._at : self._at + 1] != "}":
            raise _Malformed(
                f"${{{match[0]} at character {place} is not followed by }} or one of the operators - :- + :+ ? :?"
            )
        self._at += 1
        return found

    def _operated(self, name: str, wanted: bool) -> str:
        operator = _OPERATOR.match(self._text, self._at)
        if operator is None:
            return self._value(name, wanted)
        self._at = operator.end()
        value = self._environment.get(name)
        is_there = bool(value) if operator[0].startswith(":") else value is not None
        kind = operator[0][-1]
        other = self._until_brace(wanted and is_there is (kind == "+"))
        if kind == "+":
            return other if is_there else ""
        if is_there:
            return self._counted(value or "")
        if kind == "?" and wanted:
            raise InterpolationError(f"variable {name} is not set: {other or 'it is required'}")
        return "" if kind == "?" else other

    def _value(self, name: str, wanted: bool) -> str:
        value = self._environment.get(name)
        if value is None and wanted:
            self._missing(name)
        return self._counted(value or "")

    def _counted(self, value: str) -> str:
        self._left -= len(value)
        if self._left < 0:
            raise InterpolationError(f"its variables stand for more than {MAX_EXPANDED // 2**20} MiB")
        return value
