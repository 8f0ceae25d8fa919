"""The revisions of a service: what deploys have made of it, on a real database."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest

from mcpd.errors import NotFoundError, RegistryError
from mcpd.model import Target
from mcpd.registry.adoptions import Adopted, Adoptions
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from monitor.model import Observed
from protos.fingerprint import spec_hash
from protos.spec import Service
from tests.support.builders import NOW, component, service
from tests.support.ledger import observe


def web(tag: str, **changes: object) -> Service:
    return service(component("api", image=f"x:{tag}", **changes), component("db", image="y:v1"))


async def deploy(
    journal: Journal, what: Service, *names: str, caller: str = "ops", restores: int = 0, now: datetime = NOW
) -> None:
    """``names``: only these components."""
    hashes = {each.name: spec_hash(each) for each in what.components if not names or each.name in names}
    number = await journal.begin(Target(what.name), "deploy", caller, now)
    await journal.commit(number, what, hashes, [], caller, now, restores)


async def numbers(journal: Journal, name: str = "web") -> list[int]:
    return [each.number for each in await journal.revisions(name, 100)]


@pytest.fixture
def journal(registry: Registry) -> Journal:
    return Journal(registry, 3)


async def test_each_deploy_that_changes_something_is_a_revision_the_newest_first(journal: Journal) -> None:
    await deploy(journal, web("v1"))
    await deploy(journal, web("v2"), caller="kyle", now=NOW + timedelta(hours=1))
    await deploy(journal, web("v2"))
    await deploy(journal, web("v1"), restores=1)
    found = await journal.revisions("web", 100)
    told = [(each.number, each.caller, each.restores) for each in found]
    assert told == [(3, "ops", 1), (2, "kyle", 0), (1, "ops", 0)]
    assert [each.definition for each in found] == [web("v1"), web("v2"), web("v1")]
    assert found[1].at == NOW + timedelta(hours=1)
    assert [each.number for each in await journal.revisions("web", 2)] == [3, 2]
    assert await journal.revisions("blog", 100) == []


async def test_so_many_are_kept_and_their_numbers_go_on(journal: Journal) -> None:
    for tag in range(1, 6):
        await deploy(journal, web(f"v{tag}"))
    assert await numbers(journal) == [5, 4, 3]
    assert (await journal.revision("web", 3)).definition == web("v3")
    with pytest.raises(NotFoundError, match="web has no revision 2 here; `mcpctl history web` lists them"):
        await journal.revision("web", 2)


async def test_what_is_deployed_alone_makes_a_revision_with_what_runs_of_the_others(
    journal: Journal, registry: Registry
) -> None:
    await deploy(journal, web("v1"))
    intended = msgspec.structs.replace(web("v2"), components=(*web("v2").components[:1], component("db", image="y:v9")))
    # Sent by a sync, and not deployed yet.
    await registry.put_service(intended, {each.name: spec_hash(each) for each in intended.components}, NOW)
    await deploy(journal, intended, "api")
    assert (await journal.revision("web", 2)).definition == web("v2")


async def test_what_was_never_deployed_is_in_no_revision(journal: Journal, registry: Registry) -> None:
    both = web("v1")
    await registry.put_service(both, {"db": spec_hash(both.components[1])}, NOW)
    await deploy(journal, both, "api")
    (only,) = await journal.revisions("web", 100)
    assert only.definition.component_names == ("api",)


async def test_what_ran_before_revisions_were_kept_is_the_first(journal: Journal, registry: Registry) -> None:
    """As after an upgrade, or of what was adopted: there is a container, and no deploy of it."""
    await registry.put_service(web("v1"), {each.name: spec_hash(each) for each in web("v1").components}, NOW)
    await observe(registry, [("web", "api", Observed.RUNNING, "c1"), ("web", "db", Observed.RUNNING, "c2")], NOW)
    await deploy(journal, web("v2"), now=NOW + timedelta(days=1))
    second, first = await journal.revisions("web", 100)
    assert (first.number, first.caller, first.at, first.definition) == (1, "", NOW, web("v1"))
    assert (second.number, second.caller, second.definition) == (2, "ops", web("v2"))


async def test_revisions_outlive_their_service_for_as_long_as_anything_is_kept(
    journal: Journal, registry: Registry
) -> None:
    await deploy(journal, web("v1"))
    await deploy(journal, msgspec.structs.replace(web("v1"), name="blog"))
    await registry.forget("web", ["api", "db"], NOW)
    await journal.prune(NOW)
    assert await numbers(journal) == [1]
    await journal.prune(NOW + timedelta(seconds=1))
    assert await numbers(journal) == []
    assert await numbers(journal, "blog") == [1]


async def test_a_commit_that_fails_leaves_no_revision(journal: Journal, registry: Registry) -> None:
    await deploy(journal, web("v1"))
    with pytest.raises(RegistryError):
        await journal.commit(1, web("v2"), {"api": "h", "db": "h"}, [("api", object())], "ops", NOW)  # type: ignore[list-item]
    assert await numbers(journal) == [1]
    assert (await registry.service("web")) is not None


async def test_what_a_deploy_finds_done_is_a_revision_if_no_deploy_made_it_so(
    journal: Journal, registry: Registry
) -> None:
    """Adopted after an earlier deploy, or recovered."""
    whole = web("v1")
    await deploy(journal, whole, "api")
    hashes = {each.name: spec_hash(each) for each in whole.components}
    db = Adopted("c-db", "web", component("db", image="y:v1"), hashes["db"])
    await Adoptions(registry).add(whole, hashes, [db], ["c-db"], "kyle", NOW)
    for _ in range(2):
        await journal.found_done("web", "rift", "ops", NOW)
    assert await numbers(journal) == [2, 1]
    assert (await journal.revision("web", 2)).definition.component_names == ("api", "db")


async def test_a_service_without_revisions_gets_none_by_being_looked_at(journal: Journal, registry: Registry) -> None:
    await registry.put_service(web("v1"), {each.name: spec_hash(each) for each in web("v1").components}, NOW)
    await journal.found_done("web", "rift", "ops", NOW)
    assert await numbers(journal) == []
