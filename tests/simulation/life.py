"""The services of a simulated node, and what befalls it at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import trio

from monitor.model import Desired
from protos.parts import Heal

from .node import PROBES, Key, Node


def populate(node: Node) -> None:
    draw = node.draws.of("populate")
    for service, components in (("web", ("api", "db")), ("shop", ("cart",))):
        for component in components:
            node.declare(
                service,
                component,
                restart=draw.choice(["no", "always", "on-failure"]),
                heal=draw.choice([Heal.ALERT, Heal.RESTART]),
                probed=draw.random() < 0.5,
                settle=draw.choice([0.02, 0.5, 5.0, 60.0]),
                own_probe=draw.choice(PROBES),
            )
    restart, heal = draw.choice(["no", "on-failure"]), draw.choice([Heal.ALERT, Heal.RESTART])
    node.declare("web", "migrate", restart=restart, heal=heal, own_probe=draw.choice(PROBES), oneshot=True)
    for target in node.declared.values():
        node.runtime.start(node.runtime.create(target))


async def random_life(node: Node) -> None:
    """Things happen one after the other, or several at once; podman answers again at the end."""
    node.completes = 0.6
    draw = node.draws.of("life")
    async with trio.open_nursery() as nursery:
        for _ in range(draw.randint(3, 25)):
            befall(node, draw, nursery)
            await trio.sleep(draw.choice([0.0, draw.uniform(0, 1), draw.uniform(0, 15), draw.uniform(0, 200)]))


def befall(node: Node, draw: random.Random, nursery: trio.Nursery) -> None:
    key = draw.choice([("web", "api"), ("web", "db"), ("shop", "cart"), ("web", "migrate")])
    service = key[0]
    code = draw.choice([0, 1, 137])
    at_once: dict[str, Callable[[], None]] = {
        "dies": lambda: node.dies(key, code),
        "out of memory": lambda: node.dies(key, 137, out_of_memory=True),
        "started by hand": lambda: node.started_by_hand(key),
        "removed": lambda: node.removed_by_hand(key),
        "recreated": lambda: node.recreated_by_hand(key),
        "paused": lambda: node.paused(key, paused=True),
        "goes on": lambda: node.paused(key, paused=False),
        "falls ill": lambda: node.falls_ill(key),
        "gets well": lambda: node.gets_well(key),
        "stream breaks": node.runtime.break_streams,
    }
    takes_time: dict[str, Callable[[], Any]] = {
        "stopped by hand": lambda: node.stopped_by_hand(key),
        "outage": lambda: node.outage(draw.uniform(0.1, 90)),
        "crashes": lambda: crashes(node, key, draw.randint(2, 6)),
        "deploy": lambda: node.deploy(service),
        "stop": lambda: node.set_desired(service, Desired.STOPPED),
        "start": lambda: node.set_desired(service, Desired.RUNNING),
        "undeploy": lambda: node.undeploy(service),
        "deploy again": lambda: node.deploy_again(service),
        "probe changed": lambda: node.change_probe(key, draw.choice(PROBES), asked=draw.random() < 0.7),
    }
    weights = {"dies": 5, "started by hand": 3, "gets well": 2, "deploy": 3, "deploy again": 3, "start": 2}
    weights |= {"falls ill": 2, "probe changed": 3}
    names = [*at_once, *takes_time]
    (name,) = draw.choices(names, [weights.get(each, 1) for each in names])
    if name in at_once:
        at_once[name]()
    else:
        nursery.start_soon(takes_time[name])


async def crashes(node: Node, key: Key, times: int) -> None:
    draw = node.draws.of("crashes")
    for _ in range(times):
        node.dies(key, 1)
        await trio.sleep(draw.uniform(0, 8))
        node.started_by_hand(key)
