"""The hashes of a component, computed at both ends: of what its container is created from, and of all declared."""

from __future__ import annotations

import functools
import hashlib

import msgspec

from protos.parts import Resources
from protos.spec import Component

# Part of the hash: raise it when the same declaration starts to create a different container.
_SCHEME = "1"

# Fields that only mcpd, or mcpctl, uses: changing them never recreates a container.
_NOT_OF_THE_CONTAINER = frozenset(
    {"name", "active", "oneshot", "depends_on", "settle", "heal", "health", "pull", "build", "env_file"}
    | {"update", "drain_timeout", "routes", "schedule", "timezone"}
)
# These are in the hash whatever they are; every later one only when it says something. So the hash of a definition
# without it stays as it was, and an upgrade recreates nothing.
_ALWAYS: dict[type[msgspec.Struct], frozenset[str]] = {
    Component: frozenset(
        {"image", "network", "user", "restart", "ports", "volumes", "cmd", "env", "secrets", "stop_timeout"}
        | {"resources"}
    ),
    Resources: frozenset({"memory", "cpus", "pids"}),
}


def spec_hash(component: Component) -> str:
    """A short hash of everything in ``component`` that its container is created from. Not a security measure.

    Equal when a running container would not differ from what the definition asks for.
    """
    fields = _hashed(component)
    resources = component.resources
    # As 0.1 made it of what came over the wire: the number of CPUs in any case, the others where there is a limit.
    first = {"memory": resources.memory, "pids": resources.pids}
    limits = {name: value for name, value in first.items() if value}
    fields["resources"] = {"cpus": resources.cpus, **limits, **_later(resources)}
    if component.health and component.health.disable:
        # Of a probe podman is told only this: a container has its image's health check, or none.
        fields["disable"] = True
    if component.routes:
        # Of its routes a container knows only where it has to listen.
        fields["route_ports"] = sorted(component.route_ports)
    return _short([_SCHEME, fields])


def _hashed(component: Component) -> dict[str, object]:
    fields = {name: getattr(component, name) for name in _ALWAYS[Component]}
    return {**fields, **_later(component)}


def _later(struct: msgspec.Struct) -> dict[str, object]:
    """What it says in fields that came after the first version of the hash."""
    of = type(struct)
    said = _declared(struct)
    return {name: value for name, value in said.items() if name not in _ALWAYS[of] | _NOT_OF_THE_CONTAINER}


def newer_keys(component: Component) -> frozenset[str]:
    """The keys of its container that it says, and that came after the first version of the hash."""
    return frozenset(_later(component))


def definition_hash(component: Component) -> str:
    """A short hash of everything declared for ``component``, to tell whether two ends agree.

    What has its default is left out, so that ends of different versions agree on what both know. Whoever knows all but
    one short value can find that one with it: it is for those who may read the declaration.
    """
    return _short(_declared(component))


def _declared(struct: msgspec.Struct) -> dict[str, object]:
    """The fields that differ from their defaults. `omit_defaults` would not do: it compares by identity, not value."""
    of = type(struct)
    values = {name: getattr(struct, name) for name in struct.__struct_fields__}
    said = {name: value for name, value in values.items() if value != default_of(of, name)}
    return {name: _declared_value(value) for name, value in said.items()}


def _declared_value(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return _declared(value)
    return [_declared_value(each) for each in value] if isinstance(value, tuple) else value


@functools.cache
def default_of(of: type[msgspec.Struct], field: str) -> object:
    """A field's default; of a required field a value that equals nothing."""
    return _defaults(of)[field]


@functools.cache
def _defaults(of: type[msgspec.Struct]) -> dict[str, object]:
    return {
        each.name: each.default_factory() if each.default_factory is not msgspec.NODEFAULT else each.default
        for each in msgspec.structs.fields(of)
    }


def _short(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:16]
