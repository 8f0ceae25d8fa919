"""Published ports, in compose's short and long forms, as our ``HOST:CONTAINER``."""

from __future__ import annotations

import re
from typing import Any

from mcpctl.definitions.importing.diagnostics import Diagnostics

_MAX_PORT_RANGE = 1000
_LONG_KEYS = ("target", "published", "host_ip", "protocol", "mode", "name", "app_protocol")


def ports(value: Any, path: str, report: Diagnostics) -> list[str]:
    """One for each port: ranges are spread."""
    found: list[str] = []
    for index, each in enumerate(report.items(value, path)):
        here = f"{path}[{index}]"
        found += _long(each, here, report) if isinstance(each, dict) else _short(report.text(each, here), here, report)
    return found


def _short(text: str, path: str, report: Diagnostics) -> list[str]:
    """``[[IP:]HOST:]CONTAINER[/PROTOCOL]``, where ports may be ranges."""
    rest, _, protocol = text.partition("/")
    host, _, container = rest.rpartition(":")
    ip, _, published = host.rpartition(":")
    return _published(ip, published, container, protocol, path, report)


def _long(port: dict[str, Any], path: str, report: Diagnostics) -> list[str]:
    for key in port:
        if key not in _LONG_KEYS:
            report.lost(f"{path}.{key}", "is not imported")
    text = {key: report.text(port[key], f"{path}.{key}") for key in _LONG_KEYS if port.get(key) is not None}
    ip, published, target, protocol = (text.get(key, "") for key in ("host_ip", "published", "target", "protocol"))
    return _published(ip, published, target, protocol, path, report)


def _published(ip: str, published: str, target: str, protocol: str, path: str, report: Diagnostics) -> list[str]:
    if not published:
        report.lost(path, f"{target}: compose would choose a host port; write HOST:{target}")
        return []
    if protocol not in ("", "tcp", "udp"):
        report.lost(path, f"protocol {protocol}: only tcp and udp are supported")
        return []
    outside, inside = _range(published, path, report), _range(target, path, report)
    if len(inside) == 1 and len(outside) > 1:
        report.lost(path, f"{published}: compose would choose one of these; the first was used")
        outside = outside[:1]
    if len(outside) != len(inside):
        if outside and inside:
            report.wrong(path, f"{published} and {target} are ranges of different lengths")
        return []
    ip = f"[{ip.strip('[]')}]" if ":" in ip else ip
    suffix = f"/{protocol}" if protocol == "udp" else ""
    return [
        f"{ip}{':' if ip else ''}{host}:{container}{suffix}" for host, container in zip(outside, inside, strict=True)
    ]


def _range(text: str, path: str, report: Diagnostics) -> range:
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    if match is None or not 0 <= int(match[2] or match[1]) - int(match[1]) < _MAX_PORT_RANGE:
        report.wrong(path, f"{text[:40]!r} is neither a port nor a range of at most {_MAX_PORT_RANGE}")
        return range(0)
    return range(int(match[1]), int(match[2] or match[1]) + 1)
