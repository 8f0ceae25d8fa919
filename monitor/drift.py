"""Drift: how desired and observed state disagree, in an operator's words. A pure function of the two."""

from __future__ import annotations

from monitor.exit_status import exit_words
from monitor.model import Desired, Observed, Seen, Wanted
from protos import naming


def drift(wanted: Wanted, seen: Seen) -> str:
    """Why ``seen`` is not what is ``wanted``; empty when it is.

    Says nothing of how long it has been so: the grace before an alert is policy.
    """
    # 1. Nobody declared it.
    if wanted.desired is Desired.IGNORE:
        return ""
    # 2. It should be stopped: any end will do, and so does never having been started, or not being there at all.
    if wanted.desired is Desired.STOPPED:
        if seen.state.has_process or seen.state is Observed.RESTARTING:
            return f"{seen.state}, should be stopped"
        return ""
    # 3. It should have run to its end, and has not, or not well. While it is at it, nobody can say more.
    if wanted.desired is Desired.COMPLETED:
        if reason := _why_incomplete(seen):
            return reason
    # 4. It runs now and then: it has to be there.
    elif wanted.desired is Desired.SCHEDULED:
        if seen.state in (Observed.REMOVED, Observed.UNKNOWN, Observed.PAUSED):
            return "paused" if seen.state is Observed.PAUSED else _why_down(seen)
    # 5. It should run, and does not, or not well.
    elif not seen.state.is_up:
        return _why_down(seen)
    # 6. It runs, or ran, but something else than what was asked for.
    if seen.spec_hash and seen.spec_hash != wanted.spec_hash:
        return _why_different(wanted, seen)
    # 7. It is a job, and its runs are not as they should be.
    return wanted.trouble if wanted.desired is Desired.SCHEDULED else ""


def mends_itself(wanted: Wanted, seen: Seen) -> bool:
    """Whether a drift may pass without a person: by podman's restart policy, by ours, or by a probe's next answer."""
    if seen.state in (Observed.UNHEALTHY, Observed.RESTARTING, Observed.UNKNOWN, Observed.CREATED):
        return True
    if not seen.looked_for:
        return True
    if seen.state is not Observed.EXITED or seen.by_hand:
        return False
    if wanted.desired is Desired.SCHEDULED:
        return False
    if wanted.desired is Desired.COMPLETED:
        # We never start it; and podman may only be late to say how it ended.
        return seen.exit_code is None or podman_restarts(wanted, seen)
    return wanted.heal == "restart" or podman_restarts(wanted, seen)


def has_completed(seen: Seen) -> bool:
    """Whether it has run to its end, and well."""
    return seen.state is Observed.EXITED and seen.exit_code == 0


def podman_restarts(wanted: Wanted, seen: Seen) -> bool:
    """Whether podman's own policy starts an ended container again; ours then waits for it."""
    # What we stopped ourselves podman leaves alone, as it does what a person stopped.
    if seen.state is not Observed.EXITED or seen.by_hand or seen.by_us:
        return False
    if wanted.restart == "on-failure":
        return seen.exit_code != 0
    return wanted.restart in ("always", "unless-stopped")


def _why_incomplete(seen: Seen) -> str:
    """Why what should run to its end has not, and is not at it."""
    is_at_it = seen.state.has_process and seen.state is not Observed.PAUSED
    if is_at_it or has_completed(seen):
        return ""
    if seen.state in (Observed.REMOVED, Observed.UNKNOWN):
        return _why_down(seen)
    if seen.state is Observed.EXITED and seen.exit_code is None:
        return "did not complete: it exited, and its status is not known"
    # One that is only created may have run, too, before the machine was booted.
    words = {Observed.CREATED: "created, not running", Observed.PAUSED: "paused"}.get(seen.state, _why_down(seen))
    return f"did not complete: {words}"


def _why_down(seen: Seen) -> str:
    if seen.state is Observed.EXITED:
        oom = seen.out_of_memory
        reason = "exited" if seen.exit_code is None else exit_words(seen.exit_code, out_of_memory=oom)
        return reason + (", stopped by hand" if seen.by_hand else "")
    reasons = {
        Observed.CREATED: "created, never started",
        Observed.PAUSED: "paused, should be running",
        Observed.RESTARTING: "restarting",
        Observed.UNHEALTHY: f"unhealthy: {seen.words}" if seen.words else "unhealthy",
        Observed.REMOVED: "missing: no such container",
        Observed.UNKNOWN: "unknown: not seen",
    }
    return reasons[seen.state]


def _why_different(wanted: Wanted, seen: Seen) -> str:
    verb = "runs" if seen.state.has_process else "ran"
    if seen.image != wanted.image:
        runs, wants = naming.version(seen.image), naming.version(wanted.image)
        if runs == wants:
            runs, wants = seen.image, wanted.image
        return f"image {runs} {verb}, {wants} is wanted"
    return f"{verb} with settings other than those declared"
