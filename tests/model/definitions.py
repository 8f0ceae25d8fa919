"""What a model's operator writes: definitions, and every way to edit one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

import msgspec

from protos.parts import Heal, Health, Route, Secret, Update
from protos.spec import Component, Service, examine_service
from protos.validation import plain

from .daemon import NODE
from .images import IMAGES, JOB, V1

SERVICES = ("web", "shop", "ops")
# What components are called; `api` and `db` are there at first.
NAMES = ("api", "db", "cache", "job")
PORTS = ("18080:80", "18081:80", "127.0.0.1:18080:80")
FOREIGN_PORT = 18081
# A node that is not the model's.
ELSEWHERE = "raft"
_INTERVAL = timedelta(seconds=10)


def probe(argv: str) -> Health:
    return Health(cmd=(argv,), interval=_INTERVAL, timeout=timedelta(seconds=2), retries=2)


# Of a few names, so that two services sometimes claim the same.
_A, _B = "a.example.net", "b.example.net"
ROUTES: tuple[tuple[Route, ...], ...] = (
    (Route(_A, port=80),),
    (Route(_B),),
    (Route(_A, path="/api"), Route(_B, port=80)),
    (Route(_A), Route("*.example.net", name="admin")),
    (Route(_A),),
    (),
)
# Due within a history, and by a clock that somebody sets, many times or hardly ever.
SCHEDULES = ("*/7 * * * *", "20 * * * *", "0 */3 * * *")
# Of two secrets, each as a file and as a variable.
SECRETS: tuple[tuple[str | Secret, ...], ...] = (
    ("key",),
    (Secret("key", env="KEY"),),
    ("token", Secret("key", env="KEY")),
    ("key", Secret("token", env="TOKEN")),
    (Secret("token", env="TOKEN"),),
    (),
)
UPDATES = (None, Update.START_FIRST, Update.STOP_FIRST)

UP, FLAKY, DOWN = probe("up"), probe("flaky"), probe("down")
PROBES = (None, UP, FLAKY, DOWN, msgspec.structs.replace(FLAKY, retries=1))


def first(name: str) -> Service:
    """A service as its operator writes it first."""
    return Service(name, NODE, (Component("api", V1, depends_on=("db",)), Component("db", V1)))


class Edit(StrEnum):
    NONE = "none"
    IMAGE = "image"
    PROBE = "probe"
    ENV = "env"
    PORT = "port"
    CAPABILITY = "capability"
    ACTIVE = "active"
    SERVICE_ACTIVE = "service active"
    RENAME = "rename"
    ADD = "add"
    REMOVE = "remove"
    ORDER = "order"
    ONESHOT = "oneshot"
    SCHEDULE = "schedule"
    HEAL = "heal"
    RESTART = "restart"
    STOP_TIMEOUT = "stop timeout"
    NODE = "node"
    ROUTES = "routes"
    UPDATE = "update"
    SECRETS = "secrets"


def edited(service: Service, edit: Edit, place: int, value: int) -> Service:
    """``service`` with one of its components, or itself, edited; as it was when that makes no valid definition."""
    if edit is Edit.SERVICE_ACTIVE:
        changed = msgspec.structs.replace(service, active=not service.active)
    elif edit is Edit.NODE:
        changed = msgspec.structs.replace(service, node=ELSEWHERE if service.node == NODE else NODE)
    elif edit in _OF_ALL:
        changed = _of_all(service, edit, place, value)
    else:
        chosen = service.components[place % len(service.components)]
        new = _component(chosen, edit, value)
        parts = tuple(new if each is chosen else each for each in service.components)
        changed = msgspec.structs.replace(service, components=parts)
    found, problems = examine_service(plain(changed))
    return service if problems or found is None else found


_OF_ALL = (Edit.RENAME, Edit.ADD, Edit.REMOVE, Edit.ORDER)


def _of_all(service: Service, edit: Edit, place: int, value: int) -> Service:
    parts = list(service.components)
    index = place % len(parts)
    free = [each for each in NAMES if each not in service.component_names]
    if edit is Edit.REMOVE and len(parts) > 1:
        del parts[index]
    elif edit is Edit.ADD and free:
        parts.append(Component(free[value % len(free)], V1))
    elif edit is Edit.RENAME and free:
        parts[index] = msgspec.structs.replace(parts[index], name=free[value % len(free)])
    elif edit is Edit.ORDER:
        parts.reverse()
    names = {each.name for each in parts}
    kept = [msgspec.structs.replace(each, depends_on=tuple(sorted(names & set(each.depends_on)))) for each in parts]
    if edit is Edit.ORDER and len(kept) > 1:
        # The first needs the last, and nobody else needs anybody.
        wanted = {kept[0].name: (kept[-1].name,)} if value % 2 else {}
        kept = [msgspec.structs.replace(each, depends_on=wanted.get(each.name, ())) for each in kept]
    return msgspec.structs.replace(service, components=tuple(kept))


_OF_WHAT_ENDS: dict[str, object] = {"health": None, "restart": "no", "heal": None, "routes": (), "update": None}


def _component(component: Component, edit: Edit, value: int) -> Component:
    images = [name for name in IMAGES if ("/job" in name) == component.ends]
    changes: dict[Edit, Callable[[], dict[str, object]]] = {
        Edit.NONE: dict,
        Edit.IMAGE: lambda: {"image": images[value % len(images)]},
        # What always finds fault is not healed, or it would be restarted for ever.
        Edit.PROBE: lambda: _probed(component, PROBES[value % len(PROBES)]),
        Edit.ENV: lambda: {"env": {"A": str(value % 3)}},
        Edit.PORT: lambda: {"ports": () if component.ports and value % 2 else (PORTS[value % len(PORTS)],)},
        Edit.CAPABILITY: lambda: {"cap_add": () if component.cap_add else ("NET_ADMIN",)},
        Edit.ACTIVE: lambda: {"active": not component.active},
        Edit.ONESHOT: lambda: {
            "oneshot": not component.oneshot,
            "schedule": None,
            "image": V1 if component.oneshot else JOB,
            **_OF_WHAT_ENDS,
        },
        Edit.SCHEDULE: lambda: {
            "schedule": None if component.is_job and value % 3 else SCHEDULES[value % len(SCHEDULES)],
            "oneshot": False,
            "image": V1 if component.is_job and value % 3 else component.image if component.ends else JOB,
            **_OF_WHAT_ENDS,
        },
        Edit.HEAL: lambda: {"heal": None if _is_never_well(component) else (None, Heal.ALERT, Heal.RESTART)[value % 3]},
        Edit.RESTART: lambda: {
            "restart": ("no", "no" if component.is_job else "on-failure" if component.oneshot else "always")[value % 2]
        },
        Edit.STOP_TIMEOUT: lambda: {"stop_timeout": timedelta(seconds=1 + value % 3)},
        Edit.ROUTES: lambda: {
            "routes": ROUTES[value % len(ROUTES)],
            "drain_timeout": timedelta(seconds=value % 3),
        },
        Edit.SECRETS: lambda: {"secrets": SECRETS[value % len(SECRETS)]},
        Edit.UPDATE: lambda: {"update": UPDATES[value % len(UPDATES)]},
    }
    return msgspec.structs.replace(component, **changes[edit]())


def _is_never_well(component: Component) -> bool:
    return component.ends or component.health == DOWN


def _probed(component: Component, health: Health | None) -> dict[str, object]:
    if component.ends:
        return {}
    return {"health": health} | ({"heal": None} if health == DOWN else {})
