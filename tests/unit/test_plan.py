"""What a deploy decides, case by case."""

import re
from datetime import timedelta

import msgspec
import pytest

from mcpd.changes.difference import FieldChange, Source
from mcpd.changes.plan import Action, DeployPlan, check_holds, is_recorded_as, ordered, plan_deploy, waits_for
from mcpd.errors import BusyError
from mcpd.model import LAST, NEXT, Container
from monitor.model import Desired, Observed
from protos.fingerprint import spec_hash
from protos.parts import Heal, Health, NetworkDeclaration, Volume
from protos.spec import Component, Service
from tests.support.builders import component, container, recorded, recorded_service, service

DOWN = (Observed.CREATED, Observed.EXITED)
ACTIVE = (
    Observed.RUNNING,
    Observed.HEALTHY,
    Observed.UNHEALTHY,
    Observed.PAUSED,
    Observed.RESTARTING,
    Observed.UNKNOWN,
)


def plan(of: Service, *containers: Container, force: bool = False) -> DeployPlan:
    return plan_deploy(of, of.component_names, containers, force=force)


def decided(of: Service, *containers: Container, force: bool = False) -> tuple[Action, str]:
    (only,) = plan(of, *containers, force=force).components
    return only.action, only.reason


def test_1_what_is_not_there_is_created() -> None:
    assert decided(service()) == (Action.CREATE, "does not exist yet")
    (only,) = plan(service()).components
    assert (only.container, only.spec_hash) == ("web-api", spec_hash(component()))


@pytest.mark.parametrize("force", [False, True])
def test_1_what_is_not_there_is_created_and_not_started_when_inactive(force: bool) -> None:
    (only,) = plan(service(active=False), force=force).components
    assert only.action is Action.CREATE
    assert not only.runs


@pytest.mark.parametrize("state", Observed)
def test_2_what_is_made_from_something_else_is_replaced_whatever_it_does(state: Observed) -> None:
    old = container(component(image="app:v0"), state=state)
    assert decided(service(), old) == (Action.REPLACE, "the definition changed")


def test_2_what_is_as_wanted_is_replaced_when_forced() -> None:
    assert decided(service(), container(), force=True) == (Action.REPLACE, "forced")


def test_2_a_change_is_the_reason_even_when_forced() -> None:
    assert decided(service(), container(component(image="app:v0")), force=True)[1] == "the definition changed"


def test_3_the_right_container_under_another_name_is_renamed() -> None:
    one = component("web")
    found = container(one, name="web-web")
    assert decided(service(one), found) == (Action.RENAME, "is called web-web")


def test_3_a_second_component_renames_the_first_that_had_the_bare_name() -> None:
    web, db = component("web"), component("db")
    alone = container(web, name="web")
    assert decided(service(web), alone)[0] is Action.NONE
    made = plan(service(web, db), alone)
    assert [(each.component.name, each.container, each.action) for each in made.components] == [
        ("web", "web-web", Action.RENAME),
        ("db", "web-db", Action.CREATE),
    ]
    assert made.conflicts == ()


@pytest.mark.parametrize("state", DOWN)
def test_4_what_should_run_and_does_not_is_started(state: Observed) -> None:
    assert decided(service(), container(state=state)) == (Action.START, f"is {state}")


@pytest.mark.parametrize("state", ACTIVE)
def test_4_what_should_not_run_and_may_is_stopped(state: Observed) -> None:
    assert decided(service(active=False), container(state=state)) == (Action.STOP, "should be stopped")


def test_4_an_inactive_component_of_an_active_service_is_stopped() -> None:
    assert decided(service(component(active=False)), container())[0] is Action.STOP


@pytest.mark.parametrize("state", ACTIVE)
def test_5_what_runs_as_wanted_is_left_alone(state: Observed) -> None:
    assert decided(service(), container(state=state)) == (Action.NONE, "unchanged")


@pytest.mark.parametrize("state", DOWN)
def test_5_what_is_stopped_as_wanted_is_left_alone(state: Observed) -> None:
    assert decided(service(active=False), container(state=state)) == (Action.NONE, "unchanged")


def test_a_change_that_no_container_is_made_from_touches_nothing() -> None:
    db = component("db")
    before, after = component("api"), component("api", depends_on=("db",))
    made = plan(service(after, db), container(before), container(db))
    assert {each.action for each in made.components} == {Action.NONE}


def test_only_the_selected_components_are_planned() -> None:
    made = plan_deploy(service(component("a"), component("b")), {"b"}, ())
    assert [each.component.name for each in made.components] == ["b"]
    assert made.components[0].container == "web-b"


def test_an_unselected_component_is_no_orphan() -> None:
    a, b = component("a"), component("b")
    made = plan_deploy(service(a, b), {"b"}, [container(a), container(b)])
    assert made.orphans == ()


def test_a_name_that_another_service_has_is_a_conflict() -> None:
    foreign = container(component("b-c"), service="a", name="a-b-c")
    made = plan(service(component("c"), name="a-b"), foreign)
    (conflict,) = made.conflicts
    assert conflict == ("a-b/c needs the container name a-b-c, which belongs to a/b-c; rename one of the two")


def test_a_name_that_a_container_of_somebody_else_has_is_a_conflict_with_a_way_out() -> None:
    foreign = container(service="", name="web-api")
    made = plan(service(), foreign)
    (conflict,) = made.conflicts
    assert conflict == (
        "web/api needs the container name web-api, which belongs to a container that mcp does not manage; "
        "adopt it (`mcpctl adopt web`), or rename or remove it"
    )
    assert made.components[0].current is None


def test_a_rename_to_a_name_that_is_taken_is_a_conflict() -> None:
    web, db = component("web"), component("db")
    mine = container(web, name="web")
    foreign = container(service="", name="web-web")
    assert len(plan(service(web, db), mine, foreign).conflicts) == 1


def test_a_label_counts_more_than_a_name() -> None:
    mine = container(name="web-something")
    foreign = container(component("api"), service="other", name="other-api")
    made = plan(service(), mine, foreign)
    assert made.components[0].current == mine
    assert made.conflicts == ()


def test_of_two_containers_with_the_same_labels_the_one_with_the_proper_name_counts() -> None:
    """`podman container clone` copies the labels."""
    mine, clone = container(), container(name="web-api-clone", id="clone")
    for both in ((mine, clone), (clone, mine)):
        assert plan(service(), *both).components[0].current == mine


def test_containers_of_others_are_neither_current_nor_orphans_nor_conflicts() -> None:
    others = [container(component("api"), service="other", name="other-api"), container(service="", name="redis")]
    made = plan(service(), *others)
    assert made.components[0].action is Action.CREATE
    assert (made.conflicts, made.orphans) == ((), ())


def test_what_is_no_longer_defined_is_an_orphan() -> None:
    api, old, older = component("api"), component("old"), component("older")
    made = plan(service(api), container(older), container(api), container(old))
    assert made.orphans == ("old", "older")


@pytest.mark.parametrize("suffix", [NEXT, LAST])
def test_a_container_under_a_temporary_name_is_nobodys_current_one(suffix: str) -> None:
    left_over = container(name="web-api" + suffix)
    assert decided(service(), left_over)[0] is Action.CREATE
    assert decided(service(), left_over, container())[0] is Action.NONE
    assert decided(service(), container(), left_over)[0] is Action.NONE


@pytest.mark.parametrize("suffix", [NEXT, LAST])
def test_a_container_under_a_temporary_name_is_no_orphan(suffix: str) -> None:
    assert plan(service(), container(component("old"), name="web-old" + suffix)).orphans == ()


def test_a_component_waits_for_those_of_its_dependencies_that_take_part() -> None:
    a, b = component("a", depends_on=("b", "c")), component("b", depends_on=("c",))
    assert waits_for([a, b]) == {"a": frozenset({"b"}), "b": frozenset()}


def test_the_plan_is_made_in_the_order_of_the_definition() -> None:
    listed: list[Component] = [component("z"), component("a"), component("m")]
    assert [each.component.name for each in plan(service(*listed)).components] == ["z", "a", "m"]


# What differs, and whether a plan still holds


def test_a_change_that_no_container_is_made_from_is_an_update() -> None:
    before, after = component("api"), component("api", heal="restart")
    known = recorded_service(recorded(before))
    (only,) = plan_deploy(service(after), {"api"}, [container(before)], recorded=known).components
    assert (only.action, [each.field for each in only.changes]) == (Action.UPDATE, ["heal"])
    assert only.reason == "no container needs to change for that"


def test_what_the_definition_leaves_to_the_node_changes_with_the_nodes_own_setting() -> None:
    known = recorded_service(recorded(component("api", heal="restart")))

    def decided(heal: Heal) -> Action:
        return plan_deploy(service(), {"api"}, [container()], recorded=known, heal=heal).components[0].action

    assert (decided(Heal.RESTART), decided(Heal.ALERT)) == (Action.NONE, Action.UPDATE)
    (only,) = plan_deploy(service(), {"api"}, [container()], recorded=known).components
    assert [(each.field, each.after) for each in only.changes] == [("heal", "alert")]


PROBE, OTHER = Health(cmd=("ask",)), Health(cmd=("other",))


@pytest.mark.parametrize(
    ("before", "after", "asks"),
    [
        (None, PROBE, True),
        (PROBE, OTHER, True),
        (PROBE, Health(cmd=("ask",), retries=9), True),
        (PROBE, None, False),
        (PROBE, PROBE, False),
    ],
)
def test_a_probe_that_is_changed_in_place_is_to_be_asked(
    before: Health | None, after: Health | None, asks: bool
) -> None:
    """Whatever else is done about a container that runs on; what is started anew is watched in any case."""
    old, new = component("api", health=before), component("api", health=after)
    known = recorded_service(recorded(old))

    def asked(*containers: Container, of: Component = new, **options: bool) -> bool:
        (only,) = plan_deploy(service(of), {"api"}, containers, recorded=known, **options).components
        return only.asks_probe

    (only,) = plan_deploy(service(new), {"api"}, [container(old)], recorded=known).components
    assert only.reason.endswith("; its probe runs first") is asks
    assert asked(container(old)) is asks
    assert asked(container(old, name="web")) is asks
    assert not asked(container(old, state=Observed.EXITED))
    assert not asked(container(old), force=True)
    assert not asked(container(old), of=msgspec.structs.replace(new, active=False))


def test_how_long_it_must_settle_is_no_other_container() -> None:
    before, after = component("api"), component("api", settle=timedelta(seconds=5))
    (only,) = plan_deploy(
        service(after), {"api"}, [container(before)], recorded=recorded_service(recorded(before))
    ).components
    assert only.action is Action.UPDATE
    assert [(each.field, each.after) for each in only.changes] == [("settle", "5s")]


def test_changes_are_told_against_what_the_container_was_made_from() -> None:
    """A sync has recorded v2 since; what runs was made from v1."""
    v1, v2, v3 = (component("api", image=f"app:v{number}") for number in (1, 2, 3))
    known = recorded_service(recorded(v2, deployed=v1))
    (only,) = plan_deploy(service(v3), {"api"}, [container(v1)], recorded=known).components
    (change,) = only.changes
    assert (change.field, change.before, change.after) == ("image", "app:v1", "app:v3")


def test_of_a_container_that_nobody_knows_the_making_of_only_the_image_is_told() -> None:
    old, new = component("api", image="app:v1", user="1:1"), component("api", image="app:v2", user="2:2")
    (only,) = plan(service(new), container(old)).components
    assert only.changes == (FieldChange("image", "app:v1", "app:v2", Source.DEFINITION),)
    unlike = recorded_service(recorded(component("api", image="app:v0")))
    (only,) = plan_deploy(service(new), {"api"}, [container(old)], recorded=unlike).components
    assert [each.field for each in only.changes] == ["image"]
    (only,) = plan(service(component("api", image="app:v1")), container(old)).components
    assert (only.action, only.changes) == (Action.REPLACE, ())


def test_a_plan_holds_as_long_as_nothing_changes() -> None:
    check_holds(plan(service(), container()).id, plan(service(), container()))


def test_a_plan_holds_whatever_the_order_in_which_things_are_told_and_whatever_others_do() -> None:
    a, b = (component(name, env={"A": "1", "B": "2"}) for name in "ab")
    turned = [msgspec.structs.replace(each, env={"B": "2", "A": "1"}) for each in (a, b)]
    then = plan_deploy(service(a, b), ("a", "b"), [container(a), container(b)])
    other = container(service="shop")
    now = plan_deploy(service(*turned), ("b", "a"), [container(b), other, container(a)])
    check_holds(then.id, now)


def test_a_plan_has_an_id_that_can_be_typed() -> None:
    assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}", plan(service()).id)


def test_a_plan_of_other_components_is_another() -> None:
    both = service(component("a"), component("b"))
    assert plan_deploy(both, {"a"}, ()).id != plan_deploy(both, {"b"}, ()).id


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (plan(service(component(image="app:v9")), container()), "the definition or the options"),
        (plan(service(), container(), force=True), "the definition or the options"),
        (plan(service(), container(state=Observed.EXITED)), "the containers or secrets on the node"),
        (plan(service(), container(id="another")), "the containers or secrets on the node"),
        (plan(service()), "the containers or secrets on the node"),
        (
            plan_deploy(service(), {"api"}, [container()], recorded=recorded_service(revision=7)),
            "the registry",
        ),
    ],
)
def test_a_plan_that_no_longer_holds_says_what_changed(now: DeployPlan, what: str) -> None:
    then = plan(service(), container())
    with pytest.raises(BusyError) as raised:
        check_holds(then.id, now)
    assert str(raised.value) == f"plan {then.id} is out of date: {what} changed since; `mcpctl plan web` again"


def test_a_plan_of_which_everything_changed_says_all_of_it() -> None:
    then = plan(service(), container())
    now = plan_deploy(service(), {"api"}, (), recorded=recorded_service(), force=True)
    words = "the definition or the options and the registry and the containers or secrets on the node changed since"
    with pytest.raises(BusyError, match=words):
        check_holds(then.id, now)


def test_what_is_no_plan_id_is_told_to_be_none() -> None:
    with pytest.raises(BusyError) as raised:
        check_holds("yesterday", plan(service()))
    assert str(raised.value) == "'yesterday' is not the id of a plan; `mcpctl plan web` creates one"


def test_leftovers_of_the_selected_components_are_named() -> None:
    a, b = component("a"), component("b")
    left = [container(a, name="web-a" + LAST, id="1"), container(b, name="web-b" + NEXT, id="2")]
    assert plan_deploy(service(a, b), {"a"}, left).leftovers == ("web-a" + LAST,)
    assert plan_deploy(service(a, b), {"a", "b"}, left[::-1]).leftovers == ("web-a" + LAST, "web-b" + NEXT)
    others = [container(a, service="shop", name="shop-a" + LAST), container(a)]
    assert plan_deploy(service(a, b), {"a"}, others).leftovers == ()


def test_what_the_registry_holds_already_is_known_to_be_so() -> None:
    a, b = component("a"), component("b")
    known = recorded_service(recorded(a), recorded(b))
    both = ("a", "b")
    assert is_recorded_as(service(a, b), known, both)
    assert not is_recorded_as(service(a, b), None, both)
    assert not is_recorded_as(service(a, b, active=False), known, both)
    assert not is_recorded_as(service(a, component("b", user="1")), known, both)
    assert is_recorded_as(service(a, component("b", user="1")), known, ("a",))
    assert not is_recorded_as(service(a), known, ("a",)), "b is no longer defined, which is news"
    ignored = recorded_service(recorded(a), recorded(b, desired=Desired.IGNORE))
    assert is_recorded_as(service(a), ignored, ("a",))
    assert not is_recorded_as(service(a, b), ignored, both)
    # A sync has declared it since the deploy before.
    synced = recorded_service(recorded(a), recorded(b, deployed=component("b", heal=Heal.RESTART)))
    assert not is_recorded_as(service(a, b), synced, both)
    assert is_recorded_as(service(a, b), synced, ("a",))
    assert is_recorded_as(service(a, b), recorded_service(recorded(a), recorded(b, deployed=b)), both)


def test_a_volume_or_a_network_that_the_registry_does_not_hold_is_news() -> None:
    a = component("a")
    volumes, networks = {"data": Volume(driver="local")}, {"front": NetworkDeclaration(external=True)}
    known = recorded_service(recorded(a), volumes=volumes, networks=networks)
    assert is_recorded_as(service(a, volumes=volumes, networks=networks), known, ("a",))
    assert not is_recorded_as(service(a, volumes=volumes), known, ("a",))
    assert not is_recorded_as(service(a, networks=networks), known, ("a",))


def test_components_are_ordered_by_what_they_depend_on() -> None:
    a, b, c = component("a", depends_on=("b",)), component("b", depends_on=("c",)), component("c")
    assert [each.name for each in ordered([a, b, c])] == ["c", "b", "a"]
