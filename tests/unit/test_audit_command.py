"""`mcpctl audit`: who called what, and what is called from now on."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, Node, Program, Run, stripped
from tests.support.waiting import until

JSON = ("--node", "rift", "--output", "json")


def a_call(number: int = 7, **values: Any) -> v1.AuditInfo:
    defaults = {"id": number, "at": AT, "method": "Deploy", "caller": "kyle", "role": "admin", "status": "OK"}
    where = {"peer": "10.0.0.7:4711", "target": "web", "duration": timedelta(milliseconds=1234)}
    return v1.AuditInfo(**{**defaults, **where, **values})


# -- the table


def test_a_call_is_a_row(run: Run, alone: Node) -> None:
    alone.agent.calls = [a_call()]
    status, out, _ = run("audit")
    assert status == 0
    header, row = out.splitlines()
    assert header.split() == ["TIME", "NODE", "CALLER", "ROLE", "PEER", "METHOD", "TARGET", "STATUS", "TOOK"]
    cells = ["kyle", "admin", "10.0.0.7:4711", "Deploy", "web", "OK", "1.2 s"]
    assert stripped(row) == [render.moment(AT), "rift", *cells]


def test_a_call_of_somebody_who_was_not_let_in_has_no_caller(run: Run, alone: Node) -> None:
    alone.agent.calls = [a_call(caller="", role="", target="", status="UNAUTHENTICATED")]
    row = run("audit").out.splitlines()[1]
    assert stripped(row)[2:] == ["-", "-", "10.0.0.7:4711", "Deploy", "-", "UNAUTHENTICATED", "1.2 s"]


def test_as_json_calls_are_a_list(run: Run, alone: Node) -> None:
    alone.agent.calls = [a_call()]
    assert json.loads(run("audit", "--output", "json").out) == [
        {
            "node": "rift",
            "id": 7,
            "at": "2026-03-01T12:00:00Z",
            "caller": "kyle",
            "role": "admin",
            "peer": "10.0.0.7:4711",
            "method": "Deploy",
            "target": "web",
            "status": "OK",
            "took_ms": 1234.0,
        }
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), v1.ListAuditRequest(limit=100)),
        (("--caller", "kyle", "--limit", "5"), v1.ListAuditRequest(caller="kyle", limit=5)),
        (("--method", "Deploy"), v1.ListAuditRequest(method="Deploy", limit=100)),
        (("--since", AT.isoformat()), v1.ListAuditRequest(since=AT, limit=100)),
    ],
)
def test_a_node_is_asked_for_the_calls_that_are_wanted(
    run: Run, alone: Node, words: tuple[str, ...], expected: v1.ListAuditRequest
) -> None:
    assert run("audit", *words).status == 0
    assert alone.agent.requests == [expected]


def test_calls_on_several_nodes_come_oldest_first(run: Run, rift: Node, orion: Node) -> None:
    rift.agent.calls = [a_call(1), a_call(2, at=AT + timedelta(hours=2))]
    orion.agent.calls = [a_call(1, at=AT + timedelta(hours=1))]
    assert [stripped(line)[1] for line in run("audit").out.splitlines()[1:]] == ["rift", "orion", "rift"]


def test_calls_on_the_nodes_that_answer_are_listed_with_status_4(run: Run, rift: Node, orion: Node) -> None:
    rift.agent.calls = [a_call()]
    orion.cut(for_good=True)
    status, out, err = run("audit")
    assert (status, len(out.splitlines())) == (4, 2)
    assert "node orion" in err


def test_who_may_not_see_it_is_told_so(run: Run, alone: Node) -> None:
    alone.agent.prepared["ListAuditRequest"] = GRPCError(Status.PERMISSION_DENIED, "eve is a viewer")
    status, out, err = run("audit")
    assert (status, out) == (1, "")
    assert err.endswith("mcpctl: node rift: eve is a viewer\n")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("words", [("--limit", "0"), ("--since", "yesterday")])
def test_what_is_not_understood_is_not_asked(run: Run, words: tuple[str, ...]) -> None:
    status, out, err = run("audit", *words)
    assert (status, out) == (2, "")
    assert words[0] in err


def test_what_a_caller_calls_itself_cannot_move_the_cursor(run: Run, alone: Node) -> None:
    names = ("method", "caller", "role", "peer", "target", "status")
    alone.agent.calls = [a_call(**dict.fromkeys(names, HOSTILE))]
    assert run("audit").out.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("milliseconds", "shown"), [(0.04, "0.0 ms"), (9.4, "9.4 ms"), (12.3, "12 ms"), (1500, "1.5 s"), (65_000, "1m5s")]
)
def test_how_long_a_call_took_has_few_digits(milliseconds: float, shown: str) -> None:
    assert render.took(milliseconds) == shown


# -- follow


@pytest.fixture(params=["a stream", "an older mcpd is asked"])
def follow(launch: Callable[..., Program], nodes: tuple[Node, Node], request: pytest.FixtureRequest) -> "Follow":
    if request.param != "a stream":
        for each in nodes:
            each.agent.prepared["WatchAuditRequest"] = GRPCError(Status.UNIMPLEMENTED, "there is no RPC")
            each.agent.tells_newest = False
    return lambda *words: launch("audit", "--follow", *words)


Follow = Callable[..., Program]


def followed(node: Node) -> None:
    until(lambda: node.agent.asked(v1.WatchAuditRequest), f"{node.agent.node} is followed")


def goes_on_after(node: Node, number: int) -> None:
    """A node that is asked between two pauses may be asked over a new connection without a word, so none is counted."""
    asked = (v1.ListAuditRequest, v1.WatchAuditRequest)
    until(
        lambda: any(isinstance(each, asked) and each.after_id == number for each in node.agent.requests),
        f"{node.agent.node} is followed from {number} on",
    )


def test_what_was_called_is_listed_and_then_what_is_called(follow: Follow, rift: Node) -> None:
    rift.agent.calls = [a_call(1), a_call(2, method="Sync")]
    following = follow("--node", "rift")
    assert following.line().split()[0] == "TIME"
    assert [stripped(following.line())[5] for _ in range(2)] == ["Deploy", "Sync"]
    rift.agent.calls.append(a_call(3, method="StopService"))
    assert stripped(following.line())[5] == "StopService"
    assert following.interrupt() == (130, [])
    assert following.err == ""


def test_as_json_each_call_is_a_line_and_comes_once(follow: Follow, rift: Node) -> None:
    rift.agent.calls = [a_call(1)]
    following = follow(*JSON)
    assert following.ids(1) == [1]
    rift.agent.calls += [a_call(2), a_call(3)]
    assert following.ids(2) == [2, 3]
    assert [each.after_id for each in rift.agent.asked(v1.WatchAuditRequest)] == [1]
    assert following.interrupt() == (130, [])


def test_over_one_connection_a_node_is_asked_once_and_told_what_is_wanted(
    launch: Callable[..., Program], rift: Node
) -> None:
    rift.agent.calls = [a_call(1, caller="eve")]
    following = launch("audit", "--follow", "--caller", "eve", "--method", "Deploy", *JSON)
    assert following.ids(1) == [1]
    rift.agent.calls += [a_call(2), a_call(3, caller="eve")]
    assert following.ids(1) == [3]
    assert rift.agent.requests == [
        v1.ListAuditRequest(caller="eve", method="Deploy", limit=100),
        v1.WatchAuditRequest("eve", "Deploy", 1),
    ]
    assert rift.connections == 1


def test_what_is_written_between_the_listing_and_the_stream_is_not_lost(
    launch: Callable[..., Program], rift: Node
) -> None:
    rift.agent.calls = [a_call(1)]
    rift.agent.late_calls = [a_call(2)]
    assert launch("audit", "--follow", *JSON).ids(2) == [1, 2]


def test_a_table_that_was_empty_is_followed(follow: Follow, rift: Node) -> None:
    following = follow(*JSON)
    followed(rift)
    rift.agent.calls += [a_call(1), a_call(2)]
    assert following.ids(2) == [1, 2]


def test_its_own_calls_are_left_out_unless_they_are_wanted(follow: Follow, rift: Node) -> None:
    own, refused = a_call(2, method="ListAudit"), a_call(3, method="ListAudit", status="PERMISSION_DENIED")
    rift.agent.calls = [a_call(1)]
    following = follow(*JSON)
    assert following.ids(1) == [1]
    rift.agent.calls += [own, refused, a_call(4)]
    assert following.ids(2) == [3, 4]
    following.interrupt()
    wanted = follow("--method", "ListAudit", *JSON)
    assert wanted.ids(2) == [2, 3]
    rift.agent.calls.append(a_call(5, method="ListAudit"))
    assert wanted.ids(1) == [5]


def test_a_node_that_goes_and_returns_is_taken_up_where_it_was(follow: Follow, rift: Node, orion: Node) -> None:
    rift.agent.calls = [a_call(1)]
    following = follow("--output", "json")
    assert following.ids(1) == [1]
    followed(rift)
    rift.cut(for_good=True)
    until(lambda: "node rift" in following.err, "the outage is said")
    followed(orion)
    orion.agent.calls.append(a_call(8))
    assert following.ids(1) == [8]
    rift.agent.calls.append(a_call(2))
    rift.listen()
    assert following.ids(1) == [2]
    assert following.interrupt() == (130, [])
    (line,) = following.err.splitlines()
    assert line.endswith("; retrying")


def test_a_node_that_does_not_answer_at_first_is_listed_when_it_does(follow: Follow, rift: Node, orion: Node) -> None:
    rift.agent.calls = [a_call(1)]
    orion.agent.calls = [a_call(5)]
    orion.cut(for_good=True)
    following = follow("--output", "json")
    assert following.ids(1) == [1]
    orion.listen()
    assert following.ids(1) == [5]


def test_a_table_that_was_restored_is_followed_from_where_it_is(follow: Follow, rift: Node) -> None:
    rift.agent.calls = [a_call(number) for number in (1, 2, 3)]
    following = follow(*JSON)
    assert following.ids(3) == [1, 2, 3]
    followed(rift)
    rift.agent.calls[:] = [a_call(1)]
    rift.cut()
    goes_on_after(rift, 1)
    rift.agent.calls.append(a_call(2, method="Sync"))
    assert json.loads(following.line())["method"] == "Sync"


def test_a_node_that_refuses_to_be_followed_is_given_up(follow: Follow, rift: Node) -> None:
    rift.agent.calls = [a_call(1)]
    following = follow(*JSON)
    assert following.ids(1) == [1]
    followed(rift)
    rift.agent.prepared["ListAuditRequest"] = GRPCError(Status.PERMISSION_DENIED, "not any more")
    rift.cut()
    assert following.end() == (1, [])
    assert following.err.splitlines()[-1] == "mcpctl: node rift: not any more; no longer followed"


def test_a_node_that_refuses_at_first_is_said_once_and_the_others_are_followed(
    follow: Follow, rift: Node, orion: Node
) -> None:
    orion.agent.prepared["ListAuditRequest"] = GRPCError(Status.PERMISSION_DENIED, "not for a viewer")
    rift.agent.calls = [a_call(1)]
    following = follow("--output", "json")
    assert following.ids(1) == [1]
    followed(rift)
    rift.agent.calls.append(a_call(2))
    assert following.ids(1) == [2]
    assert following.interrupt() == (130, [])
    assert following.err == "mcpctl: node orion: not for a viewer\n"


def test_when_all_nodes_refuse_that_is_the_answer(follow: Follow, rift: Node, orion: Node) -> None:
    for each in (rift, orion):
        each.agent.prepared["ListAuditRequest"] = GRPCError(Status.PERMISSION_DENIED, "not for a viewer")
    following = follow()
    assert following.end() == (1, [])
    assert following.err == "mcpctl: node rift: not for a viewer\n"


def test_the_filters_hold_while_following(follow: Follow, rift: Node) -> None:
    rift.agent.calls = [a_call(1), a_call(2, caller="eve")]
    following = follow("--caller", "eve", "--since", (datetime.now(UTC) - timedelta(days=3650)).isoformat(), *JSON)
    assert following.ids(1) == [2]
    rift.agent.calls += [a_call(3), a_call(4, caller="eve")]
    assert following.ids(1) == [4]
