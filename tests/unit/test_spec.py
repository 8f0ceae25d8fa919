"""A service's definition: what no single field shows, and the ways there and back."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given

from protos.agreement import MAX_COMPONENTS, find_cycle
from protos.parts import Heal
from protos.spec import Component, Service, examine_service
from tests.support.builders import component, definition, service
from tests.support.strategies import components, plain, plain_services, services

FULL = {
    "name": "metacrypt",
    "node": "rift",
    "active": True,
    "components": [
        {
            "name": "api",
            "image": "mcr.example.net:8443/metacrypt:v1.7.0",
            "network": "mcpnet",
            "user": "0:0",
            "restart": "unless-stopped",
            "ports": ["127.0.0.1:18443:8443"],
            "volumes": ["/srv/metacrypt:/srv/metacrypt"],
            "cmd": ["server", "--config", "/srv/metacrypt/metacrypt.toml"],
            "env": {"LOG_LEVEL": "info"},
            "secrets": ["metacrypt-unseal"],
            "depends_on": ["db"],
            "stop_timeout": "10s",
            "heal": "alert",
            "health": {
                "http": "http://127.0.0.1:18443/healthz",
                "interval": "30s",
                "timeout": "5s",
                "retries": 3,
                "start_period": "20s",
            },
            "resources": {"memory": "256MiB", "cpus": 0.5, "pids": 256},
        },
        {"name": "db", "image": "docker.io/library/postgres:16"},
    ],
}


def problems_of(data: object) -> list[str]:
    result, problems = examine_service(data)
    assert (result is None) == bool(problems)
    return [str(each) for each in problems]


def accepted(data: object) -> Service:
    result, problems = examine_service(data)
    assert problems == []
    assert result is not None
    return result


def test_the_documented_example_is_accepted() -> None:
    api = accepted(FULL).component("api")
    assert api is not None
    assert api.version == "v1.7.0"
    assert api.heal is Heal.ALERT
    assert api.stop_timeout == timedelta(seconds=10)
    assert api.resources.memory == 256 * 2**20
    assert api.health is not None
    assert api.health.start_period == timedelta(seconds=20)


def test_little_has_to_be_said() -> None:
    made = accepted(definition({"name": "api"}))
    assert made.active
    assert made.components[0].active
    assert made.components[0].restart == "no"


def test_a_duplicate_component_is_told_with_the_first_one() -> None:
    (problem,) = problems_of(definition({"name": "a"}, {"name": "b"}, {"name": "a"}))
    assert problem == "components[2].name: duplicate component 'a', already at components[0]"


def test_a_service_needs_a_component() -> None:
    assert problems_of({"name": "web", "node": "rift", "components": []}) == [
        "components: is empty; a service has at least one component"
    ]


def test_a_service_has_a_limited_number_of_components() -> None:
    many = [{"name": f"c{number}"} for number in range(MAX_COMPONENTS + 1)]
    accepted(definition(*many[:-1]))
    (problem,) = problems_of(definition(*many))
    assert f"at most {MAX_COMPONENTS}" in problem


def test_a_dependency_must_be_a_component_of_the_service() -> None:
    (problem,) = problems_of(definition({"name": "a", "depends_on": ["b"]}))
    assert problem == "components[0].depends_on: names 'b', which is not a component of this service"


def test_a_circle_of_dependencies_is_printed() -> None:
    found = problems_of(
        definition(
            {"name": "a", "depends_on": ["b"]},
            {"name": "b", "depends_on": ["c"]},
            {"name": "c", "depends_on": ["b"]},
        )
    )
    assert found == ["components: depends_on has a cycle: b -> c -> b"]


def test_a_component_cannot_depend_on_itself() -> None:
    (problem,) = problems_of(definition({"name": "a", "depends_on": ["a"]}))
    assert problem.endswith("a -> a")


def test_a_diamond_is_no_circle() -> None:
    assert find_cycle({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == []


def test_a_long_chain_of_dependencies_is_accepted() -> None:
    chain: list[dict[str, Any]] = [{"name": "c0"}]
    chain += [{"name": f"c{n}", "depends_on": [f"c{n - 1}"]} for n in range(1, MAX_COMPONENTS)]
    accepted(definition(*reversed(chain)))


def test_two_components_cannot_publish_one_port() -> None:
    (problem,) = problems_of(
        definition({"name": "a", "ports": ["80:80", "8080:80"]}, {"name": "b", "ports": ["8080:81"]})
    )
    assert problem == "components[1].ports[0]: publishes '8080:81', which components[0].ports[1] already publishes"


def test_one_component_cannot_publish_one_port_twice() -> None:
    (problem,) = problems_of(definition({"name": "a", "ports": ["80:80", "80:81"]}))
    assert problem.startswith("components[0].ports[1]: ")


def test_one_port_number_may_be_published_on_two_addresses_and_protocols() -> None:
    accepted(definition({"name": "a", "ports": ["127.0.0.1:53:53", "127.0.0.2:53:53", "127.0.0.1:53:53/udp"]}))


@pytest.mark.parametrize("every", ["80:80", "0.0.0.0:80:80"])
def test_a_port_of_every_address_cannot_be_published_on_one_of_them(every: str) -> None:
    (problem,) = problems_of(definition({"name": "a", "ports": [every]}, {"name": "b", "ports": ["127.0.0.1:80:80"]}))
    assert problem.startswith("components[1].ports[0]: ")


@pytest.mark.parametrize(
    ("health", "found"),
    [
        ({}, "none"),
        ({"interval": "5s"}, "none"),
        ({"http": "http://a/", "tcp": "a:1"}, "http and tcp"),
        ({"cmd": ["true"], "http": "http://a/", "tcp": "a:1"}, "cmd and http and tcp"),
        ({"cmd": []}, "none"),
    ],
)
def test_a_health_check_has_exactly_one_probe(health: dict[str, Any], found: str) -> None:
    (problem,) = problems_of(definition({"name": "a", "health": health}))
    assert problem == f"components[0].health: needs exactly one of cmd, http and tcp; found {found}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "A"),
        ("image", "no image"),
        ("network", "container:x"),
        ("user", ""),
        ("restart", "sometimes"),
        ("ports", ["x"]),
        ("volumes", ["data:relative"]),
        ("cmd", ["a\0"]),
        ("env", {"A": 1}),
        ("env", {"A=B": "x"}),
        ("secrets", ["a b"]),
        ("stop_timeout", 10),
        ("stop_timeout", "-1s"),
        ("settle", 5),
        ("settle", "soon"),
        ("settle", "10m1s"),
        ("heal", "maybe"),
        ("resources", {"memory": "lots"}),
        ("resources", {"cpus": -1}),
        ("resources", {"cpus": float("nan")}),
        ("resources", {"pids": 1.5}),
        ("resources", {"pids": 2**31}),
        ("health", {"tcp": "a:1", "retries": 0}),
        ("health", {"tcp": "a:1", "interval": "0s"}),
    ],
)
def test_a_bad_value_is_refused_at_its_key(field: str, value: object) -> None:
    (problem,) = problems_of(definition({"name": "a", field: value}))
    assert problem.startswith(f"components[0].{field}")


def test_a_fields_problem_and_a_disagreement_are_told_together() -> None:
    found = problems_of(definition({"name": "a", "restart": "sometimes"}, {"name": "a"}))
    assert [each.partition(":")[0] for each in found] == ["components[0].restart", "components[1].name"]


@pytest.mark.parametrize(
    ("whole", "part", "runs"), [(True, True, True), (True, False, False), (False, True, False), (False, False, False)]
)
def test_a_component_runs_when_it_and_its_service_are_active(whole: bool, part: bool, runs: bool) -> None:
    one = component(active=part)
    assert service(one, active=whole).wants_running(one) is runs


@given(plain | plain_services)
@example({"name": "web", "node": "rift", "components": [{"name": ["a"], "image": "app"}]})
@example({"name": "web", "node": "rift", "components": [{"name": {}, "image": "app", "ports": [80]}]})
def test_any_plain_value_is_a_service_or_has_problems(data: Any) -> None:
    problems_of(data)


@given(services())
def test_a_service_survives_being_written_as_plain_values(original: Service) -> None:
    assert accepted(msgspec.to_builtins(original, builtin_types=(timedelta,))) == original


@given(components())
def test_a_component_survives_being_stored_as_json(original: Component) -> None:
    assert msgspec.json.decode(msgspec.json.encode(original), type=Component) == original
