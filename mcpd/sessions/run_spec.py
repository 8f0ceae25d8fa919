"""What a run's container is made from, and why podman could not start it. Pure functions."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import msgspec

from mcpd.changes import podman_hints
from mcpd.errors import RefusedError
from mcpd.model import Target
from mcpd.runtime.api import PodmanError
from mcpd.runtime.programs import Program
from mcpd.sessions.conversation import Limits
from protos.parts import Health
from protos.spec import Component

# podman's own work after a stop, and the removal.
CLEAN_UP_S = 30.0
# podman-run(1): the program is not found; it cannot be invoked. In the words of runc and crun.
_STATUSES = (
    (r"exec: .*(?:no such file or directory|not found)|executable file .*not found", 127),
    (r"exec: .*permission denied|open executable: .*ermission denied", 126),
)


class Asked(NamedTuple):
    """Which program, in a container like which component's. ``entrypoint`` None: the component's."""

    target: Target
    program: Program
    entrypoint: str | None = None
    detach: bool = False

    @property
    def is_typed(self) -> bool:
        """Whether the program is of their choice."""
        return bool(self.entrypoint or self.program.command)


class UnstartedError(RefusedError):
    """podman has not started the program. ``status``: as a shell has it; 0 when the program is not the reason."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


def unstarted(spec: Component, error: PodmanError, *, is_typed: bool) -> UnstartedError:
    """``is_typed``: the program was named by whoever asked for the run, and there is no definition to mend."""
    words = str(error).rpartition("unable to start container process: ")[2].partition(": OCI ")[0]
    # What it was at then, and a container that has no name yet, tell nobody anything.
    words = re.sub(r"^preparing container \w+ for attach: | on container [0-9a-f]{64}", "", words)
    status = next((status for pattern, status in _STATUSES if re.search(pattern, words)), 0)
    told = words if is_typed and status else podman_hints.about_step(spec.image, words)
    return UnstartedError(f"podman could not start it: {told}", status)


def of_a_run(spec: Component, asked: Asked) -> Component:
    """What the container is made from: the component, without what only one container can have."""
    program = asked.program
    changes: dict[str, Any] = {
        "ports": (),
        "routes": (),
        "restart": "no",
        "schedule": None,
        "health": Health(disable=True),
        "hostname": None,
        "tty": program.size is not None,
        "interactive": program.has_input,
        "env": {**spec.env, **program.env},
    }
    if asked.entrypoint is not None:
        changes |= {"entrypoint": (asked.entrypoint,), "cmd": ()}
    changes |= {"cmd": program.command} if program.command else {}
    changes |= {"user": program.user} if program.user else {}
    changes |= {"workdir": program.workdir} if program.workdir else {}
    return msgspec.structs.replace(spec, **changes)


def longest(limits: Limits, is_detached: bool) -> int:
    """Until podman itself kills it, in seconds. What somebody watches mcpd ends before that, and says why."""
    return math.ceil(limits.total + (0 if is_detached else CLEAN_UP_S))
