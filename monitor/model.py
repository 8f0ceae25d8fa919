"""The monitor's values: a component's states, what sources observe, what the reducer knows, and alerts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import UNSET, UnsetType

from protos.parts import Heal, Health


class Desired(StrEnum):
    """What the operator wants of a component.

    ``COMPLETED``: to have run to its end, and well; it may be at it. ``SCHEDULED``: to run when its schedule says so.
    ``IGNORE``: nobody declared it; listed, never touched.
    """

    RUNNING = "running"
    STOPPED = "stopped"
    COMPLETED = "completed"
    SCHEDULED = "scheduled"
    IGNORE = "ignore"


class Observed(StrEnum):
    """What a component was last seen to be. ``UNKNOWN``: not seen, and no second look has agreed that it is gone."""

    CREATED = "created"
    RUNNING = "running"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVED = "removed"
    UNKNOWN = "unknown"

    @property
    def is_up(self) -> bool:
        """Whether the main process runs and nothing says that it does not work."""
        return self in (Observed.RUNNING, Observed.HEALTHY)

    @property
    def has_process(self) -> bool:
        return self in (Observed.RUNNING, Observed.HEALTHY, Observed.UNHEALTHY, Observed.PAUSED)


class Wanted(msgspec.Struct, frozen=True):
    """What the registry wants of one component."""

    service: str
    component: str
    desired: Desired
    image: str
    spec_hash: str
    # podman's restart policy, without its number of tries.
    restart: str = "no"
    heal: Heal = Heal.ALERT
    # Of a job: what is wrong with its runs, in words.
    trouble: str = ""


class Seen(msgspec.Struct, frozen=True):
    """What is known of a component's container. ``exit_code`` is that of the last run.

    It is None before the first end, and after one of which nobody knows how it was. ``words`` are a probe's, when it is
    unhealthy. ``by_us``: mcpd itself ended it, to heal it.
    """

    state: Observed
    image: str = ""
    spec_hash: str = ""
    exit_code: int | None = None
    finished_at: datetime | None = None
    out_of_memory: bool = False
    by_hand: bool = False
    words: str = ""
    by_us: bool = False
    # It has a probe, which has said nothing of this run yet.
    awaits_probe: bool = False
    # Whether somebody looked, and there was none; or it has only not been seen yet.
    looked_for: bool = True


MISSING = Seen(Observed.REMOVED)
NOT_SEEN_YET = Seen(Observed.REMOVED, looked_for=False)


# ------------------------------------------------------------------------------------------- what sources observe


class Sighting(msgspec.Struct, frozen=True):
    """One container, as podman described it when asked.

    ``started_at`` names the run: a container that runs again has another one. None: it never ran. ``order`` grows with
    every question to podman, so that of two sightings of one run the newer is known whatever way they came.
    ``answered`` is the number of the last question when this one was answered: whatever has a greater ``order`` was
    seen after this; None: nobody kept it. ``at`` is when podman was asked; None: nobody kept it, and what only that
    time could tell is not told. ``own_probe`` is the health check that the container has from its image; UNSET: podman
    was not asked for it.
    """

    order: int
    container: str
    name: str
    service: str
    component: str
    state: Observed
    started_at: datetime | None
    finished_at: datetime | None = None
    exit_code: int | None = None
    out_of_memory: bool = False
    by_hand: bool = False
    pid: int = 0
    conmon_pid: int = 0
    image: str = ""
    spec_hash: str = ""
    at: datetime | None = None
    own_probe: Health | UnsetType | None = UNSET
    answered: int | None = None


class Ended(msgspec.Struct, frozen=True):
    """The kernel says that a run's main process has ended; ``exit_code`` None: conmon did not say in time.

    ``by_hand`` None: podman has not said yet whether somebody is stopping it. That is told soon, one way or the other.
    """

    container: str
    started_at: datetime
    at: datetime
    exit_code: int | None
    by_hand: bool | None = False


class Missed(msgspec.Struct, frozen=True):
    """A container that was known is not in podman's list; ``order`` as in `Sighting`."""

    order: int
    container: str
    at: datetime


class Gone(msgspec.Struct, frozen=True):
    """podman says that there is no such container any more; ``order`` as in `Sighting`."""

    order: int
    container: str
    at: datetime


class Probed(msgspec.Struct, frozen=True):
    """The probe of one run changed its mind. ``order`` grows with every such word of any probe, as long as mcpd lives.

    ``probe`` says which probe it was (`monitor.probes.identity`); empty: unknown. ``is_first``: whoever asked has only
    begun to, so that it may be no news.
    """

    container: str
    started_at: datetime
    at: datetime
    healthy: bool
    words: str
    order: int = 1
    probe: str = ""
    is_first: bool = False


class Reprobed(msgspec.Struct, frozen=True):
    """From now on this probe is asked, and no other; empty: none is."""

    container: str
    at: datetime
    probe: str


class Ours(msgspec.Struct, frozen=True):
    """mcpd has ended this run itself, to heal the component: whatever podman says, nobody stopped it by hand."""

    container: str
    started_at: datetime | None


Observation = Sighting | Ended | Missed | Gone | Probed | Reprobed | Ours


class SourceState(msgspec.Struct, frozen=True):
    """Whether a source of observations works, and what it says when it does not."""

    name: str
    ok: bool
    detail: str
    since: datetime


# ----------------------------------------------------------------------------------------- what the reducer knows


class Known(msgspec.Struct, frozen=True):
    """All that is known of one container. ``since`` is when it went into ``state``; ``by_hand`` as in `Ended`.

    ``is_paused``: it was when it was last seen, which the ledger knows. ``answered`` and ``own_probe`` as in
    `Sighting`; UNSET: it was last seen by an mcpd that did not keep it.
    """

    container: str
    name: str
    service: str
    component: str
    state: Observed
    since: datetime
    started_at: datetime | None
    order: int
    exit_code: int | None = None
    out_of_memory: bool = False
    by_hand: bool | None = False
    pid: int = 0
    conmon_pid: int = 0
    image: str = ""
    spec_hash: str = ""
    # What this run's probe last said, and its words when it was not well.
    probed: Observed | None = None
    probed_order: int = 0
    words: str = ""
    # Which probe said that (`monitor.probes.identity`); empty: an mcpd that did not keep it.
    probe: str = ""
    is_paused: bool = False
    by_us: bool = False
    own_probe: Health | UnsetType | None = UNSET
    answered: int | None = None

    def seen(self) -> Seen:
        finished = self.since if self.state is Observed.EXITED else None
        return Seen(
            self.state,
            self.image,
            self.spec_hash,
            self.exit_code,
            finished,
            self.out_of_memory,
            bool(self.by_hand) and not self.by_us,
            self.words,
            self.by_us,
        )


class Fact(msgspec.Struct, frozen=True):
    """Something that happened to a container, once. ``key`` is the same however often and whoever observes it."""

    key: str
    service: str
    component: str
    container: str
    state: Observed
    at: datetime
    message: str = ""


# ---------------------------------------------------------------------------------------------- what operators are told


# The id of an alert that has no row in the ledger; below it, of those that may get one later.
NOT_KEPT = -1


class AlertKind(StrEnum):
    """``RECOVERED`` closes a drift or a flap; ``REBOOT`` names what did not come back; ``EXPIRY``: a certificate's.

    ``DISK``: a filesystem has little room left. ``REGISTRY``: the ledger itself cannot be written, so that it has no
    row of this. ``ROUTE``: the proxy does not have the routes that it should have. ``JOB``: a run has failed, goes on
    too long, or was missed.
    """

    DRIFT = "drift"
    FLAP = "flap"
    RECOVERED = "recovered"
    REBOOT = "reboot"
    EXPIRY = "expiry"
    REGISTRY = "registry"
    DISK = "disk"
    ROUTE = "route"
    JOB = "job"


class Delivery(StrEnum):
    """``FAILED``: after all attempts. ``SUPPRESSED``: by a rule, which is recorded with it."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"


class Alert(msgspec.Struct, frozen=True):
    """One row of the ledger, as the operator's command is told of it. ``id`` stays the same over every attempt.

    A negative ``id`` is of no row: the ledger could not be written. The command is told 0 then, by which no repeat can
    be told from news.

    ``since`` is when the state began that the alert is about; ``transitions`` counts the component's changes of state
    within the flap window.
    """

    id: int
    node: str
    service: str
    component: str
    kind: AlertKind
    desired: str
    observed: str
    reason: str
    since: datetime
    transitions: int = 0
    attempts: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether the ledger has it."""
        return self.id > NOT_KEPT


class Execution(msgspec.Struct, frozen=True):
    """One run of the alert command. ``status`` is its exit status, negative for a signal, None when it never ran.

    ``words`` say how it ended; ``output`` is the end of what it printed, on stdout and stderr together.
    """

    status: int | None
    words: str
    output: str = ""

    @property
    def succeeded(self) -> bool:
        return self.status == 0
