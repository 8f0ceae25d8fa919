"""The hashes of a component, computed at both ends: of what its container is created from, and of all declared."""

from __future__ import annotations

import functools
import hashlib

import msgspec

from protos.spec import Component

# Part of the hash: raise it when the same declaration starts to create a different container.
_SCHEME = "1"

# Fields that only mcpd uses: changing them never recreates a container.
_NOT_OF_THE_CONTAINER = ("name", "active", "depends_on", "settle", "heal", "health")


def spec_hash(component: Component) -> str:
    """A short hash of everything in ``component`` that its container is created from. Not a security measure.

    Equal when a running container would not differ from what the definition asks for.
    """
    fields = {
        name: getattr(component, name) for name in component.__struct_fields__ if name not in _NOT_OF_THE_CONTAINER
    }
    return _short([_SCHEME, fields])


def definition_hash(component: Component) -> str:
    """A short hash of everything declared for ``component``, to tell whether two ends agree.

    What has its default is left out, so that ends of different versions agree on what both know. Whoever knows all but
    one short value can find that one with it: it is for those who may read the declaration.
    """
    return _short(_declared(component))


def _declared(struct: msgspec.Struct) -> dict[str, object]:
    """The fields that differ from their defaults. `omit_defaults` would not do: it compares by identity, not value."""
    defaults = _defaults(type(struct))
    values = {name: getattr(struct, name) for name in struct.__struct_fields__}
    said = {name: value for name, value in values.items() if value != defaults[name]}
    return {name: _declared(value) if isinstance(value, msgspec.Struct) else value for name, value in said.items()}


@functools.cache
def _defaults(of: type[msgspec.Struct]) -> dict[str, object]:
    """The defaults by field; a required field has a value that equals nothing."""
    return {
        each.name: each.default_factory() if each.default_factory is not msgspec.NODEFAULT else each.default
        for each in msgspec.structs.fields(of)
    }


def _short(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:16]
