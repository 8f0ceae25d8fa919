"""Drift: every desired state against every observed one."""

import pytest

from monitor.drift import drift
from monitor.exit_status import exit_words
from monitor.model import MISSING, Desired, Observed, Seen, Wanted
from tests.support.builders import IMAGE

UP = (Observed.RUNNING, Observed.HEALTHY)


def wanted(desired: Desired, image: str = IMAGE, spec_hash: str = "h1") -> Wanted:
    return Wanted("web", "api", desired, image, spec_hash)


def seen(state: Observed, image: str = IMAGE, spec_hash: str = "h1", exit_code: int | None = None) -> Seen:
    return Seen(state, image, spec_hash, exit_code)


@pytest.mark.parametrize("state", Observed)
def test_what_nobody_declared_never_drifts(state: Observed) -> None:
    assert drift(wanted(Desired.IGNORE), seen(state, "other:1", "h2", 1)) == ""


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (Observed.CREATED, ""),
        (Observed.RUNNING, "running, should be stopped"),
        (Observed.HEALTHY, "healthy, should be stopped"),
        (Observed.UNHEALTHY, "unhealthy, should be stopped"),
        (Observed.PAUSED, "paused, should be stopped"),
        (Observed.RESTARTING, "restarting, should be stopped"),
        (Observed.EXITED, ""),
        (Observed.REMOVED, ""),
        (Observed.UNKNOWN, ""),
    ],
)
def test_what_should_be_stopped_drifts_when_anything_of_it_runs(state: Observed, reason: str) -> None:
    assert drift(wanted(Desired.STOPPED), seen(state)) == reason


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (Observed.CREATED, "created, never started"),
        (Observed.RUNNING, ""),
        (Observed.HEALTHY, ""),
        (Observed.UNHEALTHY, "unhealthy"),
        (Observed.PAUSED, "paused, should be running"),
        (Observed.RESTARTING, "restarting"),
        (Observed.EXITED, "exited"),
        (Observed.REMOVED, "missing: no such container"),
        (Observed.UNKNOWN, "unknown: not seen"),
    ],
)
def test_what_should_run_drifts_when_it_does_not_or_not_well(state: Observed, reason: str) -> None:
    assert drift(wanted(Desired.RUNNING), seen(state)) == reason


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (Observed.CREATED, "did not complete: created, not running"),
        (Observed.RUNNING, ""),
        (Observed.HEALTHY, ""),
        (Observed.UNHEALTHY, ""),
        (Observed.PAUSED, "did not complete: paused"),
        (Observed.RESTARTING, "did not complete: restarting"),
        (Observed.EXITED, "did not complete: it exited, and its status is not known"),
        (Observed.REMOVED, "missing: no such container"),
        (Observed.UNKNOWN, "unknown: not seen"),
    ],
)
def test_what_should_complete_drifts_when_it_has_not_and_is_not_at_it(state: Observed, reason: str) -> None:
    assert drift(wanted(Desired.COMPLETED), seen(state)) == reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0, ""), (1, "did not complete: exited 1"), (137, "did not complete: exited 137 (SIGKILL)")],
)
def test_of_what_should_complete_the_exit_status_counts(code: int, reason: str) -> None:
    assert drift(wanted(Desired.COMPLETED), seen(Observed.EXITED, exit_code=code)) == reason


def test_why_something_did_not_complete_is_told_with_who_ended_it() -> None:
    killed = Seen(Observed.EXITED, IMAGE, "h1", 137, out_of_memory=True)
    assert drift(wanted(Desired.COMPLETED), killed) == "did not complete: exited 137 (out of memory)"
    stopped = Seen(Observed.EXITED, IMAGE, "h1", 143, by_hand=True)
    assert drift(wanted(Desired.COMPLETED), stopped) == "did not complete: exited 143 (SIGTERM), stopped by hand"


@pytest.mark.parametrize(("state", "verb"), [(Observed.RUNNING, "runs"), (Observed.EXITED, "ran")])
def test_what_completed_as_something_else_than_declared_drifts(state: Observed, verb: str) -> None:
    done = seen(state, "app:v1", "h1", 0)
    assert drift(wanted(Desired.COMPLETED, "app:v2", "h2"), done) == f"image v1 {verb}, v2 is wanted"
    assert drift(wanted(Desired.COMPLETED, "app:v1", "h2"), done) == f"{verb} with settings other than those declared"


def test_every_state_has_a_verdict() -> None:
    for desired in Desired:
        for state in Observed:
            assert isinstance(drift(wanted(desired), seen(state)), str)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited 0"),
        (1, "exited 1"),
        (126, "exited 126 (its command cannot be executed)"),
        (127, "exited 127 (its command was not found)"),
        (128, "exited 128"),
        (134, "exited 134 (SIGABRT)"),
        (137, "exited 137 (SIGKILL)"),
        (139, "exited 139 (SIGSEGV)"),
        (143, "exited 143 (SIGTERM)"),
        # SIGCHLD, SIGCONT and SIGSTOP end nobody: a program has chosen these itself.
        (145, "exited 145"),
        (146, "exited 146"),
        (147, "exited 147"),
        (255, "exited 255"),
        (-1, "timed out, and was killed"),
    ],
)
def test_an_exit_code_is_told_when_it_is_known_with_what_it_means(code: int, words: str) -> None:
    assert drift(wanted(Desired.RUNNING), seen(Observed.EXITED, exit_code=code)) == words


def test_a_status_alone_says_nothing_of_memory() -> None:
    assert exit_words(137) == "exited 137 (SIGKILL)"


def test_what_took_too_much_memory_is_not_said_to_be_killed_by_somebody() -> None:
    died = Seen(Observed.EXITED, IMAGE, "h1", 137, out_of_memory=True)
    assert drift(wanted(Desired.RUNNING), died) == "exited 137 (out of memory)"


@pytest.mark.parametrize("state", UP)
def test_another_version_is_told_by_both_versions(state: Observed) -> None:
    reason = drift(wanted(Desired.RUNNING, "app:v2", "h2"), seen(state, "app:v1", "h1"))
    assert reason == "image v1 runs, v2 is wanted"


def test_one_version_of_two_images_is_told_by_the_whole_references() -> None:
    reason = drift(wanted(Desired.RUNNING, "b.example/app:v1", "h2"), seen(Observed.RUNNING, "a.example/app:v1", "h1"))
    assert reason == "image a.example/app:v1 runs, b.example/app:v1 is wanted"


def test_other_settings_of_the_same_image_drift() -> None:
    assert "settings other than" in drift(wanted(Desired.RUNNING, spec_hash="h2"), seen(Observed.RUNNING))


def test_a_container_without_our_label_is_not_judged_by_its_settings() -> None:
    assert drift(wanted(Desired.RUNNING), seen(Observed.RUNNING, spec_hash="")) == ""


def test_that_it_does_not_run_counts_more_than_what_would_run() -> None:
    assert drift(wanted(Desired.RUNNING, spec_hash="h2"), seen(Observed.EXITED, exit_code=1)) == "exited 1"


def test_a_missing_container_is_what_a_stopped_component_may_have() -> None:
    assert drift(wanted(Desired.STOPPED), MISSING) == ""
    assert drift(wanted(Desired.RUNNING), MISSING).startswith("missing")
