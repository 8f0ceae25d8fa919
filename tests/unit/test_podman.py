"""What podman's answers mean; the calls themselves are tested against the real one, in tests/podman."""

from __future__ import annotations

import msgspec
import pytest

from mcpd.runtime.answers import Frames, Inspected, split
from monitor.model import Observed


def inspected(status: str) -> Inspected:
    state = {"Status": status, "Pid": 0, "ExitCode": 137, "StartedAt": "2026-11-24T08:00:00.5Z"}
    found = {"Id": "c1", "Name": "solo", "ImageName": "demo", "State": state, "Config": {"Labels": None}}
    return msgspec.json.decode(msgspec.json.encode(found), type=Inspected)


@pytest.mark.parametrize("status", ["stopped", "exited", "removing"])
def test_a_container_whose_process_has_ended_has_exited_with_its_code(status: str) -> None:
    """One that is being removed as well: it is gone when a look finds none, and only then is that told."""
    sighting = inspected(status).sighting()
    assert (sighting.state, sighting.exit_code) == (Observed.EXITED, 137)


def test_a_container_that_is_being_stopped_still_runs_and_is_stopped_by_hand() -> None:
    sighting = inspected("stopping").sighting()
    assert (sighting.state, sighting.by_hand, sighting.exit_code) == (Observed.RUNNING, True, None)


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
