"""One-off containers in a history, that go on without whoever asked for them."""

from __future__ import annotations

from dataclasses import dataclass

from mcpd.errors import McpdError
from mcpd.model import LABEL_COMPONENT, LABEL_DETACHED, LABEL_RUN, LABEL_RUN_OF, LABEL_SERVICE
from protos.mcp import v1

from .containers import Container
from .daemon import KilledError
from .world import World


def runs_of(world: World, service: str, component: str = "") -> list[Container]:
    """The containers that runs have made, of a service or of one component of it."""
    made = [each for each in world.podman.containers.values() if LABEL_RUN in each.labels]
    owners = {each.id: each.labels[LABEL_RUN_OF].partition("/")[::2] for each in made}
    return [each for each in made if owners[each.id][0] == service and component in ("", owners[each.id][1])]


def runs_are_true(world: World) -> None:
    """They are nobody's components; what has ended is said to have, and nothing is left that never began."""
    for each in world.podman.containers.values():
        if LABEL_RUN not in each.labels:
            continue
        assert not {LABEL_SERVICE, LABEL_COMPONENT} & each.labels.keys(), f"{each.name} passes for a component"
        assert LABEL_DETACHED in each.labels, f"{each.name} goes on, and nobody is there"
        assert each.state != "created", f"{each.name} was never started, and is still there"
        assert (".ended-" in each.name) == (not each.runs), f"{each.name} is {each.state}"
        assert not each.ports, f"{each.name} publishes {each.ports}"


@dataclass(frozen=True)
class DetachedRun:
    """Somebody runs something like the component at ``place``, and leaves.

    ``fuse``: the daemon is killed on the way.
    """

    service: str
    place: int = 0
    fuse: int | None = None

    def concerns(self, world: World) -> frozenset[str]:
        return frozenset()

    async def take(self, world: World) -> None:
        keys = sorted(world.expected.of(self.service))
        if not keys:
            return
        key = keys[self.place % len(keys)]
        before = {each.id for each in runs_of(world, self.service)}
        start = v1.RunStart(service=self.service, component=key[1], detach=True)
        world.daemon.fuse = self.fuse
        try:
            told = await world.daemon.converse("Run", v1.RunRequest(start=start))
            world.daemon.fuse = None
        except KilledError:
            await world.come_back()
        except McpdError:
            # Its image, its network or a secret may be gone.
            world.daemon.fuse = None
            left = [each for each in runs_of(world, self.service) if each.id not in before]
            assert world.podman.is_down or not left, f"it was refused, and left {left}"
        else:
            (made,) = [each for each in runs_of(world, *key) if each.id not in before]
            assert [each.started.run for each in told] == [made.labels[LABEL_RUN]]
            assert made.runs_begun == 1
