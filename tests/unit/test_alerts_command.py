"""`mcpctl alerts`: list, ack, silence and unsilence."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, WEB, Node, Run, stripped
from tests.support.answers import an_alert, prepare_alerts


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
        (("web", "--reason", "x", "--for", "0s"), "--for: '0s' must be longer than zero"),
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
