"""What an export consists of, and what the formats have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any

import msgspec

from mcpctl.definitions.exporting import toml
from mcpctl.definitions.loss import Loss
from mcpctl.definitions.plain_keys import PLAIN_KEYS, PlainKey
from protos import naming, podman_notation
from protos.parts import Network
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
    """Collects what is lost of one table of a definition, ``path``."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.found: list[Loss] = []

    def add(self, field: str, message: str) -> None:
        self.found.append(Loss(f"{self._path}.{field}" if field else self._path, message))

    def add_all(self, field: str, struct: msgspec.Struct | None, message: str) -> None:
        """Everything that a table of it says."""
        for name, _, _ in toml.said(struct) if struct else ():
            self.add(f"{field}.{name}" if field else name, message)


def of_component(component: Component) -> Losses:
    return Losses(f"components[{component.name}]")


# -- values


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


def size(value: int) -> str:
    """As podman and Docker read it; -1 is unlimited."""
    return str(value) if value == podman_notation.UNLIMITED else f"{value}b"


def mode(value: int) -> str:
    return f"{value:04o}"


# -- keys


def plain(service: Service, component: Component) -> Iterator[tuple[PlainKey, Any]]:
    """What it says in the keys that other notations only call otherwise: true, a string, a list or a table of strings.

    Other components are named by their containers.
    """
    said = {name: value for name, value, _ in toml.said(component)}
    for each in PLAIN_KEYS:
        value = said.get(each.key)
        if value is None or value is False:
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            value = size(value)
        elif isinstance(value, str):
            value = namespace(service, value)
        yield each, value


def namespace(service: Service, text: str) -> str:
    """As podman-run(1) takes it: ``component:NAME`` is ``container:CONTAINER``."""
    name = podman_notation.named_component(text)
    return f"container:{service.container(name)}" if name else text


# -- components among each other


def joined(service: Service, component: Component) -> tuple[Network, ...]:
    """The networks that it joins, each with every name that it has there.

    It has its own name on the service's own network and on those that the service declares. Others may be shared with
    services that have a component of the same name.
    """
    own = {naming.own_network(service.name), *(name for name, each in service.networks.items() if not each.external)}
    return tuple(
        msgspec.structs.replace(each, aliases=tuple(dict.fromkeys((component.name, *each.aliases))))
        if each.name in own
        else each
        for each in component.joins(service.name)
    )


def waits_for(component: Component) -> list[str]:
    """The components that must be up before it, each once."""
    return [*dict.fromkeys((*component.depends_on, *sorted(component.shares_with)))]


def is_waited_for(service: Service, component: Component) -> bool:
    return any(component.name in each.waits_for for each in service.components)


def in_dependency_order(service: Service) -> list[Component]:
    """Every component after those that it waits for; otherwise as in the definition."""
    ordered: list[Component] = []
    waiting = list(service.components)
    while waiting:
        placed = {each.name for each in ordered}
        # A definition has no circle, so that there is always one.
        ready = next((each for each in waiting if placed.issuperset(each.waits_for)), waiting[0])
        waiting.remove(ready)
        ordered.append(ready)
    return ordered
