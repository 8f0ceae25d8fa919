"""What must hold after a deploy, and what containers were before it."""

from __future__ import annotations

import msgspec

from protos.mcp import v1
from protos.spec import Service, examine_service
from protos.wire import service_spec, service_values

from .containers import Container
from .expected import essence, essence_of
from .secrets import outdated_of
from .world import TEMPORARY, World


class Then(msgspec.Struct, frozen=True):
    """A container, as it was."""

    name: str
    runs: bool
    state: str
    forwarded: bool
    capabilities: frozenset[str]
    beyond: frozenset[str]

    @staticmethod
    def of(container: Container) -> Then:
        return Then(**{name: getattr(container, name) for name in Then.__struct_fields__})


def is_as_before(world: World, service: str, before: dict[str, Then], why: str) -> None:
    """After a deploy that failed: the same containers, by the same names, and what ran runs and answers."""
    now = world.of_service(service)
    assert now.keys() == before.keys(), f"other containers than before: {now} was {before}; {why}"
    for number, then in before.items():
        each = now[number]
        assert each.name == then.name, f"{then.name} is called {each.name}; {why}"
        if then.state == "running" and "job" not in each.image and not _died_of_itself(each):
            assert each.runs, f"{each.name} ran, and does not; {why}"
            assert each.forwarded or not then.forwarded, f"{each.name} cannot be reached any more; {why}"


def _died_of_itself(container: Container) -> bool:
    return "late" in container.image or container.exit_code not in (0, 143)


async def is_the_newest_revision(
    world: World, service: Service, selected: frozenset[str], plan: v1.PlanResponse
) -> None:
    """What was deployed can be gone back to from now on."""
    answer = await world.daemon.call("ListRevisions", v1.ListRevisionsRequest(service=service.name, limit=1))
    if not answer.revisions:
        # Recovered or adopted, and found to be as it should: the first deploy that changes it keeps it.
        assert all(each.action == "none" for each in plan.components)
        return
    (newest,) = answer.revisions
    kept = await world.daemon.call("GetServiceSpec", v1.GetServiceSpecRequest(service.name, newest.number))
    found, problems = examine_service(service_values(kept.service))
    sent, _ = examine_service(service_values(service_spec(service)))
    assert sent
    if found is None:
        # Of components that were deployed alone, one may have the port that another was made with, and is stopped.
        assert selected < set(service.component_names), problems
        return
    for each in sent.components:
        if each.name in selected:
            # On what was never deployed nothing can depend.
            there = tuple(name for name in each.depends_on if name in found.component_names)
            wanted = msgspec.structs.replace(each, depends_on=there)
            assert found.component(each.name) == wanted, f"revision {newest.number} is not what was deployed"


async def is_done(world: World, service: Service, component: str, selected: frozenset[str]) -> None:
    """After a deploy that succeeded: made as declared, nothing left to do, and nothing left behind."""
    for name in selected:
        key = (service.name, name)
        found = world.settled(key)
        assert found is not None, f"{key} was deployed, and has no container"
        if found.id not in world.expected.adopted.values():
            assert essence_of(found) == essence(key[0], world.expected.wants[key].spec), (
                f"{key} is not made as declared"
            )
        assert not outdated_of(world, found), f"{key} was deployed, and has other secrets than podman"
    left = [each.name for each in world.of_service(service.name).values() if each.name.endswith(TEMPORARY)]
    assert not left, f"left behind: {left}"
    if world.podman.is_down:
        return
    again = await world.plan(service, component)
    todo = {each.component: f"{each.action}: {each.reason}" for each in again.components if each.action != "none"}
    gone = {key[1] for key in world.expected.of(service.name)} - set(service.component_names)
    assert not {name: words for name, words in todo.items() if name not in gone}, f"a plan after a deploy: {todo}"


def words_of(plan: v1.PlanResponse) -> str:
    return " ".join([*plan.losses, *(change.field for each in plan.components for change in each.changes)])
