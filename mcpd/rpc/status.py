"""The RPCs that only read: services, components, events, the node."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import trio

from mcpd import __version__
from mcpd.changes.operations import Operations
from mcpd.errors import NotFoundError, RegistryError, UnavailableError
from mcpd.model import Caller, RecordedService, Role
from mcpd.registry.store import Registry
from mcpd.routing.router import Router
from mcpd.rpc import convert
from mcpd.rpc.methods import FromMemory, Method
from mcpd.runtime.podman import Podman
from mcpd.runtime.podman_service import PodmanLink
from mcpd.runtime.usage import Usage, measure
from mcpd.status import components
from mcpd.status.components import ComponentView
from monitor.watch import Monitor
from protos.mcp import v1 as wire

_DEFAULT_SERVICES = 1000
_DEFAULT_EVENTS = 100
# Events that a watcher is sent before the next are read: bounds what a slow one holds in memory.
_WATCH_BATCH = 200


class StatusMethods:
    def __init__(
        self,
        node: str,
        podman: Podman,
        link: PodmanLink,
        registry: Registry,
        operations: Operations,
        monitor: Monitor,
        router: Router,
        data: Path,
        certificate_expires_at: Callable[[], datetime],
    ) -> None:
        self._node = node
        self._podman = podman
        self._link = link
        self._registry = registry
        self._operations = operations
        self._monitor = monitor
        self._router = router
        self._data = data
        self._certificate_expires_at = certificate_expires_at
        self._started_at = datetime.now(UTC)

    @property
    def methods(self) -> dict[str, Method]:
        return {
            "ListServices": self.list_services,
            "LiveCheck": self.live_check,
            "GetStatus": self.get_status,
            "ListEvents": self.list_events,
            "WatchEvents": self.watch_events,
            "NodeStatus": self.node_status,
        }

    @property
    def from_memory(self) -> dict[str, FromMemory]:
        return {"ListServices": self.list_services_from_memory}

    async def list_services(self, request: wire.ListServicesRequest, caller: Caller) -> wire.ListServicesResponse:
        return self._listed(await self._registry.services(), request)

    def list_services_from_memory(
        self, request: wire.ListServicesRequest, caller: Caller
    ) -> wire.ListServicesResponse | None:
        known = self._registry.services_in_memory
        return None if known is None else self._listed(known, request)

    def _listed(
        self, known: tuple[RecordedService, ...], request: wire.ListServicesRequest
    ) -> wire.ListServicesResponse:
        found = self._select(known, request.service, request.limit)
        infos = [
            convert.service_info(self._node, each, components.from_registry(each, self._monitor.known))
            for each in found
        ]
        return wire.ListServicesResponse(node=self._node, services=infos)

    async def live_check(self, request: wire.LiveCheckRequest, caller: Caller) -> wire.LiveCheckResponse:
        services = self._select(await self._registry.services(), request.service, 0)
        containers = await self._podman.containers(service=request.service)
        now = datetime.now(UTC)
        views = [
            each for service in services for each in components.live(service, containers, now, self._monitor.known)
        ]
        # Labelled ones are shown in any case: mcp made them, and somebody will ask why they are there.
        views += [each for each in components.undeclared(services, containers, now) if request.all or each.service]
        views = views[: convert.limit(request.limit, convert.MAX_LIMIT)]
        used = await _used(views) if request.usage else {}
        infos = [
            convert.component_info(each, used.get(each.container.id) if each.container else None) for each in views
        ]
        return wire.LiveCheckResponse(node=self._node, components=infos)

    async def get_status(self, request: wire.GetStatusRequest, caller: Caller) -> wire.GetStatusResponse:
        services = self._select(await self._registry.services(), request.service, request.limit)
        if at := convert.instant(request.at):
            return await self._past(services, at)
        response = wire.GetStatusResponse(node=self._node)
        warnings = []
        try:
            containers = await self._podman.containers()
            now = datetime.now(UTC)
            views = {each.name: components.live(each, containers, now, self._monitor.known) for each in services}
        except UnavailableError as error:
            # Half an answer, that says so, beats none at 3 a.m.
            warnings.append(f"states are the last ones seen: {error}")
            views = {each.name: components.from_registry(each, self._monitor.known) for each in services}
        if self._router.listeners is not None:
            views, told = await self._with_routes(views)
            warnings += told
        response.warning = "; ".join(warnings)
        comparable = caller.role is Role.ADMIN
        response.services = [
            convert.service_info(self._node, each, views[each.name], comparable=comparable) for each in services
        ]
        if request.events:
            events = await self._registry.events(request.service, limit=convert.limit(request.events, _DEFAULT_EVENTS))
            response.events = [convert.event_info(each) for each in events]
        return response

    async def _with_routes(
        self, views: Mapping[str, tuple[ComponentView, ...]]
    ) -> tuple[dict[str, tuple[ComponentView, ...]], list[str]]:
        """The same, with how the world reaches them, and warnings."""
        found, warnings = dict(views), []
        if problem := self._router.state.problem:
            warnings.append(f"the proxy does not have the routes that it should have: {problem}")
            found = {name: components.without_routes(each, problem) for name, each in views.items()}
        closed: frozenset[str] = frozenset()
        with contextlib.suppress(RegistryError):  # that it cannot be read is told by others
            closed = await self._registry.in_maintenance()
        for name in sorted(closed & views.keys()):
            words = f"{name} is in maintenance, its routes answer 503; `mcpctl maintenance {name} off` ends that"
            warnings.append(words)
        return found, warnings

    async def _past(self, services: tuple[RecordedService, ...], at: datetime) -> wire.GetStatusResponse:
        """What was observed at a time, folded from the ledger; intent is that of today, which knows no past."""
        states = await self._registry.states_at(at)
        infos = [convert.service_info(self._node, each, components.past(each, states)) for each in services]
        return wire.GetStatusResponse(node=self._node, services=infos)

    async def watch_events(
        self, request: wire.WatchEventsRequest, caller: Caller
    ) -> AsyncGenerator[list[wire.WatchEventsResponse], None]:
        last = request.after_id or self._registry.newest_event
        while True:
            found = await self._registry.events_after(last, request.service, request.component, _WATCH_BATCH)
            if found:
                last = found[-1].id
                yield [wire.WatchEventsResponse(event=convert.event_info(each)) for each in found]
            else:
                await self._registry.event_after(last)

    async def list_events(self, request: wire.ListEventsRequest, caller: Caller) -> wire.ListEventsResponse:
        # Asked first: what is written in between is in the answer, behind it.
        newest = self._registry.newest_event
        events = await self._registry.events(
            request.service,
            request.component,
            convert.instant(request.since),
            convert.instant(request.until),
            convert.limit(request.limit, _DEFAULT_EVENTS),
        )
        infos = [convert.event_info(each) for each in events]
        return wire.ListEventsResponse(node=self._node, events=infos, newest_id=newest)

    async def node_status(self, request: wire.NodeStatusRequest, caller: Caller) -> wire.NodeStatusResponse:
        services = await self._registry.services()
        disk = shutil.disk_usage(self._data)
        page = os.sysconf("SC_PAGE_SIZE")
        links = (self._link.state, *self._monitor.sources, *self._router.sources)
        return wire.NodeStatusResponse(
            node=self._node,
            mcpd_version=__version__,
            podman_version=self._link.podman_version,
            started_at=self._started_at,
            links=[convert.link_state(each) for each in links],
            services=len(services),
            components=sum(len(each.components) for each in services),
            operations_running=len(self._operations.running),
            disk_free_bytes=disk.free,
            disk_total_bytes=disk.total,
            memory_available_bytes=os.sysconf("SC_AVPHYS_PAGES") * page,
            memory_total_bytes=os.sysconf("SC_PHYS_PAGES") * page,
            load_average=os.getloadavg()[0],
            cpus=os.cpu_count() or 0,
            certificate_expires_at=self._certificate_expires_at(),
        )

    def _select(self, known: tuple[RecordedService, ...], name: str, limit: int) -> tuple[RecordedService, ...]:
        """Raises NotFoundError for a service that is asked for by name and not known."""
        if name:
            convert.target(name, "")
            known = tuple(each for each in known if each.name == name)
            if not known:
                raise NotFoundError(f"no service {name} is deployed on {self._node}")
        return known[: convert.limit(limit, _DEFAULT_SERVICES)]


async def _used(views: Iterable[ComponentView]) -> dict[str, Usage]:
    """What the containers that run use, by id."""
    pids = {each.container.id: each.container.pid for each in views if each.container}
    return await trio.to_thread.run_sync(measure, pids)
