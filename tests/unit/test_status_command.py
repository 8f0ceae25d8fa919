"""`mcpctl status` of a time that is past, and of one component."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import AT, JSON, Node, Run, stripped
from tests.support.answers import an_api, prepare_status


def test_status_of_the_past_is_asked_for_and_said_to_be_the_past(run: Run, alone: Node) -> None:
    prepare_status(alone, an_api(observed_at=AT - timedelta(hours=3)))
    status, out, err = run("status", "web", "--at", AT.isoformat())
    assert status == 0
    (request,) = alone.agent.asked(v1.GetStatusRequest)
    assert (request.service, request.at) == ("web", AT)
    assert f"this is the state at {render.moment(AT)}" in err
    # How long it had been so, not how long ago that is.
    assert stripped(out.splitlines()[1]) == ["web", "api", "rift", "running", "running", "3h"]


def test_status_at_a_duration_is_so_long_ago(run: Run, alone: Node) -> None:
    before = datetime.now(UTC)
    assert run("status", "--at", "2h").status == 0
    (request,) = alone.agent.requests
    assert before - timedelta(hours=2) <= request.at <= datetime.now(UTC) - timedelta(hours=2)


def test_status_now_asks_for_no_time(run: Run, alone: Node) -> None:
    prepare_status(alone, an_api())
    assert run("status").err == "mcpctl: node orion is down in mcp.toml: skipped\n"
    assert alone.agent.requests == [v1.GetStatusRequest()]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("when", ["2099-01-01", "yesterday", "0001-01-01"])
def test_a_time_that_is_not_past_is_refused(run: Run, when: str) -> None:
    status, out, err = run("status", "--at", when)
    # The year 1 is a time, but not in every time zone.
    if not (when == "0001-01-01" and status == 0):
        assert (status, out) == (2, "")
        assert f"--at: '{when}'" in err
    assert "bug" not in err


# -- one component


def a_component(name: str, drift: str = "") -> v1.ComponentInfo:
    return v1.ComponentInfo(service="web", component=name, container=f"web-{name}", drift=drift, started_at=AT)


@pytest.fixture
def two(alone: Node) -> Node:
    components = [a_component("api"), a_component("db", drift="it is gone")]
    events = [v1.EventInfo(id=1, service="web", component="db", kind="exited", at=AT)]
    status = v1.GetStatusResponse("rift", [v1.ServiceInfo("web", "rift", True, components)], events)
    alone.agent.prepared["GetStatusRequest"] = status
    alone.agent.prepared["LiveCheckRequest"] = v1.LiveCheckResponse("rift", components)
    return alone


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("command", ["status", "ps"])
def test_of_one_component_nothing_else_is_shown(run: Run, command: str) -> None:
    status, out, _ = run(command, "web/api")
    assert status == 0
    assert "api" in out
    assert "db" not in out
    shown = run(command, "web/api", *JSON).out
    assert '"api"' in shown
    assert '"db"' not in shown


@pytest.mark.usefixtures("two")
def test_drift_of_another_component_is_no_drift_of_this_one(run: Run) -> None:
    assert run("status", "web/api", "--exit-code").status == 0
    assert run("status", "web/db", "--exit-code").status == 3


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("command", ["status", "ps"])
def test_a_component_that_there_is_not_is_guessed(run: Run, command: str) -> None:
    status, out, err = run(command, "web/apii")
    assert (status, out) == (2, "")
    assert "web has no component 'apii'; it has api, db; did you mean web/api?" in err


# -- what runs to its end


def a_job(**values: Any) -> v1.ComponentInfo:
    fields = {"component": "job", "desired": v1.DesiredState.COMPLETED, "observed": v1.ObservedState.EXITED}
    return an_api(**{**fields, "exit_code": 0, **values})


@pytest.mark.parametrize("words", [(), ("--exit-code",), ("--at", "2h")])
def test_what_has_completed_is_as_wanted(run: Run, alone: Node, words: tuple[str, ...]) -> None:
    # Of the past the status is not told.
    prepare_status(alone, a_job(exit_code=None) if words[:1] == ("--at",) else a_job())
    status, out, _ = run("status", "web", *words)
    assert status == 0
    assert stripped(out.splitlines()[1])[:5] == ["web", "job", "rift", "completed", "completed"]


@pytest.mark.parametrize("exit_code", [1, None])
def test_what_has_not_completed_is_drift(run: Run, alone: Node, exit_code: int | None) -> None:
    prepare_status(alone, a_job(exit_code=exit_code, drift="did not complete"))
    status, out, _ = run("status", "web", "--exit-code")
    assert status == 3
    assert "exited" in out.splitlines()[1]


def test_a_program_is_told_what_it_is_wanted_to_be_and_what_it_was(run: Run, alone: Node) -> None:
    prepare_status(alone, a_job())
    (service,) = json.loads(run("status", "web", *JSON).out)
    (row,) = service["components"]
    assert (row["desired"], row["observed"], row["exit_code"], row["drift"]) == ("completed", "exited", 0, "")


def test_a_wish_of_a_newer_node_is_told_by_its_number(run: Run, alone: Node) -> None:
    prepare_status(alone, an_api(desired=99))
    assert "DesiredState(99)" in run("status", "web").out
