"""What every change works on."""

from __future__ import annotations

from typing import NamedTuple

import trio

from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.runtime.podman import Podman
from monitor.model import Sighting
from protos.spec import Heal


class Node(NamedTuple):
    """This node: its name, its podman, what it remembers, and what it does about components that died.

    ``started`` takes what was seen of a container that a change has just started, for the monitor to know of it.
    """

    name: str
    podman: Podman
    registry: Registry
    journal: Journal
    started: trio.MemorySendChannel[Sighting]
    heal: Heal = Heal.ALERT
