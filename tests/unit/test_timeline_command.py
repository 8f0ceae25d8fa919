"""`mcpctl timeline`: what is asked of nodes, and the picture that is drawn."""

import json
from datetime import timedelta

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.actions import timeline
from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import AT, Node, Run
from tests.support.answers import ago, an_alert, an_api, an_event, prepare_alerts, prepare_status

# With these the picture has 48 characters, half an hour each.
WIDTH = ("--width", str(48 + len("web/api") + 2 + 2 + 6))


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
