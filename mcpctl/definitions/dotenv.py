"""Env files by compose's rules: a component's ``env_file``, and the ``.env`` beside a compose file.

docs.docker.com/compose/how-tos/environment-variables/variable-interpolation has the syntax: quotes, which may span
lines; escapes in double ones; variables in all but single ones; comments. No value is in any message: people keep
passwords in these files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from mcpctl.definitions.interpolation import InterpolationError, expanded

_BLANK = " \t\v\f"
_NAME = re.compile(r"(?:export[ \t]+)?(?P<name>[^\s=:#'\"$]+)[ \t\v\f]*(?P<end>[=:]|\n|$)")
_QUOTED = {
    "'": re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL),
    '"': re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL),
}
_AFTER_QUOTE = re.compile(r"[ \t\v\f]*(?:#[^\n]*)?(?:\n|$)")
_COMMENT = re.compile(r"(?:^|[ \t\v\f]+)#.*")
_ESCAPE = re.compile(r"\\(?:([abfnrtv\"\\])|(\$)|0([0-7]{1,3}))")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}


class EnvFileError(ValueError):
    """Which line of an env file is none; no value is in it."""


def raw(text: str) -> dict[str, str]:
    """``format: raw``: each line is NAME=VALUE, and nothing in a value has a meaning."""
    lines = (line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n"))
    pairs = (line.partition("=") for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return {name.strip(): value for name, has_value, value in pairs if has_value}


def parsed(
    text: str,
    environment: Mapping[str, str],
    missing: Callable[[int, str], None],
    *,
    earlier: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The variables of an env file.

    A name without a value takes its value from ``environment``; so do variables in values, before those of the file,
    and those before ``earlier``, which is what files before it say. ``missing`` is told of the line and name of each
    that is nowhere: nothing stands in its place. Raises EnvFileError.
    """
    return _Parser(text, environment, missing, earlier or {}).result()


class _Parser:
    def __init__(
        self,
        text: str,
        environment: Mapping[str, str],
        missing: Callable[[int, str], None],
        earlier: Mapping[str, str],
    ) -> None:
        self._earlier = earlier
        self._text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        self._environment = environment
        self._missing = missing
        self._found: dict[str, str] = {}
        self._at = 0
        # Counted as far as the last statement, so that a long file is not counted from its start for each.
        self._line, self._counted = 1, 0

    def result(self) -> dict[str, str]:
        while self._skip_to_statement():
            match = _NAME.match(self._text, self._at)
            if match is None:
                self._refuse("expected NAME=VALUE")
            name = match["name"]
            self._at = match.end()
            if match["end"] in ("=", ":"):
                self._found[name] = self._value(name)
            elif name in self._environment:
                self._found[name] = self._environment[name]
            else:
                self._missing(self._line, name)
        return self._found

    def _skip_to_statement(self) -> bool:
        """Past blank lines and comments; whether there is more."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                self._at = self._end_of_line()
            elif self._text[self._at].isspace():
                self._at += 1
            else:
                self._line += self._text.count("\n", self._counted, self._at)
                self._counted = self._at
                return True
        return False

    def _end_of_line(self) -> int:
        end = self._text.find("\n", self._at)
        return len(self._text) if end < 0 else end

    def _value(self, name: str) -> str:
        start = self._at
        while self._text[self._at : self._at + 1] and self._text[self._at] in _BLANK:
            self._at += 1
        quote = self._text[self._at : self._at + 1]
        if quote not in ("'", '"'):
            # With the blanks before it: a comment may be all that there is.
            end = self._end_of_line()
            text = _COMMENT.sub("", self._text[start:end], count=1).strip()
            self._at = end
            return self._expanded(name, text)
        match = _QUOTED[quote].match(self._text, self._at)
        if match is None:
            self._refuse(f"the value of {name} begins with {quote}, but has no closing {quote}")
        self._at = match.end()
        after = _AFTER_QUOTE.match(self._text, self._at)
        if after is None:
            self._refuse(f"the value of {name} goes on after its closing {quote}")
        self._at = after.end()
        if quote == "'":
            return match[1].replace("\\'", "'")
        return self._expanded(name, _ESCAPE.sub(_unescaped, match[1]))

    def _expanded(self, name: str, text: str) -> str:
        line = self._line
        known = {**self._earlier, **self._found, **self._environment} if "$" in text else {}
        try:
            return expanded(text, known, lambda each: self._missing(line, each))
        except InterpolationError:
            remedy = "write $$ for a dollar sign, or put the value in single quotes"
            self._refuse(f"the value of {name} has a $ that cannot be replaced: {remedy}")

    def _refuse(self, message: str) -> NoReturn:
        raise EnvFileError(f"line {self._line}: {message}")


def _unescaped(match: re.Match[str]) -> str:
    letter, dollar, octal = match.groups()
    if dollar:
        return "$$"  # which stays a dollar sign where variables are replaced
    return _ESCAPES[letter] if letter else chr(int(octal, 8))
