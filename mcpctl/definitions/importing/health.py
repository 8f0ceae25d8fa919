"""A healthcheck as our ``health``, with compose's defaults where ours are others."""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.importing.diagnostics import TRUE, Diagnostics

# Compose's defaults (05-services.md, healthcheck): not ours.
_DEFAULTS = {"interval": "30s", "timeout": "30s"}
_DURATIONS = ("interval", "timeout", "start_period")


def health(value: Any, path: str, report: Diagnostics) -> dict[str, Any] | None:
    """None: nothing is checked."""
    check = report.mapping(value, path)
    if check.get("disable") in TRUE:
        return None
    cmd = _test(check.get("test"), f"{path}.test", report)
    for key in check:
        if key not in ("test", "disable", "retries", *_DURATIONS):
            report.lost(f"{path}.{key}", "is not imported")
    if not cmd:
        return None
    made: dict[str, Any] = {"cmd": cmd}
    for key in _DURATIONS:
        if (text := check.get(key) or _DEFAULTS.get(key)) is not None:
            made[key] = report.duration(text, f"{path}.{key}")
    if check.get("retries") is not None:
        made["retries"] = report.number(check["retries"], f"{path}.retries")
    return {key: each for key, each in made.items() if each is not None}


def _test(test: Any, path: str, report: Diagnostics) -> list[str]:
    if test is None:
        report.lost(path, "is the image's own health check, which mcp does not run: write the command")
        return []
    if isinstance(test, str):
        return ["sh", "-c", test]
    kind, *words = [report.text(each, path) for each in report.items(test, path)] or ["NONE"]
    if kind == "CMD-SHELL":
        return ["sh", "-c", *words[:1]]
    if kind not in ("CMD", "NONE"):
        report.wrong(path, f"begins with {kind!r}, but must begin with CMD, CMD-SHELL or NONE")
    return words if kind == "CMD" else []
