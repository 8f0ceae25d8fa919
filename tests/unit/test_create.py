"""The body that creates a container: what each line of a definition becomes in podman."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given

from mcpd.runtime.create import LOG_SIZE_LIMIT, container_spec, own_network
from protos.parts import Resources
from protos.spec import Component
from tests.support.builders import IMAGE, component
from tests.support.strategies import components


def body(**overrides: Any) -> dict[str, Any]:
    return container_spec("web-api", "rift", "web", component(**overrides), "0123456789abcdef")


def test_a_container_carries_the_labels_that_say_whose_it_is() -> None:
    made = body()
    assert (made["name"], made["image"]) == ("web-api", IMAGE)
    assert made["labels"] == {
        "mcp.service": "web",
        "mcp.component": "api",
        "mcp.spec-hash": "0123456789abcdef",
        "mcp.node": "rift",
    }


def test_what_is_not_declared_is_left_to_podman() -> None:
    made = body()
    assert not {"command", "user", "netns", "networks", "restart_tries"} & made.keys()
    assert made["portmappings"] == made["secrets"] == made["mounts"] == made["volumes"] == []
    assert made["resource_limits"] == {}


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ("8080:80", {"host_ip": "", "host_port": 8080, "container_port": 80, "protocol": "tcp"}),
        ("127.0.0.1:53:53/udp", {"host_ip": "127.0.0.1", "host_port": 53, "container_port": 53, "protocol": "udp"}),
        ("[::1]:8443:443", {"host_ip": "::1", "host_port": 8443, "container_port": 443, "protocol": "tcp"}),
    ],
)
def test_a_port_is_published(text: str, mapping: dict[str, Any]) -> None:
    assert body(ports=(text,))["portmappings"] == [mapping]


def test_a_path_is_bound_and_a_name_is_a_volume() -> None:
    made = body(volumes=("/srv/web:/data:ro,Z", "cache:/var/cache:U", "/etc/ssl:/etc/ssl"))
    assert made["mounts"] == [
        {"type": "bind", "source": "/srv/web", "destination": "/data", "options": ["rbind", "ro", "Z"]},
        {"type": "bind", "source": "/etc/ssl", "destination": "/etc/ssl", "options": ["rbind"]},
    ]
    assert made["volumes"] == [{"Name": "cache", "Dest": "/var/cache", "Options": ["U"]}]


def test_a_named_network_is_joined() -> None:
    made = body(network="mcpnet")
    assert made["netns"] == {"nsmode": "bridge"}
    assert made["networks"] == {"mcpnet": {}}
    assert own_network(component(network="mcpnet")) == "mcpnet"


@pytest.mark.parametrize("mode", ["host", "none"])
def test_a_network_mode_is_no_network_to_join_or_make(mode: str) -> None:
    made = body(network=mode)
    assert made["netns"] == {"nsmode": mode}
    assert "networks" not in made
    assert own_network(component(network=mode)) == ""


def test_no_network_is_named_by_default() -> None:
    assert own_network(component()) == ""


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("no", {"restart_policy": "no"}),
        ("always", {"restart_policy": "always"}),
        ("unless-stopped", {"restart_policy": "unless-stopped"}),
        ("on-failure", {"restart_policy": "on-failure"}),
        ("on-failure:5", {"restart_policy": "on-failure", "restart_tries": 5}),
    ],
)
def test_a_restart_policy_is_podmans_own(text: str, policy: dict[str, Any]) -> None:
    made = body(restart=text)
    assert {key: made[key] for key in made if key.startswith("restart")} == policy


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Resources(memory=2**28), {"memory": {"limit": 268435456}}),
        (Resources(cpus=0.5), {"cpu": {"quota": 50_000, "period": 100_000}}),
        (Resources(cpus=2), {"cpu": {"quota": 200_000, "period": 100_000}}),
        (Resources(pids=64), {"pids": {"limit": 64}}),
        (
            Resources(2**20, 1, 1),
            {"memory": {"limit": 2**20}, "cpu": {"quota": 100_000, "period": 100_000}, "pids": {"limit": 1}},
        ),
    ],
)
def test_only_the_limits_that_are_declared_are_set(limits: Resources, expected: dict[str, Any]) -> None:
    assert body(resources=limits)["resource_limits"] == expected


def test_a_program_gets_its_arguments_environment_user_and_secrets() -> None:
    made = body(cmd=("serve", "--x=a b"), env={"A": "1"}, user="1000:0", secrets=("key",))
    assert made["command"] == ["serve", "--x=a b"]
    assert made["env"] == {"A": "1"}
    assert made["user"] == "1000:0"
    assert made["secrets"] == [{"Source": "key", "Target": "key"}]


@pytest.mark.parametrize(("declared", "seconds"), [(0, 0), (10, 10), (90, 90)])
def test_the_stop_timeout_is_in_seconds(declared: int, seconds: int) -> None:
    assert body(stop_timeout=timedelta(seconds=declared))["stop_timeout"] == seconds


def test_a_short_stop_timeout_is_never_rounded_to_none_at_all() -> None:
    """0 tells podman to kill at once."""
    assert body(stop_timeout=timedelta(milliseconds=400))["stop_timeout"] >= 1


def test_a_containers_log_cannot_fill_the_disk() -> None:
    assert body()["log_configuration"] == {"driver": "k8s-file", "size": LOG_SIZE_LIMIT}


@given(components())
def test_every_component_makes_a_body_that_json_can_carry(any_component: Component) -> None:
    made = container_spec("x", "rift", "web", any_component, "h")
    assert msgspec.json.decode(msgspec.json.encode(made)) == made
    assert len(made["mounts"]) + len(made["volumes"]) == len(any_component.volumes)
    assert len(made["portmappings"]) == len(any_component.ports)
