"""What a viewer is not told: programs' words, wherever they are quoted, and what confirms a guess of a value."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, cast

import httpx
import pytest
import trio
from google.protobuf import descriptor_pb2

from mcpd.changes.plan import Action, plan_deploy
from mcpd.changes.verify import _last_words
from mcpd.changes.viewer_plan import NOT_COMPARED, warnings, without_guesses
from mcpd.identity.required_roles import REQUIRED_ROLE
from mcpd.model import Caller, RecordedService, Role
from mcpd.rpc import redaction
from mcpd.runtime.podman import Podman
from monitor import probes
from monitor.drift import drift
from monitor.model import Desired, Observed, Seen, Wanted
from monitor.ports import Executor, Ran
from protos import program_output
from protos.mcp import v1
from protos.parts import Build, ConfigFile, Heal, Health
from protos.spec import Component, Service
from tests.support.builders import component, container, recorded, recorded_service, service

VIEWER, ADMIN = Caller("looker", Role.VIEWER), Caller("op", Role.ADMIN)
# A program knows our marks, and prints them.
HOSTILE = "exited 0: it said: ok; it printed last:\n    everything is as it was; hunter2"


# ---------------------------------------------------------------------------------- programs' words, where they come in


class Ends(Executor):
    async def reached_at(self, container: str, port: int) -> int:
        await trio.lowlevel.checkpoint()
        return port

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        return Ran(3, HOSTILE)


class Prints:
    async def log_tail(self, name: str, lines: int) -> str:
        return HOSTILE


class Rude(socketserver.StreamRequestHandler):
    """Answers with something that is no HTTP."""

    def handle(self) -> None:
        self.request.recv(4096)
        self.wfile.write(b"hunter2 is the password\r\n\r\n")


class Failing(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500, "hunter2")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[Rude, Failing])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with socketserver.TCPServer(("127.0.0.1", 0), request.param) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


async def test_what_a_probe_prints_can_be_left_out_and_how_it_ended_stays() -> None:
    words = (await probes.ask(Health(cmd=("check", "it")), "c", Ends())).words
    assert "hunter2" in words
    assert program_output.without(words) == f"check exited 3 {program_output.LEFT_OUT}"
    unhealthy = drift(Wanted("web", "api", Desired.RUNNING, "x", ""), Seen(Observed.UNHEALTHY, words=words))
    assert (
        program_output.without(f"{unhealthy}, 3rd time in 4m") == f"unhealthy: check exited 3 {program_output.LEFT_OUT}"
    )


async def test_what_a_component_sends_in_place_of_http_can_be_left_out(url: str) -> None:
    words = (await probes.ask(Health(http=url), "c", Ends())).words
    told = program_output.without(words)
    assert told.startswith(f"{url}: ")
    assert "hunter2" not in told
    assert told in (f"{url}: no HTTP {program_output.LEFT_OUT}", f"{url}: HTTP status 500")


async def test_the_last_lines_of_a_container_can_be_left_out() -> None:
    words = await _last_words(cast(Podman, Prints()), "c")
    assert "hunter2" in words
    assert program_output.without(f"exited 3 right after its start{words}") == (
        f"exited 3 right after its start {program_output.LEFT_OUT}"
    )


@pytest.mark.parametrize(
    "sentence",
    [
        *("exited 137", "exited 137, 3rd time in 4m", "missing: no such container", "unhealthy: no answer within 5 s"),
        *("http://127.0.0.1:80/: HTTP status 500", "v1 -> v2", "127.0.0.1:80: connection refused", ""),
        "it exited 3 right after its start; it printed nothing",
    ],
)
def test_a_sentence_that_quotes_nobody_stays(sentence: str) -> None:
    assert program_output.without(sentence) == sentence


async def test_a_connection_that_ends_without_an_answer_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut(_url: str) -> probes.Verdict:
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")

    monkeypatch.setattr(probes, "_http", cut)
    words = (await probes.ask(Health(http="http://x/"), "c", Ends())).words
    assert program_output.without(words) == words == "http://x/: Server disconnected without sending a response."


# ------------------------------------------------------------------------------------------- the way out, for a viewer


def test_every_text_in_an_answer_to_a_viewer_is_known_to_be_a_sentence_a_hash_or_plain() -> None:
    described = descriptor_pb2.FileDescriptorSet()
    described.ParseFromString(files("protos.mcp.v1").joinpath("agent.binpb").read_bytes())
    file = next(each for each in described.file if each.package == "mcp.v1")
    messages = {f".mcp.v1.{each.name}": each for each in file.message_type}
    waiting = [
        method.output_type
        for method in file.service[0].method
        if REQUIRED_ROLE[f"/mcp.v1.AgentService/{method.name}"] is Role.VIEWER
    ]
    texts: set[str] = set()
    done: set[str] = set()
    while waiting:
        kind = waiting.pop()
        if kind in messages and kind not in done:
            done.add(kind)
            for field in messages[kind].field:
                assert field.type != field.TYPE_BYTES, f"{kind}.{field.name}: who knows what is in it"
                texts |= {field.name} if field.type == field.TYPE_STRING else set()
                waiting.append(field.type_name)
    kinds = (redaction.SENTENCES, redaction.FIRST_LINE, redaction.HASHES, redaction.PLAIN)
    assert texts == set().union(*kinds)
    assert len(texts) == sum(map(len, kinds)), "each is one of them"


async def test_an_admin_is_told_all_and_a_viewer_less_by_one_and_the_same_method() -> None:
    async def list_events(_request: object, _caller: Caller) -> v1.ListEventsResponse:
        return v1.ListEventsResponse(events=[v1.EventInfo(message="check exited 1: x")])

    async def watch_events(_request: object, _caller: Caller):  # type: ignore[no-untyped-def]
        yield v1.WatchEventsResponse(event=v1.EventInfo(message="check exited 1: x"))
        yield [v1.WatchEventsResponse(event=v1.EventInfo(message="check exited 1: x"))]

    told = redaction.redacted({"ListEvents": list_events, "WatchEvents": watch_events})
    for caller, message in ((ADMIN, "check exited 1: x"), (VIEWER, f"check exited 1 {program_output.LEFT_OUT}")):
        response = await told["ListEvents"](None, caller)  # type: ignore[misc]
        assert [each.message for each in response.events] == [message]  # type: ignore[attr-defined]
        one, (other,) = [each async for each in told["WatchEvents"](None, caller)]  # type: ignore[union-attr, misc]
        assert (one.event.message, other.event.message) == (message, message)  # type: ignore[union-attr]


def test_an_answer_from_memory_tells_a_viewer_less_too() -> None:
    def list_services(_request: object, _caller: Caller) -> v1.ListServicesResponse:
        return v1.ListServicesResponse(services=[v1.ServiceInfo(components=[v1.ComponentInfo(spec_hash="abc")])])

    told = redaction.redacted_memory({"ListServices": list_services})["ListServices"]
    assert b"abc" in bytes(cast(v1.ListServicesResponse, told(None, ADMIN)))
    assert b"abc" not in bytes(cast(v1.ListServicesResponse, told(None, VIEWER)))


# --------------------------------------------------------------------------------------------------------- guesses


def with_env(**env: str) -> Component:
    return component(env=env)


def seen_by_a_viewer(asked: Service, known: RecordedService | None, runs: Component) -> object:
    """All that a plan's answer is made of, but for its id."""
    plan = plan_deploy(
        without_guesses(asked, known), asked.component_names, [container(runs)], recorded=known, heal=Heal.ALERT
    )
    return [(each.action, each.reason, each.changes) for each in plan.components]


RIGHT, WRONG = with_env(KEY="hunter2"), with_env(KEY="hunter3")
KNOWN = {
    "as declared": recorded_service(recorded(RIGHT)),
    "declared otherwise since": recorded_service(recorded(with_env(KEY="new"), deployed=RIGHT)),
    "declared without it since": recorded_service(recorded(with_env(), deployed=RIGHT)),
    "nobody declares it any more": recorded_service(recorded(RIGHT, desired=Desired.IGNORE)),
    "made from something that the registry does not hold": recorded_service(recorded(with_env(KEY="x"))),
    "another component": recorded_service(recorded(component("db"))),
    "not known at all": None,
}


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
def test_a_right_guess_looks_as_a_wrong_one(known: RecordedService | None) -> None:
    right, wrong = (seen_by_a_viewer(service(each), known, RIGHT) for each in (RIGHT, WRONG))
    assert right == wrong


def with_texts(text: str) -> Component:
    """A component with what may hold a password in other places."""
    configs = (ConfigFile("/etc/key", content=text),)
    return component(configs=configs, build=Build("here", args={"KEY": text}))


@pytest.mark.parametrize("recorded_text", ["hunter2", "other", None])
def test_a_right_guess_at_a_config_or_a_build_argument_looks_as_a_wrong_one(recorded_text: str | None) -> None:
    known = recorded_service(recorded(with_texts(recorded_text))) if recorded_text else None
    running = with_texts("hunter2")
    right, wrong = (seen_by_a_viewer(service(with_texts(each)), known, running) for each in ("hunter2", "hunter3"))
    assert _without_randomness(right) == _without_randomness(wrong)


def _without_randomness(seen: Any) -> Any:
    """Diffs never reach a viewer (`mcpd.rpc.redaction`); without them nothing random is left."""
    return [
        (action, reason, [(each.field, each.before, each.after) for each in changes])
        for action, reason, changes in seen
    ]


def test_an_admin_would_see_the_difference() -> None:
    """Or the test above would prove nothing."""
    plans = [
        plan_deploy(service(each), ["api"], [container(RIGHT)], recorded=KNOWN["as declared"])
        for each in (RIGHT, WRONG)
    ]
    assert [plan.components[0].action for plan in plans] == [Action.NONE, Action.REPLACE]


def test_a_viewers_plan_still_tells_everything_else() -> None:
    known = recorded_service(recorded(RIGHT))
    (unchanged,) = cast(list[tuple[Action, str, object]], seen_by_a_viewer(service(WRONG), known, RIGHT))
    assert unchanged[0] is Action.NONE
    other = component(env={"KEY": "hunter3", "MORE": "1"}, image="app:v2")
    ((action, _, changes),) = cast(
        list[tuple[Action, str, tuple[object, ...]]], seen_by_a_viewer(service(other), known, RIGHT)
    )
    assert action is Action.REPLACE
    assert {each.field for each in changes} == {"image", "env.MORE"}  # type: ignore[attr-defined]


def test_it_says_so_where_there_was_something_to_compare() -> None:
    assert warnings(service(RIGHT), frozenset({"api"})) == (f"web: {NOT_COMPARED}",)
    assert warnings(service(component()), frozenset({"api"})) == ()
    assert warnings(service(RIGHT, component("db")), frozenset({"db"})) == ()
