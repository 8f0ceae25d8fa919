"""The rules for values in `mcpd.toml`: each reads one from what the file says, or raises ValueError in words."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from protos import grammar

_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?%")
# Below it a port takes privileges (ip(7), ip_unprivileged_port_start).
_FIRST_USERS_PORT, _LAST_PORT = 1024, 65535
# A filesystem of which more than this must be free is nearly always one that is misjudged.
_MOST_PERCENT = 90


def explicit_address(
    text: str, instead: str = 'write the one address that operators reach, say grpc_addr = "100.95.252.120:9444"'
) -> tuple[str, int]:
    """One address of one interface and a port (audit S2). Raises ValueError for a wildcard or a host name."""
    if text.startswith(":"):
        raise ValueError(f"{text!r} names no address and would listen on every interface; {instead}")
    host, port = grammar.host_port(text)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{text!r} names a host, not an IP address; {instead}") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if address.is_unspecified or (mapped and mapped.is_unspecified):
        raise ValueError(f"{text!r} would listen on every interface; {instead}")
    return str(address), port


def metrics_address(text: str) -> tuple[str, int]:
    return explicit_address(text, 'write the one address that Prometheus reaches, say address = "127.0.0.1:9445"')


class FreeSpace(NamedTuple):
    """How much of a filesystem should be free: ``share`` of it (0 to 1), or ``size`` bytes. ``text``: as written."""

    text: str
    share: float = 0.0
    size: int = 0

    def of(self, total: int) -> float:
        """In bytes, of a filesystem of ``total`` bytes."""
        return max(self.share * total, float(self.size))


def free_space(text: str) -> FreeSpace:
    """``10%``, or a size: ``5GiB``. Raises ValueError."""
    if not text.endswith("%"):
        try:
            return FreeSpace(text, size=grammar.size(text))
        except ValueError:
            raise ValueError(f'{text!r} is neither a share of the filesystem ("10%") nor a size ("5GiB")') from None
    if not _PERCENT.fullmatch(text) or not 0 <= float(text[:-1]) <= _MOST_PERCENT:
        raise ValueError(f'{text!r} is not a share of the filesystem from 0% (never warn) to {_MOST_PERCENT}%: "10%"')
    return FreeSpace(text, share=float(text[:-1]) / 100)


def alert_argv(value: str | list[Any]) -> tuple[str, ...]:
    return _argv(value, "alert_command")


def proxy_argv(value: str | list[Any]) -> tuple[str, ...]:
    return _argv(value, "command")


def _argv(value: str | list[Any], key: str) -> tuple[str, ...]:
    """An argv array, run without a shell (audit S1)."""
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError:
            words = value.split()
        array = ", ".join(f'"{word}"' for word in words)
        raise ValueError(f"is a string, which only a shell could run; write an array: {key} = [{array}]")
    if not value or not all(isinstance(word, str) and word and "\0" not in word for word in value):
        raise ValueError("is not an argv array: a list of strings, the program first")
    if not Path(value[0]).is_absolute():
        raise ValueError(f"starts with {value[0]!r}; write the program's absolute path")
    return tuple(value)


def listening_address(text: str) -> tuple[str, int]:
    """An address of the proxy's, which may be every one: it is there for the world."""
    host, port = grammar.host_port(text)
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        raise ValueError(f"{text!r} names a host, not an IP address; write 0.0.0.0:{port} for every address") from None


def program(text: str) -> str:
    if text and not Path(text).is_absolute():
        raise ValueError(f"{text!r} is not the absolute path of a program")
    return text


def port_range(text: str) -> range:
    """``20000-29999``, both included."""
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text)
    found = range(int(match[1]), int(match[2]) + 1) if match else range(0)
    if not found or found[0] < _FIRST_USERS_PORT or found[-1] > _LAST_PORT:
        raise ValueError(f'{text!r} is not a range of ports above {_FIRST_USERS_PORT - 1}: "20000-29999"')
    return found


def threshold(value: int) -> int:
    return _at_most_1000(value, "transitions")


def revisions(value: int) -> int:
    return _at_most_1000(value, "revisions")


def sessions(value: int) -> int:
    return value and _at_most_1000(value, "sessions")


def _at_most_1000(value: int, what: str) -> int:
    if not 1 <= value <= 1000:
        raise ValueError(f"{value} is out of range: 1 to 1000 {what}")
    return value


def https_url(text: str) -> str:
    if not text.startswith("https://"):
        raise ValueError(f"{text!r} is not https, and tokens would be sent in the clear; write https://HOST[:PORT]")
    return grammar.http_url(text)
