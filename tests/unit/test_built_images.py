"""Images that were built anew: pulled again where a registry has them, and what has the old ones is replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import cast

import pytest

from mcpd.changes import built_images
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.changes.plan import Action, plan_deploy
from mcpd.changes.pull import have_image
from mcpd.errors import RefusedError
from mcpd.model import Caller, Role, Target
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.runtime.api import PodmanError
from mcpd.runtime.podman import Podman
from protos.parts import Build, Pull
from protos.spec import Component
from tests.support.builders import component, container, service
from tests.support.pretended_podman import PretendedPodman

OLD, NEW = "sha256:0", "sha256:1"
REGISTRY = "registry.example.net/app:v1"
WHY = "its image was built anew"


class Pulling(PretendedPodman):
    """``here``: the ids of images; what is pulled is noted, and fails with ``error``, if there is one."""

    error = ""

    def __init__(self, *args: object, **here: str) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.here = here
        self.pulled: list[tuple[str, str, str]] = []

    async def has_image(self, reference: str, platform: str = "") -> bool:
        del platform
        return reference in self.here

    async def image_id(self, reference: str) -> str | None:
        return self.here.get(reference)

    async def pull(self, reference: str, policy: str, platform: str) -> AsyncIterator[str]:
        self.pulled.append((reference, policy, platform))
        if self.error:
            raise PodmanError(self.error, 500)
        yield "Copying blob"


async def on_node(registry: Registry, podman: Pulling, target: str = "") -> tuple[Node, Operation]:
    journal = Journal(registry)
    now = datetime.now(UTC)
    number = await journal.begin(Target("web", target), "deploy", "ops", now)
    node = cast(Node, type("OnePodman", (), {"podman": cast(Podman, podman)})())
    return node, Operation(number, "deploy", Target("web", target), Caller("ops", Role.ADMIN), now, journal)


# -- what a plan makes of it


def test_a_container_of_another_image_is_replaced_and_the_others_are_left() -> None:
    of = service(component("api"), component("db"))
    containers = [container(each, name=f"web-{each.name}") for each in of.components]
    plan = plan_deploy(of, of.component_names, containers, changed_images={"api": WHY})
    assert [(each.action, each.reason) for each in plan.components] == [
        (Action.REPLACE, WHY),
        (Action.NONE, "unchanged"),
    ]


async def test_what_has_the_image_that_its_name_means_is_not_changed() -> None:
    of = service(component("api", image="a:1"), component("db", image="d:1"), component("new", image="n:1"))
    containers = [container(each, name=f"web-{each.name}", image_id=OLD) for each in of.components[:2]]
    podman = cast(Podman, Pulling(**{"a:1": NEW, "d:1": OLD, "n:1": NEW}))
    assert await built_images.changed(podman, of, of.component_names, containers) == {"api": WHY}
    assert await built_images.changed(podman, of, ("db", "new"), containers) == {}
    gone = cast(Podman, Pulling())
    assert await built_images.changed(gone, of, of.component_names, containers) == {}


# -- pulling


@pytest.mark.parametrize("policy", [Pull.MISSING, Pull.NEWER, Pull.ALWAYS])
async def test_what_was_pushed_is_pulled_once_whatever_the_policy_is(registry: Registry, policy: Pull) -> None:
    podman = Pulling(**{REGISTRY: OLD})
    node, operation = await on_node(registry, podman)
    both = [component(name, image=REGISTRY, pull=policy, platform="linux/arm64") for name in ("api", "db")]
    of = service(*both, component("other", image="o:1"))
    await built_images.pull_anew(node, operation, of, {"api", "db"})
    assert podman.pulled == [(REGISTRY, "always", "linux/arm64")]


@pytest.mark.parametrize("brought", [component(image="localhost/app:v1"), component(image=REGISTRY, pull=Pull.NEVER)])
async def test_what_was_brought_is_not_pulled(registry: Registry, brought: Component) -> None:
    podman = Pulling()
    node, operation = await on_node(registry, podman)
    await built_images.pull_anew(node, operation, service(brought), {"api"})
    assert podman.pulled == []


async def test_a_pull_that_fails_says_that_nothing_was_changed(registry: Registry) -> None:
    podman = Pulling(**{REGISTRY: OLD})
    podman.error = "manifest unknown"
    node, operation = await on_node(registry, podman)
    built = component(image=REGISTRY, build=Build("."))
    with pytest.raises(RefusedError) as refused:
        await built_images.pull_anew(node, operation, service(built), {"api"})
    assert str(refused.value) == (
        f"deploy of web: api failed at pull: manifest unknown (the image registry has no {REGISTRY}: check the name; "
        "`mcpctl build web/api --push` builds and pushes it, `mcpctl deploy web/api --build` also deploys it); nothing "
        "was changed"
    )


# -- images that are not there


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (
            component(image="localhost/app:v1"),
            "localhost/app:v1 is not on this node, and localhost/ is not an image registry: "
            "`mcpctl image push web/api` brings it from your machine",
        ),
        (
            component(image="localhost/app:v1", build=Build(".")),
            "localhost/app:v1 is not on this node, and localhost/ is not an image registry: `mcpctl deploy web/api "
            "--build` builds and brings it, `mcpctl image push web/api` brings it when it is built",
        ),
        (
            component(image=REGISTRY, pull=Pull.NEVER),
            f"{REGISTRY} is not on this node, and its pull policy is never: "
            "`mcpctl image push web/api` brings it from your machine",
        ),
    ],
)
async def test_what_no_registry_has_is_brought_by_a_command(registry: Registry, lacking: Component, words: str) -> None:
    podman = Pulling()
    node, operation = await on_node(registry, podman)
    with pytest.raises(RefusedError) as refused:
        await have_image(node, operation, lacking)
    assert str(refused.value) == words
    assert podman.pulled == []


@pytest.mark.parametrize(
    ("policy", "here", "anew", "pulled"),
    [
        (Pull.MISSING, True, True, []),
        (Pull.MISSING, False, True, ["always"]),
        (Pull.NEWER, True, True, ["newer"]),
        (Pull.ALWAYS, True, True, ["always"]),
        (Pull.ALWAYS, True, False, []),
        (Pull.ALWAYS, False, False, ["always"]),
        (Pull.NEVER, True, True, []),
    ],
)
async def test_an_image_is_pulled_as_its_policy_says(
    registry: Registry, policy: Pull, pulled: list[str], *, here: bool, anew: bool
) -> None:
    podman = Pulling(**({REGISTRY: OLD} if here else {}))
    node, operation = await on_node(registry, podman)
    await have_image(node, operation, component(image=REGISTRY, pull=policy), anew=anew)
    assert [policy for _, policy, _ in podman.pulled] == pulled
