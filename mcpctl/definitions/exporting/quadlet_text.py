"""The text of Quadlet's units: every value survives Quadlet, and then systemd."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping

# systemd.syntax(7), quoting: the escapes that systemd and Quadlet both know.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
_ESCAPES |= {"\a": "\\a"}
# What a word may consist of without quotes; % and $ have been doubled by then.
_PLAIN = frozenset("%$+,-./:=@_~")


def unit(sections: Iterable[tuple[str, list[str]]]) -> str:
    return "\n".join("".join(f"{line}\n" for line in (f"[{name}]", *lines)) for name, lines in sections if lines)


def quoted(text: str) -> str:
    """One word for Quadlet, which makes it a word of ExecStart= for systemd."""
    escaped = "".join(_ESCAPES.get(char) or _escaped(char) for char in expanded(text))
    return f'"{escaped}"'


def word(text: str) -> str:
    """The same, without quotes where none are needed."""
    is_plain = text and all((char.isascii() and char.isalnum()) or char in _PLAIN for char in text)
    return expanded(text) if is_plain else quoted(text)


def value(key: str, option: str, text: str) -> str:
    """A line for a key whose value is taken as it stands; as an argument of podman where no line can say it."""
    is_line = text and text.isprintable() and text == text.strip() and not text.endswith("\\")
    return f"{key}={expanded(text)}" if is_line else argument(option, text)


def argument(option: str, text: str = "") -> str:
    """For what Quadlet has no key for."""
    return f"PodmanArgs={word(f'{option}={text}' if text else option)}"


def fields(said: Mapping[str, str]) -> str:
    """Comma-separated, as podman-run(1) takes mounts; "" is for a word without a value."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([f"{key}={text}" if text else key for key, text in said.items()])
    return out.getvalue()


def expanded(text: str) -> str:
    """Survives systemd's specifiers and variables (systemd.unit(5), systemd.service(5))."""
    return text.replace("%", "%%").replace("$", "$$")


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x20 or code == 0x7F else char
