"""What the registry wants joined with what podman has."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mcpd.model import LAST, NEXT, Event, RecordedComponent
from mcpd.status.components import from_registry, live, past, undeclared
from monitor.model import Desired, Known, Observed
from tests.support.builders import NOW, component, container, recorded, recorded_service

EARLIER = NOW - timedelta(minutes=5)


def test_the_registry_alone_tells_what_was_last_seen_and_when() -> None:
    one = recorded(observed=Observed.EXITED, observed_at=EARLIER)
    (view,) = from_registry(recorded_service(one))
    assert (view.service, view.component, view.desired) == ("web", "api", Desired.RUNNING)
    assert (view.observed, view.observed_at) == (Observed.EXITED, EARLIER)
    assert view.container is None
    assert view.drift == "exited"


def test_what_was_never_seen_is_unknown() -> None:
    (view,) = from_registry(recorded_service(recorded(observed=Observed.UNKNOWN, observed_at=None)))
    assert view.observed_at is None
    assert view.drift.startswith("unknown")


def test_a_live_look_counts_more_than_what_was_recorded() -> None:
    one = recorded(observed=Observed.RUNNING, observed_at=EARLIER)
    found = container(state=Observed.EXITED, exit_code=137)
    (view,) = live(recorded_service(one), [found], NOW)
    assert view.container == found
    assert (view.observed, view.observed_at) == (Observed.EXITED, NOW)
    assert view.drift == "exited 137 (SIGKILL)"


def test_a_component_that_runs_as_wanted_has_no_drift() -> None:
    (view,) = live(recorded_service(recorded()), [container()], NOW)
    assert view.drift == ""


def test_a_component_without_a_container_is_missing() -> None:
    (view,) = live(recorded_service(recorded()), [], NOW)
    assert view.observed is Observed.REMOVED
    assert view.container is None
    assert view.drift == "missing: no such container"


def test_an_older_image_is_told_as_drift() -> None:
    one = recorded(component(image="app:v2"))
    (view,) = live(recorded_service(one), [container(component(image="app:v1"))], NOW)
    assert view.drift == "image v1 runs, v2 is wanted"


def test_a_container_of_another_service_is_not_taken_for_ours() -> None:
    foreign = container(service="blog", name="web-api")
    (view,) = live(recorded_service(recorded()), [foreign], NOW)
    assert view.container is None


def test_a_container_is_found_by_its_labels_under_any_settled_name() -> None:
    (view,) = live(recorded_service(recorded()), [container(name="web-something")], NOW)
    assert view.container is not None


@pytest.mark.parametrize("suffix", [NEXT, LAST])
def test_a_container_under_a_temporary_name_is_not_shown_as_the_components(suffix: str) -> None:
    left_over = container(name="web-api" + suffix, state=Observed.CREATED)
    (view,) = live(recorded_service(recorded()), [left_over], NOW)
    assert view.container is None
    for order in ([left_over, container()], [container(), left_over]):
        (view,) = live(recorded_service(recorded()), order, NOW)
        assert view.container == container()


def test_every_component_has_one_row_in_the_registrys_order() -> None:
    parts = [recorded(component(name)) for name in ("z", "a")]
    views = live(recorded_service(*parts), [container(component("a")), container(component("z"))], NOW)
    assert [view.component for view in views] == ["z", "a"]


def test_what_nobody_declared_is_listed_and_never_drifts() -> None:
    known = recorded_service(recorded())
    foreign = container(service="", name="redis", state=Observed.EXITED, exit_code=1)
    gone = container(component("old"), state=Observed.RUNNING)
    views = undeclared([known], [container(), foreign, gone], NOW)
    assert [view.container for view in views] == [foreign, gone]
    assert all(view.recorded is None and view.desired is Desired.IGNORE and view.drift == "" for view in views)
    assert [view.observed for view in views] == [Observed.EXITED, Observed.RUNNING]


def test_what_is_no_longer_defined_is_listed_without_drift() -> None:
    one = recorded(desired=Desired.IGNORE)
    (view,) = live(recorded_service(one), [], NOW)
    assert view.drift == ""


JOB = component("job", oneshot=True)


def job(**changes: Any) -> RecordedComponent:
    fields = {"desired": Desired.COMPLETED, "observed": Observed.EXITED, "container_id": "c1"}
    return recorded(JOB, **{**fields, **changes})


@pytest.mark.parametrize(("code", "drift"), [(0, ""), (3, "did not complete: exited 3")])
def test_of_what_runs_to_its_end_the_status_counts(code: int, drift: str) -> None:
    found = container(JOB, state=Observed.EXITED, exit_code=code, pid=0)
    (view,) = live(recorded_service(job()), [found], NOW)
    assert (view.desired, view.observed, view.drift) == (Desired.COMPLETED, Observed.EXITED, drift)


@pytest.mark.parametrize(("code", "drift"), [(0, ""), (3, "did not complete: exited 3")])
def test_while_podman_does_not_answer_the_monitor_knows_how_it_ended(code: int, drift: str) -> None:
    known = Known("c1", "web-job", "web", "job", Observed.EXITED, NOW, NOW, 1, exit_code=code)
    (view,) = from_registry(recorded_service(job()), {"c1": known})
    assert view.drift == drift
    # What it knows of another state says nothing of this one.
    (view,) = from_registry(recorded_service(job()), {"c1": msgspec.structs.replace(known, state=Observed.RUNNING)})
    assert view.drift.endswith("its status is not known")


@pytest.mark.parametrize(
    ("kind", "message", "drift"),
    [
        ("running", "", ""),
        ("exited", "exited 0", ""),
        ("exited", "exited 0 (out of memory)", ""),
        ("exited", "exited 137 (SIGKILL)", "did not complete: exited 137 (SIGKILL)"),
        ("paused", "paused", "did not complete: paused"),
        ("removed", "", "missing: no such container"),
    ],
)
def test_the_past_of_what_runs_to_its_end_is_told_by_what_the_ledger_said(kind: str, message: str, drift: str) -> None:
    event = Event(1, EARLIER, "web", "job", kind, message, "")
    (view,) = past(recorded_service(job()), {("web", "job"): event})
    assert (view.observed, view.observed_at, view.drift) == (Observed(kind), EARLIER, drift)


def test_of_a_past_without_an_event_nothing_is_told() -> None:
    (view,) = past(recorded_service(job()), {})
    assert (view.observed, view.drift) == (Observed.UNKNOWN, "")
