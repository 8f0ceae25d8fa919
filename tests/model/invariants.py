"""What must hold after every step, once everything has come to rest."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

import trio

from monitor.model import Desired
from protos.mcp import v1
from protos.spec import examine_service
from protos.wire import service_spec, service_values

from .containers import Container
from .definitions import DOWN, FLAKY
from .expected import Key, essence, essence_of
from .inventory import images_are_told
from .routes import routes_are_true
from .runs import runs_are_true
from .secrets import secrets_are_true
from .steps import Step
from .world import TEMPORARY, World, by_name

# Longer than grace, resync, flap window and cooldown, than any probe needs, and than a silence is looked at again.
REST_S = 120.0

_STATES = {"created": "CREATED", "paused": "PAUSED", "exited": "EXITED"}

# How the drift of a job begins that has trouble with its runs.
_OF_RUNS = ("job failed", "job overdue")
# How the drift of a component begins whose routes the proxy does not have.
_OF_ROUTES = "its routes may not lead to it"


class Bystander(NamedTuple):
    """A container that a step has nothing to do with."""

    id: str
    runs_begun: int
    state: str
    forwarded: bool


def bystanders(world: World, step: Step) -> list[Bystander]:
    """Containers of services that ``step`` does not concern, and nobody's, unless something is about to befall them."""
    concerned = step.concerns(world)
    owners = {each.id: key for key, each in world.managed()}
    return [
        Bystander(each.id, each.runs_begun, each.state, each.forwarded)
        for each in world.podman.containers.values()
        if (owners[each.id][0] if each.id in owners else _named_after(each)) not in concerned and not each.is_restless
    ]


def _named_after(container: Container) -> str:
    return container.name.partition("-")[0]


async def check(world: World, untouched: list[Bystander]) -> None:
    await trio.sleep(REST_S)
    await _between_runs(world)
    _nothing_of_others_was_touched(world, untouched)
    _one_container_each(world)
    told = await world.status()
    for key in world.expected.wants:
        _status_is_true(world, key, told.get(key))
    # Of routes the node's own alert tells.
    drifting = {key for key, each in told.items() if each.drift and not each.drift.startswith(_OF_ROUTES)}
    await _alerts_are_those_of_the_drifts(world, drifting)
    await _definitions_come_back(world)
    await _jobs_are_as_told(world, told)
    await routes_are_true(world)
    runs_are_true(world)
    if not world.podman.is_down:
        await secrets_are_true(world)
        await images_are_told(world)


def _nothing_of_others_was_touched(world: World, untouched: list[Bystander]) -> None:
    for then in untouched:
        now = world.podman.containers.get(then.id)
        assert now is not None, f"{then} is gone, and nobody asked for that"
        seen = Bystander(now.id, now.runs_begun, now.state, now.forwarded)
        assert seen == then, f"{now.name} was touched: {seen} was {then}"


def _one_container_each(world: World) -> None:
    counts = Counter(key for key, _ in world.managed())
    assert max(counts.values(), default=1) == 1, f"more than one container: {counts}"
    for each in world.podman.containers.values():
        assert not each.name.endswith(TEMPORARY), f"{each.name} was left behind"


def _status_is_true(world: World, key: Key, told: v1.ComponentInfo | None) -> None:
    assert told is not None, f"{key} is declared, and status does not have it"
    desired = world.expected.desired(key)
    assert told.desired.name == desired.name, f"{key}: {told.desired.name} is told, {desired.name} is so"
    container = world.settled(key)
    observed = told.observed.name
    if container is None:
        assert observed in ("REMOVED", "UNKNOWN", "UNSPECIFIED"), f"{key} has no container, and is told as {observed}"
    else:
        assert observed in _true_states(world, key, container), f"{key}: {observed} is told; it is {container.state}"
        assert told.container_id == container.id, f"{key}: another container is told"
        if container.state == "exited" and _is_known_how_it_ended(container):
            assert told.exit_code == container.exit_code, f"{key}: another exit code is told"
    if desired is Desired.COMPLETED and container is not None and not _is_known_how_it_ended(container):
        return
    drifts = _drifts(world, key, desired, container)
    if told.drift.startswith(_OF_ROUTES):
        assert world.proxy.trouble, f"{key}: the proxy has its routes; told: {told.drift!r}"
        return
    if told.drift.startswith(_OF_RUNS) and not drifts:
        return
    assert bool(told.drift) == drifts, f"{key} {'drifts' if drifts else 'does not drift'}; told: {told.drift!r}"


def _is_known_how_it_ended(container: Container) -> bool:
    """Not when the clock was set back while it ran: podman's times are then those of one that nobody saw end."""
    begin, end = container.started_at, container.finished_at
    return begin is None or end is None or end >= begin


def _true_states(world: World, key: Key, container: Container) -> tuple[str, ...]:
    if container.state != "running":
        return (_STATES[container.state],)
    health = world.expected.wants[key].spec.health
    if health is None:
        return ("RUNNING",)
    return ("UNHEALTHY",) if _is_sick(world, key, container) else ("HEALTHY",)


def _is_sick(world: World, key: Key, container: Container) -> bool:
    health = world.expected.wants[key].spec.health
    if health is None:
        return False
    return health.cmd == DOWN.cmd or (health.cmd == FLAKY.cmd and container.ill)


def _drifts(world: World, key: Key, desired: Desired, container: Container | None) -> bool:
    if desired is Desired.IGNORE:
        return False
    if desired is Desired.STOPPED:
        return container is not None and container.runs
    if container is None:
        return True
    if desired is Desired.SCHEDULED and container.state == "paused":
        return True
    if desired is Desired.RUNNING and (container.state != "running" or _is_sick(world, key, container)):
        return True
    has_completed = container.state == "exited" and container.exit_code == 0
    if desired is Desired.COMPLETED and container.state != "running" and not has_completed:
        return True
    is_adopted = container.id in world.expected.adopted.values()
    return essence_of(container, is_adopted=is_adopted) != essence(key[0], world.expected.wants[key].spec)


async def _alerts_are_those_of_the_drifts(world: World, drifting: set[Key]) -> None:
    answer: v1.ListAlertsResponse = await world.daemon.call("ListAlerts", v1.ListAlertsRequest(limit=1000))
    about = [each for each in answer.alerts if each.component]
    unended = Counter((each.service, each.component, each.kind) for each in about if not _is_closed(each))
    about_whom = {(service, component) for service, component, _ in unended}
    assert about_whom == drifting, f"alerts are open of {about_whom}, and {drifting} drift"
    assert max(unended.values(), default=1) == 1, f"more than one open alert of a kind: {unended}"
    silenced = {each.service for each in answer.silences}
    told = Counter(each.id for each in world.alerts.told)
    for each in about:
        if each.suppressed_by:
            assert not told[each.id], f"alert {each.id} was suppressed by {each.suppressed_by}, and told"
            is_quiet = each.service in silenced or _is_closed(each) or each.kind == "recovered"
            assert is_quiet, f"alert {each.id} of {each.service}/{each.component} is open and never told"
        elif not world.may_repeat:
            assert told[each.id] == 1, f"alert {each.id} was told {told[each.id]} times"


def _is_closed(alert: v1.AlertInfo) -> bool:
    return alert.closed_at.timestamp() > 0 or alert.kind == "recovered"


def _jobs(world: World) -> list[Key]:
    return [key for key in world.expected.wants if world.expected.desired(key) is Desired.SCHEDULED]


async def _between_runs(world: World) -> None:
    """Until no job is about to begin or to end: what is told of it would be true a moment ago."""
    for _ in range(240):
        containers = [world.settled(key) for key in _jobs(world)]
        begins = not 5 < datetime.now(UTC).second < 50
        runs = any(it and it.state == "running" and "job" in it.image for it in containers)
        if not containers or not (runs or begins):
            return
        await trio.sleep(1)


async def _jobs_are_as_told(world: World, told: dict[Key, v1.ComponentInfo]) -> None:
    answer: v1.ListJobsResponse = await world.daemon.call("ListJobs", v1.ListJobsRequest(runs=100))
    listed = {(each.service, each.component): each for each in answer.jobs}
    assert {key for key, each in listed.items() if each.active} == set(_jobs(world))
    for key, job in listed.items():
        assert (job.next_at.timestamp() > 0) is job.active
        going = [each for each in job.runs if each.state == "running"]
        assert len(going) <= 1, f"{key}: {going} go on"
        container = world.settled(key)
        assert not going or world.podman.is_down or (container and container.runs), f"{key} is told to run: {container}"
        due = [each.due_at for each in job.runs if each.due_at.timestamp() > 0]
        assert len(set(due)) == len(due) or world.wall.was_set_back, f"{key}: due twice at {due}"
        counted = [each for each in job.runs if each.state != "stopped"]
        if told[key].drift.startswith(_OF_RUNS):
            assert counted, f"{key} has no run, and trouble with its runs: {told[key].drift}"
            assert counted[0].state not in ("succeeded",), f"{key} succeeded; told: {told[key].drift}"


async def _definitions_come_back(world: World) -> None:
    """What the registry gives back is what was declared, in every service that is declared."""
    for service in {key[0] for key in world.expected.wants}:
        found = await world.declared(service)
        assert found is not None, f"{service} is known, and its definition is not"
        told = by_name(found)
        _, problems = examine_service(service_values(found))
        assert not told or not problems, f"{service} comes back, and is no definition: {problems}"
        assert told == by_name(service_spec(world.as_declared(service))), f"{service} comes back as {told}"
