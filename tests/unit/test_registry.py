"""The registry: what it keeps, what it refuses to open, and what follows from what it is told."""

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings

from mcpd.errors import RegistryError
from mcpd.model import RecordedComponent
from mcpd.registry import connection, schema
from mcpd.registry.store import Registry
from monitor.model import Desired, Observed
from protos.fingerprint import definition_hash, spec_hash
from protos.spec import Component, Service
from tests.support.builders import NOW, component, service
from tests.support.examples import EXAMPLES
from tests.support.ledger import observe
from tests.support.strategies import components

RUNNING, STOPPED, IGNORE = Desired.RUNNING, Desired.STOPPED, Desired.IGNORE


async def put(registry: Registry, of: Service, only: Sequence[str] | None = None) -> None:
    chosen = of.component_names if only is None else only
    await registry.put_service(of, {each.name: spec_hash(each) for each in of.components if each.name in chosen}, NOW)


async def desired(registry: Registry, name: str = "web") -> dict[str, Desired]:
    found = await registry.service(name)
    assert found is not None
    return {each.spec.name: each.desired for each in found.components}


async def test_reopening_keeps_everything(tmp_path: Path) -> None:
    full = service(component("api", env={"A": "ä"}, ports=("80:80",)), component("db"), active=False)
    async with Registry.open(tmp_path / "mcp.db") as first:
        await put(first, full)
        await observe(first, [("web", "api", Observed.EXITED, "c1")], NOW)
        await first.add_event("web", "api", "stopped", "by hand", "ops", NOW)
        services, events = await first.services(), await first.events()
    async with Registry.open(tmp_path / "mcp.db") as second:
        assert await second.services() == services
        assert await second.events() == events
    assert services[0].components[0].definition_hash == definition_hash(services[0].components[0].spec)
    assert msgspec.structs.replace(services[0].components[0], definition_hash="") == RecordedComponent(
        "web", full.components[0], spec_hash(full.components[0]), "web-api", STOPPED, Observed.EXITED, NOW, "c1"
    )


WRITER = """
import sys, trio
from datetime import UTC, datetime
from pathlib import Path
from mcpd.registry.store import Registry
async def main():
    async with Registry.open(Path(sys.argv[1])) as registry:
        while True:
            print(await registry.add_event("web", "", "kind", "message", "", datetime.now(UTC)), flush=True)
trio.run(main)
"""


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "mcp.db")], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(20)]
    writer.kill()
    rest, _ = writer.communicate()
    told = [int(line) for line in (*lines, *rest.splitlines()) if line.strip().isdigit()]

    async def kept() -> set[int]:
        async with Registry.open(tmp_path / "mcp.db") as registry:
            return {event.id for event in await registry.events(limit=1_000_000)}

    assert set(told) <= trio.run(kept)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "mcp.db") as registry:
        await put(registry, service())
        modes = modes_in(tmp_path)
    assert set(modes.values()) == {0o600}
    assert "mcp.db-wal" in modes


async def refusal(path: Path) -> str:
    with pytest.raises(RegistryError) as refused:
        async with Registry.open(path):
            pass
    assert str(path) in str(refused.value)
    return str(refused.value)


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    async with Registry.open(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    before = path.read_bytes()
    message = await refusal(path)
    assert f"newer mcpd (schema {schema.VERSION + 1}; this one supports {schema.VERSION})" in message
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    path.write_bytes(b"not a database" * 1000)
    message = await refusal(path)
    assert "not a database" in message
    assert "snapshot" in message
    assert path.read_bytes() == b"not a database" * 1000


async def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    async with Registry.open(path) as registry:
        for number in range(50):
            await registry.add_event("web", "api", "kind", f"{number}" * 400, "", NOW)
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * 20_000)
    message = await refusal(path)
    assert "damaged" in message or "malformed" in message
    assert "snapshot" in message


async def test_a_cut_off_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    async with Registry.open(path) as registry:
        for number in range(50):
            await registry.add_event("web", "api", "kind", f"{number}" * 400, "", NOW)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    await refusal(path)


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "folder" in await refusal(tmp_path / "none" / "mcp.db")


async def test_an_empty_file_is_not_taken_for_a_new_registry(tmp_path: Path) -> None:
    """A disk that was full, or a crash of the machine, may leave one: forgetting everything is no way to go on."""
    (tmp_path / "mcp.db").touch()
    with pytest.raises(RegistryError, match=r"is empty: restore a snapshot"):
        async with Registry.open(tmp_path / "mcp.db"):
            pass


@pytest.mark.parametrize(
    ("whole", "part", "expected"),
    [(True, True, RUNNING), (True, False, STOPPED), (False, True, STOPPED), (False, False, STOPPED)],
)
async def test_desired_follows_from_the_two_active_flags(
    registry: Registry, whole: bool, part: bool, expected: Desired
) -> None:
    await put(registry, service(component("api", active=part), active=whole))
    assert await desired(registry) == {"api": expected}


@pytest.mark.parametrize(
    ("whole", "part", "expected"),
    [(True, True, Desired.COMPLETED), (True, False, STOPPED), (False, True, STOPPED), (False, False, STOPPED)],
)
async def test_what_runs_to_its_end_is_wanted_to_complete_while_it_is_active(
    registry: Registry, whole: bool, part: bool, expected: Desired
) -> None:
    await put(registry, service(component("job", oneshot=True, active=part), component("api"), active=whole))
    assert await desired(registry) == {"job": expected, "api": RUNNING if whole else STOPPED}
    await registry.set_active("web", "", not whole, NOW)
    await registry.set_active("web", "", whole, NOW)
    assert (await desired(registry))["job"] == expected


async def test_stopping_a_service_stops_what_is_active_and_starting_it_again_starts_that(registry: Registry) -> None:
    await put(registry, service(component("api"), component("job", active=False)))
    await registry.set_active("web", "", False, NOW)
    assert await desired(registry) == {"api": STOPPED, "job": STOPPED}
    await registry.set_active("web", "", True, NOW)
    assert await desired(registry) == {"api": RUNNING, "job": STOPPED}


async def test_stopping_a_component_leaves_the_others_and_is_kept_in_its_spec(registry: Registry) -> None:
    await put(registry, service(component("api"), component("db")))
    await registry.set_active("web", "api", False, NOW)
    assert await desired(registry) == {"api": STOPPED, "db": RUNNING}
    found = await registry.service("web")
    assert found is not None
    assert [each.spec.active for each in found.components] == [False, True]
    assert found.active


async def test_starting_a_component_of_an_inactive_service_does_not_start_it(registry: Registry) -> None:
    await put(registry, service(component("api", active=False), active=False))
    await registry.set_active("web", "api", True, NOW)
    assert await desired(registry) == {"api": STOPPED}


async def test_the_flags_of_one_service_do_not_touch_another(registry: Registry) -> None:
    await put(registry, service(name="one"))
    await put(registry, service(name="two"))
    await registry.set_active("one", "", False, NOW)
    assert await desired(registry, "two") == {"api": RUNNING}


async def test_what_is_no_longer_defined_is_ignored_until_it_is_defined_again(registry: Registry) -> None:
    api, db = component("api"), component("db")
    await put(registry, service(api, db))
    await put(registry, service(api))
    assert await desired(registry) == {"api": RUNNING, "db": IGNORE}
    await registry.set_active("web", "", False, NOW)
    await registry.set_active("web", "", True, NOW)
    assert await desired(registry) == {"api": RUNNING, "db": IGNORE}
    await put(registry, service(api, db))
    assert await desired(registry) == {"api": RUNNING, "db": RUNNING}


async def test_a_deploy_of_one_component_keeps_the_others_as_they_are(registry: Registry) -> None:
    old = service(component("api", image="app:v1"), component("db", image="db:v1"))
    new = service(component("api", image="app:v2"), component("db", image="db:v2"))
    await put(registry, old)
    await put(registry, new, only=["api"])
    found = await registry.service("web")
    assert found is not None
    assert [each.spec.image for each in found.components] == ["app:v2", "db:v1"]


async def test_a_deploy_keeps_what_was_observed(registry: Registry) -> None:
    await put(registry, service())
    await observe(registry, [("web", "api", Observed.HEALTHY, "c1")], NOW)
    await put(registry, service(component(image="app:v2")))
    found = await registry.service("web")
    assert found is not None
    assert (found.components[0].observed, found.components[0].container_id) == (Observed.HEALTHY, "c1")


async def test_a_second_component_changes_the_container_name_of_the_first(registry: Registry) -> None:
    web, db = component("web"), component("db")
    await put(registry, service(web))
    await put(registry, service(web, db))
    found = await registry.service("web")
    assert found is not None
    assert [each.container for each in found.components] == ["web-web", "web-db"]


async def test_components_are_listed_in_the_order_of_the_definition(registry: Registry) -> None:
    await put(registry, service(component("z"), component("a"), component("m")))
    assert list(await desired(registry)) == ["z", "a", "m"]


async def test_services_are_listed_by_name(registry: Registry) -> None:
    for name in ("c", "a", "b"):
        await put(registry, service(name=name))
    assert [each.name for each in await registry.services()] == ["a", "b", "c"]
    assert await registry.service("d") is None


async def test_the_revision_grows_with_every_change_of_intent_and_with_nothing_else(registry: Registry) -> None:
    async def revision() -> int:
        found = await registry.service("web")
        assert found is not None
        return found.revision

    await put(registry, service(component("api"), component("db")))
    assert await revision() == 1
    await observe(registry, [("web", "api", Observed.EXITED, "")], NOW)
    await registry.add_event("web", "api", "exited", "", "", NOW)
    assert await revision() == 1
    await registry.set_active("web", "api", False, NOW)
    assert await revision() == 2
    await put(registry, service(component("api"), component("db")))
    assert await revision() == 3
    await registry.forget("web", ["db"], NOW)
    assert await revision() == 4


async def test_a_service_is_forgotten_with_its_last_component(registry: Registry) -> None:
    await put(registry, service(component("api"), component("db")))
    await put(registry, service(name="other"))
    await registry.forget("web", ["api"], NOW)
    assert list(await desired(registry)) == ["db"]
    await registry.forget("web", ["db"], NOW)
    assert [each.name for each in await registry.services()] == ["other"]


async def test_a_transaction_that_fails_changes_nothing(registry: Registry) -> None:
    await put(registry, service(component("b-c"), name="a"))
    with pytest.raises(RegistryError):
        await put(registry, service(component("x"), component("c"), name="a-b"))
    assert [each.name for each in await registry.services()] == ["a"]


async def test_an_observation_of_what_is_not_declared_is_dropped(registry: Registry) -> None:
    await put(registry, service())
    await observe(registry, [("web", "ghost", Observed.RUNNING, "c1"), ("ghost", "api", Observed.RUNNING, "c2")], NOW)
    assert list(await desired(registry)) == ["api"]


async def add_events(registry: Registry) -> None:
    for minute, (of, part) in enumerate([("web", "api"), ("web", "db"), ("blog", "api"), ("web", "api")]):
        await registry.add_event(of, part, "kind", f"m{minute}", "ops", NOW + timedelta(minutes=minute))


@pytest.mark.parametrize(
    ("filters", "messages"),
    [
        ({}, ["m0", "m1", "m2", "m3"]),
        ({"service": "web"}, ["m0", "m1", "m3"]),
        ({"component": "api"}, ["m0", "m2", "m3"]),
        ({"service": "web", "component": "api"}, ["m0", "m3"]),
        ({"since": NOW + timedelta(minutes=1)}, ["m1", "m2", "m3"]),
        ({"until": NOW + timedelta(minutes=1)}, ["m0"]),
        ({"since": NOW + timedelta(minutes=1), "until": NOW + timedelta(minutes=3)}, ["m1", "m2"]),
        ({"limit": 2}, ["m2", "m3"]),
        ({"service": "web", "limit": 2}, ["m1", "m3"]),
        ({"service": "none"}, []),
    ],
    ids=str,
)
async def test_events_are_filtered_and_the_newest_come_last(
    registry: Registry, filters: dict[str, object], messages: list[str]
) -> None:
    await add_events(registry)
    found = await registry.events(**filters)  # type: ignore[arg-type]
    assert [each.message for each in found] == messages


async def test_the_order_of_events_is_that_of_their_arrival_whatever_the_clock_says(registry: Registry) -> None:
    first = await registry.add_event("web", "api", "kind", "first", "", NOW)
    second = await registry.add_event("web", "api", "kind", "second", "", NOW - timedelta(hours=1))
    assert first < second
    assert [each.message for each in await registry.events()] == ["first", "second"]


async def test_an_event_keeps_its_time_to_the_microsecond(registry: Registry) -> None:
    at = NOW + timedelta(microseconds=123457)
    await registry.add_event("web", "api", "kind", "", "", at)
    (event,) = await registry.events()
    assert event.at == at
    assert event.at.tzinfo is not None


async def test_many_callers_at_once_are_all_served(registry: Registry) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(registry.add_event, "web", "api", "kind", str(number), "", NOW)
            nursery.start_soon(registry.services)
    assert {each.message for each in await registry.events()} == {str(number) for number in range(50)}


async def test_a_lock_that_another_process_keeps_is_a_registry_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_BUSY_TIMEOUT_S", 0.01)
    async with Registry.open(tmp_path / "mcp.db") as registry:
        other = sqlite3.connect(tmp_path / "mcp.db")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryError, match="locked"):
            await put(registry, service())
        assert await registry.services() == ()
        other.rollback()
        other.close()
        await put(registry, service())
        assert list(await desired(registry)) == ["api"]


@settings(max_examples=EXAMPLES // 5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(original=components())
def test_every_component_comes_back_as_it_was_stored(tmp_path: Path, original: Component) -> None:
    async def there_and_back() -> None:
        async with Registry.open(tmp_path / "mcp.db") as registry:
            await put(registry, service(original))
            found = await registry.service("web")
        assert found is not None
        assert found.components[0].spec == original

    trio.run(there_and_back)


async def test_no_cursor_leaves_the_turn_of_its_worker(registry: Registry) -> None:
    """Ended in the event loop, it reset the next transaction's statement: "bad parameter or other API misuse"."""
    with pytest.raises(AssertionError, match="cursor"):
        await registry.transact(lambda db: db.execute("DELETE FROM events"))
    with pytest.raises(AssertionError, match="cursor"):
        await registry.ask(lambda db: db.execute("SELECT 1"))


@pytest.mark.parametrize("component", ["", "api"])
async def test_the_newest_events_of_a_service_are_found_without_sorting_all_that_it_has(
    registry: Registry, component: str
) -> None:
    asked: list[str] = []
    registry._reader.set_trace_callback(asked.append)
    await registry.events("web", component, limit=5)
    registry._reader.set_trace_callback(None)
    (query,) = (each for each in asked if each.startswith("SELECT"))
    steps = [row["detail"] for row in registry._reader.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert not [each for each in steps if "B-TREE" in each]
