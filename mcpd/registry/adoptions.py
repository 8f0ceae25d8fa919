"""Adopted containers: the labels that they would have, had mcpd made them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from mcpd.model import LABEL_COMPONENT, LABEL_SERVICE, LABEL_SPEC_HASH
from mcpd.registry.events import add_event
from mcpd.registry.services import put_service
from mcpd.registry.store import Registry
from protos.spec import Component, Service


class Adopted(msgspec.Struct, frozen=True):
    """One container, by podman's id, and the component that it is; ``spec`` describes what it was made from."""

    container: str
    service: str
    spec: Component
    spec_hash: str


class Adoptions:
    """Every method is one transaction. Raises RegistryError."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def labels(self) -> Mapping[str, Mapping[str, str]]:
        """Our labels of every adopted container, by its id."""
        rows = await self._registry.ask(lambda db: db.execute("SELECT * FROM adopted").fetchall())
        return {
            row["container"]: {
                LABEL_SERVICE: row["service"],
                LABEL_COMPONENT: row["component"],
                LABEL_SPEC_HASH: row["spec_hash"],
            }
            for row in rows
        }

    async def add(
        self,
        service: Service,
        declared: Mapping[str, str],
        adopted: Sequence[Adopted],
        present: Collection[str],
        caller: str,
        now: datetime,
    ) -> None:
        """Records adopted containers, and the intent for the components that ``declared`` names with its spec hash.

        Forgets those that are not among the ``present`` containers any more.
        """

        def write(db: sqlite3.Connection) -> None:
            put_service(db, service, declared, now)
            for each in adopted:
                db.execute(
                    "INSERT OR REPLACE INTO adopted (container, service, component, spec_hash) VALUES (?, ?, ?, ?)",
                    (each.container, each.service, each.spec.name, each.spec_hash),
                )
                db.execute(
                    "UPDATE components SET deployed = ? WHERE service = ? AND name = ?",
                    (msgspec.json.encode(each.spec).decode(), each.service, each.spec.name),
                )
                add_event(db, each.service, each.spec.name, "adopted", each.spec.image, caller, now)
            gone = {row["container"] for row in db.execute("SELECT container FROM adopted")} - set(present)
            db.executemany("DELETE FROM adopted WHERE container = ?", [(each,) for each in gone])

        await self._registry.transact(write, changes_services=True)
