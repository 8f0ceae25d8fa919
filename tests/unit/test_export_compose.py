"""Services as compose files, and what is told to be lost."""

from typing import Any

import yaml

from mcpctl.definitions.exporting import compose
from protos.parts import Health
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
