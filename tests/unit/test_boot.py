"""After a reboot: what is started, and what is told of as lost."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mcpd.model import RecordedService
from mcpd.node import boot
from mcpd.registry.store import Registry
from protos.fingerprint import spec_hash
from protos.spec import Service
from tests.support.builders import NOW, component, service


async def put(registry: Registry, made: Service) -> None:
    await registry.put_service(made, {each.name: spec_hash(each) for each in made.components}, NOW)


async def test_only_what_should_run_can_be_lost(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever could not be done: what runs to its end is not started by a boot, nor is what is stopped."""
    job, idle = component("job", oneshot=True), component("idle", active=False)
    await put(registry, service(component("api"), job, idle))
    await put(registry, service(job, idle, name="batch"))
    asked: list[str] = []

    async def fails(_node: object, _operations: object, found: RecordedService) -> boot.Lost:
        asked.append(found.name)
        return {(found.name, each.spec.name): "podman does not answer" for each in found.components}

    monkeypatch.setattr(boot, "_start", fails)
    lost = await boot.start_what_should_run(cast(Any, SimpleNamespace(registry=registry)), cast(Any, None))
    assert asked == ["web"]
    assert lost == {("web", "api"): "podman does not answer"}
