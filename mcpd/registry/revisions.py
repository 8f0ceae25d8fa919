"""The SQL of revisions: what deploys have made of a service, so that it can be deployed again.

Every function runs within a transaction of `mcpd.registry.store.Registry`.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec

from mcpd.registry.schema import from_us, to_us
from mcpd.registry.services import read_service
from protos.spec import Service


class Revision(msgspec.Struct, frozen=True):
    """What a deploy made of a service. ``caller`` "": it ran before revisions were kept, or was adopted.

    ``restores``: the revision that a rollback went back to, and that it is the same as; 0: it was no rollback.
    """

    number: int
    at: datetime
    caller: str
    restores: int
    definition: Service


def keep_present(db: sqlite3.Connection, service: str, node: str) -> None:
    """Keeps what runs before the first deploy that is kept: adopted, or deployed by an mcpd that kept none."""
    if db.execute("SELECT 1 FROM revisions WHERE service = ?", (service,)).fetchone():
        return
    known = read_service(db, service)
    if known and (definition := known.as_deployed(node)):
        _insert(db, Revision(1, known.updated_at, "", 0, definition))


def keep(db: sqlite3.Connection, service: str, node: str, caller: str, restores: int, most: int, now: datetime) -> None:
    """Keeps what the service is made from now, unless that is what the newest revision says; ``most`` in all."""
    known = read_service(db, service)
    definition = known.as_deployed(node) if known else None
    newest = _newest(db, service)
    if definition is None or (newest and newest.definition == definition):
        return
    number = newest.number + 1 if newest else 1
    _insert(db, Revision(number, now, caller, restores, definition))
    db.execute("DELETE FROM revisions WHERE service = ? AND number <= ?", (service, number - most))


def is_newest(db: sqlite3.Connection, service: str, node: str) -> bool:
    """Whether the newest revision says what the service is made from now; also when there is no revision at all."""
    known, newest = read_service(db, service), _newest(db, service)
    return known is None or newest is None or newest.definition == known.as_deployed(node)


def read_revisions(db: sqlite3.Connection, service: str, limit: int) -> list[Revision]:
    """The newest ``limit``, newest first. Raises msgspec.DecodeError for what is none."""
    query = "SELECT * FROM revisions WHERE service = ? ORDER BY number DESC LIMIT ?"
    return [_revision(row) for row in db.execute(query, (service, limit)).fetchall()]


def read_revision(db: sqlite3.Connection, service: str, number: int) -> Revision | None:
    row = db.execute("SELECT * FROM revisions WHERE service = ? AND number = ?", (service, number)).fetchone()
    return _revision(row) if row else None


def prune_revisions(db: sqlite3.Connection, before: datetime) -> int:
    """Removes those of services that are not here any more, and were deployed last before then."""
    query = (
        "DELETE FROM revisions WHERE service NOT IN (SELECT name FROM services) AND service IN "
        "(SELECT service FROM revisions GROUP BY service HAVING max(at) < ?)"
    )
    return db.execute(query, (to_us(before),)).rowcount


def _newest(db: sqlite3.Connection, service: str) -> Revision | None:
    return next(iter(read_revisions(db, service, 1)), None)


def _insert(db: sqlite3.Connection, new: Revision) -> None:
    db.execute(
        "INSERT INTO revisions (service, number, at, caller, restores, definition) VALUES (?, ?, ?, ?, ?, ?)",
        (
            *(new.definition.name, new.number, to_us(new.at), new.caller, new.restores),
            msgspec.json.encode(new.definition).decode(),
        ),
    )


def _revision(row: sqlite3.Row) -> Revision:
    definition = msgspec.json.decode(row["definition"], type=Service)
    return Revision(row["number"], from_us(row["at"]), row["caller"], row["restores"], definition)
