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
    # 3. It should run, and does not, or not well.
    if not seen.state.is_up:
        return _why_down(seen)
    # 4. It runs, but something else than what was asked for.
    if seen.spec_hash and seen.spec_hash != wanted.spec_hash:
        return _why_different(wanted, seen)
    return ""


def mends_itself(wanted: Wanted, seen: Seen) -> bool:
    """Whether a drift may pass without a person: by podman's restart policy, by ours, or by a probe's next answer."""
    if seen.state in (Observed.UNHEALTHY, Observed.RESTARTING, Observed.UNKNOWN, Observed.CREATED):
        return True
    if not seen.looked_for:
        return True
    if seen.state is not Observed.EXITED or seen.by_hand:
        return False
    return wanted.heal == "restart" or podman_restarts(wanted, seen)


def podman_restarts(wanted: Wanted, seen: Seen) -> bool:
    """Whether podman's own policy starts an ended container again; ours then waits for it."""
    # What we stopped ourselves podman leaves alone, as it does what a person stopped.
    if seen.state is not Observed.EXITED or seen.by_hand or seen.by_us:
        return False
    if wanted.restart == "on-failure":
        return seen.exit_code != 0
    return wanted.restart in ("always", "unless-stopped")


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
    if seen.image != wanted.image:
        runs, wants = naming.version(seen.image), naming.version(wanted.image)
        if runs == wants:
            runs, wants = seen.image, wanted.image
        return f"image {runs} runs, {wants} is wanted"
    return "runs with settings other than those declared"
