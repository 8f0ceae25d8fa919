"""The node's state in one sentence, for `systemctl status`."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.model import SourceState

# Drifting components that the sentence names.
_NAMED = 3


def sentence(drifts: Mapping[tuple[str, str], str], podman: SourceState) -> str:
    """How a node is. ``drifts``: by service and component, how it is not as declared; empty when it is."""
    link = podman.detail if podman.ok else f"podman does not answer: {podman.detail}"
    if not drifts:
        return f"nothing is declared; {link}"
    drifting = [f"{service}/{component} ({why})" for (service, component), why in drifts.items() if why]
    named = ", ".join(drifting[:_NAMED]) + (", ..." if len(drifting) > _NAMED else "")
    as_declared = f"{len(drifting)} not as declared: {named}" if drifting else "all as declared"
    services = len({service for service, _ in drifts})
    return f"{_counted(services, 'service')}, {_counted(len(drifts), 'component')}, {as_declared}; {link}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
