"""Which containers are a service's, and which are left alone."""

import pytest

from mcpd.changes.adopt import candidates_of, lookalikes
from mcpd.model import Container, RecordedService, Result
from monitor.model import Desired, Observed
from tests.support.builders import component, container, recorded, recorded_service


def found(
    *containers: Container, known: tuple[RecordedService, ...] = (), defined: tuple[str, ...] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """Components with their containers, and what is left alone with the reason."""
    candidates, left = candidates_of("mc", containers, known, defined)
    return {each.component: each.container.name for each in candidates}, {each.component: each.message for each in left}


def stranger(name: str, **changes: object) -> Container:
    return container(component(), name=name, id=name, labels={}, **changes)


def test_the_names_after_the_service_become_components() -> None:
    adopted, left = found(stranger("mc"), stranger("mc-api"), stranger("mc-a-b"), stranger("mcx"), stranger("other"))
    assert adopted == {"mc": "mc", "api": "mc-api", "a-b": "mc-a-b"}
    assert left == {}


@pytest.mark.parametrize("name", ["mc-proxy", "mc-proxy-web"])
def test_what_is_called_after_a_longer_name_of_a_service_is_left_to_it(name: str) -> None:
    assert found(stranger(name))[0] != {}
    adopted, left = found(stranger(name), defined=("mc-proxy", "m"))
    assert adopted == {}
    assert "the service mc-proxy" in left[name]


def test_a_shorter_service_name_takes_nothing_away() -> None:
    adopted, left = found(stranger("mc-api"), defined=("m", "mc"))
    assert (adopted, left) == ({"api": "mc-api"}, {})


def test_a_label_and_the_registry_come_before_the_name() -> None:
    labelled = container(component(), name="mc-a", id="1", labels={"mcp.service": "bank", "mcp.component": "x"})
    other = recorded_service(recorded(component(name="b"), service="mc-x", container="mc-x-b"), name="mc-x")
    owned = stranger(other.components[0].container)
    adopted, left = found(labelled, owned, known=(other,))
    assert adopted == {}
    assert "its label assigns it to bank/x" in left["mc-a"]
    assert "mc-x/b" in left[owned.name]


def test_what_is_labelled_as_ours_and_forgotten_by_the_registry_is_taken() -> None:
    ours = container(component(), name="any", id="1", labels={"mcp.service": "mc", "mcp.component": "api"})
    assert found(ours)[0] == {"api": "any"}
    known = recorded_service(recorded(component(name="api"), service="mc"), name="mc")
    candidates, left = candidates_of("mc", [ours], [known], ())
    assert [each.result for each in left] == [Result.UNCHANGED]
    assert candidates == []
    assert known.components[0].desired is Desired.RUNNING


def test_of_two_the_one_that_runs_is_taken() -> None:
    labelled = container(
        component(), name="old", id="1", state=Observed.EXITED, labels={"mcp.service": "mc", "mcp.component": "api"}
    )
    adopted, left = found(labelled, stranger("mc-api"))
    assert adopted == {"api": "mc-api"}
    assert "already has a container" in left["old"]


@pytest.mark.parametrize("name", ["mc-API", "mc-a_b", "mc-", "mc--", "mc-" + "x" * 64])
def test_what_cannot_name_a_component_is_left_alone(name: str) -> None:
    adopted, left = found(stranger(name))
    assert adopted == {}
    assert "podman rename" in left[name]


def alike(*containers: Container, known: tuple[RecordedService, ...] = ()) -> dict[str, str]:
    return {each.component: each.message for each in lookalikes("mc", containers, known, ("mc-proxy",))}


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("mc_web_1", "mc-web"),
        ("mc_web_2", "mc-web-2"),
        ("mc_a_b_1", "mc-a-b"),
        ("MC-Api", "mc-api"),
        ("mc.db", "mc-db"),
    ],
)
def test_what_looks_as_if_it_were_meant_is_named_with_the_command_that_mends_it(name: str, renamed: str) -> None:
    assert found(stranger(name), stranger("mc-other"))[1] == {}
    assert f"`podman rename {name} {renamed}`" in alike(stranger(name))[name]


def test_a_name_that_is_proposed_is_free() -> None:
    assert "mc_web_1 mc-web-1`" in alike(stranger("mc_web_1"), stranger("mc-web"))["mc_web_1"]
    taken = [stranger("mc_web_1"), stranger("mc-web"), stranger("mc-web-1")]
    assert "mc_web_1 mc-NAME`" in alike(*taken)["mc_web_1"]


def test_what_compose_made_for_the_project_is_meant_whatever_it_is_called() -> None:
    labels = {"com.docker.compose.project": "mc", "com.docker.compose.service": "db"}
    theirs = container(component(), name="postgres", id="1", labels=labels)
    assert "`podman rename postgres mc-db`" in alike(theirs)["postgres"]


def test_what_is_anothers_or_called_quite_otherwise_is_not_meant() -> None:
    labelled = container(component(), name="mc_a", id="1", labels={"mcp.service": "bank", "mcp.component": "x"})
    other = recorded_service(recorded(component(name="b"), service="x", container="mc_b"), name="x")
    assert alike(labelled, stranger("mc_b"), stranger("mc_proxy_web"), stranger("mcx_1"), known=(other,)) == {}
