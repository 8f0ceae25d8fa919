"""What podman's answers mean; the calls themselves are tested against the real one, in tests/podman."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from mcpd.runtime import podman_service
from mcpd.runtime.api import Api, PodmanError
from mcpd.runtime.api_types import Frames, Inspected, Listed, ListedImage, container, image, split
from mcpd.runtime.podman import Podman
from monitor.model import Observed
from protos.parts import Health
from protos.spec import Component

REPOSITORY = Path(__file__).parents[2]


NEVER = "0001-01-01T00:00:00Z"


def inspected(status: str, ended: str = "2026-11-24T08:00:09Z", **config: Any) -> Inspected:
    state = {"Status": status, "Pid": 0, "ExitCode": 137, "StartedAt": "2026-11-24T08:00:00.5Z", "FinishedAt": ended}
    found = {"Id": "c1", "Name": "solo", "ImageName": "demo", "State": state, "Config": {"Labels": None, **config}}
    return msgspec.json.decode(msgspec.json.encode(found), type=Inspected)


@pytest.mark.parametrize("status", ["stopped", "exited", "removing"])
def test_a_container_whose_process_has_ended_has_exited_with_its_code(status: str) -> None:
    """One that is being removed as well: it is gone when a look finds none, and only then is that told."""
    sighting = inspected(status).sighting()
    assert (sighting.state, sighting.exit_code) == (Observed.EXITED, 137)


def test_a_container_that_is_being_stopped_still_runs_and_is_stopped_by_hand() -> None:
    sighting = inspected("stopping").sighting()
    assert (sighting.state, sighting.by_hand, sighting.exit_code) == (Observed.RUNNING, True, None)


@pytest.mark.parametrize("ended", [NEVER, "2026-11-24T07:59:59Z"])
def test_of_a_run_that_the_machine_ended_nobody_knows_how(ended: str) -> None:
    """podman 5 says of it after the next boot that it has exited with 0, and when the last run before it ended."""
    sighting = inspected("exited", ended).sighting()
    assert (sighting.state, sighting.exit_code, sighting.finished_at) == (Observed.EXITED, None, None)


def test_what_ended_at_once_may_seem_to_have_ended_before_its_start() -> None:
    """podman takes the two times from two clocks; measured, up to 4 ms apart on an idle machine."""
    assert inspected("exited", "2026-11-24T08:00:00.49Z").sighting().exit_code == 137


@pytest.mark.parametrize(("ended", "code"), [(-62135596800, None), (1796001200, None), (1796001258, 3)])
def test_a_list_knows_as_much_of_ends_as_an_inspection(ended: int, code: int | None) -> None:
    listed = Listed("c1", ("web",), "app:v1", "0", "exited", exit_code=3, started_at=1796001258, exited_at=ended)
    assert container(listed, {}).exit_code == code


CHECK = {"Test": ["CMD-SHELL", "test -e /ready"], "Interval": 2 * 10**9, "Timeout": 4 * 10**9, "Retries": 2}
CHECK |= {"StartPeriod": 10**9}
OF_IMAGE = Health(
    cmd=("/bin/sh", "-c", "test -e /ready"),
    interval=timedelta(seconds=2),
    timeout=timedelta(seconds=4),
    start_period=timedelta(seconds=1),
    retries=2,
)
DECLARED = Health(tcp="127.0.0.1:80")


@pytest.mark.parametrize(
    ("declared", "probe"),
    [
        (Component("web", "app:v1"), OF_IMAGE),
        (Component("web", "app:v1", health=DECLARED), DECLARED),
        (Component("web", "app:v1", health=Health(disable=True)), None),
        (Component("web", "app:v1", oneshot=True), None),
        (Component("web", "app:v1", oneshot=True, health=Health(disable=True)), None),
    ],
)
def test_a_containers_own_health_check_is_the_probe_of_what_declares_none(
    declared: Component, probe: Health | None
) -> None:
    assert inspected("running", Healthcheck=CHECK).probe(declared) == probe


@pytest.mark.parametrize(
    ("test", "argv"),
    [
        (["CMD", "curl", "-f"], ("curl", "-f")),
        (["CMD-SHELL", "curl -f || exit 1"], ("/bin/sh", "-c", "curl -f || exit 1")),
        # As podman runs it, too.
        (["curl", "-f"], ("curl", "-f")),
    ],
)
def test_a_health_check_is_asked_as_podman_would(test: list[str], argv: tuple[str, ...]) -> None:
    found = inspected("running", Healthcheck={"Test": test}).sighting().own_probe
    assert isinstance(found, Health)
    assert found.cmd == argv


@pytest.mark.parametrize("check", [None, {}, {"Test": None}, {"Test": []}, {"Test": ["NONE"]}, {"Test": ["CMD"]}])
def test_what_has_no_health_check_is_known_to_have_none(check: Any) -> None:
    found = inspected("running", Healthcheck=check)
    assert found.sighting().own_probe is None
    assert found.probe(Component("web", "app:v1")) is None


def test_labels_of_an_adoption_take_nothing_away() -> None:
    found = inspected("running", Healthcheck=CHECK).labelled({"mcp.service": "web"}).sighting()
    assert (found.service, found.own_probe) == ("web", OF_IMAGE)


def test_a_state_that_is_not_known_is_said_to_be_unknown() -> None:
    assert inspected("levitating").observed is Observed.UNKNOWN


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 100_000])
def test_frames_give_out_their_data_however_they_come_in_pieces(size: int) -> None:
    sent = frame(1, b"one") + frame(2, b"") + frame(2, b"two" * 1000) + frame(1, b"three")
    frames = Frames()
    pieces = [sent[begin : begin + size] for begin in range(0, len(sent), size)]
    assert b"".join(each for piece in pieces for each in frames.payloads(piece)) == b"one" + b"two" * 1000 + b"three"


def test_a_line_that_was_cut_off_is_not_taken_for_a_whole_one() -> None:
    sent = frame(1, b"whole") + frame(1, b"cut off")
    assert list(split(sent[:-3])) == [(1, b"whole")]
    # Unless it is all there is: asked for again, it would be cut off again.
    assert list(split(sent[13:-3])) == [(1, b"cut ")]


def test_what_a_probe_leaves_behind_is_short_lived_wherever_podman_is_set_up() -> None:
    """podman before 4.4 takes no word from mcpd for it, so that the installer, the demo and the document say it too."""
    places = (
        "mcpd/runtime/podman_service.py",
        "contrib/install",
        "contrib/demonstration/podman.py",
        "docs/bootstrap.md",
    )
    said = [re.findall(r"exit_command_delay = (\d+)", (REPOSITORY / each).read_text()) for each in places]
    assert said == [["1"]] * len(places)


class Session:
    """podman's exec API: a command that prints so much, exits 1, and whose end podman sees a little late."""

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.asked = 0

    async def printed(self) -> AsyncIterator[bytes]:
        while self.left:
            await trio.lowlevel.checkpoint()
            self.left -= 1
            yield frame(1, f"{self.left} no database\n".encode() * 100)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/start"):
            return httpx.Response(200, content=self.printed())
        if request.url.path.endswith("/json"):
            self.asked += 1
            running = bool(self.left) or self.asked < 3
            return httpx.Response(200, json={"ExitCode": 0 if running else 1, "Running": running})
        return httpx.Response(201, json={"Id": "s1"})


@pytest.mark.parametrize("frames", [0, 1, 1000])
async def test_a_command_that_prints_much_ends_as_it_ended(frames: int) -> None:
    """podman says 0 of a session that still runs: whoever stops reading in the middle believes that."""
    session = Session(frames)
    async with httpx.AsyncClient(transport=httpx.MockTransport(session.answer), base_url="http://podman") as client:
        with trio.fail_after(30):
            ran = await Podman(Api(client, Path("podman.sock"))).run_inside("c1", ("ask",))
    assert (ran.status, session.left) == (1, 0)
    assert len(ran.output) <= 64 * 1024
    assert ran.output.endswith("0 no database\n" if frames else "")


async def test_podmans_version_comes_from_a_ping_which_costs_it_nothing() -> None:
    """`/version` has podman run the package manager: most of a second of a core, every five seconds."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, text="OK", headers={"Libpod-API-Version": "4.9.3"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://podman") as client:
        assert await Podman(Api(client, Path("podman.sock"))).version() == "4.9.3"
    assert asked == ["/_ping"]


async def test_what_answers_pings_and_is_no_podman_is_found_out() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="OK"))
    async with httpx.AsyncClient(transport=transport, base_url="http://podman") as client:
        with pytest.raises(PodmanError, match="no podman"):
            await Podman(Api(client, Path("podman.sock"))).version()


class LateSession(Session):
    """A command that podman has not started yet when its caller has gone: then it is the process ``pid``, and hangs."""

    def __init__(self, pid: int) -> None:
        super().__init__(0)
        self._pid = pid

    async def printed(self) -> AsyncIterator[bytes]:
        await trio.sleep_forever()
        yield b""

    def answer(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/json"):
            return super().answer(request)
        self.asked += 1
        runs = self.asked > 2
        return httpx.Response(200, json={"ExitCode": 0, "Running": runs, "Pid": self._pid if runs else 0})


async def test_a_command_that_begins_after_its_caller_has_gone_is_ended_as_well() -> None:
    process = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220 (nothing else runs here)
    try:
        session = LateSession(process.pid)
        async with httpx.AsyncClient(transport=httpx.MockTransport(session.answer), base_url="http://podman") as client:
            with trio.move_on_after(0.1):
                await Podman(Api(client, Path("podman.sock"))).run_inside("c1", ("ask",))
        assert process.wait(timeout=30) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()


# httpx leaves generators of its own to the collector, when lines are not read to their end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("line", ['"a string"', "{}", "not JSON", '{"Type": "container", "Actor": {"ID": 7}}'])
async def test_an_event_that_makes_no_sense_is_podmans_failure_and_not_the_daemons(line: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=line + "\n"))
    async with httpx.AsyncClient(transport=transport, base_url="http://podman") as client:
        podman = Podman(Api(client, Path("podman.sock")))
        with pytest.raises(PodmanError, match="told of an event"):
            async with aclosing(podman.events(None)) as events:
                await anext(events)


# The first has no date, as Go tells it; the others say so of themselves, in zones beside UTC.
@pytest.mark.parametrize("created", [-62_135_596_800, -62_135_679_600, 253_402_387_139, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("hours", [-23, 0, 23])
def test_an_image_may_say_any_date_of_itself(created: int, hours: int) -> None:
    found = image(ListedImage("1" * 64, created=created)).created_at
    assert found.astimezone(timezone(timedelta(hours=hours))).year in (1, 9999)


def test_what_a_link_in_place_of_podmans_temporary_folder_leads_to_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    theirs, folder = tmp_path / "large-disk", tmp_path / "podman-tmp"
    theirs.mkdir()
    (theirs / "accounts.db").touch()
    folder.symlink_to(theirs)
    assert podman_service._emptied(folder) == folder
    assert (theirs / "accounts.db").exists()
    theirs.rename(tmp_path / "unmounted")
    assert podman_service._emptied(folder) is None
