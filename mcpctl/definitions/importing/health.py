"""A healthcheck as our ``health``, with compose's defaults where ours are others."""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.importing.diagnostics import Diagnostics
from protos import grammar

# Compose's defaults (05-services.md, healthcheck): not ours.
_DEFAULTS = {"interval": "30s", "timeout": "30s"}
_DURATIONS = ("interval", "timeout", "start_period", "start_interval")
_MOST_RETRIES = 1000
_SHELL = ["sh", "-c"]


def health(value: Any, path: str, report: Diagnostics) -> dict[str, Any] | None:
    """None: the image's own decides."""
    check = report.mapping(value, path)
    report.ignore_others(check, ("test", "disable", "retries", *_DURATIONS), path)
    if check.get("disable") is not None and report.boolean(check["disable"], f"{path}.disable"):
        return {"disable": True}
    cmd = _test(check.get("test"), f"{path}.test", report)
    if cmd is None:
        if others := [key for key in (*_DURATIONS, "retries") if check.get(key) is not None]:
            report.lost(path, f"the image's own check counts, with its own {', '.join(others)}: write its test here")
        return None
    if not cmd:
        return {"disable": True}
    made: dict[str, Any] = {"cmd": cmd, **_durations(check, path, report)}
    if check.get("retries") and (retries := report.number(check["retries"], f"{path}.retries")):
        if retries > _MOST_RETRIES:
            report.changed(f"{path}.retries", f"{retries} is {_MOST_RETRIES}, the most that is allowed")
        made["retries"] = min(retries, _MOST_RETRIES)
    return made


def _durations(check: dict[str, Any], path: str, report: Diagnostics) -> dict[str, str]:
    made = {}
    for key in _DURATIONS:
        if (text := check.get(key) or _DEFAULTS.get(key)) is None:
            continue
        found = report.duration(text, f"{path}.{key}")
        if key != "start_period" and found is not None and not grammar.duration(found):
            found = _DEFAULTS.get(key)  # 0 stands for the default (Docker's API)
        if found is not None:
            made[key] = found
    return made


def _test(test: Any, path: str, report: Diagnostics) -> list[str] | None:
    """The command; none of it: nothing is checked; None: the image's own."""
    if test in (None, "", []):
        return None
    if isinstance(test, str):
        return [] if test.strip() == "NONE" else [*_SHELL, test]
    kind, *words = [report.text(each, f"{path}[{index}]") for index, each in enumerate(report.items(test, path))] or [
        ""
    ]
    if kind.upper() == "CMD-SHELL":
        return [*_SHELL, *words] if words else []
    if kind.upper() == "CMD":
        return words
    if kind.upper() == "NONE":
        return []
    if kind:
        report.warn(path, f"begins with {kind!r}, not with CMD, CMD-SHELL or NONE: it is taken for the command itself")
    return [kind, *words]
