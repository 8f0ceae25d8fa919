"""The outside world as monitor sees it: small Protocols, which mcpd's rooms satisfy."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from monitor.model import Alert, AlertKind, Delivery, Execution, Fact, Known, Sighting, SourceState, Wanted
from protos.parts import Health


class OutsideError(Exception):
    """What was asked does not answer, or refuses. Implementations raise it for every reason from outside."""


class Ran(NamedTuple):
    """How a command ended: its exit status and the end of what it printed."""

    status: int
    output: str


class Executor(Protocol):
    """Runs commands inside containers, and knows the way to them."""

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        """Runs ``argv`` in a running container, to its end. May be cancelled; the caller bounds the time."""

    async def reached_at(self, container: str, port: int) -> int:
        """The port of the node's loopback address that leads to ``port`` of a container, where a route goes there.

        Otherwise ``port`` itself. Raises OutsideError.
        """


class Happening(NamedTuple):
    """A line of podman's event stream: something happened to a container at a time."""

    container: str
    at: datetime


class Runtime(Executor, Protocol):
    """podman. Every method raises OutsideError."""

    async def listed(self) -> Sequence[Sighting]:
        """Every container, quickly: start times are whole seconds, and there is no conmon and no health check."""

    async def look(self, container: str) -> Sighting | None:
        """One container, exactly; None when there is no such."""

    def events(self, since: datetime | None) -> AsyncGenerator[Happening, None]:
        """The event stream, from ``since`` on; ends or raises when it breaks."""


class Target(msgspec.Struct, frozen=True):
    """A component that is declared: what is wanted of it, its container's proper name, and its probe.

    ``health`` None: the container's own health check is its probe, if it has one.
    """

    wanted: Wanted
    container: str
    health: Health | None = None

    def probe(self, known: Known | None) -> Health | None:
        """The probe of what is ``known`` of the component's container; None: it has none."""
        if self.health is not None:
            return None if self.health.disable else self.health
        return known.own_probe or None if known is not None else None


class Intent(Protocol):
    """What should run, and what is being done about it."""

    async def targets(self) -> Sequence[Target]:
        """Every declared component."""

    def is_busy(self, service: str) -> bool:
        """Whether an operation of ours is at work on the service."""

    async def changed(self) -> None:
        """Waits until intent has changed, or an operation has begun or ended."""

    async def started(self) -> Sighting:
        """Waits for a container that an operation has started, and returns what it saw of it; its order is 0.

        podman's events come up to a quarter of a second late. What ends before that would never have been known.
        """

    async def heal(self, service: str, component: str, *, ill: str = "") -> bool:
        """Starts a component that should run; ``ill`` is its container that does run, and is to be restarted.

        Returns when it was tried, with whether a container was touched; what went wrong is in the event ledger.
        """


class AlertLedger(Protocol):
    """Where alerts are kept. Everything is committed when a method returns."""

    async def pending_alerts(self) -> tuple[Alert, ...]:
        """Those still to be sent, oldest first."""

    async def record_attempt(self, alert: int, execution: Execution, delivery: Delivery, now: datetime) -> None:
        """Keeps how one attempt went: counts it, and sets the alert's delivery."""

    async def suppress_if_hushed(self, alert: Alert, now: datetime) -> bool:
        """Whether somebody has acknowledged the alert, or silenced it; if so, keeps that as what suppressed it."""


class NewAlert(NamedTuple):
    """An alert to be kept; the ledger gives it its id. ``suppressed_by`` empty: to be sent."""

    service: str
    component: str
    kind: AlertKind
    desired: str
    observed: str
    reason: str
    since: datetime
    transitions: int
    suppressed_by: str

    def numbered(self, number: int, node: str) -> Alert:
        """The alert that it becomes under an id."""
        return Alert(
            id=number,
            node=node,
            service=self.service,
            component=self.component,
            kind=self.kind,
            desired=self.desired,
            observed=self.observed,
            reason=self.reason,
            since=self.since,
            transitions=self.transitions,
        )


class Silence(NamedTuple):
    """Alerts of a service (``component`` empty: all of it) are kept quiet until a time."""

    id: int
    service: str
    component: str
    until: datetime
    reason: str
    by: str


def hushing(silences: Iterable[Silence], service: str, component: str) -> str:
    """The silence that keeps a component's alerts quiet, in words; empty when none does."""
    for each in silences:
        if covers(each, service, component):
            return f"silence {each.id} until {each.until:%Y-%m-%d %H:%M} UTC"
    return ""


def covers(silence: Silence, service: str, component: str) -> bool:
    """Whether a silence is of this component, or of all of its service."""
    return silence.service == service and silence.component in ("", component)


class Ledger(AlertLedger, Protocol):
    """What the reducer writes. Everything is committed when a method returns."""

    async def record(
        self, facts: Sequence[Fact], states: Sequence[Known], alerts: Sequence[NewAlert], now: datetime
    ) -> tuple[Alert, ...]:
        """Keeps facts (each key once), the present states, and alerts, in one transaction; returns the alerts to send.

        With alerts it is on the disk when this returns; without, it outlives any end of the daemon.

        A ``recovered`` closes what is open of its component.
        """

    async def remembered(self) -> tuple[Sequence[Known], Sequence[tuple[Alert, bool]]]:
        """What an earlier daemon knew: the last states, and the open alerts, each with whether it was suppressed."""

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Those in force."""

    @property
    def state(self) -> SourceState:
        """Whether it can be written; if not, what is wrong, and what to do about it."""

    async def until(self, *, ok: bool) -> None:
        """Waits until it can be written, or cannot."""

    async def attempt(self) -> None:
        """Tries whether it can be written again, after which `state` says so. Raises OutsideError when it cannot."""
