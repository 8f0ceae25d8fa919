"""Histories by which the model has found faults of mcpd, each with what was wrong."""

from __future__ import annotations

import pytest

from .definitions import Edit
from .machine import play
from .steps import Act, Befall, ClockStep, Deploy, Step, Sync, Write

FOUND: dict[str, tuple[Step, ...]] = {
    "a component that is deployed alone gets a port that another of its service is declared to have": (
        Deploy("shop", Edit.PORT, place=3, value=10),
        Write("shop", Edit.PORT, place=1),
        Befall("shop", "stopped", place=1),
        Deploy("shop", Edit.PORT, value=1, alone=True),
    ),
    "what a sync has declared and a deploy has found to be so is in no revision": (
        Deploy("shop", Edit.ADD, place=1),
        Write("shop", Edit.PROBE, value=3),
        Sync(),
        Deploy("shop", Edit.IMAGE, value=1),
    ),
    "a container that podman starts again after the clock was set back counts as an old run": (
        Deploy("shop", Edit.RESTART, value=1),
        ClockStep(-1),
        Befall("shop", "ends"),
    ),
    "the alerts of what is no longer declared stay open until the next operation": (
        Sync(),
        Deploy("shop", Edit.NODE),
        Sync(),
    ),
    "a oneshot whose container is of before it was one is started, and waited for without end": (
        Deploy("shop"),
        Act("shop", "StopService"),
        Write("shop", Edit.ONESHOT),
        Sync(),
        Act("shop", "StartService"),
    ),
    "what is paused can neither be replaced nor stopped nor undeployed": (
        Deploy("shop"),
        Befall("shop", "paused", place=0),
        Deploy("shop", Edit.ENV, value=1),
        Befall("shop", "paused", place=1),
        Act("shop", "StopService"),
        Act("shop", "StartService"),
        Befall("shop", "paused", place=0),
        Act("shop", "UndeployService"),
    ),
    "two components that were deployed alone wait for each other without end": (
        Deploy("web"),
        Deploy("web", Edit.ORDER, value=1, alone=True),
        Act("web", "RestartService"),
    ),
    "what depends on a component that was undeployed alone comes back as no definition": (
        Deploy("shop"),
        Act("shop", "UndeployService", place=1),
    ),
}


@pytest.mark.parametrize("fault", FOUND)
def test_what_was_found_is_mended(fault: str) -> None:
    play(*FOUND[fault])
