"""`--watch`: the view of a node, the lines that are made of it, and what is printed where there is no terminal."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.actions.dash.fleet_screen import service_cells
from mcpctl.actions.live import fleet_state, screens
from mcpctl.actions.live.fleet_state import Answer, NodeView, Used
from mcpctl.ui.rows.alerts import AlertRow
from mcpctl.ui.rows.status import ComponentRow, EventRow, ServiceRow
from mcpctl.ui.text_width import Line, columns
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, Node, Program, Run
from tests.support.live_agent import LiveAgent, alive, an_alert, an_event
from tests.support.waiting import until

Launch = Callable[..., Program]
STATES = ("completed", "exited 0", "exited 1")


def a_component(name: str = "api", **fields: Any) -> ComponentRow:
    known: dict[str, Any] = {
        "node": "rift",
        "service": "web",
        "component": name,
        "container": f"web-{name}",
        "image": "x:v1",
        "version": "v1",
        "desired": "running",
        "observed": "running",
        "drift": "",
        "ports": ("8443:8443",),
        "pid": 4711,
        "exit_code": None,
        "started_at": AT - timedelta(hours=3),
        "finished_at": None,
        "observed_at": AT,
        "container_id": name,
        "spec_hash": "",
    }
    return ComponentRow(**(known | fields))


def a_view(*components: ComponentRow, **fields: Any) -> NodeView:
    service = ServiceRow("rift", "web", True, 1, AT, components)
    return NodeView("rift", **({"answered_at": AT, "services": (service,), "containers": components} | fields))


def an_open_alert(number: int) -> AlertRow:
    return AlertRow(
        "rift", number, "down", "web", "api", f"reason {number}", "running", "exited", AT, None, 0, "delivered", "", 1,
        0, "", "", "",
    )  # fmt: skip


def text(lines: list[Line]) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def status(*views: NodeView, width: int = 120, height: int = 24) -> list[str]:
    return text(screens.status_view(views, AT, width, height))


def ps(*views: NodeView, width: int = 120, height: int = 24) -> list[str]:
    return text(screens.ps_view(views, AT, width, height))


# -- views


def usage(seconds: float, after: float) -> v1.Usage:
    return v1.Usage(timedelta(seconds=seconds), 12 << 20, 64 << 20, 3, AT + timedelta(seconds=after))


def used(before: NodeView, seconds: float, after: float) -> NodeView:
    live = v1.LiveCheckResponse("rift", [v1.ComponentInfo(container_id="api", usage=usage(seconds, after))])
    return fleet_state.answered(before, Answer(live=live), AT)


def test_cpu_is_the_share_of_one_over_the_last_interval() -> None:
    first = used(NodeView("rift"), 10, 0)
    assert first.used["api"].percent is None
    second = used(first, 13, 2)
    assert second.used["api"].percent == 150
    # Too short to tell anything: what was told last stays.
    third = used(second, 13.001, 2.1)
    assert third.used["api"] == second.used["api"]
    assert used(third, 14, 4).used["api"].percent == 50


def test_a_container_that_was_started_anew_counts_from_zero() -> None:
    assert used(used(NodeView("rift"), 10, 0), 1, 2).used["api"].percent is None


def test_an_agent_that_tells_no_usage_is_no_error() -> None:
    live = v1.LiveCheckResponse("rift", [v1.ComponentInfo(container_id="api")])
    found = fleet_state.answered(NodeView("rift"), Answer(live=live), AT)
    assert found.used == {}
    assert found.containers[0].container_id == "api"


def test_a_node_that_is_lost_keeps_what_it_told_and_since_when_it_is_gone() -> None:
    known = a_view(a_component())
    first = fleet_state.lost(known, "no answer", AT)
    second = fleet_state.lost(first, "still none", AT + timedelta(minutes=1))
    assert (second.lost_at, second.problem, second.services) == (AT, "still none", known.services)
    back = fleet_state.answered(second, Answer(status=v1.GetStatusResponse("rift")), AT)
    assert (back.lost_at, back.problem, back.services) == (None, "", ())


def test_events_are_kept_once_in_their_order_and_only_the_last() -> None:
    one, two, three = (EventRow("rift", number, AT, "web", "api", "exited", "", "") for number in (1, 2, 3))
    found = fleet_state.happened(NodeView("rift", events=(one, three)), [two, three], 2)
    assert found.events == (two, three)


# -- views


def test_who_drifts_comes_first() -> None:
    drifting = a_component("worker", observed="exited", exit_code=1, pid=0, finished_at=AT, drift="it exited with 1")
    lines = screens.status_view([a_view(a_component(), drifting)], AT, 120, 24)
    assert text(lines)[0].split("  ")[2:] == ["1 drifting, 0 open alerts, 2 components"]
    assert [line.split()[1] for line in text(lines)[2:]] == ["worker", "api"]
    assert ("it exited with 1", "red") in lines[2]
    assert ("exited 1", "red") in lines[2]


def test_what_has_completed_is_shown_as_good_and_what_has_not_as_bad() -> None:
    done = a_component("job", observed="exited", exit_code=0, pid=0, finished_at=AT, desired="completed")
    failed = msgspec.structs.replace(done, exit_code=1, drift="did not complete: exited 1")
    died = msgspec.structs.replace(done, desired="running", drift="exited 0")
    for view in (screens.status_view, screens.ps_view):
        shown = [view([a_view(each)], AT, 140, 24)[2] for each in (done, failed, died)]
        # The wish is a word without a colour there.
        found = [next(cell for cell in line if cell[0] in STATES and cell[1]) for line in shown]
        assert found == [("completed", "green"), ("exited 1", "red"), ("exited 0", "red")]


@pytest.mark.parametrize(
    ("job", "cell"),
    [
        ({"observed": "exited", "exit_code": 0}, ("2/2", "green")),
        ({"observed": "running"}, ("2/2", "green")),
        ({"observed": "exited", "exit_code": 1, "drift": "did not complete: exited 1"}, ("1/2", "red")),
        ({"observed": "exited", "exit_code": 0, "desired": "stopped"}, ("1/2", "green")),
    ],
)
def test_of_a_service_what_has_completed_counts_as_what_is_up(job: dict[str, Any], cell: tuple[str, str]) -> None:
    view = a_view(a_component(), a_component("job", **{"desired": "completed", **job}))
    assert service_cells(view, view.services[0])[2] == cell


def test_what_is_silenced_is_marked_and_counted_apart() -> None:
    soon, later = AT + timedelta(minutes=30), AT + timedelta(days=2)
    alerts = tuple(
        msgspec.structs.replace(an_open_alert(number), silenced_until=until)
        for number, until in enumerate((None, soon, later), 1)
    )
    lines = screens.status_view([a_view(a_component(), alerts=alerts)], AT, 120, 24)
    assert "3 open alerts (2 silenced)" in text(lines)[0]
    told = [line for line in text(lines) if "reason" in line and "web/api" in line]
    assert [
        f"silenced until {until.astimezone():{form}}: reason" in line
        for line, until, form in zip(told, (soon, soon, later), ("%H:%M", "%H:%M", "%m-%d %H:%M"), strict=True)
    ] == [False, True, True]
    assert [line[0][1] for line in lines if line and line[0][0] == "down"] == ["red", "", ""]


def test_what_is_used_is_beside_what_runs() -> None:
    found = Used(AT, 10, 12.34, 12 << 20, 64 << 20, 3)
    (row,) = ps(a_view(a_component(), used={"api": found}))[2:]
    assert "3h   12.3%  12.0 MiB / 64.0 MiB  8443:8443" in row
    (row,) = ps(a_view(a_component()))[2:]
    assert "3h       -  -" in row


def test_a_narrow_terminal_loses_what_matters_least_and_then_the_ends_of_words() -> None:
    shown = a_view(a_component(drift="the image is another one than it should be"))
    headers = {width: status(shown, width=width)[1].split() for width in (40, 60, 120)}
    assert headers[120] == ["SERVICE", "COMPONENT", "NODE", "VERSION", "DESIRED", "STATE", "FOR", "DRIFT"]
    assert headers[40] == ["SERVICE", "COMPONENT", "STATE", "DRIFT"]
    assert set(headers[40]) < set(headers[60]) < set(headers[120])
    assert "the imag.." in status(shown, width=40)[2]
    long = a_view(a_component("a" * 60))
    assert ".." in status(long, width=40)[2]
    assert status(long, width=40)[2].endswith("running")


def test_a_long_list_is_cut_with_the_number_of_what_is_left_out() -> None:
    shown = a_view(*(a_component(f"c{number:02}") for number in range(30)))
    lines = ps(shown, height=10)
    assert len(lines) == 10
    assert lines[-1] == "and 23 more"
    assert "more" not in "".join(ps(shown, height=32))
    assert len(ps(shown, height=32)) == 32


def test_alerts_and_events_keep_a_place_on_a_small_screen_and_give_it_up_on_a_tiny_one() -> None:
    events = tuple(EventRow("rift", number, AT, "web", "api", "exited", "", "") for number in range(5))
    alerts = tuple(an_open_alert(number) for number in range(9))
    shown = a_view(*(a_component(f"c{number:02}") for number in range(30)), events=events, alerts=alerts)
    lines = status(shown, height=20)
    assert len(lines) == 20
    assert any(line.startswith("OPEN ALERT") for line in lines)
    assert any(line.startswith("TIME") for line in lines)
    assert sum(line.startswith("web") for line in lines) > 3
    for height in (1, 2, 3, 5):
        assert len(status(shown, height=height)) == height
    assert [line.split()[0] for line in status(shown, height=4)] == ["mcpctl", "SERVICE", "web", "and"]


def test_what_a_lost_node_told_is_grey_below_since_when_it_is_lost() -> None:
    gone = fleet_state.lost(a_view(a_component()), "node rift: no answer", AT - timedelta(minutes=2))
    lines = screens.status_view([gone], AT, 120, 24)
    assert text(lines)[1].startswith("node rift: unreachable since ")
    assert text(lines)[1].endswith("(2m): no answer")
    assert {colour for piece, colour in lines[3] if piece.strip()} == {"grey"}


@pytest.mark.parametrize("word", [HOSTILE, "漢字" * 40, "é\u0301" * 60, "x" * 300], ids=ascii)
@given(width=st.integers(1, 200), height=st.integers(1, 40))
def test_lines_fit_whatever_is_in_them(word: str, width: int, height: int) -> None:
    row = a_component(word, service=word, drift=word, ports=(word,))
    event = EventRow(word, 1, AT, word, word, word, word, word)
    shown = fleet_state.lost(a_view(row, row, row, events=(event,), alerts=(an_open_alert(1),)), word, AT)
    for view in (screens.status_view, screens.ps_view):
        lines = view([shown], AT, width, height)
        assert len(lines) <= height
        assert all(sum(columns(piece) for piece, _ in line) < max(2, width) for line in lines)
        assert all(piece.isprintable() for line in lines for piece, _ in line)


# -- where there is no terminal


@pytest.fixture
def live(alone: Node) -> LiveAgent:
    agent = alive(alone)
    agent.component("api")
    return agent


def test_a_table_is_printed_when_something_changed_and_not_otherwise(launch: Launch, live: LiveAgent) -> None:
    program = launch("status", "--watch", "--interval", "0.2")
    assert program.line().startswith("mcpctl status")
    assert program.line().startswith("SERVICE")
    assert program.line().split()[:2] == ["web", "api"]
    asked = len(live.requests)
    until(lambda: len(live.requests) > asked + 8, "it was asked some more times")
    live.fail("api")
    # The next line is that of the change: nothing was printed in between.
    assert program.line() == ""
    assert "1 drifting" in program.line()
    assert program.line().startswith("SERVICE")
    assert "it exited with 1" in program.line()
    assert program.interrupt()[0] == 130
    assert "Traceback" not in program.err


def test_json_is_a_document_a_refresh(launch: Launch, live: LiveAgent, alone: Node) -> None:
    live.alerts = [an_alert()]
    alone.append(an_event(1))
    program = launch("status", "--watch", "--interval", "0.2", "--output", "json")
    first, second = (json.loads(program.line()) for _ in range(2))
    assert first["at"] < second["at"]
    (node,) = second["nodes"]
    assert (node["node"], node["unreachable_since"], node["problem"]) == ("rift", None, "")
    assert node["services"][0]["components"][0]["component"] == "api"
    assert [each["id"] for each in node["alerts"]] == [7]
    assert "containers" not in node
    assert program.interrupt()[0] == 130


def test_json_of_ps_has_what_is_used_and_says_when_a_node_is_gone(launch: Launch, live: LiveAgent, alone: Node) -> None:
    assert live.components
    program = launch("ps", "-w", "--interval", "0.2", "--output", "jsonl")

    def node() -> Any:
        return json.loads(program.line())["nodes"][0]

    until(lambda: node()["containers"][0]["usage"]["percent"])
    alone.cut(for_good=True)
    until(lambda: node()["unreachable_since"])
    found = node()
    assert found["problem"]
    assert found["containers"][0]["container"]["component"] == "api"
    alone.listen()
    until(lambda: not node()["unreachable_since"])


def test_the_first_event_of_all_is_seen_even_if_it_is_older_than_the_stream(launch: Launch, live: LiveAgent) -> None:
    live.late = [an_event(1)]
    program = launch("status", "--watch", "--interval", "0.2", "--output", "json")
    until(lambda: [each["id"] for each in json.loads(program.line())["nodes"][0]["events"]] == [1])


def test_usage_is_only_asked_for_when_it_is_shown(launch: Launch, live: LiveAgent) -> None:
    program = launch("ps", "nosuch", "--all", "--watch")
    program.line()
    (asked, *_) = live.asked(v1.LiveCheckRequest)
    assert (asked.service, asked.all, asked.usage) == ("nosuch", True, True)
    assert not live.asked(v1.GetStatusRequest)


# -- what cannot be watched


def test_a_service_that_no_node_knows_is_an_error_at_once(run: Run, live: LiveAgent) -> None:
    live.prepared["GetStatusRequest"] = GRPCError(Status.NOT_FOUND, "no service nosuch is deployed on rift")
    found = run("status", "nosuch", "--watch")
    assert (found.status, found.out) == (2, "")
    assert found.err.splitlines()[-1] == "mcpctl: node rift: no service nosuch is deployed on rift"


def test_when_every_node_refuses_it_ends(run: Run, live: LiveAgent) -> None:
    live.prepared["GetStatusRequest"] = GRPCError(Status.PERMISSION_DENIED, "kyle may not look")
    found = run("status", "--watch")
    assert found.status == 1
    assert "kyle may not look" in found.err


def test_one_node_that_refuses_does_not_end_it(launch: Launch, nodes: tuple[Node, Node]) -> None:
    rift, orion = map(alive, nodes)
    rift.component("api")
    orion.prepared["GetStatusRequest"] = GRPCError(Status.PERMISSION_DENIED, "kyle may not look")
    program = launch("status", "--watch", "--interval", "0.2", "--output", "json")
    found = json.loads(program.line())["nodes"]
    assert found[0]["services"]
    assert "kyle may not look" in found[1]["problem"]
    json.loads(program.line())
    assert len(orion.asked(v1.GetStatusRequest)) == 1


@pytest.mark.parametrize("key", ["token_path", "ca_cert"])
def test_one_node_that_cannot_be_asked_from_here_does_not_end_it(
    launch: Launch, nodes: tuple[Node, Node], tmp_path: Path, key: str
) -> None:
    with (tmp_path / "mcp.toml").open("a") as file:
        file.write(f'{key} = "none"\n')
    rift, _ = map(alive, nodes)
    rift.component("api")
    program = launch("status", "--watch", "--interval", "0.2", "--output", "json")
    for _ in range(2):
        found = json.loads(program.line())["nodes"]
        assert found[0]["services"]
        assert "none does not exist" in found[1]["problem"]


def test_where_no_node_can_be_asked_from_here_it_ends_as_a_listing_does(
    run: Run, live: LiveAgent, tmp_path: Path
) -> None:
    (tmp_path / "token").unlink()
    found = run("status", "--watch")
    assert found.status == 2
    assert "no token for node rift" in found.err
    assert live.requests == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("status", "--watch", "--exit-code"), "--exit-code"),
        (("status", "--watch", "--at", "2h"), "--at"),
        (("status", "--watch", "--interval", "0.01"), "must be 0.2 to 3600 seconds"),
        (("ps", "--watch", "--interval", "nan"), "must be 0.2 to 3600 seconds"),
        (("ps", "--watch", "--interval", "soon"), "soon"),
        (("ps", "--interval", "5"), "--watch"),
        # As it was said before; and a service may be called 5.
        (("status", "--watch", "5"), "`--watch --interval SECONDS`"),
        (("status", "web", "-w", "0.5"), "`--watch --interval SECONDS`"),
        (("ps", "--watch=5"), "`--watch --interval SECONDS`"),
        (("ps", "--watch", "--quiet"), "--quiet"),
        (("ps", "--watch=soon"), "soon"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, live: LiveAgent, words: tuple[str, ...], message: str) -> None:
    assert live.components
    found = run(*words)
    assert found.status == 2
    assert message in found.err


def test_a_listing_imports_nothing_of_it() -> None:
    code = "import sys; import mcpctl.commands.status; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"textual", "mcpctl.actions.live.watch", "mcpctl.actions.live.fleet_state"} & set(done.stdout.split())
