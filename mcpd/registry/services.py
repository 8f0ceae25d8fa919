"""The SQL of services and components: what is wanted of them, and how they were last seen.

Every function runs within a transaction of `mcpd.registry.store.Registry`.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import msgspec

from mcpd.model import RecordedComponent, RecordedService
from mcpd.registry import jobs
from mcpd.registry.schema import from_us, to_us
from monitor.model import Desired, Observed
from protos.fingerprint import definition_hash
from protos.parts import NetworkDeclaration, Volume
from protos.spec import Component, Service

# Specs whose hash is remembered: a change of one component reads all of them again.
_KNOWN_HASHES = 4096


class Declared(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a service declares beside its components."""

    volumes: Mapping[str, Volume] = {}
    networks: Mapping[str, NetworkDeclaration] = {}


def put_service(db: sqlite3.Connection, service: Service, hashes: Mapping[str, str], now: datetime) -> None:
    """As `Registry.put_service`."""
    _touch_service(db, service.name, service.active, now)
    declared = msgspec.json.encode(Declared(service.volumes, service.networks)).decode()
    db.execute("UPDATE services SET declared = ? WHERE name = ?", (declared, service.name))
    for position, component in enumerate(service.components):
        if component.name in hashes:
            _put_component(db, service, component, position, hashes[component.name])
    _refresh_desired(db, service.name)
    _ignore_others(db, service)
    _recall_observed(db, service.name)


def ignore_services_but(db: sqlite3.Connection, names: Collection[str], now: datetime) -> tuple[str, ...]:
    """As `Registry.ignore_services_but`."""
    query = "SELECT DISTINCT service FROM components WHERE desired != ?"
    news = sorted({row["service"] for row in db.execute(query, (Desired.IGNORE,))} - set(names))
    for name in news:
        db.execute("UPDATE components SET desired = ? WHERE service = ?", (Desired.IGNORE, name))
        _touch_service(db, name, None, now)
        jobs.count_no_more(db, name)
    return tuple(news)


def set_active(db: sqlite3.Connection, service: str, component: str, active: bool, now: datetime) -> None:
    """As `Registry.set_active`."""
    if component:
        row = db.execute("SELECT spec FROM components WHERE service = ? AND name = ?", (service, component)).fetchone()
        spec = msgspec.structs.replace(msgspec.json.decode(row["spec"], type=Component), active=active)
        db.execute(
            "UPDATE components SET spec = ? WHERE service = ? AND name = ?", (_spec_json(spec), service, component)
        )
    _touch_service(db, service, None if component else active, now)
    _refresh_desired(db, service)


def forget(db: sqlite3.Connection, service: str, components: Iterable[str], now: datetime) -> bool:
    """As `Registry.forget`; returns whether anything is left of the service."""
    db.executemany("DELETE FROM components WHERE service = ? AND name = ?", [(service, name) for name in components])
    jobs.forget(db, service)
    left = db.execute("SELECT count(*) FROM components WHERE service = ?", (service,)).fetchone()[0]
    if left:
        _touch_service(db, service, None, now)
    else:
        db.execute("DELETE FROM services WHERE name = ?", (service,))
    return bool(left)


def read_services(db: sqlite3.Connection) -> dict[str, RecordedService]:
    """Every service by its name, in the order of their names. Raises msgspec.DecodeError for what is none."""
    try:
        return _services(db)
    except (ValueError, OverflowError) as error:  # an enum's value that is none, a time that is none
        raise msgspec.DecodeError(str(error)) from error


def read_service(db: sqlite3.Connection, name: str) -> RecordedService | None:
    """One service. Raises as `read_services`."""
    return _services(db, name).get(name)


def _touch_service(db: sqlite3.Connection, name: str, active: bool | None, now: datetime) -> None:
    db.execute(
        "INSERT INTO services (name, active, revision, updated_at) VALUES (:name, coalesce(:active, 1), 1, :now) "
        "ON CONFLICT (name) DO UPDATE SET active = coalesce(:active, active), revision = revision + 1, "
        "updated_at = :now",
        {"name": name, "active": active, "now": to_us(now)},
    )


def _put_component(
    db: sqlite3.Connection, service: Service, component: Component, position: int, spec_hash: str
) -> None:
    db.execute(
        "INSERT INTO components (service, name, position, spec, spec_hash, image, version, container, desired) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, '') "
        "ON CONFLICT (service, name) DO UPDATE SET position = excluded.position, spec = excluded.spec, "
        "spec_hash = excluded.spec_hash, image = excluded.image, version = excluded.version, "
        "container = excluded.container, desired = excluded.desired",
        (
            service.name,
            component.name,
            position,
            _spec_json(component),
            spec_hash,
            component.image,
            component.version,
            service.container(component.name),
        ),
    )


def _refresh_desired(db: sqlite3.Connection, service: str) -> None:
    """Desired state follows from the two `active` flags (audit E3); `oneshot` and `schedule` say what active means."""
    db.execute(
        "UPDATE components SET desired = CASE "
        "WHEN NOT (SELECT active FROM services WHERE name = service) "
        "OR NOT coalesce(json_extract(spec, '$.active'), 1) THEN :stopped "
        "WHEN json_extract(spec, '$.schedule') IS NOT NULL THEN :scheduled "
        "WHEN json_extract(spec, '$.oneshot') THEN :completed ELSE :running END "
        "WHERE service = :service AND desired != :ignore",
        {
            "service": service,
            "running": Desired.RUNNING,
            "stopped": Desired.STOPPED,
            "completed": Desired.COMPLETED,
            "scheduled": Desired.SCHEDULED,
            "ignore": Desired.IGNORE,
        },
    )
    jobs.count_no_more(db, service)


def _ignore_others(db: sqlite3.Connection, service: Service) -> None:
    marks = ", ".join("?" * len(service.components))
    db.execute(
        f"UPDATE components SET desired = ? WHERE service = ? AND name NOT IN ({marks})",
        (Desired.IGNORE, service.name, *service.component_names),
    )
    jobs.count_no_more(db, service.name)


def _recall_observed(db: sqlite3.Connection, service: str) -> None:
    """What the monitor knows of a container since before its component was recorded, as it does in a first deploy."""
    known = (
        "FROM containers WHERE json_extract(known, '$.service') = service "
        "AND json_extract(known, '$.component') = components.name AND json_extract(known, '$.name') = container"
    )
    db.execute(
        f"UPDATE components SET observed = (SELECT json_extract(known, '$.state') {known}), "
        f"container_id = (SELECT id {known}), "
        "observed_at = (SELECT updated_at FROM services WHERE services.name = service) "
        f"WHERE service = ? AND observed_at IS NULL AND EXISTS (SELECT 1 {known})",
        (service,),
    )


def _services(db: sqlite3.Connection, only: str = "") -> dict[str, RecordedService]:
    components: dict[str, list[RecordedComponent]] = {}
    wanted = {"only": only}
    query = (
        "SELECT c.*, coalesce(j.trouble, '') AS trouble FROM components AS c "
        "LEFT JOIN jobs AS j ON j.service = c.service AND j.component = c.name "
        "WHERE :only IN ('', c.service) ORDER BY c.position, c.name"
    )
    for row in db.execute(query, wanted):
        components.setdefault(row["service"], []).append(_component(row))
    return {
        row["name"]: RecordedService(
            row["name"],
            bool(row["active"]),
            row["revision"],
            from_us(row["updated_at"]),
            tuple(components.get(row["name"], ())),
            **msgspec.structs.asdict(msgspec.json.decode(row["declared"], type=Declared)),
        )
        for row in db.execute("SELECT * FROM services WHERE :only IN ('', name) ORDER BY name", wanted)
    }


@functools.lru_cache(_KNOWN_HASHES)
def _definition_hash(spec: str) -> str:
    return definition_hash(msgspec.json.decode(spec, type=Component))


def _component(row: sqlite3.Row) -> RecordedComponent:
    return RecordedComponent(
        service=row["service"],
        spec=msgspec.json.decode(row["spec"], type=Component),
        spec_hash=row["spec_hash"],
        container=row["container"],
        desired=Desired(row["desired"]),
        observed=Observed(row["observed"]),
        observed_at=None if row["observed_at"] is None else from_us(row["observed_at"]),
        container_id=row["container_id"],
        deployed=None if row["deployed"] is None else msgspec.json.decode(row["deployed"], type=Component),
        definition_hash=_definition_hash(row["spec"]),
        trouble=row["trouble"],
    )


def _spec_json(component: Component) -> str:
    return msgspec.json.encode(component).decode()
