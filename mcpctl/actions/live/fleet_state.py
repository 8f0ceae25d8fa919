"""The state of the fleet that live screens show: one value for each node, replaced when its agent says more.

Data goes one way. An `Observer` keeps a connection to its node, asks at an interval, and at once when the node's ledger
has something new; what it hears becomes a `NodeView`; `Fleet` has the newest of every node, and says that one
changed. Who shows them asks nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.actions.status import no_component
from mcpctl.config import Node, Settings
from mcpctl.errors import BusyError, CliError, UnreachableError
from mcpctl.nodes.client import agent, read_deadline
from mcpctl.nodes.fanout import on_our_side
from mcpctl.nodes.follow import WITHOUT_END_S
from mcpctl.ui.rows.alerts import AlertRow, alert_row
from mcpctl.ui.rows.status import ComponentRow, EventRow, ServiceRow, component_row, event_row, service_row
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

# A daemon that restarts is back within a second or two; and somebody waits to see a node come back.
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0
# Events come in bursts: what a deploy writes at once is one reason to ask, not ten.
_BURST_S = 0.1
# CPU time is counted in ticks of some milliseconds: what was used over less than this tells nothing.
_SHORTEST_MEASURE = timedelta(seconds=0.2)
_ALERTS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Interest(msgspec.Struct, frozen=True):
    """What is to be known of a node. ``service``: of this one alone; ``component``: of that one of it; ``events``: so
    many of the last.
    """

    service: str = ""
    component: str = ""
    services: bool = False
    containers: bool = False
    undeclared: bool = False
    alerts: bool = False
    events: int = 0


class Used(msgspec.Struct, frozen=True):
    """What a container took up to ``at``. ``percent`` of one CPU, over the last interval; None: not known yet.

    Memory in bytes; ``memory_limit`` 0: none.
    """

    at: datetime
    cpu_seconds: float
    percent: float | None
    memory: int
    memory_limit: int
    pids: int


class NodeView(msgspec.Struct, frozen=True):
    """What is known of a node: the last that it answered, also when it is gone.

    ``lost_at``: since when it does not answer, and ``problem`` why. ``is_refused``: it does not want to answer, and is
    asked no more. ``unknown``: what it said of a service that it does not have. ``used`` is by container id.
    """

    node: str
    answered_at: datetime | None = None
    lost_at: datetime | None = None
    problem: str = ""
    is_refused: bool = False
    unknown: str = ""
    warning: str = ""
    services: tuple[ServiceRow, ...] = ()
    containers: tuple[ComponentRow, ...] = ()
    used: Mapping[str, Used] = {}
    alerts: tuple[AlertRow, ...] = ()
    events: tuple[EventRow, ...] = ()

    @property
    def is_awaited(self) -> bool:
        """Whether it neither answered nor failed to."""
        return self.answered_at is None and self.lost_at is None

    @property
    def components(self) -> tuple[ComponentRow, ...]:
        """Of the services."""
        return tuple(component for service in self.services for component in service.components)


class Answer(NamedTuple):
    """What a node answered; None where it was not asked."""

    status: v1.GetStatusResponse | None = None
    live: v1.LiveCheckResponse | None = None
    alerts: v1.ListAlertsResponse | None = None
    unknown: str = ""


# -- new views from old ones


def answered(before: NodeView, answer: Answer, at: datetime) -> NodeView:
    """The view with what a node answered."""
    node = before.node
    known = before.used
    now = msgspec.structs.replace(
        before, answered_at=at, lost_at=None, problem="", warning="", unknown=answer.unknown, services=(), containers=()
    )
    if answer.status:
        services = tuple(map(service_row, answer.status.services))
        now = msgspec.structs.replace(now, services=services, warning=answer.status.warning)
    if answer.live:
        infos = answer.live.components
        uses = {each.container_id: _used(each.usage, known.get(each.container_id)) for each in infos}
        now = msgspec.structs.replace(
            now,
            containers=tuple(component_row(node, each) for each in infos),
            used={container: each for container, each in uses.items() if each},
        )
    if answer.alerts:
        now = msgspec.structs.replace(now, alerts=tuple(alert_row(node, each) for each in answer.alerts.alerts))
    return now


def lost(before: NodeView, problem: str, at: datetime, *, refused: bool = False) -> NodeView:
    """The view of a node that does not answer; what it answered last stays, and since when it is gone."""
    return msgspec.structs.replace(before, lost_at=before.lost_at or at, problem=problem, is_refused=refused)


def happened(before: NodeView, events: Sequence[EventRow], most: int) -> NodeView:
    """The view with more events, in the order of the ledger; of all the last ``most``."""
    known = {each.id: each for each in (*before.events, *events)}
    return msgspec.structs.replace(before, events=tuple(known[number] for number in sorted(known))[-most:])


def _used(usage: v1.Usage, before: Used | None) -> Used | None:
    if usage.at == _EPOCH:
        return None
    seconds = usage.cpu_time.total_seconds()
    percent = None
    if before and seconds >= before.cpu_seconds:
        if usage.at - before.at < _SHORTEST_MEASURE:
            return before
        percent = 100 * (seconds - before.cpu_seconds) / (usage.at - before.at).total_seconds()
    return Used(usage.at, seconds, percent, usage.memory_bytes, usage.memory_limit_bytes, usage.pids)


# -- observing


class Observer:
    """One node, for as long as somebody looks. ``tell`` is given its view whenever there is a new one."""

    def __init__(
        self, settings: Settings, node: Node, interest: Interest, every_s: float, tell: Callable[[NodeView], None]
    ) -> None:
        self._settings = settings
        self._node = node
        self._interest = interest
        self._every_s = every_s
        self._tell = tell
        self._soon = asyncio.Event()
        # The id of the newest event in the node's ledger, as far as is known; 0: it is empty.
        self._last = 0
        self.view = NodeView(node.name)
        # Why the node is asked no more.
        self.failure: CliError | None = None

    def ask_soon(self) -> None:
        self._soon.set()

    async def run(self) -> None:
        """Returns when the node refuses, or cannot be asked from here: no token, no CA. ``failure`` says why."""
        wait = _FIRST_WAIT_S
        while True:
            seen = self.view.answered_at
            try:
                await self._connected()
                problem = f"node {self._node.name}: {self._node.address} closed the stream"
            except (UnreachableError, BusyError) as error:
                problem = str(error)
            except CliError as error:
                self.failure = error
                self._show(lost(self.view, str(error), datetime.now(UTC), refused=True))
                return
            if self.view.answered_at != seen:
                wait = _FIRST_WAIT_S
            self._show(lost(self.view, problem, datetime.now(UTC)))
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    async def _connected(self) -> None:
        async with agent(self._settings, self._node, deadline=read_deadline()) as stub:
            try:
                async with asyncio.TaskGroup() as group:
                    asking = group.create_task(self._ask(stub))
                    if self._interest.events:
                        # In a task of its own: when a connection breaks, grpclib cancels the task that reads, and never
                        # takes that back; here it would end all. And it takes a close for the end of a good stream.
                        group.create_task(self._listen(stub)).add_done_callback(lambda _: asking.cancel())
            except BaseExceptionGroup as several:
                raise several.exceptions[0] from None

    async def _ask(self, stub: AgentServiceStub) -> None:
        while True:
            self._soon.clear()
            answer = await _asked(stub, self._interest)
            self._show(answered(self.view, answer, datetime.now(UTC)))
            if self._interest.events and not self._last:
                # After 0 means "only new ones": an empty ledger's first events may be older than the stream.
                await self._catch_up(stub)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._soon.wait()
                await asyncio.sleep(_BURST_S)

    async def _listen(self, stub: AgentServiceStub) -> None:
        # A ledger that was restored from a snapshot counts on from there: what was seen before is not in it.
        self._last = 0
        await self._catch_up(stub, anew=True)
        wanted = self._interest
        request = v1.WatchEventsRequest(service=wanted.service, component=wanted.component, after_id=self._last)
        async for response in stub.watch_events(request, timeout=WITHOUT_END_S):
            self._show(happened(self.view, [event_row(self._node.name, response.event)], self._interest.events))
            self.ask_soon()

    async def _catch_up(self, stub: AgentServiceStub, *, anew: bool = False) -> None:
        """The last events, beside those that are known, or instead of them."""
        # Asked first: what comes in between is in the listing, and told apart by its id.
        newest = await stub.list_events(v1.ListEventsRequest(limit=1))
        wanted = self._interest
        request = v1.ListEventsRequest(service=wanted.service, component=wanted.component, limit=wanted.events)
        rows = [event_row(self._node.name, each) for each in (await stub.list_events(request)).events]
        self._last = max([0, *(each.id for each in newest.events), *(each.id for each in rows)])
        if anew or rows:
            before = msgspec.structs.replace(self.view, events=()) if anew else self.view
            self._show(happened(before, rows, self._interest.events))

    def _show(self, view: NodeView) -> None:
        self.view = view
        self._tell(view)


async def _asked(stub: AgentServiceStub, interest: Interest) -> Answer:
    """Raises GRPCError, but for a service that the node does not know."""
    name = interest.service
    alerts = (
        await stub.list_alerts(
            v1.ListAlertsRequest(service=name, component=interest.component, open_only=True, limit=_ALERTS)
        )
        if interest.alerts
        else None
    )
    try:
        status = await stub.get_status(v1.GetStatusRequest(service=name)) if interest.services else None
        live = (
            await stub.live_check(v1.LiveCheckRequest(service=name, all=interest.undeclared, usage=True))
            if interest.containers
            else None
        )
    except GRPCError as error:
        if error.status is not Status.NOT_FOUND:
            raise
        return Answer(alerts=alerts, unknown=error.message or "not known there")
    return of_component(Answer(status, live, alerts), interest)


def of_component(answer: Answer, interest: Interest) -> Answer:
    """Of what a node answered what is asked about; ``unknown`` where the service has no such component."""
    name = interest.component
    if not name:
        return answer
    # Each has a list of components, which is cut.
    holders = [*(answer.status.services if answer.status else ()), *([answer.live] if answer.live else ())]
    known = {each.component for holder in holders for each in holder.components}
    for holder in holders:
        holder.components = [each for each in holder.components if each.component == name]
    if name in known:
        return answer
    return answer._replace(unknown=no_component(interest.service, name, known))


class Fleet:
    """Every node's view, in the order of the configuration.

    ``news`` is set when one is new; whoever looks at them clears it.
    """

    def __init__(self, settings: Settings, nodes: Sequence[Node], interest: Interest, every_s: float) -> None:
        self.news = asyncio.Event()
        self._observers = [Observer(settings, node, interest, every_s, self._tell) for node in nodes]

    @property
    def views(self) -> tuple[NodeView, ...]:
        return tuple(each.view for each in self._observers)

    def ask_soon(self) -> None:
        """Has every node asked before its time comes."""
        for each in self._observers:
            each.ask_soon()

    async def run(self) -> None:
        """Until cancelled. Raises CliError when no node is left to ask."""
        try:
            async with asyncio.TaskGroup() as group:
                for each in self._observers:
                    group.create_task(each.run())
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        failures = [each.failure for each in self._observers if each.failure]
        raise next((each for each in failures if on_our_side(each)), failures[0])

    async def until_heard(self) -> None:
        """Until every node has answered, or failed to."""
        while any(each.is_awaited for each in self.views):
            self.news.clear()
            await self.news.wait()

    def _tell(self, _: NodeView) -> None:
        self.news.set()
