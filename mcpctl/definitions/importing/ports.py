"""Published ports, in compose's short and long forms, as our ``[[IP:]HOST:]CONTAINER[/PROTOCOL]``."""

from __future__ import annotations

import re
from typing import Any

from mcpctl.definitions.importing.diagnostics import Diagnostics
from protos import grammar

_LONG_KEYS = ("target", "published", "host_ip", "protocol", "mode", "name", "app_protocol")
_SAID = ("target", "published", "host_ip", "protocol")
_NUMBER = re.compile(r"\s*([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?\s*")
_MOST = grammar.MAX_PORT_RANGE


def ports(value: Any, path: str, report: Diagnostics) -> list[str]:
    """Each once; a range that is longer than one may be here becomes several."""
    found: list[str] = []
    several = value if isinstance(value, list) else [value] if isinstance(value, str) and value else []
    for index, each in enumerate(several or report.items(value, path)):
        here = f"{path}[{index}]"
        found += _long(each, here, report) if isinstance(each, dict) else _short(report.text(each, here), here, report)
    return list(dict.fromkeys(found))


def _short(text: str, path: str, report: Diagnostics) -> list[str]:
    """``[[IP:]HOST:]CONTAINER[/PROTOCOL]``, where ports may be ranges."""
    if not text.strip():
        report.ignored(path, "is empty")
        return []
    rest, _, protocol = text.strip().partition("/")
    host, _, container = rest.rpartition(":")
    ip, _, published = host.rpartition(":")
    return _published(ip, published, container, protocol, path, report)


def _long(port: dict[str, Any], path: str, report: Diagnostics) -> list[str]:
    report.ignore_others(port, _LONG_KEYS, path)
    text = {key: report.text(port[key], f"{path}.{key}") for key in _SAID if port.get(key) is not None}
    ip, published, target, protocol = (text.get(key, "") for key in ("host_ip", "published", "target", "protocol"))
    if not target:
        report.wrong(f"{path}.target", "is missing: the port in the container")
        return []
    return _published(ip, published, target, protocol, path, report)


def _published(ip: str, published: str, target: str, protocol: str, path: str, report: Diagnostics) -> list[str]:
    is_chosen = published.strip() in ("", "0")
    inside, outside = _range(target, path, report), None if is_chosen else _range(published, path, report)
    if inside is None or (outside is None and not is_chosen):
        return []
    if outside is not None and len(inside) == 1 and len(outside) > 1:
        report.changed(path, f"compose would take any free one of {published}; the first is published")
        outside = outside[:1]
    if outside is not None and len(outside) != len(inside):
        report.wrong(path, f"{published} and {target} are ranges of different lengths; write as many of each")
        return []
    if len(inside) > _MOST:
        report.warn(path, f"publishes {len(inside)} ports, each with a rule of its own; the host network needs none")
    suffix = "" if protocol.strip().lower() in ("", "tcp") else f"/{protocol.strip().lower()}"
    ip = _address(ip)
    parts = [slice(at, at + _MOST) for at in range(0, len(inside), _MOST)]
    hosts = [_any(ip) if outside is None else _host(ip, outside[part]) for part in parts]
    return [f"{host}{_text(inside[part])}{suffix}" for host, part in zip(hosts, parts, strict=True)]


def _address(ip: str) -> str:
    ip = ip.strip().strip("[]")
    return f"[{ip}]" if ":" in ip else "127.0.0.1" if ip == "localhost" else ip


def _any(ip: str) -> str:
    """A host port that podman chooses."""
    return f"{ip}::" if ip else ""


def _host(ip: str, ports: range) -> str:
    return f"{ip}:{_text(ports)}:" if ip else f"{_text(ports)}:"


def _text(ports: range) -> str:
    return str(ports[0]) if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"


def _range(text: str, path: str, report: Diagnostics) -> range | None:
    match = _NUMBER.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= grammar.MAX_PORT:
        report.wrong(path, f"{text[:40]!r} is neither a port nor a range: 1 to {grammar.MAX_PORT}, say 8000-8010")
        return None
    return range(first, last + 1)
