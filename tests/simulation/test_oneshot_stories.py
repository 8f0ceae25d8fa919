"""Single stories of what runs to its end: good ends, bad ones, podman's tries, and that nobody but podman starts it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from monitor.model import AlertKind, Desired, Observed
from protos.parts import Heal
from tests.support.examples import seeds

from .history import RECOVERED, Played, play
from .invariants import INVARIANTS
from .node import PROBE, Key, Node

JOB = ("batch", "job")


def one(node: Node, heal: Heal = Heal.RESTART, **changes: Any) -> Key:
    """The oneshot that a story is about; its image has a health check, which nobody asks."""
    node.declare(*JOB, **{"restart": "no", "heal": heal, "own_probe": PROBE, "oneshot": True, **changes})
    node.runtime.start(node.runtime.create(node.declared[JOB]))
    node.notify()
    return JOB


def held(played: Played) -> list[str]:
    """What was told of it, when all that always holds did."""
    for holds in INVARIANTS:
        holds(played)
    return [each.alert.kind for each in played.of(JOB)]


@pytest.mark.parametrize("heal", Heal)
@pytest.mark.parametrize("restart", ["no", "on-failure"])
@pytest.mark.parametrize("seed", seeds(5))
def test_what_ends_well_is_not_told_however_often_it_runs(seed: int, restart: str, heal: Heal) -> None:
    async def story(node: Node) -> None:
        key = one(node, heal, restart=restart)
        node.falls_ill(key)
        for _ in range(6):
            await trio.sleep(5)
            node.started_by_hand(key)
        await trio.sleep(200)
        await node.deploy("batch")

    played = play(seed, story)
    assert held(played) == []
    assert played.node.truth(JOB) is Observed.EXITED
    assert "healthy" not in {kind for kind, _ in played.kinds(JOB)}


@pytest.mark.parametrize("heal", Heal)
@pytest.mark.parametrize("seed", seeds(5))
def test_what_failed_is_told_once_and_stays_so_until_it_has_completed(seed: int, heal: Heal) -> None:
    async def story(node: Node) -> None:
        node.completes = 0.0
        key = one(node, heal)
        await trio.sleep(300)
        # A try that fails as well is no recovery, and no news.
        node.started_by_hand(key)
        await trio.sleep(300)
        node.completes = 1.0
        node.started_by_hand(key)

    played = play(seed, story)
    assert held(played) == [AlertKind.DRIFT, RECOVERED]
    assert played.of(JOB)[0].alert.reason.startswith("did not complete: exited ")
    assert [kind for kind, _ in played.kinds(JOB)].count("running") == 3


@pytest.mark.parametrize("seed", seeds(5))
def test_what_podman_tries_again_is_waited_for(seed: int) -> None:
    async def story(node: Node) -> None:
        node.completes, node.tries = 0.0, 1.0
        one(node, restart="on-failure")
        await trio.sleep(1)
        node.completes = 1.0

    assert held(play(seed, story)) == []


@pytest.mark.parametrize("seed", seeds(5))
def test_what_podman_tries_no_more_is_told(seed: int) -> None:
    async def story(node: Node) -> None:
        node.completes, node.tries = 0.0, 0.0
        one(node, restart="on-failure")

    played = play(seed, story)
    assert held(played) == [AlertKind.DRIFT]
    assert played.of(JOB)[0].alert.reason.endswith("podman did not restart it: stopped by hand, or out of tries")


@pytest.mark.parametrize("seed", seeds(5))
def test_what_fails_again_and_again_is_one_flap(seed: int) -> None:
    """Each time podman starts it at once, so that no single failure lasts as long as the grace."""

    async def story(node: Node) -> None:
        node.completes, node.tries, node.longest_work_s = 0.0, 1.0, 5.0
        one(node, restart="on-failure")
        await trio.sleep(200)
        node.completes = 1.0

    assert held(play(seed, story)) == [AlertKind.FLAP, RECOVERED]


@pytest.mark.parametrize("seed", seeds(5))
def test_what_is_paused_or_gone_is_told(seed: int) -> None:
    async def story(node: Node) -> None:
        node.longest_work_s = 1000.0
        key = one(node)
        await trio.sleep(0.5)
        if (container := node.container(key)) and container.has_completed:
            node.started_by_hand(key)
        node.paused(key, paused=True)
        await trio.sleep(100)
        node.paused(key, paused=False)
        await trio.sleep(1200)
        node.removed_by_hand(key)

    played = play(seed, story)
    kinds = held(played)
    reasons = [each.alert.reason for each in played.of(JOB)]
    assert kinds in ([AlertKind.DRIFT, RECOVERED, AlertKind.DRIFT], [AlertKind.DRIFT])
    assert reasons[-1] == "missing: no such container"
    assert reasons[0] in ("did not complete: paused", reasons[-1])


@pytest.mark.parametrize("seed", seeds(5))
def test_one_that_is_stopped_with_its_service_is_as_wanted_whatever_it_ended_with(seed: int) -> None:
    async def story(node: Node) -> None:
        node.completes = 0.0
        key = one(node)
        await trio.sleep(300)
        await node.set_desired(key[0], Desired.STOPPED)

    assert held(play(seed, story)) == [AlertKind.DRIFT, RECOVERED]
