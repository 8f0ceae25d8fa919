"""Structured output that is safe for terminals: unprintable characters are written as JSON or YAML escapes.

Both formats allow the characters as they are, and a terminal acts on some of them: C1 controls (ECMA-48) are commands,
and those that turn the direction of text (UAX 9) make it read as something else. Escaped they are the same value to
whoever parses.
"""

from __future__ import annotations

import re

_OTHER = re.compile(r"[^\x00-\x7e]")


def in_json(text: str) -> str:
    """A JSON document, of which nothing but strings can have such characters. C0 is escaped in it already."""
    return text if _is_harmless(text) else _OTHER.sub(_json_escape, text)


def in_yaml(text: str) -> str:
    """A YAML document in which every string that `needs_quotes` is double-quoted."""
    return text if _is_harmless(text) else _OTHER.sub(_yaml_escape, text)


def needs_quotes(text: str) -> bool:
    """Whether a string has what only a double-quoted YAML scalar can have escaped."""
    return not text.isprintable()


def _is_harmless(text: str) -> bool:
    return text.isascii() and "\x7f" not in text


def _json_escape(match: re.Match[str]) -> str:
    char = match[0]
    if char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _yaml_escape(match: re.Match[str]) -> str:
    char = match[0]
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
