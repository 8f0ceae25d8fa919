"""Single stories of a simulated node: deploys, outages, a step of the clock, a component that is undeployed."""

from __future__ import annotations

import pytest
import trio

from tests.support.examples import seeds

from .clocks import START, WallClock
from .history import play
from .invariants import (
    INVARIANTS,
    every_drift_has_an_open_alert_and_nothing_else_has,
    nothing_is_open_of_what_is_not_declared_any_more,
)
from .node import Node
from .runtime import Quality


@pytest.mark.parametrize("seed", seeds(20))
def test_a_deploy_of_what_is_well_tells_nothing(seed: int) -> None:
    """However late podman's events come, and however many are lost: what an operation did is not told afterwards."""

    async def story(node: Node) -> None:
        for _ in range(3):
            await trio.sleep(50)
            await node.deploy("web")

    assert play(seed, story).told == []


@pytest.mark.parametrize("seed", seeds(10))
def test_a_podman_that_does_not_answer_for_a_while_is_no_drift(seed: int) -> None:
    async def story(node: Node) -> None:
        await trio.sleep(50)
        await node.outage(100)

    assert play(seed, story).told == []


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_probe_without_a_start_period_counts_at_once_whatever_the_wall_clock_says(hours: int) -> None:
    async def story(node: Node) -> None:
        await trio.sleep(50)
        for key in node.declared:
            node.recreated_by_hand(key)
            node.falls_ill(key)

    played = play(2, story, clock=WallClock(lambda _: hours * 3600))
    assert any(target.health for target in played.node.declared.values())
    every_drift_has_an_open_alert_and_nothing_else_has(played)


@pytest.mark.parametrize("seed", seeds(10))
def test_what_is_undeployed_while_it_drifts_is_let_go(seed: int) -> None:
    async def story(node: Node) -> None:
        await trio.sleep(50)
        node.dies(("web", "api"), 1)
        await trio.sleep(4)
        await node.undeploy("web")

    played = play(seed, story)
    nothing_is_open_of_what_is_not_declared_any_more(played)
    assert all(each.service != "web" for each in played.monitor.known.values())


@pytest.mark.parametrize("seed", seeds(10))
def test_what_somebody_recreated_while_no_event_came_is_as_wanted_again(seed: int) -> None:
    """The new container is seen before the old one is known to be gone; both have the proper name."""

    async def story(node: Node) -> None:
        await trio.sleep(50)
        node.recreated_by_hand(("web", "api"))

    played = play(seed, story, quality=Quality(lost=1.0))
    for holds in INVARIANTS:
        holds(played)


def test_the_start_of_the_clock_is_in_the_past() -> None:
    """Else the probes' start period would be counted from a time that is still to come."""
    assert START.year < 2026
