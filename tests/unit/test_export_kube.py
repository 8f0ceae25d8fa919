"""Services as Kubernetes pods, and what is told to be lost."""

from typing import Any

import pytest
import yaml

from mcpctl.definitions.exporting import kube
from protos.parts import Health, Resources
from protos.spec import Service
from tests.support.builders import component, service
from tests.support.exports import FULL, losses


def pods(of: Service) -> list[dict[str, Any]]:
    (file,) = kube.export(of).files
    return list(yaml.safe_load_all(file.text))


def test_a_component_is_a_pod_after_those_that_it_needs() -> None:
    database, pod = pods(FULL)
    assert [each["metadata"]["name"] for each in (database, pod)] == ["web-db", "web-api"]
    assert pod == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-api",
            "labels": {"app": "web"},
            "annotations": {"io.podman.annotations.pids-limit/api": "77"},
        },
        "spec": {
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 3,
            "containers": [
                {
                    "name": "api",
                    "image": "registry.example.net:5000/app:v1",
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["serve", "--name", "a b"],
                    "env": [{"name": "LOG", "value": "info"}, {"name": "ODD", "value": "$x"}],
                    "ports": [
                        {"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "TCP"},
                        {"containerPort": 53, "hostPort": 53, "protocol": "UDP"},
                    ],
                    "volumeMounts": [
                        {"name": "volume-0", "mountPath": "/data", "readOnly": True},
                        {"name": "volume-1", "mountPath": "/cache"},
                    ],
                    "resources": {"limits": {"memory": "268435456", "cpu": "500m"}},
                    "securityContext": {"runAsUser": 1000, "runAsGroup": 1001},
                    "livenessProbe": {
                        "exec": {"command": ["check", "a b"]},
                        "periodSeconds": 2,
                        "timeoutSeconds": 5,
                        "failureThreshold": 3,
                        "initialDelaySeconds": 0,
                    },
                }
            ],
            "volumes": [
                {"name": "volume-0", "hostPath": {"path": "/srv/web"}},
                {"name": "volume-1", "persistentVolumeClaim": {"claimName": "cache"}},
            ],
        },
    }


def test_the_claims_stand_in_a_comment_that_is_yaml() -> None:
    (file,) = kube.export(service(component(volumes=("cache:/a", "other:/b", "cache:/c")))).files
    lines = [line.removeprefix("# ") for line in file.text.splitlines() if line.startswith("#")]
    claims = list(yaml.safe_load_all("\n".join(lines[1:])))
    assert [(each["kind"], each["metadata"]["name"]) for each in claims] == [
        ("PersistentVolumeClaim", "cache"),
        ("PersistentVolumeClaim", "other"),
    ]


@pytest.mark.parametrize(
    ("components", "names", "lost"),
    [
        (("api",), [("web", "api")], []),
        (("web",), [("web", "main")], ["components[web].name"]),
        (("api", "db"), [("web-api", "api"), ("web-db", "db")], ["components[api].name", "components[db].name"]),
    ],
)
def test_names_of_pods(components: tuple[str, ...], names: list[tuple[str, str]], lost: list[str]) -> None:
    made = service(*map(component, components))
    assert [(each["metadata"]["name"], each["spec"]["containers"][0]["name"]) for each in pods(made)] == names
    assert losses(kube.export(made)) == lost


@pytest.mark.parametrize(
    ("probe", "ports", "expected"),
    [
        (
            {"http": "http://127.0.0.1:18443/healthz?full=1"},
            ("127.0.0.1:18443:8443",),
            {"httpGet": {"path": "/healthz?full=1", "port": 8443, "scheme": "HTTP"}},
        ),
        (
            {"http": "https://other.example.net"},
            (),
            {"httpGet": {"host": "other.example.net", "path": "/", "port": 443, "scheme": "HTTPS"}},
        ),
        ({"tcp": "127.0.0.1:5432"}, ("127.0.0.1:5432:15432",), {"tcpSocket": {"port": 15432}}),
    ],
)
def test_a_probe_from_the_node_is_asked_where_the_container_listens(
    probe: dict[str, str], ports: tuple[str, ...], expected: dict[str, Any]
) -> None:
    made = service(component(ports=ports, health=Health(**probe)))
    found = pods(made)[0]["spec"]["containers"][0]["livenessProbe"]
    assert found.items() >= expected.items()
    assert f"components[api].health.{next(iter(probe))}" in losses(kube.export(made))


def test_losses_of_kube() -> None:
    assert losses(kube.export(service(component()))) == []
    assert losses(kube.export(FULL)) == [
        "components[db].name",
        "components[db].health",
        *(
            f"components[api].{each}"
            for each in (
                "name",
                "network",
                "secrets",
                "depends_on",
                "heal",
                "restart",
                "health",
                "health.interval",
                "health.cmd",
                "resources.pids",
            )
        ),
    ]
    made = service(
        component(user="app", volumes=("a:/a:U,ro",), cmd=("echo $(id)",), resources=Resources(cpus=0.0125)),
        active=False,
    )
    assert losses(kube.export(made)) == [
        f"components[api].{each}" for each in ("active", "volumes[0]", "cmd", "resources.cpus", "user")
    ]


def test_the_hosts_network_and_rare_mounts_of_kube() -> None:
    (pod,) = pods(service(component(network="host", volumes=("/a:/b:rslave,z",))))
    assert pod["spec"]["hostNetwork"] is True
    assert pod["spec"]["containers"][0]["volumeMounts"][0]["mountPropagation"] == "HostToContainer"
