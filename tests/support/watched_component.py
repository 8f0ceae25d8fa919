"""A component over time, as the alert policy sees it."""

from typing import Any

from monitor.alerts.policy import Memory, Raised, Rules, Verdict, judge
from monitor.model import AlertKind, Desired, Observed, Seen, Wanted
from protos.parts import Heal
from tests.support.builders import IMAGE

DRIFT, FLAP, RECOVERED = AlertKind.DRIFT, AlertKind.FLAP, AlertKind.RECOVERED
RULES = Rules(drift_grace=10, flap_threshold=3, flap_window=600, cooldown=900)

UP = Seen(Observed.RUNNING, IMAGE, "h1")
DIED = Seen(Observed.EXITED, IMAGE, "h1", exit_code=137)
ENDED_WELL = Seen(Observed.EXITED, IMAGE, "h1", exit_code=0)
OOM = Seen(Observed.EXITED, IMAGE, "h1", exit_code=137, out_of_memory=True)
BY_HAND = Seen(Observed.EXITED, IMAGE, "h1", exit_code=0, by_hand=True)
SICK = Seen(Observed.UNHEALTHY, IMAGE, "h1", words="HTTP status 503")
CREATED = Seen(Observed.CREATED, IMAGE, "h1")
PAUSED = Seen(Observed.PAUSED, IMAGE, "h1")
# The machine lost its power meanwhile, say.
UNCLEAR = Seen(Observed.EXITED, IMAGE, "h1")
UNKNOWN = Seen(Observed.UNKNOWN, IMAGE, "h1")
OTHER_IMAGE = Seen(Observed.RUNNING, "registry.example.net:5000/app:v0", "h0")


def wanted(restart: str = "no", heal: Heal = Heal.ALERT, desired: Desired = Desired.RUNNING) -> Wanted:
    return Wanted("web", "api", desired, IMAGE, "h1", restart, heal)


ALWAYS = wanted("always")
HEALED = wanted(heal=Heal.RESTART)
STOPPED = wanted(desired=Desired.STOPPED)
IGNORED = wanted(desired=Desired.IGNORE)
ONESHOT = wanted(desired=Desired.COMPLETED)


class Component:
    """One component over time: looks at it and keeps what was raised."""

    def __init__(self, wanted: Wanted, rules: Rules = RULES) -> None:
        self.wanted = wanted
        self.rules = rules
        self.memory = Memory()
        self.raised: list[Raised] = []

    def look(self, now: float, seen: Seen, **changes: Any) -> Verdict:
        verdict = judge(self.memory, self.wanted, seen, now, self.rules, **changes)
        self.memory = verdict.memory
        self.raised += verdict.raised
        return verdict

    def dies(self, *times: float, seen: Seen = DIED) -> None:
        """Goes down at each of the times, and is up again a second later."""
        for now in times:
            self.look(now - 0.5, UP)
            self.look(now, seen)
            self.look(now + 1, UP)

    @property
    def told(self) -> list[AlertKind]:
        return [each.kind for each in self.raised if not each.suppressed_by]

    @property
    def kinds(self) -> list[AlertKind]:
        return [each.kind for each in self.raised]
