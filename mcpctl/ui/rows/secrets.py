"""The printed rows of secrets. None has a value."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mcpctl.ui.rows.wire import instant
from protos.mcp import v1


class SecretRow(msgspec.Struct, frozen=True):
    """A secret of ``secret list``. ``outdated``: those of ``used_by`` whose containers have another value."""

    node: str
    name: str
    set_at: datetime | None
    driver: str
    used_by: tuple[str, ...]
    outdated: tuple[str, ...]


class SecretSetRow(msgspec.Struct, frozen=True):
    """What ``secret set`` did. ``replaced``: it had a value; ``outdated``: components that run with another one."""

    node: str
    name: str
    replaced: bool
    outdated: tuple[str, ...]


class SecretRemovedRow(msgspec.Struct, frozen=True):
    """A secret that ``secret remove`` has removed."""

    node: str
    name: str


def secret_rows(answer: v1.ListSecretsResponse) -> list[SecretRow]:
    return [
        SecretRow(
            node=answer.node,
            name=each.name,
            set_at=instant(each.updated_at),
            driver=each.driver,
            used_by=tuple(each.used_by),
            outdated=tuple(each.outdated),
        )
        for each in answer.secrets
    ]


def secret_set_row(node: str, name: str, answer: v1.SetSecretResponse) -> SecretSetRow:
    return SecretSetRow(node, name, answer.replaced, tuple(answer.used_by))
