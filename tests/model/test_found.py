"""Histories by which the model has found faults of mcpd, each with what was wrong."""

from __future__ import annotations

import pytest

from .definitions import Edit
from .machine import play
from .steps import Act, Befall, ClockStep, Daemonic, Deploy, Step, Sync, Write

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
    "what was restarted while it was ill gets nothing from the proxy when it is well again": (
        Deploy("web", Edit.ROUTES, value=1),
        Deploy("web", Edit.PROBE, value=2),
        Befall("web", "ill"),
        Act("web", "RestartService"),
        Befall("web", "well"),
    ),
    "a route is lost when mcpd starts again, since a sync has taken the probe away that it had been deployed with": (
        Deploy("web", Edit.ROUTES, value=1),
        Deploy("web", Edit.PROBE, value=1),
        Write("web", Edit.PROBE),
        Sync(),
        Daemonic(kill=True),
    ),
    "what was being started when mcpd was killed gets visitors before its probe was asked": (
        Deploy("web", Edit.PROBE, value=2),
        Deploy("web", Edit.ROUTES, value=1),
        Act("web", "StopService", place=0),
        Befall("web", "ill"),
        Act("web", "StartService", place=0, fuse=18),
    ),
    "a sync of a service that was never deployed takes the host of one that answers": (
        Deploy("web", Edit.ROUTES, place=1),
        Write("shop", Edit.ROUTES),
        Sync(),
    ),
}


@pytest.mark.parametrize("fault", FOUND)
def test_what_was_found_is_mended(fault: str) -> None:
    play(*FOUND[fault])
