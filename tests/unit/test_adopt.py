"""Which containers are a service's, and which are left alone."""

import pytest

from mcpd.changes.adoptable import candidates_of
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


@pytest.mark.parametrize("name", ["mc-", "mc--", "mc-_", "mc-" + "x" * 64])
def test_what_cannot_name_a_component_is_left_alone(name: str) -> None:
    adopted, left = found(stranger(name))
    assert adopted == {}
    assert f"`podman rename {name} mc-NAME`" in left[name]


@pytest.mark.parametrize(
    ("name", "component_name"),
    [
        ("mc_web_1", "web"),
        ("mc_web_2", "web-2"),
        ("mc_web", "web"),
        ("mc-my_app", "my-app"),
        ("mc_a_b_1", "a-b"),
        ("MC-Api", "api"),
        ("mc-API", "api"),
        ("mc.db", "db"),
        ("Mc", "mc"),
        ("mc-web-1", "web-1"),
    ],
)
def test_a_name_that_is_spelled_otherwise_becomes_a_component(name: str, component_name: str) -> None:
    assert found(stranger(name), stranger("other")) == ({component_name: name}, {})


def test_of_two_that_would_be_one_component_none_is_taken() -> None:
    adopted, left = found(stranger("mc_web_1"), stranger("mc_web"), stranger("mc-web_2"))
    assert adopted == {"web-2": "mc-web_2"}
    assert "mc_web would be mc/web, too; `podman rename mc_web_1 mc-web-1`" in left["mc_web_1"]
    assert "mc_web_1 would be mc/web, too; `podman rename mc_web mc-web`" in left["mc_web"]


def test_a_name_that_is_exactly_a_components_comes_first() -> None:
    adopted, left = found(stranger("mc_web_1"), stranger("mc-web", state=Observed.EXITED))
    assert adopted == {"web": "mc-web"}
    assert "mc/web already has a container" in left["mc_web_1"]


def composed(name: str, service: str, number: str = "1", project: str = "mc") -> Container:
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": service,
        "com.docker.compose.container-number": number,
    }
    return container(component(), name=name, id=name, labels=labels)


def test_what_compose_made_for_the_project_is_called_as_compose_calls_it() -> None:
    made = [composed("postgres", "db"), composed("mc-web-1", "web"), composed("mc_web_2", "web", "2")]
    explicit = composed("mc-api", "backend")
    others = composed("pg", "db", project="else")
    assert found(*made, explicit, others) == (
        {"db": "postgres", "web": "mc-web-1", "web-2": "mc_web_2", "api": "mc-api"},
        {},
    )


def test_what_is_anothers_in_another_spelling_is_left_to_it() -> None:
    labelled = container(component(), name="mc_a", id="1", labels={"mcp.service": "bank", "mcp.component": "x"})
    other = recorded_service(recorded(component(name="b"), service="x", container="mc_b"), name="x")
    adopted, left = found(
        labelled, stranger("mc_b"), stranger("mc_proxy_web"), stranger("mcx_1"), known=(other,), defined=("mc-proxy",)
    )
    assert adopted == {}
    assert left.keys() == {"mc_a", "mc_b", "mc_proxy_web"}
    assert "`mcpctl adopt mc-proxy` adopts it" in left["mc_proxy_web"]
