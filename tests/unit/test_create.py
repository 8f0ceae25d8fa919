"""The body that creates a container: what each line of a definition becomes in podman."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given

from mcpd.runtime.create import LOG_SIZE_LIMIT, Surroundings, container_spec
from mcpd.runtime.declared_label import LABEL_DECLARED
from mcpd.runtime.settings import NOT_OF_PODMAN, SETTINGS
from protos.parts import ConfigFile, Health, Log, LogDriver, Mount, Network, Resources, Secret
from protos.spec import Component
from tests.support.builders import IMAGE, component
from tests.support.strategies import components

AMONG = Surroundings(
    containers={"db": "web-db", "api": "web-api"}, own_networks=frozenset({"web"}), configs={"/etc/app.conf": "/v/1"}
)
TMPFS = {"type": "tmpfs", "source": "tmpfs", "options": []}


def body(among: Surroundings = AMONG, **overrides: Any) -> dict[str, Any]:
    return container_spec("web-api", "rift", "web", component(**overrides), "0123456789abcdef", among)


def test_every_key_is_in_the_table_or_none_of_podmans() -> None:
    """And each of a table that has several: `resources`, `log`."""
    keys = [each.key for each in SETTINGS]
    assert len(keys) == len(set(keys))
    for table in (Resources, Log):
        prefix = f"{table.__name__.lower()}."
        inner = {each.removeprefix(prefix) for each in keys if each.startswith(prefix)}
        assert inner == set(table.__struct_fields__)
    assert {each.partition(".")[0] for each in keys} | NOT_OF_PODMAN == set(Component.__struct_fields__)


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
    """A definition that says nothing else makes the container that it always made, on a network of its service's."""
    made = body()
    assert made == {
        "name": "web-api",
        "image": IMAGE,
        "labels": made["labels"],
        "env": {},
        "stop_timeout": 10,
        "log_configuration": {"driver": "k8s-file", "size": LOG_SIZE_LIMIT},
        "portmappings": [],
        "secrets": [],
        "resource_limits": {},
        "restart_policy": "no",
        "mounts": [],
        "volumes": [],
        "netns": {"nsmode": "bridge"},
        "networks": {"web": {"aliases": ["api"]}},
    }


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


def test_a_component_has_its_name_on_networks_of_the_services_own() -> None:
    joined = ("shared", Network("web", aliases=("www", "api"), ip="10.0.0.9", ip6="fd00::9"))
    assert body(networks=joined)["networks"] == {
        "shared": {},
        "web": {"aliases": ["api", "www"], "static_ips": ["10.0.0.9", "fd00::9"]},
    }


@pytest.mark.parametrize("mode", ["host", "none", "bridge", "private", "slirp4netns", "pasta"])
def test_a_network_mode_is_no_network_to_join(mode: str) -> None:
    made = body(network=mode)
    assert made["netns"] == {"nsmode": mode}
    assert "networks" not in made


def test_a_namespace_of_another_component_is_that_of_its_container() -> None:
    made = body(network="component:db", pid="component:db", ipc="component:db")
    expected = {"nsmode": "container", "value": "web-db"}
    assert made["netns"] == made["pidns"] == made["ipcns"] == expected
    assert "networks" not in made


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
    assert made["secrets"] == [{"Source": "key", "Target": "key", "Mode": 0o444}]


@pytest.mark.parametrize(("declared", "seconds"), [(0, 0), (10, 10), (90, 90)])
def test_the_stop_timeout_is_in_seconds(declared: int, seconds: int) -> None:
    assert body(stop_timeout=timedelta(seconds=declared))["stop_timeout"] == seconds


def test_a_short_stop_timeout_is_never_rounded_to_none_at_all() -> None:
    """0 tells podman to kill at once."""
    assert body(stop_timeout=timedelta(milliseconds=400))["stop_timeout"] >= 1


def test_a_containers_log_cannot_fill_the_disk() -> None:
    assert body()["log_configuration"] == {"driver": "k8s-file", "size": LOG_SIZE_LIMIT}


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ({"entrypoint": ("/init", "-x")}, {"entrypoint": ["/init", "-x"]}),
        # An empty list would be the image's own.
        ({"entrypoint": ()}, {"entrypoint": [""]}),
        ({"workdir": "/app"}, {"work_dir": "/app"}),
        ({"hostname": "h"}, {"hostname": "h"}),
        ({"init": True, "tty": True, "interactive": True}, {"init": True, "terminal": True, "stdin": True}),
        ({"stop_signal": "SIGINT"}, {"stop_signal": 2}),
        ({"platform": "linux/arm/v7"}, {"image_os": "linux", "image_arch": "arm", "image_variant": "v7"}),
        ({"secrets": (Secret("s", env="S"),)}, {"secrets": [], "secret_env": {"S": "s"}}),
        (
            {"secrets": (Secret("s", target="/t", uid=5, gid=6, mode=0o400),)},
            {"secrets": [{"Source": "s", "Target": "/t", "UID": 5, "GID": 6, "Mode": 0o400}]},
        ),
        (
            {"ports": ("8000-8002:90-92", "70")},
            {
                "portmappings": [
                    {"host_ip": "", "host_port": 8000, "container_port": 90, "protocol": "tcp", "range": 3},
                    {"host_ip": "", "host_port": 0, "container_port": 70, "protocol": "tcp"},
                ]
            },
        ),
        ({"add_hosts": ("a:host-gateway",)}, {"hostadd": ["a:host-gateway"]}),
        ({"dns": ("9.9.9.9",), "dns_search": (".",)}, {"dns_server": ["9.9.9.9"], "dns_search": ["."]}),
        ({"dns_options": ("ndots:1",)}, {"dns_option": ["ndots:1"]}),
        ({"volumes": ("/data",)}, {"volumes": [{"Name": "", "Dest": "/data", "Options": []}]}),
        (
            {"volumes": (Mount("/t", "/a:b"),)},
            {"mounts": [{"type": "bind", "source": "/a:b", "destination": "/t", "options": ["rbind"]}]},
        ),
        # podman takes only one of the two words.
        (
            {"volumes": ("/a:/b:bind",)},
            {"mounts": [{"type": "bind", "source": "/a", "destination": "/b", "options": ["bind"]}]},
        ),
        # As a bind mount, what the program writes would be in the node's own folder.
        (
            {"volumes": ("/a:/b:O",)},
            {"mounts": [], "overlay_volumes": [{"source": "/a", "destination": "/b", "options": ["O"]}]},
        ),
        ({"tmpfs": ("/t:size=1m",)}, {"mounts": [{**TMPFS, "destination": "/t", "options": ["size=1m"]}]}),
        (
            {"configs": (ConfigFile("/etc/app.conf", content="x"),)},
            {
                "mounts": [
                    {
                        "type": "bind",
                        "source": "/v/1",
                        "destination": "/etc/app.conf",
                        "options": ["rbind", "ro", "z"],
                    }
                ]
            },
        ),
        ({"shm_size": 2**27}, {"shm_size": 2**27}),
        (
            {"devices": ("/dev/fuse", "nvidia.com/gpu=all")},
            {"devices": [{"path": "/dev/fuse"}, {"path": "nvidia.com/gpu=all"}]},
        ),
        (
            {"group_add": ("44", "keep-groups")},
            {"groups": ["44"], "annotations": {"run.oci.keep_original_groups": "1"}},
        ),
        ({"userns": "keep-id:uid=1"}, {"userns": {"nsmode": "keep-id", "value": "uid=1"}}),
        (
            {"userns": "auto:size=4096"},
            {
                "userns": {"nsmode": "auto", "value": "size=4096"},
                "idmappings": {"AutoUserNs": True, "AutoUserNsOpts": {"Size": 4096}},
            },
        ),
        ({"userns": "nomap"}, {"userns": {"nsmode": "no-map"}}),
        ({"pid": "host", "ipc": "shareable"}, {"pidns": {"nsmode": "host"}, "ipcns": {"nsmode": "shareable"}}),
        ({"cap_add": ("NET_ADMIN",), "cap_drop": ("ALL",)}, {"cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"]}),
        ({"privileged": True}, {"privileged": True}),
        (
            {"security_opt": ("no-new-privileges", "seccomp=/p", "apparmor:a", "label=type:a", "label=level:s0")},
            {
                "no_new_privileges": True,
                "seccomp_profile_path": "/p",
                "apparmor_profile": "a",
                "selinux_opts": ["type:a", "level:s0"],
                "annotations": {
                    "io.podman.annotations.seccomp": "/p",
                    "io.podman.annotations.apparmor": "a",
                    "io.podman.annotations.label": "type:a,label=level:s0",
                },
            },
        ),
        (
            {"security_opt": ("mask=/a:/b", "unmask=/c", "systempaths=unconfined", "proc-opts=hidepid=2,ro")},
            {"mask": ["/a", "/b"], "unmask": ["/c", "ALL"], "procfs_opts": ["hidepid=2", "ro"]},
        ),
        ({"security_opt": ("no-new-privileges=false",)}, {}),
        (
            {"ulimits": {"nofile": "1:2", "core": "-1"}},
            {
                "r_limits": [
                    {"type": "nofile", "soft": 1, "hard": 2},
                    {"type": "core", "soft": 2**64 - 1, "hard": 2**64 - 1},
                ]
            },
        ),
        ({"sysctls": {"net.core.somaxconn": "9"}}, {"sysctl": {"net.core.somaxconn": "9"}}),
        ({"annotations": {"a": "b"}}, {"annotations": {"a": "b"}}),
        ({"health": Health(disable=True)}, {"healthconfig": {"Test": ["NONE"]}}),
        ({"health": Health(cmd=("true",))}, {}),
        ({"log": Log(LogDriver.NONE)}, {"log_configuration": {"driver": "none"}}),
        (
            {"log": Log(max_size=5000, tag="x")},
            {"log_configuration": {"driver": "k8s-file", "size": 5000, "options": {"tag": "x"}}},
        ),
        (
            {"resources": Resources(cpu_shares=9, cpuset="0-1", oom_score_adj=-5, memory_reservation=7)},
            {
                "resource_limits": {"cpu": {"shares": 9, "cpus": "0-1"}, "memory": {"reservation": 7}},
                "oom_score_adj": -5,
            },
        ),
        (
            {"resources": Resources(memory=2**20, memory_swap=2**21 + 1)},
            {"resource_limits": {"memory": {"limit": 2**20, "swap": 2**21 + 1}}},
        ),
        # podman's API refuses -1, and takes what the kernel takes.
        (
            {"resources": Resources(memory=2**20, memory_swap=-1)},
            {"resource_limits": {"memory": {"limit": 2**20, "swap": 2**63 - 4096}}},
        ),
        ({"resources": Resources(memory_swap=-1)}, {"resource_limits": {}}),
    ],
)
def test_each_key_goes_to_its_place(said: dict[str, Any], sent: dict[str, Any]) -> None:
    made, bare = body(**said), body()
    assert {key: made[key] for key in made if key != "labels" and made[key] != bare.get(key)} == {
        key: value for key, value in sent.items() if value != bare.get(key)
    }


def test_a_read_only_container_can_write_to_memory_where_nothing_else_is() -> None:
    """podman 4's API leaves that to whoever calls it."""
    made = body(read_only=True, volumes=("data:/var/tmp/", "x:/run/x"), tmpfs=("/tmp:size=1m",))
    assert made["read_only_filesystem"] is made["read_write_tmpfs"] is True
    in_memory = {each["destination"]: each["options"] for each in made["mounts"]}
    assert in_memory == {"/run": [], "/tmp": ["size=1m"]}


def test_labels_stand_beside_ours() -> None:
    labels = body(labels={"a": "b"})["labels"]
    assert (labels["a"], labels["mcp.service"]) == ("b", "web")


def test_an_older_podman_gets_the_nodes_address_for_host_gateway() -> None:
    among = Surroundings(host_gateway="10.1.2.3")
    assert body(among, add_hosts=("a:host-gateway", "b:10.0.0.1"))["hostadd"] == ["a:10.1.2.3", "b:10.0.0.1"]


@pytest.mark.parametrize(
    "said",
    [
        {"user": "1", "cmd": ("a",), "ports": ("1:2",), "volumes": ("/a:/b:z", "v:/c"), "secrets": ("s",)},
        {"network": "net", "resources": Resources(2**20, 0.5, 9), "env": {"A": "B"}, "restart": "always"},
        {"network": "host", "health": Health(disable=True), "stop_timeout": timedelta(1)},
    ],
)
def test_what_an_inspection_shows_needs_no_label(said: dict[str, Any]) -> None:
    assert LABEL_DECLARED not in body(**said)["labels"]


@pytest.mark.parametrize(
    "said",
    [
        {"sysctls": {"net.core.somaxconn": "9"}},
        {"ports": ("80",)},
        {"volumes": ("/anonymous",)},
        {"secrets": (Secret("s", env="S"),)},
        {"network": "private"},
        {"network": "component:db"},
        {"resources": Resources(cpuset="0")},
    ],
)
def test_what_an_inspection_hides_is_in_a_label(said: dict[str, Any]) -> None:
    declared = msgspec.json.decode(body(env={"A": "secret"}, **said)["labels"][LABEL_DECLARED])
    assert declared.keys() == said.keys()


def test_the_label_has_no_text_of_a_config() -> None:
    made = body(configs=(ConfigFile("/etc/app.conf", content="secret text", mode=0o400),))
    assert "secret text" not in made["labels"][LABEL_DECLARED]
    assert "/etc/app.conf" in made["labels"][LABEL_DECLARED]


@given(components())
def test_every_component_makes_a_body_that_json_can_carry(any_component: Component) -> None:
    among = Surroundings(configs={each.target: "/v" for each in any_component.configs})
    made = container_spec("x", "rift", "web", any_component, "h", among)
    assert msgspec.json.decode(msgspec.json.encode(made)) == made
    mounted = (*made["mounts"], *made["volumes"], *made.get("overlay_volumes", ()))
    asked = len(any_component.volumes) + len(any_component.configs) + len(any_component.tmpfs)
    assert asked <= len(mounted) <= asked + 3
    assert len(made["portmappings"]) == len(any_component.ports)
