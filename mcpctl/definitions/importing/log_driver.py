"""Where what a component prints goes."""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.importing.diagnostics import Diagnostics

_FILES = ("json-file", "local", "k8s-file", "")
_OURS = ("journald", "none")
# Old files are deleted sooner, or fields are missing beside each line: what is printed is there.
_TAG = "tag"


def log(value: Any, path: str, report: Diagnostics) -> dict[str, Any]:
    """Our ``log``; nothing: the default."""
    logging = report.mapping(value, path)
    report.ignore_others(logging, ("driver", "options"), path)
    driver = report.text(logging.get("driver") or "", f"{path}.driver").lower()
    options = dict(report.pairs(logging.get("options"), f"{path}.options"))
    made: dict[str, Any] = {}
    if driver in _OURS:
        made["driver"] = driver
    elif driver not in _FILES:
        report.lost(
            f"{path}.driver",
            f"{driver}: what it prints goes to a file on the node; allowed are json-file, local, journald and none",
        )
        return {}
    elif driver and driver != "k8s-file":
        report.changed(f"{path}.driver", f"{driver} is podman's k8s-file")
    for name, text in options.items():
        here = f"{path}.options.{name}"
        if name == "max-size" and driver in _FILES and text:
            made["max_size"] = report.size(text, here)
        elif name == _TAG and driver == "journald" and text:
            made["tag"] = text
        else:
            report.ignored(here)
    return {key: each for key, each in made.items() if each}
