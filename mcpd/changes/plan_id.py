"""The id of a plan: who deploys it deploys that plan, or nothing. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec

from mcpd.changes.secret_use import SecretUse
from mcpd.model import Container, RecordedService
from protos.spec import Service


def plan_id(
    service: Service,
    selected: Collection[str],
    recorded: RecordedService | None,
    containers: Collection[Container],
    force: bool,
    secrets: SecretUse,
) -> str:
    """Three short hashes: of the request, of the registry's revision, and of what podman has."""
    found = sorted((each.name, each.id, each.state, each.spec_hash) for each in containers)
    observed = (found, sorted(secrets.ids.items()))
    revision = recorded.revision if recorded else 0
    return "-".join(map(_short_hash, ((service, sorted(selected), force), revision, observed)))


def _short_hash(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:8]
