"""What must be counted while it happens. Everything else is read on a scrape."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping

from mcpd.identity.required_roles import REQUIRED_ROLE
from mcpd.registry.audit import AuditEntry
from mcpd.rpc.methods import ENDLESS

# Seconds. From an answer out of memory to a deploy that pulls; a factor of two to three apart.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
# Calls that end when their caller, or podman, has had enough: how long they took says nothing.
_ENDLESS_RPCS = ENDLESS | {"Watch", "ServerReflectionInfo"}
_ENDLESS_CALLS = frozenset({"GET events", "GET containers/*/logs"})
# Those that contrib/prometheus has rules for. They are there from the start: a counter that begins with 1 has no
# increase that a rule could see.
_WATCHED_STATUSES = ("INTERNAL", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED")
# The last word of a path of podman's API; anything else there is a name of the operator's.
_WORDS = frozenset(
    {
        *("json", "exists", "create", "start", "stop", "kill", "rename", "logs", "exec", "pull", "stats", "wait"),
        *("pause", "unpause", "restart", "init", "prune", "resize", "attach", "top", "changes", "healthcheck"),
    }
)


class Durations:
    """A histogram: how many took how long, in seconds."""

    def __init__(self) -> None:
        self._numbers = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        self._numbers[bisect.bisect_left(BUCKETS, seconds)] += times
        self._sum += seconds * times

    @property
    def sum(self) -> float:
        return self._sum

    def buckets(self) -> list[tuple[str, float]]:
        """Each upper bound as Prometheus writes it, and how many took so long at most."""
        total = 0
        found = []
        for bound, number in zip((*map(str, BUCKETS), "+Inf"), self._numbers, strict=True):
            total += number
            found.append((bound, float(total)))
        return found


class Counts:
    """Since the daemon began. Labels are names of methods and kinds of call: as many as the code has, and no more."""

    def __init__(self) -> None:
        methods = [path.rpartition("/")[2] for path in REQUIRED_ROLE]
        self._rpcs = Counter({(method, status): 0 for method in methods for status in _WATCHED_STATUSES})
        self._rpc_durations: dict[str, Durations] = {}
        self._podman_durations: dict[str, Durations] = {}
        self._unanswered = 0

    def called(self, call: AuditEntry) -> None:
        """A call of ours has ended, or several of strangers have."""
        self._rpcs[call.method, call.status] += call.calls
        if call.method not in _ENDLESS_RPCS:
            self._rpc_durations.setdefault(call.method, Durations()).add(call.duration.total_seconds(), call.calls)

    def asked(self, method: str, path: str, seconds: float, answered: bool) -> None:
        """A request to podman has ended; see `mcpd.runtime.podman.Observe`."""
        kind = kind_of(method, path)
        self._unanswered += not answered
        if kind not in _ENDLESS_CALLS:
            self._podman_durations.setdefault(kind, Durations()).add(seconds)

    @property
    def rpcs(self) -> Mapping[tuple[str, str], int]:
        """By method and gRPC status."""
        return self._rpcs

    @property
    def rpc_durations(self) -> Iterable[tuple[str, Durations]]:
        return self._rpc_durations.items()

    @property
    def podman_durations(self) -> Iterable[tuple[str, Durations]]:
        """By kind of call, as `kind_of` says it."""
        return self._podman_durations.items()

    @property
    def unanswered(self) -> int:
        """How many requests podman has not answered, or not in time."""
        return self._unanswered


def kind_of(method: str, path: str) -> str:
    """A request without what it is about: `GET containers/*/json`. A name of a container or image is in no label."""
    first, *rest = path.strip("/").split("/")
    if not rest:
        return f"{method} {first}"
    last = rest[-1] if rest[-1] in _WORDS else ""
    # An image's name may have slashes; one that ends in such a word is counted with what the word says.
    middle = "/*" if len(rest) > 1 or not last else ""
    return f"{method} {first}{middle}" + (f"/{last}" if last else "")
