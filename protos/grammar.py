"""The notations inside strings: ports, volumes, users, restart policies, durations, sizes.

Each function takes what stood in a file or message and returns the parsed value, or raises ValueError with a
sentence that says what was found and what is allowed.
"""

from __future__ import annotations

import ipaddress
import math
import re
from datetime import timedelta
from typing import NamedTuple

from protos import naming

MAX_PORT = 65535

# podman-run(1), --volume: the options that make sense for a long-running component.
VOLUME_OPTIONS = frozenset(
    {"ro", "rw", "z", "Z", "U", "O", "exec", "noexec", "dev", "nodev", "suid", "nosuid", "bind", "rbind"}
    | {"private", "rprivate", "shared", "rshared", "slave", "rslave", "copy", "nocopy", "idmap"}
)

_RANGE = r"(?P<{0}>[0-9]{{1,5}})(?:-(?P<{0}_last>[0-9]{{1,5}}))?"
_PORT = re.compile(
    r"(?:(?:(?P<ip>\[[^\]]+\]|[0-9.]+):)?(?:"
    + _RANGE.format("host")
    + r")?:)?"
    + _RANGE.format("container")
    + r"(?:/(?P<protocol>tcp|udp|sctp))?"
)
# As many as a range may have: each is a rule of the firewall, or a process that listens.
MAX_PORT_RANGE = 1000
# What podman calls volumes, networks and secrets.
RESOURCE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
# Under such a name mcpd keeps a secret's new value while it replaces the old one.
TEMPORARY_SECRET = "mcp.next."  # noqa: S105 (a name)
# podman 4 takes names of 64 characters.
MAX_SECRET_NAME = 64 - len(TEMPORARY_SECRET)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_RESTART = re.compile(r"(?P<policy>no|on-failure|unless-stopped|always)(:(?P<tries>[0-9]{1,9}))?")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# A century: longer is a slip of the keyboard, and stays inside every integer that podman or SQLite holds.
_LONGEST = timedelta(days=36525)
_URL = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[^/\s?#:\[\]]+)(:[0-9]{1,5})?([/?#]\S*)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(B|[kK]B|MB|GB|TB|KiB|MiB|GiB|TiB)")
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LARGEST = 2**62
# RFC 1123, and one wildcard in front, as certificates have it (RFC 6125, 6.4.3).
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ROUTE_HOST = re.compile(rf"(\*\.{_LABEL}\.)?{_LABEL}(\.{_LABEL})*")
_LONGEST_HOST = 253
# What RFC 3986 allows in a path, without escapes, which every proxy would compare in its own way.
_ROUTE_PATH = re.compile(r"/|(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")
_LONGEST_PATH = 200


_EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104


class Port(NamedTuple):
    """``length`` published ports, from ``host`` and ``container`` on.

    ``host`` 0: podman chooses one. ``host_ip`` is empty when every address of the node publishes it.
    """

    host_ip: str
    host: int
    container: int
    protocol: str
    length: int = 1

    def overlaps(self, other: Port) -> bool:
        """Whether the two cannot both be published on one node."""
        one_address = self.host_ip == other.host_ip or {self.host_ip, other.host_ip} & _EVERY_ADDRESS
        if not one_address or self.protocol != other.protocol or not self.host or not other.host:
            return False
        return self.host < other.host + other.length and other.host < self.host + self.length


class Volume(NamedTuple):
    """A bind mount (``source`` is an absolute path), a named volume, or an anonymous one (``source`` is empty)."""

    source: str
    target: str
    options: tuple[str, ...]

    @property
    def is_bind(self) -> bool:
        return self.source.startswith("/")


class Restart(NamedTuple):
    """podman's restart policy; ``tries`` 0 means without limit."""

    policy: str
    tries: int


def name(text: str) -> str:
    if not naming.is_name(text):
        raise ValueError(f"{quoted(text)} is not a name: {naming.NAME_RULE}")
    return text


def image(text: str) -> str:
    if not naming.is_image_reference(text):
        raise ValueError(f"{quoted(text)} is not an image reference: [REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]")
    return text


def port(text: str) -> Port:
    match = _PORT.fullmatch(text)
    if match is None or text.startswith(":"):
        raise ValueError(f"{quoted(text)} is not a port mapping: [[IP:][HOST]:]CONTAINER[/tcp|/udp|/sctp], or ranges")
    for number in filter(None, match.group("host", "host_last", "container", "container_last")):
        if not 1 <= int(number) <= MAX_PORT:
            raise ValueError(f"{quoted(text)} has port {number}; a port is 1 to {MAX_PORT}")
    host_ip = (match["ip"] or "").strip("[]")
    if host_ip:
        try:
            ipaddress.ip_address(host_ip)
        except ValueError:
            raise ValueError(f"{quoted(text)} publishes on {host_ip!r}, which is not an IP address") from None
    count = _length(match, "container", text)
    if match["host"] and _length(match, "host", text) != count:
        raise ValueError(f"{quoted(text)} maps ranges of ports of different lengths")
    return Port(host_ip, int(match["host"] or 0), int(match["container"]), match["protocol"] or "tcp", count)


def _length(match: re.Match[str], part: str, text: str) -> int:
    count = int(match[f"{part}_last"] or match[part]) - int(match[part]) + 1
    if not 1 <= count <= MAX_PORT_RANGE:
        raise ValueError(f"{quoted(text)} has a range of {count} ports; a range has 1 to {MAX_PORT_RANGE}")
    return count


def volume(text: str) -> Volume:
    """``SOURCE:TARGET[:OPTIONS]``, or ``TARGET`` alone for an anonymous volume."""
    source, *rest = text.split(":")
    if len(rest) > 2 or "\0" in text:
        raise ValueError(f"{quoted(text)} is not a volume: SOURCE:TARGET[:OPTIONS], say /srv/web:/data:ro")
    if not rest:
        source, rest = "", [source]
    target = rest[0]
    if not target.startswith("/"):
        raise ValueError(f"{quoted(text)} mounts at {quoted(target)}, which is not an absolute path")
    if rest != [text] and not source.startswith("/") and not RESOURCE_NAME.fullmatch(source):
        raise ValueError(f"{quoted(text)} mounts {quoted(source)}, neither an absolute path nor a volume's name")
    options = tuple(rest[1].split(",")) if len(rest) == 2 else ()
    for option in options:
        if option not in VOLUME_OPTIONS:
            raise ValueError(f"{quoted(text)} has option {option!r}; known are {' '.join(sorted(VOLUME_OPTIONS))}")
    return Volume(source, target, options)


def volume_option(text: str) -> str:
    if text not in VOLUME_OPTIONS:
        raise ValueError(f"{quoted(text)} is not a volume's option; known are {' '.join(sorted(VOLUME_OPTIONS))}")
    return text


def volume_source(text: str) -> str:
    if not text.startswith("/") and not RESOURCE_NAME.fullmatch(text):
        raise ValueError(f"{quoted(text)} is neither an absolute path nor a volume's name")
    return text


def user(text: str) -> str:
    if not _USER.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a user: USER[:GROUP], names or numbers")
    return text


def restart(text: str) -> Restart:
    match = _RESTART.fullmatch(text)
    if match is None or (match["tries"] and match["policy"] != "on-failure"):
        raise ValueError(f"{quoted(text)} is not a restart policy: no, on-failure[:N], unless-stopped or always")
    return Restart(match["policy"], int(match["tries"] or 0))


def secret(text: str) -> str:
    if not RESOURCE_NAME.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a podman secret's name")
    if text.startswith(TEMPORARY_SECRET):
        raise ValueError(f"{quoted(text)} is a name of mcpd's own: another must not begin with {TEMPORARY_SECRET}")
    return text


def settable_secret(text: str) -> str:
    """The name of a secret that every podman and mcpd can make: shorter, and it ends as it begins."""
    secret(text)
    if len(text) > MAX_SECRET_NAME or not text[-1].isalnum():
        raise ValueError(
            f"{quoted(text)} cannot be set: a secret's name has {MAX_SECRET_NAME} characters at most, and ends with a "
            "letter or digit"
        )
    return text


def path_or_name(text: str) -> str:
    """An absolute path, or a file's bare name."""
    if not text or "\0" in text or (not text.startswith("/") and "/" in text) or text in (".", ".."):
        raise ValueError(f"{quoted(text)} is neither an absolute path nor a file's name")
    return text


def env_name(text: str) -> str:
    if not text or "=" in text or "\0" in text or text != text.strip():
        raise ValueError(f"{quoted(text)} is not the name of an environment variable")
    return text


def argument(text: str) -> str:
    """An argument or environment value: anything but NUL, which execve(2) cannot pass."""
    if "\0" in text:
        raise ValueError("holds a NUL character, which cannot be passed to a program")
    return text


def word(text: str) -> str:
    """An argument that is not empty."""
    if not text:
        raise ValueError("is empty")
    return argument(text)


def duration(value: str | timedelta) -> timedelta:
    """``250ms``, ``10s``, ``1m30s``, ``2h``, ``90d``."""
    if isinstance(value, timedelta):
        total = value
    elif _DURATION.fullmatch(value) and len(value) <= 32:
        parts = _DURATION_PART.findall(value)
        seconds = math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
        total = timedelta(seconds=min(seconds, _LONGEST.total_seconds() + 1))
    else:
        raise ValueError(f"{quoted(value)} is not a duration: a number and ms, s, m, h or d, say 30s or 1m30s")
    if not timedelta(0) <= total <= _LONGEST:
        raise ValueError(f"{quoted(str(value))} is out of range: a duration is 0 to {_LONGEST.days} days")
    return total


def positive_duration(value: str | timedelta) -> timedelta:
    total = duration(value)
    if not total:
        raise ValueError(f"{quoted(str(value))} must be longer than zero")
    return total


def size(value: str | int) -> int:
    """Bytes: ``512kB``, ``256MiB``, ``1GiB``; a number is taken as bytes."""
    if isinstance(value, int):
        total = value
    elif match := _SIZE.fullmatch(value):
        total = int(min(float(match[1]) * _BYTES[match[2]], 2.0**63))
    else:
        raise ValueError(f"{quoted(value)} is not a size: a number and B, kB, MB, GB, KiB, MiB or GiB, say 256MiB")
    if not 0 <= total <= _LARGEST:
        raise ValueError(f"{quoted(str(value))} is out of range for a size")
    return total


def http_url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a URL: http://HOST[:PORT]/PATH")
    return text


def host_port(text: str) -> tuple[str, int]:
    """``IP:PORT``, ``HOST:PORT`` or ``[IPv6]:PORT``."""
    host, colon, digits = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host) or any(c.isspace() for c in text):
        raise ValueError(f"{quoted(text)} is not an address: HOST:PORT, or [IPv6]:PORT")
    if not re.fullmatch(r"[0-9]{1,5}", digits) or not 1 <= int(digits) <= MAX_PORT:
        raise ValueError(f"{quoted(text)} has port {digits[:8]!r}; a port is 1 to {MAX_PORT}")
    return bare, int(digits)


def route_host(text: str) -> str:
    """The name that a client asks for, in small letters; ``*.example.net`` for those of one label more."""
    if not _ROUTE_HOST.fullmatch(text) or len(text) > _LONGEST_HOST:
        raise ValueError(
            f"{quoted(text)} is not a host of a route: a name in small letters, shop.example.net, or *.example.net"
        )
    return text


def route_path(text: str) -> str:
    """``/``, or the beginning of a path, which has no ``/`` at its end."""
    if not _ROUTE_PATH.fullmatch(text) or len(text) > _LONGEST_PATH or {".", ".."} & set(text.split("/")):
        raise ValueError(
            f"{quoted(text)} is not a path of a route: /api, without escapes, `?`, or / at its end;"
            f" {_LONGEST_PATH} characters at most"
        )
    return text


def quoted(text: str) -> str:
    """``text`` quoted for an error message, cut where it is longer than a line."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
