"""What an export consists of, and what the formats have in common."""

from __future__ import annotations

import math
from datetime import timedelta
from enum import StrEnum

import msgspec

from mcpctl.definitions.loss import Loss
from protos.spec import Component, Service


class Format(StrEnum):
    TOML = "toml"
    QUADLET = "quadlet"
    KUBE = "kube"
    COMPOSE = "compose"


class File(msgspec.Struct, frozen=True):
    """``name`` is a bare file name."""

    name: str
    text: str


class Exported(msgspec.Struct, frozen=True):
    files: tuple[File, ...]
    losses: tuple[Loss, ...] = ()


class Losses:
    """Collects what is lost of one component."""

    def __init__(self, component: str) -> None:
        self._component = component
        self.found: list[Loss] = []

    def add(self, field: str, message: str) -> None:
        self.found.append(Loss(f"components[{self._component}].{field}", message))


def seconds(duration: timedelta) -> int:
    """In whole seconds, rounded up as mcpd does for podman's stop timeout."""
    return math.ceil(duration.total_seconds())


def go_duration(duration: timedelta) -> str:
    """As Go's time.ParseDuration reads it: 30s, 0.25s; exact to the microsecond."""
    whole, fraction = divmod(duration // timedelta(microseconds=1), 10**6)
    return f"{whole}.{fraction:06}".rstrip("0") + "s" if fraction else f"{whole}s"


def cpus(component: Component) -> str:
    """A number of CPUs, without exponent and needless zeros."""
    return f"{component.resources.cpus:.6f}".rstrip("0").rstrip(".")


def in_dependency_order(service: Service) -> list[Component]:
    """Every component after those that it depends on; otherwise as in the definition."""
    ordered: list[Component] = []
    waiting = list(service.components)
    while waiting:
        placed = {each.name for each in ordered}
        # A definition has no circle, so that there is always one.
        ready = next((each for each in waiting if placed.issuperset(each.depends_on)), waiting[0])
        waiting.remove(ready)
        ordered.append(ready)
    return ordered
