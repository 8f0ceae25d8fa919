"""Services as Kubernetes pods, and what is told to be lost."""

from datetime import timedelta
from typing import Any

import pytest
import yaml

from mcpctl.definitions.exporting import kube
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
                "stop_timeout",
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


def spec(**keys: Any) -> dict[str, Any]:
    """The Pod of a component that says these."""
    made: dict[str, Any] = documents(**keys)[-1]["spec"]
    return made


def container(**keys: Any) -> dict[str, Any]:
    """What its container says beside what every container does."""
    (plain,), (made,) = spec()["containers"], spec(**keys)["containers"]
    return {key: value for key, value in made.items() if plain.get(key) != value}


def documents(**keys: Any) -> list[dict[str, Any]]:
    return pods(service(component(**keys)))


def lost(**keys: Any) -> list[str]:
    return [each.removeprefix("components[api].") for each in losses(kube.export(service(component(**keys))))]


# -- the Pod


@pytest.mark.parametrize(
    ("keys", "expected", "told"),
    [
        ({"hostname": "web"}, {"hostname": "web"}, []),
        ({"hostname": "web.example.net"}, {"hostname": "web.example.net"}, ["hostname"]),
        (
            {"add_hosts": ("a:10.0.0.1", "b:10.0.0.1", "c:host-gateway")},
            {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}]},
            ["add_hosts"],
        ),
        (
            {"dns": ("9.9.9.9",), "dns_search": ("a.b",), "dns_options": ("ndots:1", "rotate")},
            {
                "dnsPolicy": "None",
                "dnsConfig": {
                    "nameservers": ["9.9.9.9"],
                    "searches": ["a.b"],
                    "options": [{"name": "ndots", "value": "1"}, {"name": "rotate"}],
                },
            },
            [],
        ),
        (
            {"group_add": ("44", "audio"), "sysctls": {"net.core.somaxconn": "1"}},
            {
                "securityContext": {
                    "supplementalGroups": [44],
                    "sysctls": [{"name": "net.core.somaxconn", "value": "1"}],
                }
            },
            ["group_add"],
        ),
        ({"pid": "host", "ipc": "host"}, {"hostPID": True, "hostIPC": True}, ["pid"]),
        ({"ipc": "private"}, {}, ["ipc"]),
        ({"network": "none"}, {}, ["network"]),
        ({"networks": ("a", Network("b", ("c",), "10.0.0.1"))}, {}, ["networks", "networks"]),
        (
            {"platform": "linux/arm64"},
            {"nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}},
            ["platform"],
        ),
        ({"restart": "on-failure", "oneshot": True}, {"restartPolicy": "OnFailure"}, ["oneshot"]),
        ({"stop_timeout": timedelta(seconds=3)}, {"terminationGracePeriodSeconds": 3}, ["stop_timeout"]),
    ],
)
def test_keys_that_are_a_pods(keys: dict[str, Any], expected: dict[str, Any], told: list[str]) -> None:
    made = {key: value for key, value in spec(**keys).items() if value != spec().get(key)}
    assert made == expected
    assert lost(**keys) == told


def test_labels_and_annotations_are_podmans_and_what_kubernetes_refuses_is_told() -> None:
    keys = {"labels": {"a.b/c": "d", "e": "f g"}, "annotations": {"h": "i j", "k l": "m"}}
    metadata = documents(**keys)[0]["metadata"]
    assert metadata["labels"] == {"app": "web", "a.b/c": "d", "e": "f g"}
    assert metadata["annotations"] == {"h": "i j", "k l": "m"}
    assert lost(**keys) == ["labels.e", "annotations.k l"]


def test_what_podman_alone_has_annotations_for() -> None:
    keys: dict[str, Any] = {"init": True, "userns": "auto", "ulimits": {"nofile": "1:2", "nproc": "3"}}
    metadata = documents(**keys, resources=Resources(pids=7, cpuset="0"))[0]["metadata"]
    assert metadata["annotations"] == {
        "io.podman.annotations.init/api": "TRUE",
        "io.podman.annotations.userns": "auto",
        "io.podman.annotations.ulimit": "nofile=1:2,nproc=3:3",
        "io.podman.annotations.pids-limit/api": "7",
        "io.podman.annotations.cpuset/api": "0",
    }
    assert lost(**keys) == ["init", "userns", "ulimits"]


def test_namespaces_of_other_components_need_a_pod_for_both() -> None:
    made = service(component(network="component:db", pid="component:db"), component("db"))
    assert losses(kube.export(made))[1:] == [
        f"components[api].{each}" for each in ("name", "depends_on", "network", "pid")
    ]
    assert [each["metadata"]["name"] for each in pods(made)] == ["web-db", "web-api"], "after the one that it joins"


# -- the container


@pytest.mark.parametrize(
    ("keys", "expected", "told"),
    [
        (
            {"entrypoint": ("/a",), "cmd": ("b",), "workdir": "/c"},
            {"command": ["/a"], "args": ["b"], "workingDir": "/c"},
            [],
        ),
        ({"entrypoint": ()}, {}, ["entrypoint"]),
        ({"pull": Pull.NEVER}, {"imagePullPolicy": "Never"}, []),
        ({"pull": Pull.NEWER}, {"imagePullPolicy": "Always"}, ["pull"]),
        ({"tty": True, "interactive": True}, {"tty": True, "stdin": True}, ["interactive"]),
        (
            {"ports": ("80", "[::1]:81-82:91-92/udp")},
            {
                "ports": [
                    {"containerPort": 80, "protocol": "TCP"},
                    {"containerPort": 91, "hostPort": 81, "hostIP": "::1", "protocol": "UDP"},
                    {"containerPort": 92, "hostPort": 82, "hostIP": "::1", "protocol": "UDP"},
                ]
            },
            ["ports[0]"],
        ),
        (
            {"privileged": True, "read_only": True, "cap_add": ("cap_net_admin",), "cap_drop": ("ALL",)},
            {
                "securityContext": {
                    "privileged": True,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                }
            },
            ["read_only"],
        ),
        (
            {"security_opt": ("no-new-privileges", "label=type:spc_t", "unmask=ALL", "seccomp=unconfined")},
            {
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "seLinuxOptions": {"type": "spc_t"},
                    "procMount": "Unmasked",
                }
            },
            ["security_opt"],
        ),
        (
            {"resources": Resources(memory_reservation=5, cpu_shares=512, memory_swap=-1, oom_score_adj=1)},
            {"resources": {"requests": {"memory": "5", "cpu": "500m"}}},
            [f"resources.{each}" for each in ("memory_swap", "oom_score_adj", "cpu_shares")],
        ),
        ({"devices": ("/dev/fuse",)}, {}, ["devices"]),
        ({"shm_size": 5}, {}, ["shm_size"]),
        ({"stop_signal": "SIGINT"}, {}, ["stop_signal"]),
        ({"env_file": ("a.env",)}, {}, ["env_file"]),
        ({"health": Health(disable=True)}, {}, ["health.disable"]),
    ],
)
def test_keys_that_are_a_containers(keys: dict[str, Any], expected: dict[str, Any], told: list[str]) -> None:
    assert container(**keys) == expected
    assert lost(**keys) == told


def test_a_probes_times_are_whole_seconds_that_kubernetes_can_hold() -> None:
    short, long, longer = (timedelta(seconds=each) for each in (0.2, 2**31 - 1, 2**31))
    probe = Health(cmd=("a",), interval=short, timeout=long, start_period=longer)
    (made,) = spec(health=probe)["containers"]
    times = ("periodSeconds", "timeoutSeconds", "initialDelaySeconds")
    assert [made["livenessProbe"][each] for each in times] == [1, 2**31 - 1, 2**31 - 1]
    assert lost(health=probe) == ["health", "health.interval", "health.start_period"]


def test_a_probe_of_a_port_in_a_range_is_asked_where_it_leads() -> None:
    (made,) = spec(ports=("8080-8089:80-89",), health=Health(tcp="127.0.0.1:8085"))["containers"]
    assert made["livenessProbe"]["tcpSocket"] == {"port": 85}


# -- what it mounts


def test_volumes_that_nobody_names_and_folders_that_are_made() -> None:
    keys = {"volumes": ("/a", Mount("/b", "/srv/b", create=True), Mount("/c:d", "/srv/c"))}
    assert spec(**keys)["volumes"] == [
        {"name": "web-volume-0", "emptyDir": {}},
        {"name": "volume-1", "hostPath": {"path": "/srv/b", "type": "DirectoryOrCreate"}},
    ]
    assert [each["mountPath"] for each in container(**keys)["volumeMounts"]] == ["/a", "/b"]
    assert lost(**keys) == ["volumes"]


def test_a_folder_is_mounted_with_what_is_mounted_in_it() -> None:
    assert lost(volumes=("/srv:/a:rbind",)) == []
    assert lost(volumes=("/srv:/a:bind",)) == ["volumes[0]"]


def test_a_tmpfs_is_a_volume_in_memory() -> None:
    keys = {"tmpfs": ("/run:size=64m,mode=1777",)}
    assert spec(**keys)["volumes"] == [
        {"name": "web-tmpfs-0", "emptyDir": {"medium": "Memory", "sizeLimit": str(64 * 2**20)}}
    ]
    assert lost(**keys) == ["tmpfs[0]", "tmpfs[0]"]


def test_a_config_is_a_config_map_before_the_pod() -> None:
    keys = {"configs": (ConfigFile("/etc/a b", content="x\n", mode=0o440, gid=5), ConfigFile("/c", "c.conf"))}
    config_map, pod = documents(**keys)
    assert config_map == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web-config-0"},
        "data": {"a-b": "x\n"},
    }
    assert pod["spec"]["volumes"] == [
        {"name": "config-0", "configMap": {"name": "web-config-0", "defaultMode": 0o440}},
    ]
    assert container(**keys)["volumeMounts"] == [
        {"name": "config-0", "mountPath": "/etc/a b", "subPath": "a-b", "readOnly": True}
    ]
    assert lost(**keys) == ["configs[0]", "configs[0]", "configs[1]"]


# -- what is lost with what to do


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (
            service(volumes={"a b": Volume("nfs", {"o": "x y"}, {"l": "m"})}),
            "create it before: `podman volume create --driver nfs --opt 'o=x y' --label l=m 'a b'`",
        ),
        (
            service(networks={"web": NetworkDeclaration(None, ("10.0.0.0/24",), "10.0.0.1", True, True)}),
            "create it before: `podman network create --subnet 10.0.0.0/24 --gateway 10.0.0.1 --internal --ipv6 web`; "
            "name it: `podman kube play --network web`",
        ),
        (
            service(component(networks=(Network("a", ("b",), "10.0.0.1"),))),
            "`podman kube play --network a:alias=b,ip=10.0.0.1`",
        ),
        (
            service(component(log=Log(LogDriver.JOURNALD, tag="a b"))),
            "`podman kube play --log-driver=journald '--log-opt=tag=a b'`",
        ),
        (service(component(image="x:v1", platform="linux/arm64")), "`podman pull --platform linux/arm64 x:v1`"),
        (
            service(component(image="x:v1", build=Build(".", "D", "t", secrets=("id=a",), ssh=("default",)))),
            "`podman build --tag x:v1 --file D --target t --secret id=a --ssh default .`",
        ),
        (service(component(secrets=(Secret("key", env="KEY"),))), "key: create a Secret and set KEY from it"),
    ],
)
def test_a_remedy_can_be_typed(of: Service, message: str) -> None:
    (loss,) = kube.export(of).losses
    assert message in loss.message
