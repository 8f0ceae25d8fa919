"""The spec hash: changes with what the container is made from, and with nothing else."""

import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given

from protos.fingerprint import definition_hash, spec_hash
from protos.parts import Heal, Health, Resources, Route
from protos.spec import Component, Service, examine_service
from protos.wire import service_spec, service_values
from tests.support.builders import component, definition
from tests.support.strategies import components, services

BASE = spec_hash(component())


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "other"},
        {"active": False},
        {"depends_on": ("db",)},
        {"settle": timedelta(seconds=1)},
        {"heal": Heal.RESTART},
        {"health": Health(tcp="127.0.0.1:80")},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_mcpd_itself_uses_does_not_recreate_a_container(changed: dict[str, Any]) -> None:
    assert spec_hash(component(**changed)) == BASE


def test_a_default_that_was_read_from_somewhere_is_the_default() -> None:
    assert spec_hash(component(resources=Resources(cpus=float("0"), memory=0))) == BASE


@pytest.mark.parametrize(
    "changed",
    [
        {"image": "registry.example.net:5000/app:v2"},
        {"network": "mcpnet"},
        {"user": "0:0"},
        {"restart": "always"},
        {"ports": ("80:80",)},
        {"volumes": ("/srv/web:/data",)},
        {"cmd": ("serve",)},
        {"env": {"A": "1"}},
        {"secrets": ("key",)},
        {"stop_timeout": timedelta(seconds=11)},
        {"resources": Resources(memory=2**28)},
        {"resources": Resources(cpus=0.5)},
        {"resources": Resources(pids=10)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_the_container_is_made_from_recreates_it(changed: dict[str, Any]) -> None:
    assert spec_hash(component(**changed)) != BASE


def test_every_field_is_known_to_count_or_not() -> None:
    """A new field counts, unless it is listed as what mcpd itself uses; in the hash from the start are these alone."""
    neutral = {
        *("name", "active", "oneshot", "depends_on", "settle", "heal", "health"),
        *("pull", "build", "env_file", "update", "drain_timeout", "schedule", "timezone"),
    }
    changed = {name: _other_than_default(name) for name in Component.__struct_fields__ if name not in ("name", "image")}
    assert {name for name, value in changed.items() if spec_hash(component(**{name: value})) == BASE} == neutral - {
        "name"
    }


def _other_than_default(field: str) -> Any:
    """Something that is not the field's default, though it may be no value of it."""
    return {"resources": Resources(memory=1), "health": Health(tcp="127.0.0.1:1"), "routes": (Route("a.b"),)}.get(
        field, "other"
    )


def test_without_its_images_health_check_it_is_another_container() -> None:
    assert spec_hash(component(health=Health(disable=True))) != BASE


# What an mcpd of 0.1 made of these when they came over the wire: its containers carry these hashes, and an upgrade does
# not recreate them. Computed by its own code.
OF_BEFORE = {
    "68b9c4d77bd2b2b9": Component("a", "b:1"),
    "dd9027d2ed3fa8f2": Component(
        "a",
        "b:1",
        network="n",
        user="0",
        restart="always",
        ports=("80:80",),
        volumes=("/a:/b", "v:/c:ro"),
        cmd=("a",),
        env={"X": "1"},
        secrets=("k",),
        stop_timeout=timedelta(seconds=3),
        resources=Resources(5, 0.5, 3),
    ),
    "f916a9db594de71a": Component("a", "b:1", resources=Resources(memory=2**28)),
    "128c8ba9bbf9ab69": Component("a", "b:1", resources=Resources(pids=100), health=Health(tcp="a:1")),
    "c0d57f4803f4c034": Component("a", "b:1", resources=Resources(cpus=2.0)),
}


@pytest.mark.parametrize("known", OF_BEFORE)
def test_a_definition_without_newer_keys_has_the_hash_of_before(known: str) -> None:
    sent = service_spec(Service("s", "n", (OF_BEFORE[known],)))
    arrived, problems = examine_service(service_values(type(sent)().parse(bytes(sent))))
    assert problems == []
    assert arrived
    assert spec_hash(arrived.components[0]) == spec_hash(OF_BEFORE[known]) == known


def test_the_order_of_the_environment_does_not_matter() -> None:
    assert spec_hash(component(env={"A": "1", "B": "2"})) == spec_hash(component(env={"B": "2", "A": "1"}))


def test_the_order_of_arguments_does() -> None:
    assert spec_hash(component(cmd=("a", "b"))) != spec_hash(component(cmd=("b", "a")))


def test_the_fields_cannot_be_confused_with_each_other() -> None:
    assert spec_hash(component(cmd=("a", "b"))) != spec_hash(component(cmd=("a b",)))
    assert spec_hash(component(secrets=("a",))) != spec_hash(component(cmd=("a",)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"stop_timeout": "60s"}, {"stop_timeout": "1m"}),
        ({"resources": {"memory": "1GiB"}}, {"resources": {"memory": "1024MiB"}}),
        ({"resources": {"cpus": 1}}, {"resources": {"cpus": 1.0}}),
        ({"env": {}}, {}),
        ({"restart": "no"}, {}),
    ],
)
def test_two_ways_to_write_one_thing_make_one_hash(one: dict[str, Any], other: dict[str, Any]) -> None:
    hashes = set()
    for fields in (one, other):
        service, _ = examine_service(definition({"name": "api", **fields}))
        assert service is not None
        hashes.add(spec_hash(service.components[0]))
    assert len(hashes) == 1


@given(components())
def test_a_hash_is_short_and_fits_into_a_label(any_component: Component) -> None:
    digits = spec_hash(any_component)
    assert len(digits) == 16
    assert int(digits, 16) >= 0


def test_another_process_makes_the_same_hash() -> None:
    code = (
        "from protos.fingerprint import definition_hash, spec_hash; from protos.spec import Component; "
        "print(spec_hash(Component(name='api', image='app:v1', env={'B': '2', 'A': '1'}, ports=('80:80',))))"
    )
    here = spec_hash(Component(name="api", image="app:v1", env={"A": "1", "B": "2"}, ports=("80:80",)))
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "7"}
    )
    assert done.stdout.decode().strip() == here


# -- of all that is declared


@pytest.mark.parametrize("name", Component.__struct_fields__)
def test_whatever_is_declared_counts_for_a_comparison(name: str) -> None:
    other = {
        "name": "other",
        "image": "app:v9",
        "active": False,
        "restart": "always",
        "stop_timeout": timedelta(seconds=11),
        "settle": timedelta(seconds=1),
        "heal": Heal.RESTART,
        "health": Health(tcp="127.0.0.1:80"),
        "resources": Resources(pids=10),
        "env": {"A": "1"},
        "network": "mcpnet",
        "user": "0:0",
    }
    changed = component(**{name: other.get(name, ("80:80",))})
    assert definition_hash(changed) != definition_hash(component())


@given(services())
def test_both_ends_make_one_hash_of_a_definition(service: Service) -> None:
    sent = service_spec(service)
    arrived, problems = examine_service(service_values(type(sent)().parse(bytes(sent))))
    assert problems == []
    assert arrived is not None
    recorded = [msgspec.json.decode(msgspec.json.encode(each), type=Component) for each in arrived.components]
    assert list(map(definition_hash, recorded)) == list(map(definition_hash, service.components))
