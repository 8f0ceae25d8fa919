"""The services of the profiles that are wanted, and those that they cannot do without."""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.importing.diagnostics import Diagnostics

_EVERY = "*"
# Where one service names another whose container it cannot do without.
_NAMESPACES = ("network_mode", "pid", "ipc")
_OF_SERVICE = "service:"


def wanted(services: dict[str, Any], active: frozenset[str], report: Diagnostics) -> dict[str, Any]:
    """Those without profiles, those of an active one, and what these need; the others are told to be left out."""
    profiles = {
        key: report.words(each.get("profiles"), f"services.{key}.profiles") if isinstance(each, dict) else []
        for key, each in services.items()
    }
    kept = {key for key, names in profiles.items() if not names or _EVERY in active or active.intersection(names)}
    waiting = list(kept)
    while waiting:
        for name in _needed(services[waiting.pop()]):
            if name in services and name not in kept:
                kept.add(name)
                waiting.append(name)
    for key, names in profiles.items():
        if key not in kept:
            report.ignored(f"services.{key}", f"is left out, as compose does; `--profile {names[0]}` imports it, too")
    return {key: each for key, each in services.items() if key in kept}


def _needed(service: Any) -> list[str]:
    if not isinstance(service, dict):
        return []
    found = []
    for key in ("depends_on", "links", "volumes_from"):
        value = service.get(key)
        if isinstance(value, dict):
            optional = [
                name for name, each in value.items() if isinstance(each, dict) and each.get("required") == "false"
            ]
            found += [name for name in value if name not in optional]
        elif isinstance(value, list):
            found += [each.partition(":")[0] for each in value if isinstance(each, str)]
    modes = [service.get(key) for key in _NAMESPACES]
    found += [
        mode.removeprefix(_OF_SERVICE) for mode in modes if isinstance(mode, str) and mode.startswith(_OF_SERVICE)
    ]
    return found
