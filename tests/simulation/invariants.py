"""What holds at the end of every history."""

from __future__ import annotations

from collections import Counter

from monitor.drift import drift
from monitor.model import AlertKind, Delivery, Observed

from .history import RECOVERED, Played
from .node import is_oneshot


def the_state_known_is_the_true_one(played: Played) -> None:
    for key, target in played.node.declared.items():
        found = [each for each in played.monitor.known.values() if each.name == target.container]
        known = {each.state for each in found if each.state is not Observed.REMOVED} or {Observed.REMOVED}
        truth = {played.node.truth(key)}
        assert known <= truth, f"{key} is {truth}, and known to be {known}"
        assert len(known) == 1


def every_drift_has_an_open_alert_and_nothing_else_has(played: Played) -> None:
    for key, target in played.node.declared.items():
        reason = drift(target.wanted, played.node.seen(key))
        kinds = played.open(key)
        if reason:
            assert kinds, f"{key}: {reason}, and no alert is open"
            assert set(kinds) <= {AlertKind.DRIFT, AlertKind.FLAP}
            assert max(Counter(kinds).values()) == 1, f"{key}: {kinds} are open"
        else:
            assert kinds == [], f"{key} is as wanted, and {kinds} are open"


def a_good_end_of_what_runs_to_its_end_is_never_told(played: Played) -> None:
    for key, target in [*played.node.declared.items(), *played.node.undeclared.items()]:
        if is_oneshot(target):
            reasons = [each.alert.reason for each in played.of(key) if each.alert.kind is not RECOVERED]
            assert not any("exited 0" in each or "status is not known" in each for each in reasons), reasons


def nothing_is_open_of_what_is_not_declared_any_more(played: Played) -> None:
    for key in played.node.undeclared:
        assert played.open(key) == [], f"{key} was undeployed, and {played.open(key)} are open"


def every_alert_was_closed_before_another_of_its_kind(played: Played) -> None:
    for key in [*played.node.declared, *played.node.undeclared]:
        opened: dict[AlertKind, str] = {}
        for record in played.of(key):
            kind = record.alert.kind
            if kind is RECOVERED:
                assert opened, f"{key} recovered from nothing"
                opened.clear()
            else:
                # Again only for what a rule kept quiet, when the rule has ended.
                assert opened.get(kind, "a rule"), f"{key}: a second {kind} while one is open"
                opened[kind] = record.suppressed_by


def none_was_raised_during_our_own_operation(played: Played) -> None:
    for record in played.alerts:
        when = played.raised_at[record.alert.id]
        for span in played.node.operations:
            at_work = span.service == record.alert.service and span.begin < when < span.end
            # A service that is undeployed closes what was open of it, within the operation.
            assert not at_work or record.alert.kind is RECOVERED, f"{record.alert} within {span}"


def everything_that_was_not_suppressed_was_told_once(played: Played) -> None:
    for record in played.alerts:
        ran = played.ran.get(record.alert.id, [])
        if record.suppressed_by:
            assert ran == []
            assert record.delivery is Delivery.SUPPRESSED
        else:
            assert ran, f"{record.alert} was never told"
            assert True not in ran[:-1], f"{record.alert} was told again after it had been"
            assert record.delivery is (Delivery.SENT if ran[-1] else Delivery.FAILED)


INVARIANTS = (
    the_state_known_is_the_true_one,
    every_drift_has_an_open_alert_and_nothing_else_has,
    a_good_end_of_what_runs_to_its_end_is_never_told,
    nothing_is_open_of_what_is_not_declared_any_more,
    every_alert_was_closed_before_another_of_its_kind,
    none_was_raised_during_our_own_operation,
    everything_that_was_not_suppressed_was_told_once,
)
