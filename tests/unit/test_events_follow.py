"""`mcpctl events --follow`: a ledger is followed through outages, restores and nodes that lose their power."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl import config
from mcpctl.errors import UnreachableError
from mcpctl.nodes import client
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, Node, Program, Run, of_a_shell
from tests.support.answers import an_event
from tests.support.waiting import DEADLINE_S, until

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
