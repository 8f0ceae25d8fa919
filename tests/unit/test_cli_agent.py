"""The commands against nodes that answer: real servers with TLS, which say what the test prepared."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl import config
from mcpctl.actions import timeline
from mcpctl.errors import UnreachableError
from mcpctl.nodes import client
from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, WEB, Node, Program, Run, of_a_shell, stripped
from tests.support.waiting import DEADLINE_S, until

# -- alerts list


def an_alert(number: int = 7, **values: Any) -> v1.AlertInfo:
    defaults = {"id": number, "service": "web", "component": "api", "kind": "drift", "reason": "exited 137"}
    return v1.AlertInfo(**{**defaults, "opened_at": AT, "delivery": "sent", **values})


def prepare_alerts(node: Node, *alerts: v1.AlertInfo, silences: tuple[v1.SilenceInfo, ...] = ()) -> None:
    node.agent.prepared["ListAlertsRequest"] = v1.ListAlertsResponse(node.agent.node, list(alerts), list(silences))


def test_open_alerts_are_a_row_each(run: Run, alone: Node) -> None:
    prepare_alerts(alone, an_alert())
    status, out, _ = run("alerts", "list")
    assert status == 0
    header, row = out.splitlines()
    assert header.split() == ["ID", "NODE", "ALERT", "TARGET", "OPENED", "CLOSED", "DELIVERY", "REASON"]
    assert stripped(row) == ["7", "rift", "drift", "web/api", render.moment(AT), "sent", "exited 137"]


@pytest.mark.parametrize(
    ("alert", "shown"),
    [
        (an_alert(delivery="suppressed", suppressed_by="cooldown"), "suppressed (cooldown)  exited 137"),
        (an_alert(acked_by="kyle"), "sent  exited 137 (acked by kyle)"),
        (an_alert(acked_by="kyle", ack_note="on it"), "sent  exited 137 (acked by kyle: on it)"),
        (an_alert(delivery="failed", exit_status=3, attempts=5), "failed (exit 3)  exited 137"),
        (an_alert(delivery="failed", attempts=5), "failed  exited 137"),
        (an_alert(delivery="pending"), "pending  exited 137"),
        (an_alert(closed_at=AT + timedelta(hours=1)), f"{render.moment(AT + timedelta(hours=1))}  sent  exited 137"),
        (an_alert(service="", component="", kind="reboot"), "the node"),
    ],
)
def test_what_became_of_an_alert_is_shown(run: Run, alone: Node, alert: v1.AlertInfo, shown: str) -> None:
    prepare_alerts(alone, alert)
    row = run("alerts", "list").out.splitlines()[1]
    assert shown in "  ".join(stripped(row))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), v1.ListAlertsRequest(open_only=True, limit=100)),
        (("web",), v1.ListAlertsRequest("web", "", True, 100)),
        (("web/api", "--all", "--limit", "5"), v1.ListAlertsRequest("web", "api", False, 5)),
    ],
)
def test_a_node_is_asked_for_the_alerts_that_are_wanted(
    run: Run, alone: Node, words: tuple[str, ...], expected: v1.ListAlertsRequest
) -> None:
    assert run("alerts", "list", *words).status == 0
    assert alone.agent.requests == [expected]


def test_silences_are_a_table_of_their_own(run: Run, alone: Node) -> None:
    prepare_alerts(alone, silences=(v1.SilenceInfo(3, "web", "", AT, "moving", "kyle"),))
    _, out, err = run("alerts", "list")
    assert err.splitlines()[-1] == "mcpctl: no open alerts on rift"
    header, row = out.splitlines()
    assert header.split() == ["ID", "NODE", "TARGET", "UNTIL", "REASON", "BY"]
    assert stripped(row) == ["3", "rift", "web", render.moment(AT), "moving", "kyle"]


def test_without_silences_there_is_no_second_table(run: Run, alone: Node) -> None:
    prepare_alerts(alone, an_alert())
    assert len(run("alerts", "list").out.splitlines()) == 2


def test_alerts_of_several_nodes_come_oldest_first(run: Run, rift: Node, orion: Node) -> None:
    prepare_alerts(rift, an_alert(1, opened_at=AT), an_alert(2, opened_at=AT + timedelta(hours=2)))
    prepare_alerts(orion, an_alert(9, opened_at=AT + timedelta(hours=1)))
    rows = [line.split()[:2] for line in run("alerts", "list").out.splitlines()[1:]]
    assert rows == [["1", "rift"], ["9", "orion"], ["2", "rift"]]


def test_as_json_alerts_and_silences_are_lists_of_an_object(run: Run, alone: Node) -> None:
    prepare_alerts(
        alone,
        an_alert(exit_status=0, attempts=1, desired="running", observed="exited", transitions=2),
        silences=(v1.SilenceInfo(3, "web", "api", AT, "moving", "kyle"),),
    )
    assert json.loads(run("alerts", "list", "--output", "json").out) == {
        "alerts": [
            {
                "node": "rift",
                "id": 7,
                "kind": "drift",
                "service": "web",
                "component": "api",
                "reason": "exited 137",
                "desired": "running",
                "observed": "exited",
                "opened_at": "2026-03-01T12:00:00Z",
                "closed_at": None,
                "transitions": 2,
                "delivery": "sent",
                "suppressed_by": "",
                "attempts": 1,
                "exit_status": 0,
                "output_tail": "",
                "acked_by": "",
                "ack_note": "",
                "silenced_until": None,
            }
        ],
        "silences": [
            {
                "node": "rift",
                "id": 3,
                "service": "web",
                "component": "api",
                "until": "2026-03-01T12:00:00Z",
                "reason": "moving",
                "by": "kyle",
            }
        ],
    }


def test_alerts_of_the_nodes_that_answer_are_listed_with_status_4(run: Run, rift: Node, orion: Node) -> None:
    prepare_alerts(rift, an_alert())
    orion.cut(for_good=True)
    status, out, err = run("alerts", "list")
    assert status == 4
    assert "web/api" in out
    assert "node orion" in err


# -- alerts ack


def acked(**values: Any) -> v1.AckAlertResponse:
    return v1.AckAlertResponse(an_alert(acked_by="kyle", **values))


def test_an_alert_is_acked_on_the_only_node(run: Run, alone: Node) -> None:
    alone.agent.prepared["AckAlertRequest"] = acked()
    status, out, err = run("alerts", "ack", "7", "--note", "on it")
    assert (status, err) == (0, "")
    assert out == "alert 7 on rift (drift, web/api) acknowledged by kyle\n"
    assert alone.agent.requests == [v1.AckAlertRequest(7, "on it")]


def test_with_several_nodes_an_ack_says_that_it_needs_one(run: Run, rift: Node, orion: Node) -> None:
    status, out, err = run("alerts", "ack", "7")
    assert (status, out) == (2, "")
    assert "(rift, orion); give --node NAME" in err
    assert rift.agent.requests + orion.agent.requests == []


def test_an_alert_is_acked_on_the_node_that_was_named(run: Run, rift: Node, orion: Node) -> None:
    orion.agent.prepared["AckAlertRequest"] = acked()
    status, out, _ = run("alerts", "ack", "7", "--node", "orion", "--output", "json")
    assert status == 0
    assert (json.loads(out)["node"], json.loads(out)["acked_by"]) == ("orion", "kyle")
    assert rift.agent.requests == []


@pytest.mark.usefixtures("alone")
def test_an_ack_on_a_node_that_is_not_active_is_refused(run: Run) -> None:
    status, _, err = run("alerts", "ack", "7", "--node", "orion")
    assert status == 1
    assert "mcpctl node set-state orion active" in err


def test_an_ack_of_an_alert_that_does_not_exist_is_one_line(run: Run, alone: Node) -> None:
    alone.agent.prepared["AckAlertRequest"] = GRPCError(Status.NOT_FOUND, f"there is no alert 7{HOSTILE}")
    status, out, err = run("alerts", "ack", "7")
    assert (status, out) == (2, "")
    assert err.startswith("mcpctl: node rift: there is no alert 7")
    assert err.replace("\n", "").isprintable()


@pytest.mark.parametrize("number", ["0", "99999999999999999999"])
def test_what_is_no_id_is_not_sent(run: Run, alone: Node, number: str) -> None:
    status, _, err = run("alerts", "ack", number)
    assert status == 2
    assert f"{number} is not a valid alert ID" in err
    assert alone.agent.requests == []


# -- alerts silence


def test_a_silence_goes_to_the_node_of_the_definition_and_says_its_end(
    run: Run, rift: Node, orion: Node, tmp_path: Path
) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    before = datetime.now(UTC)
    status, out, err = run("alerts", "silence", "web/api", "--for", "2h", "--reason", "moving")
    assert (status, err) == (0, "")
    (request,) = rift.agent.requests
    assert (request.service, request.component, request.reason) == ("web", "api", "moving")
    assert before + timedelta(hours=2) <= request.until <= datetime.now(UTC) + timedelta(hours=2)
    assert out == f"alerts of web/api on rift silenced until {render.moment(request.until)}\n"
    assert orion.agent.requests == []


def test_a_silence_can_end_at_a_time(run: Run, rift: Node) -> None:
    until = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    words = ("alerts", "silence", "web", "--until", until.isoformat(), "--reason", "moving", "--node", "rift")
    status, out, _ = run(*words, "--output", "json")
    assert status == 0
    assert rift.agent.requests == [v1.SilenceAlertRequest("web", "", until, "moving")]
    shown = json.loads(out)
    assert (shown["node"], shown["service"], shown["by"]) == ("rift", "web", "kyle")
    assert datetime.fromisoformat(shown["until"]) == until


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("web", "--for", "2h"), "--reason"),
        (("web", "--for", "2h", "--reason", " "), "--reason must not be empty"),
        (("web", "--reason", "x"), "--for 2h, or --until"),
        (("web", "--reason", "x", "--for", "2h", "--until", "2099-01-01"), "--for 2h, or --until"),
        (("web", "--reason", "x", "--for", "0s"), "--for: '0s' must be longer than nothing"),
        (("web", "--reason", "x", "--for", "soon"), "--for: 'soon' is not a duration"),
        (("web", "--reason", "x", "--until", "soon"), "--until: 'soon' is not a time"),
        (("web", "--reason", "x", "--until", "0001-01-01"), "--until: '0001-01-01' is"),
        (("web", "--reason", "x", "--until", "2020-01-01"), "--until: '2020-01-01' is in the past"),
        (("wbe", "--reason", "x", "--for", "2h"), "did you mean web?"),
        (("wbe", "--reason", "x", "--for", "2h"), "Without a definition, give --node NAME"),
        (("web/nobody", "--reason", "x", "--for", "2h"), "web has no component 'nobody'"),
        (("a/b/c", "--reason", "x", "--for", "2h"), "a/b/c"),
        (("web", "--reason", "x", "--for", "2h", "--node", "rfit"), "did you mean rift?"),
    ],
)
def test_a_silence_that_is_not_understood_is_not_sent(
    run: Run, rift: Node, tmp_path: Path, words: tuple[str, ...], part: str
) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    status, out, err = run("alerts", "silence", *words)
    assert (status, out) == (2, "")
    assert part in err
    assert rift.agent.requests == []


def test_with_a_node_a_silence_needs_no_definition(run: Run, orion: Node) -> None:
    assert run("alerts", "silence", "gone", "--for", "1h", "--reason", "x", "--node", "orion").status == 0
    assert [each.service for each in orion.agent.requests] == ["gone"]


# -- alerts unsilence


def test_a_silence_is_ended_by_its_id(run: Run, alone: Node) -> None:
    status, out, err = run("alerts", "unsilence", "17")
    assert (status, out, err.splitlines()[1:]) == (0, "silence 17 of web on rift ended\n", [])
    assert alone.agent.requests == [v1.UnsilenceAlertRequest(id=17)]


def test_silences_of_a_component_are_ended_on_the_node_of_its_definition(
    run: Run, rift: Node, orion: Node, tmp_path: Path
) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    status, out, err = run("alerts", "unsilence", "web/api", "--output", "json")
    assert (status, err) == (0, "")
    assert [(each["id"], each["component"]) for each in json.loads(out)] == [(3, "api")]
    assert rift.agent.requests == [v1.UnsilenceAlertRequest(service="web", component="api")]
    assert orion.agent.requests == []
    assert run("alerts", "unsilence", "gone", "--node", "orion", "-q") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("17",), "each node numbers its own silences, and 2 nodes are active (rift, orion); give --node NAME"),
        (("0", "--node", "rift"), "0 is not a valid silence ID"),
        (("wbe",), "did you mean web?"),
        (("web/nobody",), "web has no component 'nobody'"),
        (("a/b/c",), "a/b/c"),
    ],
)
def test_an_end_of_a_silence_that_is_not_understood_is_not_sent(
    run: Run, rift: Node, orion: Node, tmp_path: Path, words: tuple[str, ...], part: str
) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    status, out, err = run("alerts", "unsilence", *words)
    assert (status, out) == (2, "")
    assert part in err
    assert rift.agent.requests == orion.agent.requests == []


def test_an_open_alert_that_is_silenced_says_until_when(run: Run, alone: Node) -> None:
    until = AT + timedelta(hours=1)
    prepare_alerts(alone, an_alert(silenced_until=until), an_alert(8, silenced_until=until, closed_at=AT), an_alert(9))
    rows = run("alerts", "list").out.splitlines()[1:]
    marked = f"(silenced until {render.moment(until)})"
    assert [row.endswith(marked) for row in rows] == [True, False, False]


# -- empty answers


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("list",), "no services are deployed on rift"),
        (("status",), "no services are deployed on rift"),
        (("events",), "no events found on rift"),
        (("alerts", "list"), "no open alerts on rift"),
        (("alerts", "list", "--all"), "no alerts found on rift"),
        (("operations",), "no operations found on rift"),
        (("operations", "--running"), "no operations running on rift"),
        (("audit",), "no calls found on rift"),
        (("timeline",), "no component existed in that time on rift"),
        (("service", "list"), "services has no definitions"),
    ],
)
def test_an_empty_answer_is_a_sentence_that_no_script_reads(
    run: Run, alone: Node, words: tuple[str, ...], sentence: str
) -> None:
    del alone
    status, out, err = run(*words)
    assert (status, out) == (0, "")
    assert err.splitlines()[-1].startswith("mcpctl: ")
    assert err.splitlines()[-1].endswith(sentence)
    assert run(*words, "-q").out == ""
    assert sentence not in run(*words, "-q").err
    assert json.loads(run(*words, "--output", "json").out) is not None


# -- status --at


def prepare_status(node: Node, *components: v1.ComponentInfo) -> None:
    service = v1.ServiceInfo("web", node.agent.node, True, list(components))
    node.agent.prepared["GetStatusRequest"] = v1.GetStatusResponse(node.agent.node, [service])


def an_api(**values: Any) -> v1.ComponentInfo:
    defaults = {"service": "web", "component": "api", "desired": v1.DesiredState.RUNNING}
    return v1.ComponentInfo(**{**defaults, "observed": v1.ObservedState.RUNNING, **values})


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


# -- timeline


def now() -> datetime:
    return datetime.now(UTC)


def an_event(number: int, kind: str, at: datetime = AT, **values: Any) -> v1.EventInfo:
    return v1.EventInfo(**{"id": number, "service": "web", "component": "api", "at": at, "kind": kind, **values})


# With these the picture has 48 characters, half an hour each.
WIDTH = ("--width", str(48 + len("web/api") + 2 + 2 + 6))


def ago(hours: float) -> datetime:
    """A third into a slice, so that a slow machine moves nothing into another and what follows is the longer part."""
    return now() - timedelta(hours=hours) + timedelta(minutes=10)


def prepare_history(node: Node) -> None:
    """Up, down after 12 hours, up again half an hour later; deployed and stopped in the end."""
    prepare_status(node, an_api())
    node.append(
        an_event(1, "exited", ago(12)),
        an_event(2, "running", ago(11)),
        an_event(3, "deployed", ago(6)),
        an_event(4, "stopped", ago(2)),
        an_event(5, "exited", ago(2)),
    )
    prepare_alerts(node, an_alert(opened_at=ago(12)), an_alert(8, kind="recovered", opened_at=ago(11)))


def test_a_timeline_is_a_row_with_a_character_for_each_slice_of_time(run: Run, alone: Node) -> None:
    prepare_history(alone)
    status, out, _ = run("timeline", "web", *WIDTH)
    assert status == 0
    header, deploys, row, alerts, axis, *legend = out.splitlines()
    assert header.split()[0] == "TARGET"
    assert header.split()[-1] == "UPTIME"
    assert deploys == " " * 9 + " " * 36 + "v"
    assert row[:57] == "web/api  " + "=" * 24 + "XXx" + "=" * 17 + "...."
    assert row[57:].strip().endswith("%")
    assert alerts == " " * 9 + " " * 24 + "!"
    assert axis.count("|") >= 3
    assert "  ".join(legend) == "= up  X down  x briefly down  ~ degraded  . stopped  v deploy  ! alert"


def test_downtime_that_an_operation_ordered_is_no_trouble_in_a_timeline(run: Run, alone: Node) -> None:
    prepare_history(alone)
    restart = v1.OperationInfo(1, "web", "", "restart", "kyle", ago(12) - timedelta(minutes=1), ago(11))
    alone.agent.prepared["ListOperationsRequest"] = v1.ListOperationsResponse("rift", [restart])
    _, out, _ = run("timeline", "web", *WIDTH)
    assert "web/api  " + "=" * 24 + "___" + "=" * 17 + "...." in out
    assert "_ down on request" in out
    (api,) = json.loads(run("timeline", "web", "--output", "json").out)["components"]
    assert [each.get("ordered", False) for each in api["segments"]] == [False, True, False, False]


@pytest.mark.parametrize("width", [30, 47, 80, 200])
def test_a_timeline_keeps_to_its_width_whatever_names_it_has(run: Run, alone: Node, width: int) -> None:
    prepare_history(alone)
    alone.append(an_event(6, "running", ago(1), service="s" * 63, component="c" * 63))
    lines = run("timeline", "--width", str(width)).out.splitlines()
    assert max(map(len, lines)) == width
    (long,) = [line for line in lines if line.startswith("s")]
    assert (".." in long) == (width < 200) or len(long) == width


def test_a_timeline_is_as_wide_as_the_terminal(run: Run, alone: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_history(alone)
    monkeypatch.setenv("COLUMNS", "99")
    assert max(map(len, run("timeline").out.splitlines())) == 99


def test_on_a_terminal_states_have_colours(run: Run, alone: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_history(alone)
    monkeypatch.setattr(render, "colourful", lambda: True)
    out = run("timeline", *WIDTH).out
    green, red, grey = (f"\x1b[{code}m" for code in (32, 31, 90))
    assert f"web/api  {green}{'█' * 24}\x1b[0m{red}██▄\x1b[0m{green}{'█' * 17}\x1b[0m{grey}████\x1b[0m" in out
    assert f"{red}{' ' * 24}!\x1b[0m" in out
    assert [line for line in out.splitlines() if line != line.rstrip()] == []


def test_as_json_a_timeline_has_segments_uptime_and_marks(run: Run, alone: Node) -> None:
    prepare_history(alone)
    shown = json.loads(run("timeline", "web", "--output", "json").out)
    (api,) = shown["components"]
    assert (api["node"], api["service"], api["component"]) == ("rift", "web", "api")
    assert [each["state"] for each in api["segments"]] == ["running", "exited", "running", "stopped"]
    ends = [api["segments"][0]["from"], *(each["to"] for each in api["segments"])]
    assert ends == [*(each["from"] for each in api["segments"]), shown["to"]]
    assert ends[0] == shown["from"]
    assert 80 < api["uptime"] < 95
    assert [(each["kind"], each["detail"]) for each in api["marks"]] == [("alert", "exited 137"), ("deployed", "")]


def test_a_timeline_asks_for_the_state_at_its_start_and_the_changes_since(run: Run, alone: Node) -> None:
    run("timeline", "web", "--since", AT.isoformat())
    assert alone.agent.requests == [
        v1.GetStatusRequest(service="web", limit=10_000, at=AT),
        v1.ListEventsRequest(service="web", since=AT, limit=10_000),
        v1.ListAlertsRequest(service="web", limit=10_000),
        v1.ListOperationsRequest(service="web", limit=10_000),
    ]


def test_a_timeline_of_a_service_that_did_not_exist_then_begins_with_its_events(run: Run, alone: Node) -> None:
    alone.agent.prepared["GetStatusRequest"] = GRPCError(Status.NOT_FOUND, "no service web")
    alone.append(an_event(1, "running", ago(6)))
    status, out, _ = run("timeline", "web", *WIDTH)
    assert status == 0
    assert "web/api  " + " " * 36 + "=" * 12 + "    100%" in out


def test_a_timeline_of_a_service_that_never_was_is_refused(run: Run, alone: Node) -> None:
    alone.agent.prepared["GetStatusRequest"] = GRPCError(Status.NOT_FOUND, "no service web")
    status, out, err = run("timeline", "web")
    assert (status, out) == (2, "")
    assert err.endswith("mcpctl: node rift: no service web\n")


def test_before_the_oldest_event_that_fits_nothing_is_claimed(
    run: Run, alone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "_MOST", 2)
    prepare_status(alone, an_api())
    alone.append(an_event(1, "exited", ago(20)), an_event(2, "exited", ago(6)), an_event(3, "running", ago(3)))
    _, out, err = run("timeline", "web", *WIDTH)
    assert "web/api  " + " " * 36 + "X" * 6 + "x" + "=" * 5 in out
    assert "only the newest 2 events are drawn" in err


def test_components_of_several_nodes_say_where_they_are(run: Run, rift: Node, orion: Node) -> None:
    prepare_status(rift, an_api())
    prepare_status(orion, an_api(component="db"))
    out = run("timeline").out
    assert [line.split("  ")[0] for line in out.splitlines()[1:3]] == ["rift: web/api", "orion: web/db"]


def test_a_timeline_of_the_nodes_that_answer_is_drawn_with_status_4(run: Run, rift: Node, orion: Node) -> None:
    prepare_history(rift)
    orion.cut(for_good=True)
    status, out, err = run("timeline")
    assert status == 4
    assert "web/api" in out
    assert "node orion" in err


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--width", "29"), "--width must be 30 to 1000, not 29"),
        (("--width", "1001"), "--width must be 30 to 1000, not 1001"),
        (("--since", "0s"), "--since: '0s'"),
        (("--since", "2099-01-01"), "--since: '2099-01-01'"),
        (("--since", ""), "--since: ''"),
        (("web/api",), "needs a service"),
    ],
)
def test_a_timeline_that_cannot_be_drawn_is_refused(run: Run, words: tuple[str, ...], part: str) -> None:
    status, out, err = run("timeline", *words)
    assert (status, out) == (2, "")
    assert part in err


# -- what nodes say cannot move the cursor

COMMANDS = [
    ("alerts", "list"),
    ("alerts", "ack", "7"),
    ("alerts", "silence", "web", "--for", "1h", "--reason", HOSTILE, "--node", "rift"),
    ("status", "--at", "1h"),
    ("timeline",),
    ("events", "--since", "1000d"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_what_a_node_says_cannot_move_the_cursor(run: Run, alone: Node, words: tuple[str, ...]) -> None:
    names = {"service": HOSTILE, "component": HOSTILE}
    hostile = an_alert(**names, kind=HOSTILE, reason=HOSTILE, delivery=HOSTILE, acked_by=HOSTILE, ack_note=HOSTILE)
    prepare_alerts(alone, hostile, silences=(v1.SilenceInfo(1, HOSTILE, HOSTILE, AT, HOSTILE, HOSTILE),))
    alone.agent.prepared["AckAlertRequest"] = v1.AckAlertResponse(hostile)
    prepare_status(alone, an_api(**names, drift=HOSTILE))
    alone.agent.prepared["GetStatusRequest"].warning = HOSTILE
    alone.append(an_event(1, HOSTILE, ago(3), **names, message=HOSTILE, caller=HOSTILE))
    status, out, err = run(*words)
    assert status == 0
    assert (out + err).replace("\n", "").isprintable()


# -- events --follow

Follow = Callable[..., Program]


@pytest.fixture
def follow(launch: Callable[..., Program]) -> Follow:
    return lambda *words: launch("events", "--follow", *words)


def watched(node: Node, times: int = 1) -> None:
    until(lambda: len(node.agent.asked(v1.WatchEventsRequest)) >= times, f"{node.agent.node} is watched")


ONLY_RIFT = ("--node", "rift", "--output", "json")


def test_what_happened_is_listed_and_then_what_happens(follow: Follow, rift: Node) -> None:
    rift.append(an_event(1, "running"), an_event(2, "exited", caller="kyle", message="why"))
    following = follow("--node", "rift")
    assert following.line().split() == ["TIME", "NODE", "TARGET", "EVENT", "BY", "DETAIL"]
    assert [following.line().split()[4] for _ in range(2)] == ["running", "exited"]
    rift.append(an_event(3, "unhealthy", message="a word " * 20), an_event(4, "running"))
    rows = [following.line() for _ in range(2)]
    assert [row.split()[4] for row in rows] == ["unhealthy", "running"]
    # The columns stay in line.
    assert rows[0].index("unhealthy") == rows[1].index("running")
    assert following.interrupt() == (130, [])
    assert following.err == ""


def test_one_connection_lists_and_follows(follow: Follow, rift: Node) -> None:
    rift.append(an_event(1, "running"))
    following = follow(*ONLY_RIFT)
    assert following.ids(1) == [1]
    rift.append(an_event(2, "exited"))
    assert following.ids(1) == [2]
    assert rift.connections == 1
    assert rift.agent.requests == [v1.ListEventsRequest(limit=100), v1.WatchEventsRequest(after_id=1)]


def test_an_older_node_that_does_not_say_what_is_newest_is_followed_all_the_same(follow: Follow, rift: Node) -> None:
    rift.agent.tells_newest = False
    rift.append(an_event(1, "running", component="db"))
    following = follow("web/api", *ONLY_RIFT)
    watched(rift)
    rift.append(an_event(2, "exited"))
    assert following.ids(1) == [2]
    (request,) = rift.agent.asked(v1.WatchEventsRequest)
    assert request.after_id == 1


def test_as_json_each_event_is_a_line(follow: Follow, rift: Node) -> None:
    rift.append(an_event(1, "running"))
    following = follow(*ONLY_RIFT)
    first = json.loads(following.line())
    rift.append(an_event(2, "exited", message="one\ntwo"))
    second = json.loads(following.line())
    assert [each["kind"] for each in (first, second)] == ["running", "exited"]
    assert second["message"] == "one\ntwo"
    assert set(first) == {"node", "id", "at", "service", "component", "kind", "message", "caller"}


def test_all_nodes_are_followed_at_once(follow: Follow, rift: Node, orion: Node) -> None:
    rift.append(an_event(1, "running", AT + timedelta(hours=1)))
    orion.append(an_event(1, "exited", AT))
    following = follow("--output", "json")
    assert [json.loads(following.line())["node"] for _ in range(2)] == ["orion", "rift"]
    for node in (rift, orion, rift):
        node.append(an_event(len(node.agent.ledger) + 1, "running"))
        shown = json.loads(following.line())
        assert (shown["node"], shown["id"]) == (node.agent.node, len(node.agent.ledger))


def test_only_the_component_that_was_named_is_followed(follow: Follow, rift: Node) -> None:
    rift.append(an_event(1, "running"), an_event(2, "running", component="db"))
    following = follow("web/api", *ONLY_RIFT)
    assert following.ids(1) == [1]
    rift.append(an_event(3, "exited", component="db"), an_event(4, "exited"))
    assert following.ids(1) == [4]
    (request,) = rift.agent.asked(v1.WatchEventsRequest)
    assert (request.service, request.component) == ("web", "api")


def test_a_stream_that_breaks_goes_on_after_the_last_event_seen(follow: Follow, rift: Node) -> None:
    rift.append(an_event(1, "running"), an_event(2, "exited"))
    following = follow(*ONLY_RIFT)
    assert following.ids(2) == [1, 2]
    watched(rift)
    rift.append(an_event(3, "running"))
    assert following.ids(1) == [3]
    rift.cut()
    rift.append(an_event(4, "exited"))
    assert following.ids(1) == [4]
    rift.append(an_event(5, "running"))
    assert following.ids(1) == [5]
    assert [each.after_id for each in rift.agent.asked(v1.WatchEventsRequest)] == [2, 3]
    assert following.interrupt() == (130, [])
    (line,) = following.err.splitlines()
    assert line.startswith("mcpctl: node rift: ")
    assert line.endswith("; retrying")


def test_an_outage_is_said_once_however_often_it_is_tried(follow: Follow, rift: Node) -> None:
    rift.append(an_event(1, "running"))
    following = follow(*ONLY_RIFT)
    assert following.ids(1) == [1]
    watched(rift)
    rift.agent.refusals = [GRPCError(Status.UNAVAILABLE, "starting"), GRPCError(Status.RESOURCE_EXHAUSTED, "busy")]
    rift.cut()
    watched(rift, 2)
    rift.append(an_event(2, "exited"))
    assert following.ids(1) == [2]
    assert rift.agent.refusals == []
    assert len(following.err.splitlines()) == 1


def test_each_outage_is_said(follow: Follow, rift: Node) -> None:
    rift.append(an_event(1, "running"))
    following = follow(*ONLY_RIFT)
    assert following.ids(1) == [1]
    for number in (2, 3):
        watched(rift, number - 1)
        rift.append(an_event(number, "exited"))
        assert following.ids(1) == [number]
        rift.cut()
        until(lambda number=number: len(following.err.splitlines()) == number - 1, "an outage is said")


def test_a_node_that_goes_away_leaves_the_others_followed(follow: Follow, rift: Node, orion: Node) -> None:
    rift.append(an_event(1, "running"))
    following = follow("--output", "json")
    assert following.ids(1) == [1]
    watched(rift)
    watched(orion)
    orion.cut(for_good=True)
    until(lambda: "node orion" in following.err, "the outage is said")
    rift.append(an_event(2, "exited"))
    assert following.ids(1) == [2]
    orion.listen()
    orion.append(an_event(1, "exited"))
    assert json.loads(following.line())["node"] == "orion"


def test_a_node_that_does_not_answer_at_first_is_listed_when_it_does(follow: Follow, rift: Node, orion: Node) -> None:
    rift.append(an_event(1, "running"))
    orion.append(an_event(8, "running"))
    orion.cut(for_good=True)
    following = follow("--output", "json")
    assert following.ids(1) == [1]
    until(lambda: "node orion" in following.err, "it is said")
    orion.listen()
    assert following.ids(1) == [8]
    orion.append(an_event(9, "exited"))
    assert following.ids(1) == [9]
    assert len(following.err.splitlines()) == 1


def test_the_first_events_of_an_empty_ledger_are_not_lost(follow: Follow, rift: Node) -> None:
    rift.agent.late = [an_event(1, "running"), an_event(2, "exited")]
    following = follow(*ONLY_RIFT)
    watched(rift)
    rift.append(an_event(3, "running"))
    assert following.ids(3) == [1, 2, 3]
    rift.append(an_event(4, "exited"))
    assert following.ids(1) == [4]


def test_an_event_between_the_listing_and_the_stream_is_not_lost(follow: Follow, rift: Node) -> None:
    rift.append(an_event(1, "running", service="other"))
    rift.agent.late = [an_event(2, "running")]
    following = follow("web", *ONLY_RIFT)
    assert following.ids(1) == [2]


def test_a_ledger_that_was_restored_is_followed_from_where_it_is(follow: Follow, rift: Node) -> None:
    rift.append(*(an_event(number, "running") for number in (1, 2, 3)))
    following = follow(*ONLY_RIFT)
    assert following.ids(3) == [1, 2, 3]
    watched(rift)
    rift.agent.ledger[:] = [an_event(1, "running")]
    rift.cut()
    watched(rift, 2)
    rift.append(an_event(2, "exited"))
    assert json.loads(following.line())["kind"] == "exited"


def test_what_a_node_sends_while_followed_cannot_move_the_cursor(follow: Follow, rift: Node) -> None:
    following = follow("--node", "rift")
    following.line()
    watched(rift)
    rift.append(an_event(1, HOSTILE, message=HOSTILE, caller=HOSTILE, service=HOSTILE))
    assert following.line().isprintable()


def test_a_node_that_refuses_to_be_followed_is_given_up(follow: Follow, rift: Node) -> None:
    rift.append(an_event(1, "running"))
    rift.agent.prepared["WatchEventsRequest"] = GRPCError(Status.PERMISSION_DENIED, "not for a stranger")
    following = follow(*ONLY_RIFT)
    assert following.ids(1) == [1]
    assert following.end() == (1, [])
    assert following.err == "mcpctl: node rift: not for a stranger; no longer followed\n"


def test_when_no_node_answers_there_is_nothing_to_follow(follow: Follow, rift: Node, orion: Node) -> None:
    rift.cut(for_good=True)
    orion.cut(for_good=True)
    following = follow("--output", "json")
    assert following.end() == (4, [])
    assert "node rift" in following.err


def test_a_reader_that_has_enough_ends_it_in_silence(rift: Node, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mcpctl", "events", "-f", "--node", "rift"]
    environment = of_a_shell(tmp_path)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        watched(rift)
        process.stdout.close()
        rift.append(an_event(1, "exited"))
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""


@pytest.mark.usefixtures("alone")
def test_follow_has_no_end(run: Run) -> None:
    status, out, err = run("events", "--follow", "--until", "1h")
    assert (status, out) == (2, "")
    assert "--until" in err


# -- a node that lost its power


@pytest.mark.usefixtures("plain_asyncio")
def test_a_node_that_is_silent_without_an_end_is_noticed(
    rift: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Configuration(
        _keepalive_time=0.05,
        _keepalive_timeout=0.2,
        _http2_max_pings_without_data=0,
        _http2_min_sent_ping_interval_without_data=0.01,
    )
    monkeypatch.setattr(client, "_KEEPALIVE", quick)
    # How long a broken TLS connection is given to say goodbye.
    monkeypatch.setattr("asyncio.constants.SSL_SHUTDOWN_TIMEOUT", 0.2)
    settings = config.load(tmp_path / "mcp.toml")
    rift.append(an_event(1, "running"))

    async def follow() -> None:
        async with client.agent(settings, settings.node("rift"), deadline=DEADLINE_S) as stub:
            async for _ in stub.watch_events(v1.WatchEventsRequest(after_id=0)):
                pass

    def lose_power() -> None:
        watched(rift)
        rift.freeze()

    thread = threading.Thread(target=lose_power)
    thread.start()
    with pytest.raises(UnreachableError, match="node rift: the connection to"):
        asyncio.run(follow())
    thread.join(DEADLINE_S)
