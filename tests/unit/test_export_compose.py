"""Services as compose files, and what is told to be lost."""

from typing import Any

import pytest
import yaml

from mcpctl.definitions.exporting import compose
from protos.parts import (
    Build,
    ConfigFile,
    Health,
    Log,
    LogDriver,
    Mount,
    Network,
    NetworkDeclaration,
    Pull,
    Resources,
    Secret,
    Volume,
)
from protos.spec import Service
from tests.support.builders import component, service
from tests.support.exports import FULL, PLAIN, losses


def composed(of: Service) -> dict[str, Any]:
    (file,) = compose.export(of).files
    found: dict[str, Any] = yaml.safe_load(file.text)
    return found


def test_a_service_is_a_compose_file() -> None:
    assert composed(FULL) == {
        "name": "web",
        "services": {
            "api": {
                "container_name": "web-api",
                "image": "registry.example.net:5000/app:v1",
                "networks": ["mcpnet"],
                "restart": "on-failure:3",
                "command": ["serve", "--name", "a b"],
                "user": "1000:1001",
                "environment": {"LOG": "info", "ODD": "$$x"},
                "ports": ["127.0.0.1:8080:80", "53:53/udp"],
                "volumes": ["/srv/web:/data:ro", "cache:/cache"],
                "secrets": ["key"],
                "depends_on": {"db": {"condition": "service_healthy"}},
                "stop_grace_period": "3s",
                "healthcheck": {
                    "test": ["CMD", "check", "a b"],
                    "interval": "1.5s",
                    "timeout": "5s",
                    "retries": 3,
                    "start_period": "0s",
                },
                "mem_limit": "268435456b",
                "cpus": "0.5",
                "pids_limit": 77,
            },
            "db": {
                "container_name": "web-db",
                "image": "postgres:16",
                "restart": "no",
                "stop_grace_period": "10s",
                "healthcheck": {
                    "test": ["CMD", "pg_isready", "-q"],
                    "interval": "30s",
                    "timeout": "5s",
                    "retries": 3,
                    "start_period": "0s",
                },
            },
        },
        "networks": {"default": {"name": "web"}, "mcpnet": {"name": "mcpnet"}},
        "volumes": {"cache": {"name": "cache"}},
        "secrets": {"key": {"external": True}},
    }
    assert losses(compose.export(FULL)) == ["components[api].heal"]


def test_losses_of_compose() -> None:
    assert losses(compose.export(PLAIN)) == []
    made = service(component(active=False, volumes=("a:/a:ro,nocopy",), health=Health(http="http://127.0.0.1/")))
    assert losses(compose.export(made)) == [
        f"components[api].{each}" for each in ("active", "volumes[0]", "health.http")
    ]
    assert composed(made)["services"]["api"]["volumes"] == ["a:/a:ro"]


def test_names_with_a_dollar_are_a_list() -> None:
    made = composed(service(component(env={"A$B": "c$d"})))
    assert made["services"]["api"]["environment"] == ["A$$B=c$$d"]


def made(**keys: Any) -> dict[str, Any]:
    """What a component that says these is, beside what every service has."""
    (api,) = [composed(service(component(**keys)))["services"]["api"]]
    return {key: value for key, value in api.items() if key not in composed(service())["services"]["api"]}


# -- networks


def test_the_services_own_network_is_composes_default() -> None:
    found = composed(service(component(), component("db")))
    assert found["networks"] == {"default": {"name": "web"}}
    assert all("networks" not in each and "network_mode" not in each for each in found["services"].values())


def test_a_service_that_podman_has_a_word_for_has_another_network() -> None:
    assert composed(service(name="host"))["networks"] == {"default": {"name": "host-net"}}


def test_networks_with_names_and_addresses() -> None:
    of = service(
        component(networks=("web", Network("front", ("shop",), "10.89.7.5", "fd00::5"))),
        component("db"),
        component("proxy", network="default"),
        networks={
            "front": NetworkDeclaration(
                "macvlan", ("10.89.7.0/24", "fd00::/64"), "10.89.7.1", True, True, {"mtu": "1400"}, {"a": "b"}
            ),
            "default": NetworkDeclaration(external=True),
        },
    )
    found = composed(of)
    assert found["services"]["api"]["networks"] == {
        "default": {},
        "front": {"aliases": ["shop"], "ipv4_address": "10.89.7.5", "ipv6_address": "fd00::5"},
    }
    assert found["services"]["proxy"]["networks"] == ["default-"], "compose's own is called so, too"
    assert found["networks"] == {
        "default": {"name": "web"},
        "default-": {"name": "default", "external": True},
        "front": {
            "name": "front",
            "driver": "macvlan",
            "driver_opts": {"mtu": "1400"},
            "ipam": {"config": [{"subnet": "10.89.7.0/24", "gateway": "10.89.7.1"}, {"subnet": "fd00::/64"}]},
            "internal": True,
            "enable_ipv6": True,
            "labels": {"a": "b"},
        },
    }
    assert losses(compose.export(of)) == []


@pytest.mark.parametrize(
    ("network", "mode"), [("host", "host"), ("none", "none"), ("bridge", "bridge"), ("component:db", "service:db")]
)
def test_network_modes(network: str, mode: str) -> None:
    found = composed(service(component(network=network), component("db", network="none")))
    assert found["services"]["api"]["network_mode"] == mode
    assert "networks" not in found


# -- what it depends on


def test_conditions_of_what_others_wait_for() -> None:
    of = service(
        component(depends_on=("migrate", "db", "cache", "off"), pid="component:first"),
        component("migrate", oneshot=True),
        component("db", health=Health(cmd=("ready",))),
        component("cache", health=Health(tcp="127.0.0.1:1")),
        component("off", health=Health(disable=True)),
        component("first"),
    )
    api = composed(of)["services"]["api"]
    assert {name: each["condition"] for name, each in api["depends_on"].items()} == {
        "migrate": "service_completed_successfully",
        "db": "service_healthy",
        "cache": "service_started",
        "off": "service_started",
        "first": "service_started",
    }
    assert api["pid"] == "container:web-first"
    assert composed(of)["services"]["off"]["healthcheck"] == {"disable": True}
    assert "components[migrate].oneshot" in losses(compose.export(of))


# -- volumes, secrets, configs


def test_volumes_in_the_notation_that_can_say_them() -> None:
    volumes = (
        "/anonymous",
        "cache:/cache:ro",
        Mount("/a:b", "/srv/$a", ("ro", "z", "rslave", "U"), create=True),
        Mount("/c:d", "cache", ("nocopy",)),
    )
    of = service(
        component(volumes=volumes),
        volumes={"cache": Volume("nfs", {"o": "x"}, {"a": "$b"}), "old": Volume("nfs", external=True), "new": Volume()},
    )
    assert composed(of)["services"]["api"]["volumes"] == [
        "/anonymous",
        "cache:/cache:ro",
        {
            "type": "bind",
            "source": "/srv/$$a",
            "target": "/a:b",
            "read_only": True,
            "bind": {"propagation": "rslave", "selinux": "z", "create_host_path": True},
        },
        {"type": "volume", "source": "cache", "target": "/c:d", "volume": {"nocopy": True}},
    ]
    assert composed(of)["volumes"] == {
        "cache": {"name": "cache", "driver": "nfs", "driver_opts": {"o": "x"}, "labels": {"a": "$$b"}},
        "old": {"name": "old", "external": True},
        "new": {"name": "new"},
    }
    assert losses(compose.export(of)) == ["components[api].volumes[2]", "volumes.old.driver"]


def test_secrets_are_files_and_nothing_else() -> None:
    of = service(component(secrets=("key", Secret("token", "/a", uid=5, gid=6, mode=0o440), Secret("other", env="X"))))
    found = composed(of)
    assert found["services"]["api"]["secrets"] == [
        "key",
        {"source": "token", "target": "/a", "uid": "5", "gid": "6", "mode": "0440"},
    ]
    assert found["secrets"] == {"key": {"external": True}, "token": {"external": True}}
    assert losses(compose.export(of)) == ["components[api].secrets"]


def test_configs_have_their_text_in_the_file() -> None:
    of = service(component(configs=(ConfigFile("/a", content="$x\n", mode=0o400, uid=7), ConfigFile("/b", "b.conf"))))
    found = composed(of)
    assert found["services"]["api"]["configs"] == [
        {"source": "api-0", "target": "/a", "uid": "7", "mode": "0400"},
        {"source": "api-1", "target": "/b"},
    ]
    assert found["configs"] == {"api-0": {"content": "$$x\n"}, "api-1": {"file": "b.conf"}}


# -- the rest


def test_an_entrypoint_that_is_none_is_said() -> None:
    assert made(entrypoint=()) == {"entrypoint": []}
    assert made(entrypoint=("/bin/sh", "-c", "$x")) == {"entrypoint": ["/bin/sh", "-c", "$$x"]}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"pull": Pull.ALWAYS}, {"pull_policy": "always"}),
        ({"pull": Pull.NEVER}, {"pull_policy": "never"}),
        ({"tmpfs": ("/run:size=64m",)}, {"tmpfs": ["/run:size=64m"]}),
        ({"ulimits": {"nproc": "5", "nofile": "1:2"}}, {"ulimits": {"nproc": 5, "nofile": {"soft": 1, "hard": 2}}}),
        ({"sysctls": {"net.core.somaxconn": "1"}}, {"sysctls": {"net.core.somaxconn": "1"}}),
        ({"interactive": True, "tty": True, "init": True}, {"stdin_open": True, "tty": True, "init": True}),
        ({"shm_size": 2**20}, {"shm_size": "1048576b"}),
        ({"labels": {"a$": "b"}}, {"labels": ["a$$=b"]}),
        ({"annotations": {"a": "$"}}, {"annotations": {"a": "$$"}}),
        ({"log": Log(LogDriver.K8S_FILE, 5)}, {"logging": {"driver": "json-file", "options": {"max-size": "5"}}}),
        ({"log": Log(LogDriver.NONE)}, {"logging": {"driver": "none"}}),
        (
            {"resources": Resources(memory_reservation=1, cpu_shares=2, cpuset="0")},
            {"mem_reservation": "1b", "cpu_shares": 2, "cpuset": "0"},
        ),
        (
            {"build": Build("https://a.example.net/b.git", "D", "t", {"A": "b"}, ("id=s,src=/s",), ("default",))},
            {
                "build": {
                    "context": "https://a.example.net/b.git",
                    "dockerfile": "D",
                    "target": "t",
                    "args": {"A": "b"},
                    "secrets": ["s"],
                    "ssh": ["default"],
                }
            },
        ),
    ],
)
def test_keys_that_compose_has_a_word_for(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    assert made(**keys) == expected
    assert losses(compose.export(service(component(**keys)))) == []


def test_secrets_of_a_build_are_declared() -> None:
    build = Build("/src", secrets=("id=a,src=/a", "id=b,type=env,env=B", "c"))
    assert composed(service(component(build=build)))["secrets"] == {"a": {"file": "/a"}, "b": {"environment": "B"}}
    assert losses(compose.export(service(component(build=build)))) == ["components[api].build.secrets"]


def test_what_podman_compose_ignores_is_told() -> None:
    assert made(ipc="host", resources=Resources(memory_swap=-1, oom_score_adj=5)) == {
        "ipc": "host",
        "memswap_limit": -1,
        "oom_score_adj": 5,
    }
    of = service(component(ipc="host", resources=Resources(memory_swap=-1, oom_score_adj=5)))
    assert losses(compose.export(of)) == [
        f"components[api].{each}" for each in ("resources.memory_swap", "resources.oom_score_adj", "ipc")
    ]


def test_a_user_namespace_is_not_one_of_a_pod() -> None:
    assert composed(service(component(userns="auto")))["x-podman"] == {"in_pod": False}


def test_files_beside_the_definition_are_told_of() -> None:
    of = service(component(env_file=("web.env", "/etc/web.env"), build=Build("src")))
    assert composed(of)["services"]["api"]["env_file"] == ["web.env", "/etc/web.env"]
    assert losses(compose.export(of)) == ["components[api].build.context", "components[api].env_file"]
