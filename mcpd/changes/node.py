"""What every change works on."""

from __future__ import annotations

from typing import NamedTuple

from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.runtime.podman import Podman
from protos.spec import Heal


class Node(NamedTuple):
    """This node: its name, its podman, what it remembers, and what it does about components that died."""

    name: str
    podman: Podman
    registry: Registry
    journal: Journal
    heal: Heal = Heal.ALERT
