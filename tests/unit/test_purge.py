"""What may be forgotten: only what nothing wants and nothing runs."""

from __future__ import annotations

import pytest

from mcpd.changes.purge import purgeable
from mcpd.model import LABEL_RUN, LABEL_RUN_OF, Container, RecordedComponent, Result
from monitor.model import Desired, Observed
from tests.support.builders import component, container, recorded, recorded_service


def verdict(found: RecordedComponent, *containers: Container, defined: str = "") -> tuple[Result, str]:
    (only,) = purgeable(recorded_service(found), "", containers, {defined}, "rift")
    return only.result, only.message


@pytest.mark.parametrize("desired", [Desired.IGNORE, Desired.STOPPED])
def test_what_nothing_wants_and_nothing_runs_is_forgotten(desired: Desired) -> None:
    assert verdict(recorded(desired=desired)) == (Result.REMOVED, "forgotten")


def test_a_stopped_container_stays_and_is_named() -> None:
    result, words = verdict(recorded(desired=Desired.IGNORE), container(state=Observed.EXITED))
    assert (result, words) == (Result.REMOVED, "forgotten; its stopped container web-api stays")


@pytest.mark.parametrize("state", [Observed.RUNNING, Observed.PAUSED, Observed.RESTARTING, Observed.UNKNOWN])
def test_what_runs_or_may_is_refused(state: Observed) -> None:
    result, words = verdict(recorded(desired=Desired.IGNORE), container(state=state))
    assert result is Result.SKIPPED
    assert "it is not stopped; `mcpctl undeploy web/api --node rift`" in words


@pytest.mark.parametrize(("state", "result"), [(Observed.RUNNING, Result.SKIPPED), (Observed.EXITED, Result.REMOVED)])
def test_what_has_a_run_that_goes_on_stays_known_so_that_it_can_be_stopped(state: Observed, result: Result) -> None:
    labels = {LABEL_RUN: "abc234", LABEL_RUN_OF: "web/api"}
    run = container(name="web-api.run-abc234", labels=labels, state=state)
    found, words = verdict(recorded(desired=Desired.IGNORE), run)
    assert found is result
    assert ("`mcpctl run web/api --stop abc234 --node rift` stops it" in words) is (result is Result.SKIPPED)


def test_what_a_definition_names_is_never_touched() -> None:
    assert verdict(recorded(desired=Desired.STOPPED), defined="web")[0] is Result.SKIPPED


def test_what_the_registry_wants_running_is_refused() -> None:
    assert "the registry says that it should run" in verdict(recorded(desired=Desired.RUNNING))[1]


def test_only_the_component_that_is_named_is_looked_at() -> None:
    service = recorded_service(recorded(component("a"), desired=Desired.IGNORE), recorded(component("b")))
    assert [each.component for each in purgeable(service, "a", (), (), "rift")] == ["a"]
