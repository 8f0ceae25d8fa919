"""What a command that only reads asks for: of what, of which nodes, and how the answer is printed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mcpctl.config import Settings, load
from mcpctl.definitions import targets
from mcpctl.errors import UsageError
from mcpctl.ui.output import How


class Query(msgspec.Struct, frozen=True):
    """What to look at, and how to print it. ``target`` is a service, or "" for all; nodes likewise."""

    target: str = ""
    nodes: tuple[str, ...] = ()
    config: Path | None = None
    how: How = How()

    @property
    def json(self) -> bool:
        """Whether a program reads it."""
        return self.how.structured

    def settings(self) -> Settings:
        return load(self.config)

    def service(self) -> str:
        """Raises UsageError for a component: whole services are shown."""
        name, component = self.service_and_component()
        if component:
            raise UsageError(f"{self.target!r} is a component; this command needs a service")
        return name

    def service_and_component(self) -> tuple[str, str]:
        """Raises UsageError."""
        return targets.split(self.target) if self.target else ("", "")
