"""The SQL of what the node remembers of itself: its last boot, a restore, and what it told operators last."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from mcpd.registry import schema

_BOOT_ID = "boot_id"
_CERTIFICATE = "certificate_told"
_ALERT_IDS = "alert_ids_reserved"
# Before the name of a service: that its routes answer 503.
_MAINTENANCE = "maintenance "
# The containers that may answer for routes, as JSON.
_ADMITTED = "admitted"
# What is wrong with the proxy, as it was told.
_ROUTES = "routes_told"
# The fingerprints of the certificates of routes that end soon, of which that is told.
_ROUTE_CERTIFICATES = "route_certificates_told"
# Before the name of a filesystem: that it has little room is told.
_FULL_DISK = "full_disk "


def exchange_boot_id(db: sqlite3.Connection, boot_id: str) -> str:
    """Remembers this boot's id, and returns the last one; empty when there was none."""
    return _exchange(db, _BOOT_ID, boot_id)


def reserved_alert_ids(db: sqlite3.Connection) -> int:
    """The last alert's id that may have been given, also to an alert that a loss of power took back."""
    value = _value(db, _ALERT_IDS)
    return int(value) if value.isdecimal() else 0  # also when it was damaged


def reserve_alert_ids(db: sqlite3.Connection, last: int) -> None:
    _exchange(db, _ALERT_IDS, str(last))


def restored_from(db: sqlite3.Connection) -> str:
    """What this registry was restored from, as long as nobody was told; empty when it was not."""
    return _value(db, schema.RESTORED)


def forget_restore(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM facts_of_node WHERE name = ?", (schema.RESTORED,))


def is_news_of_certificate(db: sqlite3.Connection, serial: str) -> bool:
    """Whether nobody was told yet of the certificate with this serial number; remembers that somebody is now."""
    return _exchange(db, _CERTIFICATE, serial) != serial


def full_disks(db: sqlite3.Connection) -> frozenset[str]:
    """The filesystems of which it was told that they have little room, and not yet that they have more again."""
    names = db.execute("SELECT name FROM facts_of_node WHERE name GLOB ?", (f"{_FULL_DISK}*",))
    return frozenset(row["name"].removeprefix(_FULL_DISK) for row in names)


def put_full_disk(db: sqlite3.Connection, filesystem: str, reason: str) -> None:
    _exchange(db, _FULL_DISK + filesystem, reason)


def forget_full_disk(db: sqlite3.Connection, filesystem: str) -> None:
    db.execute("DELETE FROM facts_of_node WHERE name = ?", (_FULL_DISK + filesystem,))


def in_maintenance(db: sqlite3.Connection) -> frozenset[str]:
    """The services whose routes answer 503, because somebody said so."""
    names = db.execute("SELECT name FROM facts_of_node WHERE name GLOB ?", (f"{_MAINTENANCE}*",))
    return frozenset(row["name"].removeprefix(_MAINTENANCE) for row in names)


def put_maintenance(db: sqlite3.Connection, service: str, *, on: bool) -> None:
    if on:
        _exchange(db, _MAINTENANCE + service, "on")
    else:
        db.execute("DELETE FROM facts_of_node WHERE name = ?", (_MAINTENANCE + service,))


def admitted(db: sqlite3.Connection) -> str:
    """What was kept of it last; empty: nothing."""
    return _value(db, _ADMITTED)


def put_admitted(db: sqlite3.Connection, text: str) -> None:
    _exchange(db, _ADMITTED, text)


def exchange_route_problem(db: sqlite3.Connection, problem: str) -> str:
    """Remembers what is wrong with the proxy, "": nothing, and returns what was."""
    return _exchange(db, _ROUTES, problem)


def news_of_route_certificates(db: sqlite3.Connection, fingerprints: Collection[str]) -> frozenset[str]:
    """Those of these certificates of whose end nobody was told yet; remembers that somebody is now, of no others."""
    told = _exchange(db, _ROUTE_CERTIFICATES, " ".join(sorted(fingerprints)))
    return frozenset(fingerprints) - set(told.split())


def _exchange(db: sqlite3.Connection, name: str, value: str) -> str:
    """Remembers a fact of the node, and returns what it was; empty when it was not known."""
    before = _value(db, name)
    db.execute("INSERT OR REPLACE INTO facts_of_node (name, value) VALUES (?, ?)", (name, value))
    return before


def _value(db: sqlite3.Connection, name: str) -> str:
    row = db.execute("SELECT value FROM facts_of_node WHERE name = ?", (name,)).fetchone()
    return str(row["value"]) if row else ""
