"""The processes of containers: podman's answer, read; where to look; and what is told of it, within limits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import trio

from mcpd.model import LABEL_RUN, LABEL_RUN_OF, Container
from mcpd.rpc import processes
from mcpd.rpc.processes import MAX_OF_ALL, MAX_OF_ONE, Place, ProcessMethods, listed, places_of
from mcpd.runtime.api import NoSuchError, PodmanError
from mcpd.runtime.processes import Process, duration, parsed
from monitor.model import Observed
from protos.mcp import v1
from tests.support.builders import component, container, recorded, recorded_service

TITLES = ["PID", "HPID", "USER", "%CPU", "RSS", "ELAPSED", "COMMAND"]
# As podman 4.3 answers.
ROW = ["1", "8783", "1000", "0.125", "1664", "1m1.363056411s", "/bin/sh -c sleep 1234 & trap 'exit 0' TERM"]
RUN_LABELS = {LABEL_RUN: "k3f9a2", LABEL_RUN_OF: "web/api"}
PROCESS = Process(1, 8783, "1000", 0.125, 1664 << 10, timedelta(seconds=61.363056411), ROW[-1])


def answer(*rows: list[str]) -> bytes:
    return json.dumps({"Processes": rows, "Titles": TITLES}).encode()


def test_podmans_answer_is_read_and_sorted() -> None:
    second = ["7", "8806", "root", "99.9", "0", "12h0m0.5s", "sleep 1"]
    found = parsed(answer(second, ROW))
    assert found[0] == PROCESS
    assert found[1] == Process(7, 8806, "root", 99.9, 0, timedelta(hours=12, seconds=0.5), "sleep 1")


@pytest.mark.parametrize("nothing", [b"", b"\n", b'{"Processes":null,"Titles":null}', answer()])
def test_what_does_not_run_has_none(nothing: bytes) -> None:
    assert parsed(nothing) == []


@pytest.mark.parametrize(
    "wrong", [b"<html>", b"[]", answer(ROW[:-1]), answer(["x", *ROW[1:]]), answer([*ROW[:5], "soon", ROW[6]])]
)
def test_what_is_not_understood_is_an_error(wrong: bytes) -> None:
    with pytest.raises(PodmanError, match="not understood"):
        parsed(wrong)


def test_a_command_line_of_megabytes_is_cut() -> None:
    (found,) = parsed(answer([*ROW[:-1], "x" * 100_000]))
    assert len(found.command) < 1100
    assert found.command.endswith("...")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("1.5s", 1.5),
        ("350ms", 0.35),
        ("12µs", 12e-6),
        ("3ns", 0),
        ("2h3m4.25s", 7384.25),
        ("100h0m1s", 360001),
    ],
)
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "1", "1x", "s", "1s extra", "1d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        duration(text)


def made(**overrides: Any) -> Container:
    return container(service="", **{"name": "web-api-run-k3f9a2", "labels": RUN_LABELS} | overrides)


def test_runs_stand_behind_their_component() -> None:
    db = component("db")
    service = recorded_service(recorded(), recorded(db))
    another = made(name="x", labels={LABEL_RUN: "zzz", LABEL_RUN_OF: "web/apix"})
    assert places_of(service, [container(db), container()], [made(), another]) == [
        Place("web", "api", "web-api"),
        Place("web", "api", "web-api-run-k3f9a2", "k3f9a2"),
        Place("web", "db", "web-db"),
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"state": Observed.EXITED, "exit_code": 137}, "it does not run: exited (137)"),
        ({"state": Observed.EXITED}, "it does not run: exited"),
        ({"state": Observed.CREATED, "exit_code": 0}, "it does not run: created"),
        ({"state": Observed.PAUSED}, "it is paused, and podman lists no processes of what is"),
        ({"state": Observed.UNHEALTHY}, ""),
    ],
)
def test_what_does_not_run_says_so(overrides: dict[str, Any], message: str) -> None:
    (place,) = places_of(recorded_service(recorded()), [container(**overrides)], [])
    assert place.message == message


def test_nothing_is_said_of_a_job_between_its_runs() -> None:
    service = recorded_service(recorded(component(schedule="0 2 * * *")))
    assert places_of(service, [container(state=Observed.EXITED, exit_code=1)], []) == []
    assert places_of(service, [container()], []) == [Place("web", "api", "web-api")]
    assert places_of(service, [], [])[0].message == "it has no container"


def test_what_has_no_container_says_so() -> None:
    (place,) = places_of(recorded_service(recorded()), [], [])
    assert (place.container, place.message) == ("web-api", "it has no container")


@pytest.mark.parametrize("left", [MAX_OF_ALL, 7, 0])
def test_more_than_the_most_is_cut_and_said(left: int) -> None:
    most = min(left, MAX_OF_ONE)
    info = listed(Place("web", "api", "web-api"), [PROCESS] * 812, left)
    assert (len(info.processes), info.message) == (most, f"{most} of its 812 processes are listed")
    assert listed(Place("web", "api", "web-api"), [PROCESS] * most, left).message == (
        "" if most else "it has just ended"
    )


# -- asked


class Podman:
    """Answers after so many seconds, by container; or with an error."""

    def __init__(self, **containers: float | Exception | bytes) -> None:
        self._containers = containers
        self.at_once = 0
        self.most_at_once = 0
        self.api = self

    async def containers(self, *, service: str) -> tuple[Container, ...]:
        return tuple(container(component(name)) for name in self._containers)

    async def runs(self, service: str) -> tuple[()]:
        return ()

    @asynccontextmanager
    async def stream(self, method: str, path: str, *, timeout: float, params: dict[str, str]) -> AsyncIterator[Any]:
        assert params == {"stream": "false", "ps_args": "pid,hpid,user,pcpu,rss,etime,args"}
        found = self._containers[path.removeprefix("/containers/web-").removesuffix("/top")]
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if isinstance(found, float):
                await trio.sleep(found)
            if isinstance(found, Exception):
                raise found
            self._body = found if isinstance(found, bytes) else answer(ROW)
            yield self
        finally:
            self.at_once -= 1

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 65536):
            yield self._body[start : start + 65536]


class Registry:
    def __init__(self, *names: str) -> None:
        self._service = recorded_service(*(recorded(component(each)) for each in names))

    async def services(self) -> tuple[Any, ...]:
        return (self._service,)


async def asked(podman: Podman, *names: str) -> dict[str, v1.ComponentProcesses]:
    methods = ProcessMethods("rift", podman, Registry(*names))  # type: ignore[arg-type]
    response = await methods.list_processes(v1.ListProcessesRequest(), None)  # type: ignore[arg-type]
    assert [each.component for each in response.components] == [*names]
    return {each.component: each for each in response.components}


async def test_one_that_fails_or_hangs_does_not_cost_the_others(
    autojump_clock: trio.abc.Clock,  # noqa: ARG001
) -> None:
    began = trio.current_time()
    podman = Podman(api=1.0, hangs=600.0, gone=NoSuchError("no such container", 404), rude=b"x" * (5 << 20))
    found = await asked(podman, "api", "hangs", "gone", "rude")
    assert len(found["api"].processes) == 1
    assert found["hangs"].message == "podman did not list its processes within 5 s"
    assert found["gone"].message == "no such container"
    assert found["rude"].message == "its processes take more than 4 MiB to list"
    assert trio.current_time() - began <= 5


async def test_few_are_asked_at_once_and_what_takes_too_long_is_told(
    autojump_clock: trio.abc.Clock,  # noqa: ARG001
) -> None:
    names = [f"c{number}" for number in range(40)]
    podman = Podman(**dict.fromkeys(names, 1.0))
    began = trio.current_time()
    found = await asked(podman, *names)
    # mcpctl gives a node ten seconds.
    assert trio.current_time() - began <= 8
    assert podman.most_at_once == processes._AT_ONCE
    known = [each for each in found.values() if each.processes]
    assert 20 <= len(known) < 40
    assert {each.message for each in found.values()} == {"", "podman did not get to it within 7 s"}
