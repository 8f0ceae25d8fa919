"""A service on the wire and off it: the one place where a definition becomes a message, and a message plain values.

A field of `protos.spec` goes into the message's field of the same name, and what has its default is not sent, so that
a new key needs nothing here. What comes off the wire is checked by `protos.spec.examine_service` before anybody
believes it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from enum import Enum
from typing import Any

import betterproto
import msgspec

from protos.fingerprint import default_of
from protos.mcp import v1
from protos.parts import (
    Build,
    ConfigFile,
    Health,
    Log,
    Mount,
    Network,
    NetworkDeclaration,
    Resources,
    Route,
    Secret,
    Volume,
)
from protos.spec import Component, Service
from protos.validation import Invalid, Problem

_MESSAGES: dict[type[msgspec.Struct], type[betterproto.Message]] = {
    Build: v1.Build,
    Component: v1.ComponentSpec,
    ConfigFile: v1.ConfigFile,
    Health: v1.Health,
    Log: v1.Log,
    Mount: v1.Mount,
    Network: v1.NetworkJoin,
    NetworkDeclaration: v1.NetworkDeclaration,
    Resources: v1.Resources,
    Route: v1.Route,
    Secret: v1.Secret,
    Volume: v1.VolumeDeclaration,
}
# Fields that the message calls otherwise.
_CALLED: dict[type[msgspec.Struct], dict[str, str]] = {Resources: {"memory": "memory_bytes"}}
# Lists that can be empty and set, which a repeated field cannot.
_COMMANDS: dict[type[msgspec.Struct], frozenset[str]] = {
    Component: frozenset({"entrypoint"}),
    Health: frozenset({"cmd"}),
}
# Lists of strings and tables: the tables have a field of their own, behind the strings.
_TABLES: dict[type[msgspec.Struct], dict[str, str]] = {
    Component: {"secrets": "secret_tables", "volumes": "volume_tables"}
}
# What mcpctl reads, and puts elsewhere before it sends anything.
_NEVER_SENT: dict[type[msgspec.Struct], frozenset[str]] = {
    Component: frozenset({"env_file"}),
    ConfigFile: frozenset({"source"}),
}
# The highest number of a field that an mcpd before 0.2 knows.
_LAST_FIRST_FIELD: dict[type[msgspec.Struct], int] = {Component: 17, Health: 7, Resources: 3}


def service_spec(service: Service) -> v1.ServiceSpec:
    components = [_message(each) for each in service.components]
    message = v1.ServiceSpec(name=service.name, node=service.node, active=service.active)
    if service.volumes:
        message.volumes = {name: _message(each) for name, each in service.volumes.items()}
    if service.networks:
        message.networks = {name: _message(each) for name, each in service.networks.items()}
    if service.volumes or service.networks or any(map(_says_more, components)):
        message.extended_components = components
    else:
        message.components = components
    return message


def _message(struct: msgspec.Struct) -> Any:
    of: type[msgspec.Struct] = type(struct)
    made: dict[str, Any] = {}
    for field in _fields(of):
        value = getattr(struct, field)
        if value == default_of(of, field):
            continue
        if field in _COMMANDS.get(of, ()):
            made[field] = v1.Command(argv=list(value))
        elif field in _TABLES.get(of, {}):
            parts = {
                field: [each for each in value if isinstance(each, str)],
                _TABLES[of][field]: [_message(each) for each in value if not isinstance(each, str)],
            }
            made |= {name: entries for name, entries in parts.items() if entries}
        else:
            made[_CALLED.get(of, {}).get(field, field)] = _sent(of, field, value)
    return _MESSAGES[of](**made)


def _sent(of: type[msgspec.Struct], field: str, value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _message(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        if (of, field) == (Component, "networks"):
            value = tuple(map(Network.of, value))
        return [_message(each) if isinstance(each, msgspec.Struct) else each for each in value]
    return value


def service_values(message: v1.ServiceSpec) -> dict[str, Any]:
    """The values as in a definition file, without unset fields.

    Raises Invalid for a message of a newer mcpctl, with fields that are not known here: to leave them out would deploy
    something else than was declared.
    """
    components = message.extended_components or message.components
    values: dict[str, Any] = {"name": message.name, "node": message.node, "active": message.active}
    values["components"] = [_values(each, Component) for each in components]
    for field, of in (("volumes", Volume), ("networks", NetworkDeclaration)):
        if declared := getattr(message, field):
            values[field] = {name: _values(each, of) for name, each in declared.items()}
    _check_known(message)
    return without_none(**values)


def _values(message: Any, of: type[msgspec.Struct]) -> dict[str, Any]:
    """What is set in a message, by the fields of the struct that it stands for."""
    _check_known(message)
    found: dict[str, Any] = {}
    said = {name for name, value in vars(message).items() if value is not betterproto.PLACEHOLDER and value is not None}
    for field in _fields(of):
        name = _CALLED.get(of, {}).get(field, field)
        value = _received(getattr(message, name), of, field) if name in said else None
        tables = _TABLES.get(of, {}).get(field)
        if tables and tables in said:
            value = [*(value or ()), *_received(getattr(message, tables), of, field)]
        # What cannot be unset on the wire counts as unset when it is empty.
        if value not in (None, "") or (value == "" and name in _optional(message)):
            found[field] = value
    return found


def _received(value: Any, of: type[msgspec.Struct], field: str) -> Any:
    if isinstance(value, v1.Command):
        return list(value.argv)
    if isinstance(value, betterproto.Message):
        return _values(value, _STRUCTS[type(value)])
    if isinstance(value, list):
        return [_received(each, of, field) for each in value]
    return value


_STRUCTS = {message: struct for struct, message in _MESSAGES.items()}


@functools.cache
def _fields(of: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(each for each in of.__struct_fields__ if each not in _NEVER_SENT.get(of, ()))


def _optional(message: Any) -> frozenset[str]:
    return frozenset(name for name, meta in message._betterproto.meta_by_field_name.items() if meta.optional)


def _check_known(message: Any) -> None:
    if message._unknown_fields:
        words = "says something that this version does not know: update the older one of mcpctl and mcpd"
        problem = Problem("", words)
        raise Invalid("the definition", [problem])


def _says_more(component: v1.ComponentSpec) -> bool:
    """Whether it has what an mcpd before 0.2 does not know."""
    parts: list[Any] = [component, *([component.health] if component.is_set("health") else [])]
    parts += [component.resources] if component.is_set("resources") else []
    return any(
        message.is_set(name) and meta.number > _LAST_FIRST_FIELD[_STRUCTS[type(message)]]
        for message in parts
        for name, meta in message._betterproto.meta_by_field_name.items()
    )


def without_none(**values: Any) -> dict[str, Any]:
    """Those of ``values`` that are set."""
    return {key: value for key, value in values.items() if value is not None}
