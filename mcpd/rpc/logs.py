"""The RPC of components' logs: the lines of one component or of a whole service, in the order of their times."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime

import trio

from mcpd.errors import NotFoundError
from mcpd.model import Caller, Container, RecordedService, Target
from mcpd.registry.store import Registry
from mcpd.rpc import convert
from mcpd.rpc.methods import Method
from mcpd.runtime.api import NoSuchError
from mcpd.runtime.logfile import LogLine
from mcpd.runtime.logs import LogSource, open_log
from mcpd.runtime.podman import Podman
from monitor.model import Observed
from protos.mcp import v1 as wire

# While nothing is printed: how soon a new line is seen, and how soon a new container of a component is.
_POLL_S = 0.1
_LOOK_AGAIN_S = 1.0
# Lines that are sent at once.
_BATCH = 200


class LogMethods:
    def __init__(self, node: str, podman: Podman, registry: Registry) -> None:
        self._node = node
        self._podman = podman
        self._registry = registry

    @property
    def methods(self) -> dict[str, Method]:
        return {"Logs": self.logs}

    async def logs(self, request: wire.LogsRequest, caller: Caller) -> AsyncGenerator[list[wire.LogsResponse], None]:
        target = convert.target(request.service, request.component)
        service = await self._registry.service(target.service)
        if service is None or (target.component and service.component(target.component) is None):
            raise NotFoundError(f"{target} is not known on {self._node}")
        since = convert.instant(request.since)
        names = [each.spec.name for each in service.components if target.covers(each.spec.name)]
        run = await self._run(target, request.run) if request.run else None
        names = [run.run_of.component] if run else names
        logs = [_ComponentLog(self._podman, name, since, request.tail, follow=request.follow) for name in names]
        if run:
            await logs[0].take(run.id)
        while True:
            # Asked before the last of it is read.
            is_over = not request.follow or (run is not None and await self._is_over(run.id))
            if run is None:
                await self._find(logs, service)
            for each in logs:
                await each.fill()
            while batch := list(_in_order(logs, _BATCH)):
                yield [_response(component, line) for component, line in batch]
                for each in logs:
                    await each.fill()
            if is_over and all(each.is_exhausted for each in logs):
                if batch := [(each.component, line) for each in logs for line in each.unfinished()]:
                    yield [_response(component, line) for component, line in batch]
                return
            await trio.sleep(_POLL_S if run is None else _LOOK_AGAIN_S)

    async def _is_over(self, run: str) -> bool:
        """Whether a run prints nothing any more; a component may always have another container."""
        try:
            return (await self._podman.inspect(run)).observed is Observed.EXITED
        except NoSuchError:
            return True

    async def _run(self, target: Target, run: str) -> Container:
        """Raises NotFoundError."""
        for each in await self._podman.runs(target.service):
            if each.run == run and target.covers(each.run_of.component):
                return each
        raise NotFoundError(
            f"{target} has no run {run} of its own; `mcpctl top {target}` shows those that there are, and "
            f"`mcpctl logs {target}` what the runs of a job have printed"
        )

    async def _find(self, logs: list[_ComponentLog], service: RecordedService) -> None:
        """Where a component's container is gone, or was not there yet: whether there is another one."""
        missing = [each for each in logs if each.needs_a_container()]
        if not missing:
            return
        containers = await self._podman.containers(service=service.name)
        found = service.found_in(containers)
        for each in missing:
            container = found.get(each.component)
            await each.take(container.id if container else "")


class _ComponentLog:
    """One component's log, over all the containers that it has one after the other; its next lines are ``ahead``."""

    def __init__(
        self, podman: Podman, component: str, since: datetime | None, tail: int | None, *, follow: bool
    ) -> None:
        self.component = component
        self.ahead: deque[LogLine] = deque()
        # Nothing more is there at the moment.
        self.is_exhausted = False
        self._podman = podman
        self._since = since
        self._tail = tail
        self._follow = follow
        self._source: LogSource | None = None
        self._container = ""
        self._look_again_at = 0.0

    def needs_a_container(self) -> bool:
        if self.ahead or trio.current_time() < self._look_again_at:
            return False
        return self._source is None or (self.is_exhausted and self._source.has_ended())

    async def take(self, container: str) -> None:
        """Goes on with ``container``, from its first line when it is not the first one that we read."""
        self._look_again_at = trio.current_time() + _LOOK_AGAIN_S
        if not container or container == self._container:
            self.is_exhausted = True
            return
        self.ahead.extend(self.unfinished())
        since, tail = (None, None) if self._container else (self._since, self._tail)
        try:
            self._source = await open_log(self._podman, container, since, tail, follow=self._follow)
        except NoSuchError:
            self.is_exhausted = True
            return
        self._container, self.is_exhausted = container, False

    def unfinished(self) -> list[LogLine]:
        """What has no end, and will get none as far as the caller is concerned."""
        return self._source.unfinished() if self._source else []

    async def fill(self) -> None:
        if self.ahead or self._source is None:
            return
        self.ahead.extend(await self._source.read())
        self.is_exhausted = not self.ahead


def _in_order(logs: list[_ComponentLog], most: int) -> Iterator[tuple[str, LogLine]]:
    """The oldest of what is there, as long as no log that has more could have something older."""
    for _ in range(most):
        if any(not each.ahead and not each.is_exhausted for each in logs):
            return
        waiting = [each for each in logs if each.ahead]
        if not waiting:
            return
        oldest = min(waiting, key=lambda each: each.ahead[0].at)
        line = oldest.ahead.popleft()
        if not oldest.ahead:
            oldest.is_exhausted = False  # asked again before anything later is told
        yield oldest.component, line


def _response(component: str, line: LogLine) -> wire.LogsResponse:
    return wire.LogsResponse(component=component, at=line.at.astimezone(UTC), stream=line.stream, line=line.line)
