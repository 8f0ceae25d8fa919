"""The steps of a model's histories: each is a value that prints as what makes it, so that a history can be replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec
import trio

from mcpd.errors import ConflictError, McpdError, NotFoundError
from mcpd.registry.snapshots.restore import restore
from mcpd.registry.snapshots.take import take as take_snapshot
from monitor.model import Desired
from protos.mcp import v1
from protos.spec import Service, examine_service
from protos.wire import service_spec, service_values

from .after_a_deploy import Then, is_as_before, is_done, is_the_newest_revision, words_of
from .containers import Container
from .daemon import NODE, KilledError
from .definitions import FOREIGN_PORT, SERVICES, Edit, edited, first
from .expected import Expected, Want
from .images import V1
from .podman import PretendedPodman
from .proxy import leads_to
from .routes import CLAIMED, claimed, place
from .runs import runs_of
from .world import World

_HOUR = 3600


class Step(Protocol):
    async def take(self, world: World) -> None:
        """Does it; raises AssertionError for what must not be."""

    def concerns(self, world: World) -> frozenset[str]:
        """The services whose containers it may touch."""


class _OfNobody:
    """What touches no service's containers."""

    def concerns(self, world: World) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Wait(_OfNobody):
    """Nothing happens for so long."""

    seconds: int = 0

    async def take(self, world: World) -> None:
        await trio.sleep(self.seconds)


@dataclass(frozen=True)
class _OfService:
    service: str

    def concerns(self, world: World) -> frozenset[str]:
        return frozenset({self.service})


@dataclass(frozen=True)
class Write(_OfService):
    """The operator edits a definition, and does nothing about it yet."""

    edit: Edit
    place: int = 0
    value: int = 0

    async def take(self, world: World) -> None:
        now = world.folder.get(self.service, first(self.service))
        world.folder[self.service] = edited(now, self.edit, self.place, self.value)


@dataclass(frozen=True)
class Deploy(_OfService):
    """Edits, and deploys; ``alone``: only the component at ``place``. ``fuse``: the daemon is killed on the way."""

    edit: Edit = Edit.NONE
    place: int = 0
    value: int = 0
    force: bool = False
    alone: bool = False
    accept_losses: bool = False
    fuse: int | None = None
    restores: int = 0

    async def take(self, world: World) -> None:
        await Write(self.service, self.edit, self.place, self.value).take(world)
        service = world.folder[self.service]
        component = service.components[self.place % len(service.components)].name if self.alone else ""
        selected = frozenset({component} if component else service.component_names)
        before = {each.id: Then.of(each) for each in world.of_service(service.name).values()}
        excuses = world.excuses(service, selected)
        expected, after = world.expected, world.expected.declared(service, selected)
        request = v1.DeployRequest(
            service=service_spec(service),
            component=component,
            force=self.force,
            accept_losses=self.accept_losses,
            restores=self.restores,
        )
        taken = claimed(world.expected, service, selected)
        world.coming, world.known = service, {*world.podman.every}
        try:
            plan = await world.plan(service, component, force=self.force)
            self._nobody_should_notice(world, service, plan)
            world.daemon.fuse = self.fuse
            answers = await world.daemon.call("Deploy", request)
            world.daemon.fuse = None
            assert answers[-1].completed is not None, "a deploy's stream ended without a word"
        except KilledError:
            await world.come_back()
            await world.find_out(self.service, expected, after)
            return
        except McpdError as error:
            world.daemon.fuse = None
            await self._is_refused(world, before, excuses, taken, f"{error}; {service}")
            return
        finally:
            world.deployed()
        assert not taken, f"{taken}, and it was deployed"
        if all(each.action == "none" for each in plan.components):
            after = _found_so(expected, after)
        world.expected = after
        assert self.accept_losses or not plan.losses, f"nobody accepted {plan.losses}"
        self._nothing_was_lost_silently(world, before, words_of(plan))
        await is_done(world, service, component, selected)
        await is_the_newest_revision(world, service, selected, plan)

    def _nobody_should_notice(self, world: World, service: Service, plan: v1.PlanResponse) -> None:
        """Who answers and is replaced by what starts first, or is left alone, is there for all that come."""
        answer = {
            (service.name, each.component)
            for each in plan.components
            if each.action in ("none", "update", "rename") or each.reason.endswith("starts first")
        }
        answer = {key for key in answer if (it := world.settled(key)) and not it.is_restless and it.forwarded}
        # What dies of itself after a while has come up, and nobody promises more.
        answer -= {(service.name, each.name) for each in service.components if "late" in each.image}
        kept = {
            place(route) for each in service.components for route in each.routes if (service.name, each.name) in answer
        }
        world.proxy.must_answer |= kept & leads_to(world.proxy.table, answer)
        world.proxy.gentle |= answer

    async def _is_refused(
        self, world: World, before: dict[str, Then], excuses: list[str], taken: list[str], why: str
    ) -> None:
        assert excuses or taken, f"a deploy was refused without a reason: {why}"
        if world.folder[self.service].node == NODE:
            assert bool(taken) == (CLAIMED in why), f"{taken}, and it was refused: {why}"
        # The intent is as before, and so is all that ran.
        await world.find_out(self.service, world.expected)
        if not world.podman.is_down:
            is_as_before(world, self.service, before, why)

    def _nothing_was_lost_silently(self, world: World, before: dict[str, Then], told: str) -> None:
        """What an adopted container could do its successor can, or the plan said that it would not (audit E4)."""
        for key, number in list(world.expected.adopted.items()):
            if key[0] != self.service or number in world.podman.containers:
                continue
            del world.expected.adopted[key]
            new, old = world.settled(key), before.get(number)
            if new and old:
                lost = {"cap_add"} if old.capabilities - new.capabilities else set()
                lost |= old.beyond - new.beyond
                assert all(each in told for each in lost), f"{key} lost {lost} without a word: {told!r}"


def _found_so(before: Expected, after: Expected) -> Expected:
    """``after`` a deploy that found everything as it should be: what was never deployed still is not."""
    after = after.copy()
    for key, want in after.wants.items():
        then = before.wants.get(key)
        if then and then.deployed is None and then.spec == want.spec:
            after.wants[key] = msgspec.structs.replace(want, deployed=None)
    return after


@dataclass(frozen=True)
class Rollback(_OfService):
    """One of the kept revisions is deployed again, and the operator's definition is that of it."""

    back: int = 1
    fuse: int | None = None

    async def take(self, world: World) -> None:
        request = v1.ListRevisionsRequest(service=self.service)
        numbers = [each.number for each in (await world.daemon.call("ListRevisions", request)).revisions]
        assert numbers == sorted(numbers, reverse=True)
        if not numbers:
            return
        number = numbers[self.back % len(numbers)]
        kept = await world.daemon.call("GetServiceSpec", v1.GetServiceSpecRequest(self.service, number))
        service, _ = examine_service(service_values(kept.service))
        if service is None:
            return  # as `is_the_newest_revision` says: it can be looked at, and not be deployed
        world.folder[self.service] = service
        await Deploy(self.service, accept_losses=True, fuse=self.fuse, restores=number).take(world)


@dataclass(frozen=True)
class Act(_OfService):
    """Start, stop, restart or undeploy a service, or the component at ``place``."""

    method: str
    place: int | None = None
    fuse: int | None = None

    async def take(self, world: World) -> None:
        keys = sorted(world.expected.of(self.service))
        component = keys[self.place % len(keys)][1] if keys and self.place is not None else ""
        before = world.expected
        after = self._after(before, component) if keys else before
        gentle = {key for key in keys if (it := world.settled(key)) and not it.is_restless}
        world.proxy.gentle |= gentle if not world.proxy.trouble else set()
        request = _REQUESTS[self.method](service=self.service, component=component)
        try:
            world.daemon.fuse = self.fuse
            await world.daemon.call(self.method, request)
            world.daemon.fuse = None
        except KilledError:
            await world.come_back()
            await world.find_out(self.service, before, after)
        except McpdError:
            world.daemon.fuse = None
            assert world.podman.is_down or not keys
            await world.find_out(self.service, before, after)
        else:
            assert keys, f"{self.method} of what nobody deployed did something"
            if self.method == "UndeployService":
                await self._is_gone(world, before, component)
            else:
                world.expected = after
                self._is_stopped(world, component)

    def _is_stopped(self, world: World, component: str) -> None:
        """What was asked for. Others may be wanted stopped, too, by a deploy of another component, and still run."""
        asked = [key for key in world.expected.of(self.service) if component in ("", key[1])]
        for key in asked if self.method == "StopService" else ():
            container = world.settled(key)
            is_meant = world.expected.desired(key) is Desired.STOPPED
            assert not (is_meant and container and container.runs), f"{key} was stopped, and is {container}"

    def _after(self, expected: Expected, component: str) -> Expected:
        if self.method in ("StartService", "StopService"):
            return expected.set_active(self.service, component, self.method == "StartService")
        if self.method == "UndeployService":
            names = [component] if component else [key[1] for key in expected.of(self.service)]
            return expected.without(self.service, names)
        return expected

    async def _is_gone(self, world: World, before: Expected, component: str) -> None:
        after = self._after(before, component)
        await world.find_out(self.service, after, before)
        for key in before.of(self.service):
            if key not in world.expected.wants:
                assert world.settled(key) is None, f"{key} is undeployed, and its container is still there"
                assert not runs_of(world, *key), f"{key} is undeployed, and runs like it go on"


_REQUESTS = {
    "StartService": v1.StartServiceRequest,
    "StopService": v1.StopServiceRequest,
    "RestartService": v1.RestartServiceRequest,
    "UndeployService": v1.UndeployServiceRequest,
}


@dataclass(frozen=True)
class RunJob(_OfService):
    """Somebody asks for a run of the component at ``place``."""

    place: int = 0
    wait: bool = True
    fuse: int | None = None

    async def take(self, world: World) -> None:
        keys = sorted(world.expected.of(self.service))
        if not keys:
            return
        key = keys[self.place % len(keys)]
        container = world.settled(key)
        is_job = world.expected.desired(key) is Desired.SCHEDULED
        begun = container.runs_begun if container else 0
        is_free = container is not None and not container.runs
        request = v1.RunJobRequest(service=self.service, component=key[1], wait=self.wait and is_free)
        try:
            world.daemon.fuse = self.fuse
            answers = await world.daemon.call("RunJob", request)
            world.daemon.fuse = None
        except KilledError:
            await world.come_back()
        except McpdError as error:
            world.daemon.fuse = None
            if is_job and is_free and not world.podman.is_down:
                raise AssertionError(f"{key} was not run: {error}") from error
        else:
            assert is_job, f"{key} is no job, and was run"
            state = answers[-1].run.state
            now = world.settled(key)
            if container is None or now is None:
                assert state == "not-started"
            elif state != "not-started":
                assert now.runs_begun > begun, f"{key} is told to have run: {answers[-1]}"


@dataclass(frozen=True)
class Sync:
    """The registry takes over the whole folder."""

    async def take(self, world: World) -> None:
        services = [each for each in world.folder.values() if each.node == NODE]
        request = v1.SyncRequest(services=[service_spec(each) for each in services])
        before = {each.id: Then.of(each) for each in world.podman.containers.values()}
        try:
            answer = await world.daemon.call("Sync", request)
        except McpdError:
            assert world.podman.is_down or not services
            return
        after = world.expected
        for each in services:
            after = after.declared(each)
        after = after.undeclared({each.name for each in services})
        errors = [each.service for each in answer.services if each.error]
        assert world.podman.is_down or not errors, f"a sync failed: {answer}"
        for name in {key[0] for key in after.wants}:
            await world.find_out(name, after, *([world.expected] if errors else []))
        assert before.keys() == world.podman.containers.keys(), "a sync made or removed a container"

    def concerns(self, world: World) -> frozenset[str]:
        return frozenset({*SERVICES})


@dataclass(frozen=True)
class Forget(_OfService):
    """The operator deletes a definition; purge follows when it is not declared any more."""

    purge: bool = False

    async def take(self, world: World) -> None:
        world.folder.pop(self.service, None)
        if not self.purge or not world.expected.of(self.service):
            return
        before = set(world.podman.containers)
        request = v1.PurgeRequest(service=self.service, defined=sorted(world.folder))
        answer = await world.daemon.call("Purge", request)
        gone = [each.component for it in answer.services for each in it.outcomes if each.result is v1.Result.REMOVED]
        for name in gone:
            key = (self.service, name)
            assert not world.expected.should_run(key), f"purge forgot {key}, which should run"
        world.expected = world.expected.without(self.service, gone)
        assert before == set(world.podman.containers), "a purge removed a container"


@dataclass(frozen=True)
class Recover(_OfService):
    """What podman lost is made again."""

    async def take(self, world: World) -> None:
        try:
            await world.daemon.call("Recover", v1.RecoverRequest(service=self.service))
        except McpdError:
            assert world.podman.is_down or not world.expected.of(self.service)


@dataclass(frozen=True)
class RunByHand(_OfService):
    """Somebody runs a container with podman, with a name by which it may be adopted."""

    component: str
    capability: bool = False
    port: bool = False
    beyond: bool = False

    async def take(self, world: World) -> None:
        name = f"{self.service}-{self.component}"
        spec: dict[str, object] = {"name": name, "image": V1}
        options = ["--cap-add=NET_ADMIN"] * self.capability + ["--publish=18080:80"] * self.port
        options += ["--uts=host"] * self.beyond
        if self.beyond:
            spec["utsns"] = {"nsmode": "host"}
        if self.capability:
            spec["cap_add"] = ["NET_ADMIN"]
        if self.port:
            spec["portmappings"] = [{"host_port": 18080, "container_port": 80}]
        command = ("podman", "run", f"--name={name}", *options, V1)
        if world.podman.named(name):
            return
        made = world.podman.make(spec, command)
        # Whoever starts it on a taken port cuts the holder off, and mends that himself.
        if world.podman.would_take(made):
            world.podman.remove(made)
        else:
            world.podman.start(made)


@dataclass(frozen=True)
class Adopt(_OfService):
    """What runs by hand becomes a service's. ``keeps_definition``: the operator does not take over what is found."""

    keeps_definition: bool = False

    async def take(self, world: World) -> None:
        others = sorted({*world.folder, *(key[0] for key in world.expected.wants)} - {self.service})
        before = {each.id: Then.of(each) for each in world.podman.containers.values()}
        try:
            answer = await world.daemon.call("Adopt", v1.AdoptRequest(service=self.service, defined=others))
        except (NotFoundError, ConflictError):
            return  # nothing is called after it, or what is could not be declared together
        assert before == {each.id: Then.of(each) for each in world.podman.containers.values()}, "adopting touched one"
        names = [each.component for each in answer.outcomes if each.result is v1.Result.ADOPTED]
        if not names:
            return
        service, problems = examine_service(service_values(answer.service))
        assert service is not None, problems
        world.expected = self._adopted(world, service, names)
        if not self.keeps_definition:
            world.folder[self.service] = service

    def _adopted(self, world: World, service: Service, names: list[str]) -> Expected:
        after = world.expected.copy()
        after.active[service.name] = service.active
        for name in names:
            key = (service.name, name)
            (spec,) = [each for each in service.components if each.name == name]
            # No container says its routes: a deploy puts them in force, which declares them.
            after.wants[key] = Want(spec, deployed=msgspec.structs.replace(spec, routes=()))
            # One that it had before it was undeclared, or one that somebody made.
            found = world.settled(key) or world.podman.named(f"{service.name}-{name}")
            assert found is not None, f"{key} was adopted, and there is no such container"
            after.adopted[key] = found.id
        return after


@dataclass(frozen=True)
class Silence(_OfNobody, _OfService):
    """Its alerts are kept quiet for so long, or no longer."""

    seconds: int = 0

    async def take(self, world: World) -> None:
        if self.seconds:
            until = datetime.now(UTC) + timedelta(seconds=self.seconds)
            request = v1.SilenceAlertRequest(service=self.service, until=until, reason="moving")
            await world.daemon.call("SilenceAlert", request)
        else:
            try:
                await world.daemon.call("UnsilenceAlert", v1.UnsilenceAlertRequest(service=self.service))
            except McpdError:
                return


# -- what befalls a container


@dataclass(frozen=True)
class Befall(_OfService):
    """Something happens to the container of the component at ``place``, by ``what``."""

    what: str
    place: int = 0

    async def take(self, world: World) -> None:
        found = sorted(world.of_service(self.service).values(), key=lambda each: each.name)
        if not found:
            return
        container = found[self.place % len(found)]
        needed, act = _BEFALL[self.what]
        if not needed or container.state in needed:
            happening = act(world.podman, container)
            if happening is not None:
                await happening


def _starts(podman: PretendedPodman, container: Container) -> None:
    # Whoever starts it by hand on a taken port cuts the holder off, and mends that himself.
    if not podman.would_take(container):
        podman.start(container)


def _feels(*, ill: bool) -> Callable[[PretendedPodman, Container], None]:
    def act(_: PretendedPodman, container: Container) -> None:
        container.ill = ill

    return act


def _is_used(*, clients: int) -> Callable[[PretendedPodman, Container], None]:
    def act(_: PretendedPodman, container: Container) -> None:
        container.clients = clients

    return act


# In which states it can happen ((): in every one), and what it is.
_BEFALL: dict[str, tuple[tuple[str, ...], Callable[[PretendedPodman, Container], Any]]] = {
    "killed": (("running",), lambda podman, container: podman.dies(container, 137)),
    "ends": (("running",), lambda podman, container: podman.dies(container, 0)),
    "stopped": (("running",), lambda podman, container: podman.stop(container)),
    "started": (("created", "exited"), _starts),
    "removed": ((), lambda podman, container: podman.remove(container)),
    "paused": (("running",), lambda podman, container: podman.pause(container, paused=True)),
    "unpaused": (("paused",), lambda podman, container: podman.pause(container, paused=False)),
    "ill": ((), _feels(ill=True)),
    "well": ((), _feels(ill=False)),
    "busy": (("running",), _is_used(clients=5)),
    "used for long": (("running",), _is_used(clients=1000)),
}
BEFALLS = tuple(_BEFALL)


# -- what befalls the node


@dataclass(frozen=True)
class Outage(_OfNobody):
    """podman does not answer for so long; or, 0, its event stream breaks."""

    seconds: int = 0

    async def take(self, world: World) -> None:
        world.podman.break_streams()
        if self.seconds:
            world.podman.is_down = True
            await trio.sleep(self.seconds)
            world.podman.is_down = False


@dataclass(frozen=True)
class Maintain(_OfService):
    """A service is put into maintenance, or out of it."""

    on: bool = True
    fuse: int | None = None

    async def take(self, world: World) -> None:
        before, after = world.expected, world.expected.in_maintenance(self.service, on=self.on)
        wants = [world.expected.wants[key] for key in world.expected.of(self.service)]
        is_routed = any(each.spec.routes or each.in_force.routes for each in wants)
        try:
            world.daemon.fuse = self.fuse
            await world.daemon.call("SetMaintenance", v1.SetMaintenanceRequest(service=self.service, on=self.on))
            world.daemon.fuse = None
        except KilledError:
            await world.come_back()
            await world.find_out(self.service, before, after)
        except McpdError as error:
            world.daemon.fuse = None
            if is_routed and not world.proxy.trouble:
                raise AssertionError("maintenance was refused without a reason") from error
            world.expected = after if is_routed else before
        else:
            assert is_routed or not self.on, "maintenance of what nobody reaches did something"
            world.expected = after


@dataclass(frozen=True)
class ProxyFails(_OfNobody):
    """The proxy is gone, or goes on and does not answer any more."""

    trouble: str = "down"

    async def take(self, world: World) -> None:
        world.proxy.trouble = self.trouble


@dataclass(frozen=True)
class ProxyStarts(_OfNobody):
    """The proxy is started, or started again."""

    async def take(self, world: World) -> None:
        world.proxy.starts()


@dataclass(frozen=True)
class ProxyChangedByHand(_OfNobody):
    """Somebody changes what the proxy has."""

    value: int = 0

    async def take(self, world: World) -> None:
        world.proxy.is_changed_by_hand(self.value)


@dataclass(frozen=True)
class Daemonic(_OfNobody):
    """The daemon is killed or stopped, and started again after so long."""

    kill: bool = False
    seconds: int = 0

    async def take(self, world: World) -> None:
        if self.kill:
            world.may_repeat = True
            await world.daemon.kill()
        else:
            await world.daemon.stop()
        await trio.sleep(self.seconds)
        await world.daemon.start(world.nursery)


@dataclass(frozen=True)
class ClockStep(_OfNobody):
    """Somebody sets the clock."""

    hours: int = 1

    async def take(self, world: World) -> None:
        world.wall.offset += self.hours * _HOUR
        world.wall.was_set_back |= self.hours < 0


@dataclass(frozen=True)
class Listen(_OfNobody):
    """A program that is no container's begins to listen on a port, or ends."""

    async def take(self, world: World) -> None:
        if FOREIGN_PORT in world.podman.foreign:
            world.podman.foreign.clear()
        elif not any(port.host == FOREIGN_PORT for each in world.podman.containers.values() for port in each.ports):
            world.podman.foreign.add(FOREIGN_PORT)


@dataclass(frozen=True)
class Snapshot:
    """The registry is copied; or, ``back``, the last copy is restored."""

    back: bool = False

    async def take(self, world: World) -> None:
        if not self.back:
            found = take_snapshot(world.daemon.database, world.place / "snapshots", datetime.now(UTC))
            world.saved = (found.path, world.expected.copy())
        elif world.saved:
            path, expected = world.saved
            await world.daemon.stop()
            restore(path, world.daemon.database, datetime.now(UTC))
            world.expected = expected.copy()
            world.alerts.told.clear()
            world.may_repeat = True
            await world.daemon.start(world.nursery)

    def concerns(self, world: World) -> frozenset[str]:
        return frozenset({*SERVICES})
