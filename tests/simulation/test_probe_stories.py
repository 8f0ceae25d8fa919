"""Single stories of a simulated node: probes that change, pauses, and what is ill."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio

from monitor.model import AlertKind, Observed
from protos.parts import Heal, Health
from tests.support.examples import seeds

from .history import RECOVERED, play
from .invariants import INVARIANTS
from .node import OTHER, PATIENT, PROBE, Key, Node
from .runtime import Quality


def one(node: Node, heal: Heal = Heal.ALERT, **changes: Any) -> Key:
    """The one component that a story is about, with a probe, and running."""
    node.declare("solo", "solo", **{"restart": "no", "heal": heal, "probed": True, **changes})
    node.runtime.start(node.runtime.create(node.declared["solo", "solo"]))
    node.notify()
    return "solo", "solo"


def ill(node: Node, key: Key, *names: str) -> None:
    container = node.container(key)
    assert container
    container.ill = frozenset(names)


SOLO = ("solo", "solo")


@pytest.mark.parametrize("seed", seeds(10))
def test_a_probe_that_is_changed_in_place_is_the_one_that_counts(seed: int) -> None:
    """Again and again, both ways: what one probe said is over when another is asked."""

    async def story(node: Node) -> None:
        key = one(node)
        await trio.sleep(100)
        ill(node, key, "other")
        for health in (OTHER, PROBE, OTHER):
            await node.change_probe(key, health, asked=False)
            await trio.sleep(200)
        # One that is asked first, and finds fault, changes nothing.
        ill(node, key, "probe")
        await trio.sleep(200)
        await node.change_probe(key, PROBE, asked=True)

    played = play(seed, story)
    for holds in INVARIANTS:
        holds(played)
    assert played.node.truth(SOLO) is Observed.HEALTHY
    kinds = [each.alert.kind for each in played.of(SOLO)]
    assert kinds == [AlertKind.DRIFT, RECOVERED] * 2


@pytest.mark.parametrize("seed", seeds(5))
def test_a_probe_that_is_taken_away_takes_its_verdict_with_it(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node)
        await trio.sleep(50)
        ill(node, key, "probe")
        await trio.sleep(100)
        await node.change_probe(key, None, asked=False)

    played = play(seed, story)
    for holds in INVARIANTS:
        holds(played)
    assert played.kinds(SOLO)[-2:] == [
        ("unhealthy", "probe exited 1: no answer"),
        ("running", "it no longer has a probe"),
    ]


@pytest.mark.parametrize("seed", seeds(5))
def test_a_probe_that_is_asked_otherwise_keeps_its_verdict(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node)
        await trio.sleep(50)
        ill(node, key, "probe")
        await trio.sleep(100)
        await node.change_probe(key, PATIENT, asked=False)

    played = play(seed, story)
    assert [kind for kind, _ in played.kinds(SOLO)] == ["running", "healthy", "unhealthy"]
    assert played.open(SOLO) == [AlertKind.DRIFT]


@pytest.mark.parametrize("seed", seeds(10))
def test_an_images_own_health_check_is_the_probe_of_what_declares_none(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node, probed=False, own_probe=PROBE)
        await trio.sleep(50)
        ill(node, key, "probe")
        await trio.sleep(100)
        ill(node, key)
        await trio.sleep(100)
        # A declared one takes its place, and gives it back.
        ill(node, key, "other")
        for health in (OTHER, None):
            await node.change_probe(key, health, asked=False)
            await trio.sleep(200)

    played = play(seed, story)
    for holds in INVARIANTS:
        holds(played)
    assert played.node.truth(SOLO) is Observed.HEALTHY
    assert [each.alert.kind for each in played.of(SOLO)] == [AlertKind.DRIFT, RECOVERED] * 2


@pytest.mark.parametrize("after", [OTHER, None])
@pytest.mark.parametrize("seed", seeds(5))
def test_a_health_check_that_podman_changes_in_place_takes_its_verdict_with_it(seed: int, after: Health | None) -> None:
    async def story(node: Node) -> None:
        key = one(node, probed=False, own_probe=PROBE)
        await trio.sleep(50)
        ill(node, key, "probe")
        await trio.sleep(100)
        container = node.container(key)
        assert container
        container.own_probe = after
        node.runtime.happens(container)

    played = play(seed, story, quality=Quality(lost=0.0))
    for holds in INVARIANTS:
        holds(played)
    assert [each.alert.kind for each in played.of(SOLO)] == [AlertKind.DRIFT, RECOVERED]


@pytest.mark.parametrize("seed", seeds(10))
def test_what_is_paused_is_neither_ill_nor_healed_and_that_it_was_is_in_the_ledger(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node, Heal.RESTART)
        await trio.sleep(50)
        node.paused(key, paused=True)
        await trio.sleep(300)
        node.paused(key, paused=False)

    played = play(seed, story)
    for holds in INVARIANTS:
        holds(played)
    assert [each.alert.reason for each in played.of(SOLO)] == ["paused, should be running", "drift is over"]
    assert played.node.restarts == []
    assert played.kinds(SOLO) == [
        ("running", ""),
        ("healthy", "probe exited 0"),
        ("paused", "paused"),
        ("healthy", "unpaused"),
    ]


@pytest.mark.parametrize("seed", seeds(10))
def test_what_is_ill_is_restarted_until_it_is_well(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node, Heal.RESTART)
        await trio.sleep(50)
        ill(node, key, "probe")

    played = play(seed, story, quiet=3000)
    for holds in INVARIANTS:
        holds(played)
    assert played.node.restarts
    assert played.node.truth(SOLO) is Observed.HEALTHY
    assert not any("by hand" in each.alert.reason for each in played.of(SOLO))


@pytest.mark.parametrize("seed", seeds(5))
def test_what_stays_ill_is_restarted_ever_less_often(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node, Heal.RESTART)
        node.cures = 0.0
        await trio.sleep(50)
        ill(node, key, "probe")

    played = play(seed, story, quiet=10_000)
    times = [when for _, when in played.node.restarts]
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert len(times) > 5
    assert pauses[0] < 120
    # podman does not answer every time, and a start that failed is another attempt.
    assert min(pauses[-5:]) > 250
    assert not any("by hand" in each.alert.reason for each in played.of(SOLO))


@pytest.mark.parametrize("seed", seeds(5))
def test_what_is_ill_is_left_alone_where_only_an_alert_is_wanted(seed: int) -> None:
    async def story(node: Node) -> None:
        key = one(node)
        await trio.sleep(50)
        ill(node, key, "probe")

    played = play(seed, story)
    assert played.node.restarts == []
    assert played.open(SOLO) == [AlertKind.DRIFT]
