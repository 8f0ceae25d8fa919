"""The notations of podman-run(1) inside strings: devices, signals, capabilities, namespaces, limits, kernel settings.

As in `protos.grammar`: each function takes what stood in a file or message and returns the parsed value, or raises
ValueError with a sentence that says what was found and what is allowed.
"""

from __future__ import annotations

import ipaddress
import re
import signal as signals
from collections.abc import Callable
from typing import NamedTuple

from protos import naming
from protos.grammar import RESOURCE_NAME, quoted

# Ours: see `mcpd.model`.
OWN_LABELS = "mcp."
# How another component of the service is named whose namespace is joined.
COMPONENT = "component:"
# podman-network(1): modes, which are no names of networks.
NETWORK_MODES = ("host", "none", "bridge", "private", "slirp4netns", "pasta")
# `proc-opts=` and `mask=` take lists; the rest is one word (podman-run(1), --security-opt).
_SECURITY = ("apparmor", "label", "mask", "no-new-privileges", "proc-opts", "seccomp", "systempaths", "unmask")

_NUMBER = re.compile(r"[0-9]{1,10}")
_SIGNAL = re.compile(r"(?:SIG)?(?P<name>[A-Z][A-Z0-9]{1,8})(?:\+(?P<plus>[0-9]{1,2}))?", re.IGNORECASE)
_CAPABILITY = re.compile(r"[A-Za-z_]{2,40}")
_DEVICE = re.compile(r"(?P<host>/[^:]+)(?::(?P<inside>/[^:]+))?(?::(?P<mode>[rwm]{1,3}))?")
_CDI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*=[A-Za-z0-9][A-Za-z0-9._:-]*")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*")
HOST_GATEWAY = "host-gateway"
_SYSCTL = re.compile(r"[A-Za-z0-9_*-]+([./][A-Za-z0-9_*-]+)+")
_ULIMIT = re.compile(r"(-1|[0-9]{1,19})(?::(-1|[0-9]{1,19}))?")
_CPUSET = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*")
_USERNS = re.compile(r"host|nomap|private|(keep-id|auto)(:[a-z]+=[0-9:@/,a-z=]+)?")
_TMPFS_OPTION = re.compile(r"[a-z]+(=[A-Za-z0-9%]+)?")
_OPTION = re.compile(r"[a-z0-9-]+(:[^\s:]+)?")
# setrlimit(2); podman-run(1), --ulimit, takes `host` for the limits of whoever runs podman.
ULIMITS = frozenset(
    {"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"}
    | {"rtprio", "rttime", "sigpending", "stack"}
)
# The longest host name that the kernel takes (sethostname(2)).
_LONGEST_HOST_NAME = 64
# Unlimited, as `--memory-swap` has it.
UNLIMITED = -1


class Device(NamedTuple):
    """A device of the node, and where the container has it; or one by its name of the Container Device Interface."""

    host: str
    inside: str
    mode: str

    @property
    def is_cdi(self) -> bool:
        return not self.host.startswith("/")


class Tmpfs(NamedTuple):
    target: str
    options: tuple[str, ...]


class Ulimit(NamedTuple):
    """-1: unlimited."""

    soft: int
    hard: int


def absolute_path(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f"{quoted(text)} is not an absolute path in the container, say /data")
    return text


def signal(text: str) -> int:
    """``SIGTERM``, ``TERM``, ``15`` or ``SIGRTMIN+3``, as a number."""
    allowed = f"{quoted(text)} is not a signal: a name or a number, say SIGINT"
    if _NUMBER.fullmatch(text):
        number = int(text)
    else:
        match = _SIGNAL.fullmatch(text)
        found = getattr(signals, f"SIG{match['name'].upper()}", None) if match else None
        if not isinstance(found, signals.Signals) or not match:
            raise ValueError(allowed)
        number = int(found) + int(match["plus"] or 0)
    if not 1 <= number <= int(signals.SIGRTMAX):
        raise ValueError(allowed)
    return number


def capability(text: str) -> str:
    """As podman keeps it: ``CAP_NET_ADMIN``, or ``ALL``."""
    if not _CAPABILITY.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a capability: say NET_ADMIN, or ALL")
    name = text.upper()
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def device(text: str) -> Device:
    if _CDI.fullmatch(text):
        return Device(text, "", "")
    match = _DEVICE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{quoted(text)} is not a device: /dev/HOST[:/dev/CONTAINER][:rwm], or VENDOR/CLASS=NAME (CDI), "
            "say nvidia.com/gpu=all"
        )
    return Device(match["host"], match["inside"] or match["host"], match["mode"] or "rwm")


def tmpfs(text: str) -> Tmpfs:
    target, colon, rest = text.partition(":")
    options = tuple(rest.split(",")) if colon else ()
    if not target.startswith("/") or "\0" in text or not all(map(_TMPFS_OPTION.fullmatch, options)):
        raise ValueError(f"{quoted(text)} is not a tmpfs: TARGET[:OPTIONS], say /run:size=64m,mode=1777")
    return Tmpfs(target, options)


def group(text: str) -> str:
    if not _GROUP.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a group: a name, a number or keep-groups")
    return text


def platform(text: str) -> str:
    if not _PLATFORM.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a platform: OS/ARCH[/VARIANT], say linux/arm64")
    return text


def host_name(text: str) -> str:
    if not _HOST_NAME.fullmatch(text) or len(text) > _LONGEST_HOST_NAME:
        raise ValueError(
            f"{quoted(text)} is not a host name: letters, digits, hyphens and dots, {_LONGEST_HOST_NAME} at most"
        )
    return text


def added_host(text: str) -> tuple[str, str]:
    """``NAME:IP`` or ``NAME:host-gateway``."""
    name, colon, address = text.partition(":")
    if not colon or not _HOST_NAME.fullmatch(name):
        raise ValueError(f"{quoted(text)} is not an added host: NAME:IP or NAME:{HOST_GATEWAY}")
    return name, address if address == HOST_GATEWAY else str(_address(address, text))


def ip(text: str) -> str:
    return str(_address(text, text))


def ip4(text: str) -> str:
    if _address(text, text).version != 4:
        raise ValueError(f"{quoted(text)} is not an IPv4 address; `ip6` is for IPv6")
    return text


def ip6(text: str) -> str:
    if _address(text, text).version != 6:
        raise ValueError(f"{quoted(text)} is not an IPv6 address; `ip` is for IPv4")
    return text


def subnet(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a subnet: say 10.89.7.0/24 or fd00:7::/64") from None


def _address(text: str, shown: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise ValueError(f"{quoted(shown)}: {quoted(text)} is not an IP address") from None


def dns_server(text: str) -> str:
    return ip(text)


def dns_domain(text: str) -> str:
    if text != "." and not _HOST_NAME.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a domain to search: a domain, or . for none")
    return text


def dns_option(text: str) -> str:
    if not _OPTION.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not an option of resolv.conf(5): say ndots:1")
    return text


def alias(text: str) -> str:
    if not _HOST_NAME.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a name on a network: letters, digits, hyphens and dots")
    return text


def network_of_component(text: str) -> str:
    """A podman network's name, a mode, or ``component:NAME``."""
    return _of_component(text, _is_resource, "a network: a podman network's name, host, none")


def process_namespace(text: str) -> str:
    return _of_component(text, ("host", "private").__contains__, "a PID namespace: host, private")


def ipc_namespace(text: str) -> str:
    known = ("host", "none", "private", "shareable")
    return _of_component(text, known.__contains__, "an IPC namespace: host, none, private, shareable")


def user_namespace(text: str) -> str:
    if not _USERNS.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a user namespace: host, keep-id[:OPTIONS], auto[:OPTIONS] or nomap")
    return text


def named_component(text: str | None) -> str:
    """The component whose namespace ``component:NAME`` joins; "" for everything else."""
    return text.removeprefix(COMPONENT) if text and text.startswith(COMPONENT) else ""


def _of_component(text: str, is_known: Callable[[str], bool], allowed: str) -> str:
    name = named_component(text)
    if not is_known(text) and not (name and naming.is_name(name)):
        raise ValueError(f"{quoted(text)} is not {allowed} or {COMPONENT}NAME")
    return text


def _is_resource(text: str) -> bool:
    try:
        resource(text)
    except ValueError:
        return False
    return True


def resource(text: str) -> str:
    """The name of a podman network or volume."""
    if not RESOURCE_NAME.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a name that podman takes: letters, digits, _ . and -")
    return text


def security_option(text: str) -> tuple[str, str]:
    """``KIND[=VALUE]``; Docker's ``KIND:VALUE`` too."""
    kind, mark, value = text.partition("=")
    if not mark:
        kind, _, value = text.partition(":")
    if kind not in _SECURITY or (not value and kind != "no-new-privileges") or "\0" in text:
        raise ValueError(f"{quoted(text)} is not a security option: KIND=VALUE, where KIND is {', '.join(_SECURITY)}")
    if kind == "no-new-privileges" and value not in ("", "true", "false"):
        raise ValueError(f"{quoted(text)}: no-new-privileges is true or false")
    return kind, value


def ulimit_name(text: str) -> str:
    if text not in ULIMITS:
        raise ValueError(f"{quoted(text)} is not a limit of setrlimit(2); known are {' '.join(sorted(ULIMITS))}")
    return text


def ulimit(value: str | int) -> Ulimit:
    """``SOFT[:HARD]``; -1 is unlimited."""
    match = _ULIMIT.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{quoted(str(value))} is not a limit: SOFT[:HARD], numbers, -1 for unlimited")
    found = Ulimit(int(match[1]), int(match[2] or match[1]))
    if found.hard != UNLIMITED and (found.soft == UNLIMITED or found.soft > found.hard):
        raise ValueError(f"{quoted(str(value))}: the soft limit is above the hard one")
    return found


def sysctl_name(text: str) -> str:
    if not _SYSCTL.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a kernel setting: say net.core.somaxconn")
    return text


def label_name(text: str) -> str:
    if not text or "=" in text or "\0" in text or text != text.strip():
        raise ValueError(f"{quoted(text)} is not the name of a label")
    if text.startswith(OWN_LABELS):
        raise ValueError(f"{quoted(text)}: labels that begin with {OWN_LABELS} are mcp's own")
    return text


def cpuset(text: str) -> str:
    if not _CPUSET.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a set of CPUs: numbers and ranges, say 0-3,6")
    return text


def file_mode(value: str | int) -> int:
    """``"0440"``, or TOML's ``0o440``: the permissions of a file, without setuid, setgid and sticky bits."""
    if isinstance(value, str) and not re.fullmatch(r"(0o?)?[0-7]{3}", value):
        raise ValueError(f"{quoted(value)} is not a file mode: three octal digits, say 0440")
    mode = value if isinstance(value, int) else int(value.removeprefix("0o"), 8)
    if not 0 <= mode <= 0o777:
        raise ValueError(f"{mode} is not a file mode: 0o000 to 0o777, say 0o440")
    return mode
