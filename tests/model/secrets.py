"""What a history does to podman's secrets, and what must hold of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from mcpd.errors import McpdError, RefusedError
from mcpd.model import LABEL_SPEC_HASH
from protos.fingerprint import spec_hash
from protos.grammar import TEMPORARY_SECRET
from protos.mcp import v1

from .containers import Container
from .daemon import KilledError
from .world import World

_VALUES = count()


def outdated_of(world: World, container: Container) -> set[str]:
    """The secrets of which a container has another value than podman. What starts again anyway reads its variables."""
    reads_again = not container.runs and "job" not in container.image
    has = container.secret_files if reads_again else container.secret_values
    return {name for name, kept in has.items() if world.podman.secrets.value(name) not in (None, kept.value)}


async def secrets_are_true(world: World) -> None:
    """Nothing is half done, and a listing says who uses what, and who has another value."""
    left = [each.name for each in world.podman.secrets.kept.values() if each.name.startswith(TEMPORARY_SECRET)]
    assert not left, f"left behind: {left}"
    answer: v1.ListSecretsResponse = await world.daemon.call("ListSecrets", v1.ListSecretsRequest())
    assert {each.name for each in answer.secrets} == {each.name for each in world.podman.secrets.kept.values()}
    told = {(each.name, target) for each in answer.secrets for target in each.outdated}
    used = {(each.name, target) for each in answer.secrets for target in each.used_by}
    assert told <= used
    for (service, component), want in world.expected.wants.items():
        container = world.settled((service, component))
        specs = [each for each in (want.spec, want.deployed) if each]
        # After a snapshot came back, a container may be of a spec that nobody remembers.
        known = [each for each in specs if container and container.labels.get(LABEL_SPEC_HASH) == spec_hash(each)]
        if container and known:
            truly = {(name, f"{service}/{component}") for name in outdated_of(world, container)}
            said = {each for each in told if each[1] == f"{service}/{component}"}
            assert said == truly, f"{service}/{component}: {said} is told to be outdated, {truly} is"


@dataclass(frozen=True)
class SetSecret:
    """A secret gets a value that it never had. ``fuse``: the daemon is killed on the way."""

    name: str
    fuse: int | None = None

    async def take(self, world: World) -> None:
        store, value = world.podman.secrets, f"value {next(_VALUES)}".encode()
        before = store.value(self.name)
        world.daemon.fuse = self.fuse
        try:
            answer = await world.daemon.call("SetSecret", v1.SetSecretRequest(name=self.name, value=value))
        except KilledError:
            await world.come_back()
            assert store.value(self.name) in (before, value), f"{self.name} was lost"
        except McpdError:
            assert world.podman.is_down
        else:
            assert store.value(self.name) == value
            assert answer.replaced is (before is not None)
        finally:
            world.daemon.fuse = None

    def concerns(self, world: World) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class RemoveSecret:
    """A secret is removed, unless somebody uses it, or may again: there is a snapshot to go back to."""

    name: str

    async def take(self, world: World) -> None:
        if world.saved or world.podman.is_down or not world.podman.secrets.named(self.name):
            return
        declared = [each for want in world.expected.wants.values() for each in (want.spec, want.deployed) if each]
        users = [each.name for each in declared if any(it.name == self.name for it in each.secret_list)]
        users += [each.name for each in world.podman.containers.values() if self.name in each.secret_names]
        try:
            await world.daemon.call("RemoveSecret", v1.RemoveSecretRequest(name=self.name))
        except RefusedError:
            assert users, f"nobody uses {self.name}, and it was not removed"
            assert world.podman.secrets.named(self.name)
        else:
            containers = [each.name for each in world.podman.containers.values() if self.name in each.secret_names]
            assert not containers, f"{self.name} was removed, and {containers} have it"
            assert world.podman.secrets.named(self.name) is None

    def concerns(self, world: World) -> frozenset[str]:
        return frozenset()
