"""The spec hash: equal when a running container would not differ from what the definition asks for."""

from __future__ import annotations

import hashlib

import msgspec

from protos.spec import Component

# Part of the hash: raise it when the same declaration starts to make a different container.
_SCHEME = "1"

# What mcpd itself uses and no container is made from: changing these never recreates anything.
_NOT_OF_THE_CONTAINER = ("name", "active", "depends_on", "settle", "heal", "health")


def spec_hash(component: Component) -> str:
    """A short hash of everything in ``component`` that its container is made from. Not a secret, nor a defence."""
    fields = {
        name: getattr(component, name) for name in component.__struct_fields__ if name not in _NOT_OF_THE_CONTAINER
    }
    canonical = msgspec.json.encode([_SCHEME, fields], order="sorted")
    return hashlib.sha256(canonical).hexdigest()[:16]
