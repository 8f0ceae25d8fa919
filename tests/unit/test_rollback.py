"""What a deploy leaves when it fails: everything as its plan found it. And what goes when it is committed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import structlog.testing
import trio
from trio.testing import MockClock

from mcpd.changes.config_files import ConfigFiles
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation
from mcpd.changes.plan import Action, ComponentPlan, DeployPlan
from mcpd.changes.rollback import retire, roll_back
from mcpd.errors import McpdError, UnavailableError
from mcpd.model import LABEL_NODE, LAST, NEXT, Caller, Container, Progress, Role, Step, Target
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.runtime.api import NoSuchError, PodmanError
from mcpd.runtime.podman import Podman
from monitor.model import Observed, Sighting
from protos.fingerprint import spec_hash
from protos.parts import ConfigFile
from protos.spec import Component
from tests.support.builders import component, container, service
from tests.support.pretended_podman import PretendedPodman
from tests.support.routes import no_proxy

API = component("api")
DB = component("db", image="db:v1")
# It may be started when the database runs.
AFTER_DB = component("api", depends_on=("db",))
STARTED = Observed.RUNNING
ENDED = Observed.EXITED
TAKEN = PodmanError("rootlessport listen tcp 0.0.0.0:80: bind: Address already in use", 500)
BROKEN = PodmanError("the storage is broken", 500)


class Asked(PretendedPodman):
    """Writes down what is asked of it; a call in ``refused`` fails that often, with that error."""

    def __init__(self, *containers: Container) -> None:
        super().__init__(*containers)
        self.calls: list[str] = []
        self.refused: dict[str, tuple[int, McpdError]] = {}
        self.labels: list[Mapping[str, str]] = []

    async def containers(self, *, service: str = "", names: Any = ()) -> tuple[Container, ...]:
        return tuple(each for each in self.found.values() if service in ("", each.service))

    async def stop(self, name: str, timeout: timedelta) -> None:
        self._ask(f"stop {name} {timeout.total_seconds():.0f}s")
        await super().stop(name, timeout)

    async def start(self, name: str) -> None:
        self._ask(f"start {name}")
        await super().start(name)

    async def rename(self, name: str, to: str) -> None:
        self._ask(f"rename {name} {to}")
        await super().rename(name, to)

    async def remove(self, name: str) -> None:
        self._ask(f"remove {name}")
        await super().remove(name)

    async def remove_own_network(self, name: str, labels: Mapping[str, str]) -> bool:
        self.calls.append(f"network {name}")
        self.labels.append(labels)
        return True

    def _ask(self, call: str) -> None:
        self.calls.append(call)
        left, error = self.refused.get(call, (0, BROKEN))
        if left:
            self.refused[call] = left - 1, error
            raise error


class Bench:
    """A node, an operation on it, and what podman has."""

    def __init__(self, registry: Registry, folder: Path, number: int) -> None:
        self.podman = Asked()
        self.registry = registry
        self.configs = ConfigFiles(folder / "configs")
        journal = Journal(registry)
        started, _ = trio.open_memory_channel[Sighting](1)
        self.node = Node(
            "rift",
            cast(Podman, self.podman),
            registry,
            journal,
            started,
            self.configs,
            no_proxy(registry, self.podman),
        )
        self.operation = Operation(
            number, "deploy", Target("web"), Caller("ops", Role.ADMIN), datetime.now(UTC), journal
        )

    def has(self, *containers: Container) -> None:
        self.podman.found = {each.name: each for each in containers}

    @property
    def states(self) -> dict[str, tuple[str, Observed]]:
        """Of every container, by its name: its id, and whether it runs."""
        return {each.name: (each.id, each.state) for each in self.podman.found.values()}

    async def steps(self) -> list[tuple[str, Step, str]]:
        """What the operation has reported."""
        self.operation.end(None)
        reports = [each async for news in self.operation.follow() for each in news]
        return [(each.component, each.step, each.message) for each in reports if isinstance(each, Progress)]


@pytest.fixture
async def bench(registry: Registry, tmp_path: Path) -> Bench:
    number = await Journal(registry).begin(Target("web"), "deploy", "ops", datetime.now(UTC))
    return Bench(registry, tmp_path, number)


def old(of: Component = API, state: Observed = STARTED, **changes: Any) -> Container:
    return container(of, **{"id": f"old-{of.name}", "state": state, **changes})


def new(of: Component = API, state: Observed = STARTED, **changes: Any) -> Container:
    return container(of, **{"id": f"new-{of.name}", "state": state, **changes})


def planned(of: Component, action: Action, current: Container | None) -> ComponentPlan:
    return ComponentPlan(of, f"web-{of.name}", spec_hash(of), action, "", True, current)


def plan(*components: ComponentPlan, **more: Any) -> DeployPlan:
    return DeployPlan(service(*(each.component for each in components)), components, (), (), **more)


async def test_what_was_replaced_gets_its_name_back_and_runs_again(bench: Bench) -> None:
    bench.has(old(state=ENDED, name="web-api" + LAST), new())
    assert await roll_back(bench.node, plan(planned(API, Action.REPLACE, old())), bench.operation) == []
    assert bench.states == {"web-api": ("old-api", STARTED)}
    assert await bench.steps() == [
        ("api", Step.REVERT, "removing the new web-api"),
        ("api", Step.REVERT, "renaming web-api.last back to web-api"),
        ("api", Step.REVERT, "starting web-api again"),
        ("", Step.REVERT, "removing network web, unless it is in use"),
    ]


async def test_what_was_only_prepared_is_removed_and_what_runs_is_left_alone(bench: Bench) -> None:
    bench.has(old(), new(name="web-api" + NEXT))
    await roll_back(bench.node, plan(planned(API, Action.REPLACE, old())), bench.operation)
    assert bench.podman.calls == ["stop new-api 10s", "remove new-api", "network web"]
    assert bench.states == {"web-api": ("old-api", STARTED)}


async def test_what_there_was_none_of_before_is_removed(bench: Bench) -> None:
    bench.has(new())
    assert await roll_back(bench.node, plan(planned(API, Action.CREATE, None)), bench.operation) == []
    assert bench.states == {}


async def test_a_new_container_is_given_the_time_that_it_asks_for_to_stop(bench: Bench) -> None:
    patient = component("api", stop_timeout=timedelta(seconds=40))
    bench.has(new(patient))
    await roll_back(bench.node, plan(planned(patient, Action.CREATE, None)), bench.operation)
    assert bench.podman.calls[0] == "stop new-api 40s"


async def test_a_new_container_that_cannot_be_stopped_is_removed_all_the_same(bench: Bench) -> None:
    bench.has(new())
    bench.podman.refused["stop new-api 10s"] = (1, BROKEN)
    assert await roll_back(bench.node, plan(planned(API, Action.CREATE, None)), bench.operation) == []
    assert bench.states == {}


@pytest.mark.parametrize(
    "other",
    [
        new(name="web-api-copy"),  # somebody's own, with the labels of ours
        new(DB, name="web-api"),
        container(service="shop", name="web-api", id="new-api"),
    ],
)
async def test_what_the_deploy_did_not_make_is_not_removed(bench: Bench, other: Container) -> None:
    bench.has(other)
    await roll_back(bench.node, plan(planned(API, Action.CREATE, None)), bench.operation)
    assert bench.podman.found == {other.name: other}


async def test_what_was_started_is_stopped_again_and_what_was_stopped_is_started(bench: Bench) -> None:
    patient = component("api", stop_timeout=timedelta(seconds=40))
    bench.has(old(patient), old(DB, ENDED))
    found = plan(
        planned(patient, Action.START, old(patient, Observed.CREATED)), planned(DB, Action.STOP, old(DB, STARTED))
    )
    assert await roll_back(bench.node, found, bench.operation) == []
    assert bench.podman.calls == ["stop old-api 40s", "start old-db"]
    assert await bench.steps() == [
        ("api", Step.REVERT, "stopping web-api again"),
        ("db", Step.REVERT, "starting web-db again"),
    ]


@pytest.mark.parametrize("state", [STARTED, ENDED])
async def test_what_is_as_it_was_is_not_touched(bench: Bench, state: Observed) -> None:
    bench.has(old(state=state))
    assert await roll_back(bench.node, plan(planned(API, Action.UPDATE, old(state=state))), bench.operation) == []
    assert bench.podman.calls == []


async def test_a_renamed_container_is_called_as_before(bench: Bench) -> None:
    bench.has(old(), new(DB))
    found = plan(
        planned(DB, Action.CREATE, None),
        planned(API, Action.RENAME, old(name="web")),
    )
    assert await roll_back(bench.node, found, bench.operation) == []
    assert bench.states == {"web": ("old-api", STARTED)}


async def test_a_oneshot_is_not_run_a_second_time_to_be_as_it_was(bench: Bench) -> None:
    once = component("api", oneshot=True)
    bench.has(old(once, ENDED, name="web-api" + LAST), new(once))
    assert await roll_back(bench.node, plan(planned(once, Action.REPLACE, old(once))), bench.operation) == []
    assert bench.states == {"web-api": ("old-api", ENDED)}


async def test_nothing_new_is_left_when_the_first_old_container_starts_and_dependencies_start_first(
    bench: Bench,
) -> None:
    """A new container that is still there has the port, or the network namespace, that an old one needs."""
    both = (DB, AFTER_DB)
    bench.has(*(old(each, ENDED, name=f"web-{each.name}{LAST}") for each in both), *map(new, both))
    found = plan(*(planned(each, Action.REPLACE, old(each)) for each in reversed(both)))
    assert await roll_back(bench.node, found, bench.operation) == []
    assert [each for each in bench.podman.calls if not each.startswith("stop")] == [
        *("remove new-api", "remove new-db"),
        *("rename old-api web-api", "rename old-db web-db"),
        *("start old-db", "start old-api"),
        "network web",
    ]


async def test_an_old_container_that_is_gone_is_told_and_the_others_come_back(bench: Bench) -> None:
    bench.has(old(AFTER_DB, ENDED))
    found = plan(planned(DB, Action.STOP, old(DB)), planned(AFTER_DB, Action.STOP, old(AFTER_DB)))
    with structlog.testing.capture_logs() as lines:
        left = await roll_back(bench.node, found, bench.operation)
    assert left == ["web-db is gone, and this deploy did not remove it"]
    assert bench.states == {"web-api": ("old-api", STARTED)}
    assert lines == [
        {
            "event": "a deploy could not be undone completely",
            "log_level": "error",
            "operation": bench.operation.id,
            "left": left,
        }
    ]


async def test_a_step_back_that_fails_is_told_and_the_next_are_taken(bench: Bench) -> None:
    bench.has(old(state=ENDED, name="web-api" + LAST), new(name="web-api" + NEXT))
    bench.podman.refused = {"remove new-api": (1, BROKEN), "rename old-api web-api": (1, BROKEN)}
    assert await roll_back(bench.node, plan(planned(API, Action.REPLACE, old())), bench.operation) == [
        "removing the new web-api.next: the storage is broken",
        "renaming web-api.last back to web-api: the storage is broken",
    ]
    assert bench.states["web-api" + LAST] == ("old-api", STARTED)


async def test_what_is_no_longer_there_needs_no_step_back(bench: Bench) -> None:
    bench.has(new())
    bench.podman.refused = {"remove new-api": (1, NoSuchError("no such container", 404))}
    with structlog.testing.capture_logs() as lines:
        assert await roll_back(bench.node, plan(planned(API, Action.CREATE, None)), bench.operation) == []
    assert lines == []


async def test_a_podman_that_does_not_answer_is_no_rollback(bench: Bench) -> None:
    bench.has(old(state=ENDED))
    bench.podman.refused = {"start old-api": (1, UnavailableError("podman does not answer"))}
    with pytest.raises(UnavailableError):
        await roll_back(bench.node, plan(planned(API, Action.STOP, old())), bench.operation)


async def test_a_port_that_podman_still_holds_for_a_moment_is_waited_for(
    bench: Bench, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.02  # the registry's thread does not move the clock
    bench.has(old(state=ENDED))
    bench.podman.refused = {"start old-api": (3, TAKEN)}
    assert await roll_back(bench.node, plan(planned(API, Action.STOP, old())), bench.operation) == []
    assert bench.states == {"web-api": ("old-api", STARTED)}


async def test_a_port_that_somebody_has_for_good_is_told_with_who_has_it(
    bench: Bench, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reload(container: str) -> str:
        return "" if container == "new-shop" else "another one"

    monkeypatch.setattr("mcpd.runtime.network.reload", reload)
    autojump_clock.autojump_threshold = 0.02
    published = component("api", ports=("80:80",))
    holder = container(published, service="shop", id="new-shop")
    bench.has(old(published, ENDED), holder)
    bench.podman.refused = {"start old-api": (10_000, TAKEN)}
    (left,) = await roll_back(bench.node, plan(planned(published, Action.STOP, old(published))), bench.operation)
    assert left.startswith(f"starting web-api again: {TAKEN} (shop/api has it: its network was set up again")


async def test_a_start_that_fails_otherwise_is_not_tried_again(bench: Bench) -> None:
    bench.has(old(state=ENDED))
    bench.podman.refused = {"start old-api": (1, BROKEN)}
    left = await roll_back(bench.node, plan(planned(API, Action.STOP, old())), bench.operation)
    assert left == ["starting web-api again: the storage is broken"]
    assert bench.podman.calls == ["start old-api"]


async def test_only_networks_of_new_containers_are_removed_and_only_this_nodes_own(bench: Bench) -> None:
    """podman is asked to remove one only when it has our label, and nothing joins it."""
    made = component("api", networks=("front", "back"))
    kept = component("db", network="other")
    found = plan(planned(made, Action.REPLACE, None), planned(kept, Action.NONE, old(kept)))
    bench.has(old(kept))
    await roll_back(bench.node, found, bench.operation)
    assert bench.podman.calls == ["network back", "network front"]
    assert bench.podman.labels == [{LABEL_NODE: "rift"}] * 2
    words = [f"removing network {name}, unless it is in use" for name in ("back", "front")]
    assert await bench.steps() == [("", Step.REVERT, each) for each in words]


async def test_the_folders_that_it_made_are_removed_unless_somebody_uses_them(bench: Bench, tmp_path: Path) -> None:
    deep, used = tmp_path / "data/deep", tmp_path / "used"
    for each in (deep, used):
        each.mkdir(parents=True)
    (used / "file").touch()
    folders = (str(used), str(deep), str(deep.parent))
    assert await roll_back(bench.node, plan(planned(API, Action.CREATE, None), folders=folders), bench.operation) == []
    assert not deep.parent.exists()
    assert (used / "file").exists()


CONFIGURED = component("api", configs=(ConfigFile("/etc/app.conf", content="new\n"),))


@pytest.mark.parametrize("ends", [roll_back, retire])
async def test_only_the_configs_that_the_registry_knows_of_are_kept(
    bench: Bench, ends: Callable[[Node, DeployPlan, Operation], Awaitable[object]]
) -> None:
    declared = component("api", configs=(ConfigFile("/etc/app.conf", content="as declared\n"),))
    await bench.registry.put_service(service(declared), {"api": spec_hash(declared)}, datetime.now(UTC))
    for each in (declared, CONFIGURED):
        await bench.configs.put("web", each)
    await ends(bench.node, plan(planned(CONFIGURED, Action.UPDATE, None)), bench.operation)
    (left,) = (bench.configs.folder / "web/api").iterdir()
    assert left.read_text() == "as declared\n"


# After the commit


async def test_what_was_replaced_goes_those_first_that_use_the_namespaces_of_others(bench: Bench) -> None:
    sharing = component("api", network="component:db")
    before = [old(each, ENDED, name=f"web-{each.name}{LAST}") for each in (DB, sharing)]
    bench.has(*before, new(DB), new(sharing), container(name="web-old.next", id="left"))
    found = plan(
        *(planned(each, Action.REPLACE, old(each)) for each in (DB, sharing)),
        leftovers=("web-old.next",),
        networks_left=("back", "front"),
    )
    await retire(bench.node, found, bench.operation)
    assert bench.states == {"web-db": ("new-db", STARTED), "web-api": ("new-api", STARTED)}
    assert bench.podman.labels == [{LABEL_NODE: "rift"}] * 2
    assert await bench.steps() == [
        ("", Step.REMOVE, "removing web-old.next"),
        ("api", Step.REMOVE, "removing web-api.last"),
        ("db", Step.REMOVE, "removing web-db.last"),
        ("", Step.NETWORK, "removing network back, unless it is in use"),
        ("", Step.NETWORK, "removing network front, unless it is in use"),
    ]


async def test_nothing_goes_of_what_was_not_replaced(bench: Bench) -> None:
    bench.has(old(name="web-api" + LAST))
    await retire(bench.node, plan(planned(API, Action.START, old())), bench.operation)
    assert bench.podman.calls == []


async def test_what_cannot_be_removed_is_left_to_the_next_deploy(bench: Bench) -> None:
    bench.has(old(name="web-api" + LAST))
    bench.podman.refused = {"remove web-api.last": (1, BROKEN)}
    found = plan(planned(API, Action.REPLACE, old()), networks_left=("back",))
    with structlog.testing.capture_logs() as lines:
        await retire(bench.node, found, bench.operation)
    assert bench.podman.calls == ["remove web-api.last", "network back"]
    assert lines == [
        {
            "event": "an old container could not be removed",
            "log_level": "warning",
            "container": "web-api.last",
            "error": "the storage is broken",
        }
    ]
