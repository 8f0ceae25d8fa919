"""What a deploy makes anew only because something else of the service changes: oneshots, and shared namespaces."""

from __future__ import annotations

import pytest

from mcpd.changes.plan import Action, DeployPlan, ordered, plan_deploy, waits_for
from mcpd.model import Container
from monitor.model import Observed
from protos.spec import Service
from tests.support.builders import component, container, recorded, recorded_service, service

MIGRATE = component("migrate", oneshot=True)
API = component("api", depends_on=("migrate",))


def decided(of: Service, *containers: Container, selected: tuple[str, ...] = ()) -> dict[str, tuple[Action, str]]:
    plan = planned(of, *containers, selected=selected)
    return {each.component.name: (each.action, each.reason) for each in plan.components}


def planned(of: Service, *containers: Container, selected: tuple[str, ...] = ()) -> DeployPlan:
    return plan_deploy(of, selected or of.component_names, containers)


def ended(status: int) -> Container:
    return container(MIGRATE, state=Observed.EXITED, exit_code=status)


def test_one_that_has_completed_is_as_wanted() -> None:
    found = decided(service(MIGRATE, API), ended(0), container(API))
    assert found == {"migrate": (Action.NONE, "unchanged"), "api": (Action.NONE, "unchanged")}


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        (ended(3), "did not complete: exited 3"),
        (container(MIGRATE, state=Observed.CREATED), "did not run yet"),
        (container(MIGRATE, state=Observed.EXITED), "did not complete: exited"),
    ],
)
def test_one_that_has_not_runs_in_a_new_container(old: Container, reason: str) -> None:
    assert decided(service(MIGRATE, API), old, container(API))["migrate"] == (Action.REPLACE, reason)


def test_one_that_is_at_work_is_left_to_it() -> None:
    assert decided(service(MIGRATE), container(MIGRATE)) == {"migrate": (Action.NONE, "is running")}


@pytest.mark.parametrize(
    "others",
    [
        (),
        (container(component("api", image="app:v0")),),
        (container(API, state=Observed.EXITED),),
        (container(API, name="web-old"),),
    ],
    ids=["created", "replaced", "started", "renamed"],
)
def test_it_runs_again_when_anything_else_of_its_service_changes(others: tuple[Container, ...]) -> None:
    found = decided(service(MIGRATE, API), ended(0), *others)
    assert found["migrate"] == (Action.REPLACE, "runs again, since its service changes")


def test_it_does_not_when_it_should_not_run() -> None:
    stopped = component("migrate", oneshot=True, active=False)
    old = container(stopped, state=Observed.CREATED)
    assert decided(service(stopped, API), old)["migrate"][0] is Action.NONE


def test_it_does_not_when_it_is_not_asked_for() -> None:
    found = decided(service(MIGRATE, API), ended(0), container(component("api", image="app:v0")), selected=("api",))
    assert found == {"api": (Action.REPLACE, "the definition changed")}


VPN = component("vpn")
LOADER = component("loader", network="component:vpn")
WATCHER = component("watcher", pid="component:loader")


def test_what_uses_a_namespace_follows_the_one_that_has_it_and_so_on() -> None:
    old = container(component("vpn", image="app:v0"))
    found = decided(service(WATCHER, LOADER, VPN), old, container(LOADER), container(WATCHER))
    assert found["loader"] == (Action.REPLACE, "uses a namespace of vpn, which gets a new container")
    assert found["watcher"] == (Action.REPLACE, "uses a namespace of loader, which gets a new container")
    assert decided(service(LOADER, VPN), container(VPN), container(LOADER))["loader"][0] is Action.NONE


def test_one_of_them_alone_is_refused() -> None:
    old = container(component("vpn", image="app:v0"))
    (conflict,) = planned(service(LOADER, VPN), old, container(LOADER), selected=("vpn",)).conflicts
    assert conflict == (
        "web/loader uses a namespace of vpn, which would get a new container: deploy both, `mcpctl deploy web`"
    )
    assert not planned(service(LOADER, VPN), old, container(LOADER), selected=("loader",)).conflicts
    assert not planned(service(LOADER, VPN), old, selected=("vpn",)).conflicts, "nothing runs that would be torn off"
    assert not planned(service(API, MIGRATE, VPN), old, container(API), ended(0), selected=("vpn",)).conflicts


def test_networks_that_a_service_left_are_known() -> None:
    before = recorded_service(recorded(component(network="back")), recorded(component("db")))
    after = service(component(network="front"))
    assert plan_deploy(after, ("api",), (), recorded=before).networks_left == ("back", "web")


def test_what_would_wait_for_each_other_is_not_deployed_alone() -> None:
    """The registry has what was deployed of the others, whatever the definition says of them now."""
    before = recorded_service(recorded(component("api", depends_on=("db",))), recorded(component("db")))
    of = service(component("api"), component("db", depends_on=("api",)))
    alone = plan_deploy(of, {"db"}, (), recorded=before)
    assert alone.conflicts == (
        "web: with what is deployed of the others, depends_on has a cycle: api -> db -> api; "
        "deploy all of them, `mcpctl deploy web`",
    )
    assert not plan_deploy(of, of.component_names, (), recorded=before).conflicts
    assert not plan_deploy(of, {"api"}, (), recorded=before).conflicts


def test_a_circle_of_before_is_no_reason_not_to_deploy_another_component_alone() -> None:
    api, db = component("api", depends_on=("db",)), component("db", depends_on=("api",))
    before = recorded_service(recorded(api), recorded(db))
    assert not plan_deploy(service(component("cache")), {"cache"}, (), recorded=before).conflicts


def test_nobody_waits_in_a_circle_that_a_registry_has() -> None:
    api, db = component("api", depends_on=("db",)), component("db", depends_on=("api",))
    cache = component("cache", depends_on=("db",))
    assert waits_for([api, db, cache]) == {"api": {"db"}, "db": frozenset(), "cache": {"db"}}
    assert next(each.name for each in ordered([api, db, cache])) == "db"
