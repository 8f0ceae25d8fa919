"""What podman's answers mean; the calls themselves are tested against the real one, in tests/podman."""

from __future__ import annotations

import msgspec
import pytest

from mcpd.runtime.answers import Inspected
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
