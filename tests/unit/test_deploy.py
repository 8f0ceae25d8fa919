"""A deploy whose registry fails in the middle: what was changed is changed back all the same."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
import trio
from trio.testing import MockClock

from mcpd.changes import sync
from mcpd.changes.deploy import Deploy
from mcpd.changes.losses import check_accepted
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, RevertedError
from mcpd.changes.plan import plan_deploy
from mcpd.changes.survey import survey
from mcpd.errors import RefusedError, RegistryError
from mcpd.model import Caller, Progress, Role, Target
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.runtime.api_types import Inspected
from mcpd.runtime.podman import Podman
from monitor.model import Sighting
from monitor.ports import Ran
from protos.fingerprint import spec_hash
from protos.parts import Health
from tests.support.builders import NO_CONFIGS, component, container, service
from tests.support.pretended_podman import PretendedPodman
from tests.support.routes import no_proxy

DISK_FULL = RegistryError("the registry cannot be used: database or disk is full")


class FullJournal(Journal):
    """Has room for so many steps, and for nothing after them."""

    def __init__(self, registry: Registry, steps: int) -> None:
        super().__init__(registry)
        self.left = steps

    async def take(self, operation: int, step: Progress) -> None:
        self.left -= 1
        if self.left < 0:
            raise DISK_FULL
        await super().take(operation, step)

    async def commit(self, *_: Any) -> None:
        raise DISK_FULL


class Probing(PretendedPodman):
    """Its one container runs, and its probe says that it is well when it is ``content``."""

    content = True
    asked_at = 0.0

    async def inspect(self, name: str) -> Inspected:
        found = self._named(name)
        state = {"Status": "running", "Pid": os.getpid(), "StartedAt": "2026-01-01T00:00:00Z"}
        answer = {"Id": found.id, "Name": found.name, "ImageName": "app", "State": state, "Config": {}}
        return msgspec.json.decode(msgspec.json.encode(answer), type=Inspected)

    async def reached_at(self, container: str, port: int) -> int:
        await trio.lowlevel.checkpoint()
        return port

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        await trio.lowlevel.checkpoint()
        self.asked_at = trio.current_time()
        return Ran(0, "") if self.content else Ran(3, "no database")


PROBE = Health(cmd=("ask",), interval=timedelta(seconds=10))


@pytest.mark.parametrize("before", [None, Health(cmd=("true",))])
@pytest.mark.parametrize("content", [True, False])
async def test_a_probe_that_is_changed_in_place_is_asked_before_it_counts(
    registry: Registry, autojump_clock: MockClock, before: Health | None, content: bool
) -> None:
    old = component(health=before)
    podman, journal = Probing(container(old)), Journal(registry)
    podman.content = content
    # The registry's thread does not move the clock: time must not jump over a deadline while it writes.
    autojump_clock.autojump_threshold = 0.02
    began = dict(podman.found)
    await registry.put_service(service(old), {"api": spec_hash(old)}, datetime.now(UTC))
    started, _ = trio.open_memory_channel[Sighting](1)
    node = Node("rift", cast(Podman, podman), registry, journal, started, NO_CONFIGS, no_proxy(registry, podman))
    number = await journal.begin(Target("web"), "deploy", "ops", datetime.now(UTC))
    operation = Operation(number, "deploy", Target("web"), Caller("ops", Role.ADMIN), datetime.now(UTC), journal)
    new = component(health=PROBE)
    if content:
        await Deploy(node, operation).run(service(new), frozenset({"api"}))
    else:
        words = "api failed at verify: its changed probe reports it as unhealthy: ask exited 3: no database"
        with pytest.raises(RevertedError, match=f"{words}; the service was rolled back"):
            await Deploy(node, operation).run(service(new), frozenset({"api"}))
        assert podman.asked_at == pytest.approx(30, abs=2)
    known = await registry.service("web")
    assert known
    assert known.components[0].spec.health == (PROBE if content else before)
    assert podman.found == began


@pytest.mark.parametrize("steps", range(1, 7))
async def test_a_registry_that_fails_at_any_step_reverts_the_deploy(registry: Registry, steps: int) -> None:
    old = container(component(image="app:v0"))
    podman, journal = PretendedPodman(old), FullJournal(registry, steps)
    started, _ = trio.open_memory_channel[Sighting](1)
    node = Node("rift", cast(Podman, podman), registry, journal, started, NO_CONFIGS, no_proxy(registry, podman))
    number = await journal.begin(Target("web"), "deploy", "ops", datetime.now(UTC))
    operation = Operation(number, "deploy", Target("web"), Caller("ops", Role.ADMIN), datetime.now(UTC), journal)
    with trio.fail_after(10), pytest.raises(RevertedError, match=r"disk is full.*the service was rolled back"):
        await Deploy(node, operation).run(service(component(image="app:v1")), frozenset({"api"}))
    assert podman.found == {old.name: old}
    assert await registry.service("web") is None


LOSSES = (
    "web/api: --uts host",
    "web/api: labels a (not in its definition)",
    'web/api: cap_add = ["NET_ADMIN"] (not in its definition)',
    "web/api: sysctls net.core.somaxconn (not in its definition)",
)


async def deploying(registry: Registry, podman: PretendedPodman) -> tuple[Node, Deploy]:
    started, _ = trio.open_memory_channel[Sighting](1)
    journal = FullJournal(registry, 3)
    node = Node("rift", cast(Podman, podman), registry, journal, started, NO_CONFIGS, no_proxy(registry, podman))
    number = await journal.begin(Target("web"), "deploy", "ops", datetime.now(UTC))
    operation = Operation(number, "deploy", Target("web"), Caller("ops", Role.ADMIN), datetime.now(UTC), journal)
    return node, Deploy(node, operation)


async def test_a_deploy_that_would_lose_something_touches_nothing_until_that_is_accepted(registry: Registry) -> None:
    old = container(component(image="app:v0"))
    podman = PretendedPodman(old, adopted=[old.id])
    wanted, selected = service(component(image="app:v1")), frozenset({"api"})
    node, deploy = await deploying(registry, podman)
    plan = await survey(node, wanted, selected)
    assert plan.losses == LOSSES
    # A plan that was shown is no acceptance.
    for plan_id in ("", plan.id):
        with pytest.raises(RefusedError) as refused:
            await deploy.run(wanted, selected, plan_id=plan_id)
        assert all(each in str(refused.value) for each in LOSSES)
        assert "`mcpctl deploy web --accept-loss`" in str(refused.value)
        assert not isinstance(refused.value, RevertedError)
    assert podman.found == {old.name: old}
    # It gets as far as the journal, which is full.
    with pytest.raises(RevertedError, match="disk is full"):
        await deploy.run(wanted, selected, accept_losses=True)
    (pending,) = await sync.pending(node, wanted)
    assert "needs --accept-loss, because its definition does not have --uts host" in pending.reason


async def test_what_is_not_made_anew_or_is_ours_loses_nothing(registry: Registry) -> None:
    same = container()
    node, _ = await deploying(registry, PretendedPodman(same, adopted=[same.id]))
    assert (await survey(node, service(), {"api"})).losses == ()
    assert (await survey(node, service(), {"api"}, force=True)).losses == LOSSES
    node, _ = await deploying(registry, PretendedPodman(same))
    assert (await survey(node, service(), {"api"}, force=True)).losses == ()


async def test_a_long_list_of_losses_fits_into_an_error() -> None:
    planned = plan_deploy(service(component(image="app:v1")), {"api"}, [container()])
    losses = tuple(f"--label {number}" for number in range(500))
    (only,) = planned.components
    planned = msgspec.structs.replace(planned, components=(msgspec.structs.replace(only, losses=losses),))
    with pytest.raises(RefusedError, match="and 480 more, which `mcpctl plan web` lists"):
        check_accepted(planned, "web")
