"""What an inspection of a container comes to as a declaration: what podman and the image add is taken off."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mcpd.runtime.create import Surroundings, container_spec
from mcpd.runtime.describe import Description
from protos.fingerprint import spec_hash
from protos.parts import ConfigFile, Health, Log, LogDriver, Mount, Network, Resources, Secret
from protos.spec import Component
from tests.support.builders import component
from tests.support.inspections import ID, described, made_by

APP = "localhost/app:v1"
DEFAULT = {"network": "private"}
TMPFS = "rw,rprivate,nosuid,nodev,tmpcopyup"


def said(found: Description) -> dict[str, Any]:
    """What is declared besides name, image and podman's default network; nothing may be lost."""
    assert found.losses == ()
    bare = Component("x", APP, **DEFAULT)
    return {
        key: getattr(found.component, key)
        for key in Component.__struct_fields__
        if getattr(found.component, key) != getattr(bare, key)
    }


def test_of_a_plain_container_only_the_image_is_left() -> None:
    assert described() == Description(Component("x", APP, **DEFAULT), ())


@pytest.mark.parametrize(
    ("config", "host", "expected"),
    [
        ({}, {"Privileged": True, "CapAdd": ["ALL"]}, {"privileged": True}),
        (
            made_by("--privileged", "--cap-drop", "CHOWN"),
            {"Privileged": True},
            {"privileged": True, "cap_drop": ("CHOWN",)},
        ),
        (made_by("--cap-add", "NET_ADMIN,SYS_TIME"), {}, {"cap_add": ("NET_ADMIN", "SYS_TIME")}),
        ({"CreateCommand": None}, {"CapAdd": ["CAP_CHOWN"]}, {"cap_add": ("CAP_CHOWN",)}),
        ({}, {"ReadonlyRootfs": True}, {"read_only": True}),
        ({}, {"Tmpfs": {"/t": TMPFS}}, {"tmpfs": ("/t",)}),
        ({}, {"Tmpfs": {"/t": f"size=1m,noexec,{TMPFS}"}}, {"tmpfs": ("/t:size=1m,noexec",)}),
        ({}, {"PidMode": "host", "IpcMode": "host"}, {"pid": "host", "ipc": "host"}),
        (made_by("--ipc=private"), {"IpcMode": "shareable"}, {"ipc": "private"}),
        ({"CreateCommand": None}, {"IpcMode": "private"}, {"ipc": "private"}),
        ({"Hostname": "hh"}, {}, {"hostname": "hh"}),
        ({"StopSignal": 3}, {}, {"stop_signal": "SIGQUIT"}),
        ({"StopSignal": "SIGQUIT"}, {}, {"stop_signal": "SIGQUIT"}),
        ({"StopSignal": 38}, {}, {"stop_signal": "38"}),
        ({"Labels": {"a": "b"}}, {}, {"labels": {"a": "b"}}),
        ({"Annotations": {"x": "y", "io.podman.annotations.init": "FALSE"}}, {}, {"annotations": {"x": "y"}}),
        (made_by("--sysctl=a.b=c=d"), {}, {"sysctls": {"a.b": "c=d"}}),
        (made_by("--ulimit", "nofile=1:2"), {"Ulimits": [{"Name": "RLIMIT_NPROC"}]}, {"ulimits": {"nofile": "1:2"}}),
        (made_by("--log-driver=journald", "--log-opt", "tag=x"), {}, {"log": Log(LogDriver.JOURNALD, tag="x")}),
        (made_by("--log-opt", "max-size=5m"), {"LogConfig": {"Size": "5MB"}}, {"log": Log(max_size=5_000_000)}),
        (
            made_by("--security-opt", "unmask=ALL", "--security-opt=no-new-privileges"),
            {},
            {"security_opt": ("unmask=ALL", "no-new-privileges")},
        ),
        (
            made_by("--device=vendor.com/gpu=all", "--device", "/dev/a:/dev/b:r"),
            {},
            {"devices": ("vendor.com/gpu=all", "/dev/a:/dev/b:r")},
        ),
        (
            {"CreateCommand": None},
            {"Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b"}]},
            {"devices": ("/dev/a:/dev/b",)},
        ),
        (made_by("-dit", "--platform=linux/arm64"), {}, {"platform": "linux/arm64"}),
        (made_by("--arch", "arm", "--variant=v7"), {}, {"platform": "linux/arm/v7"}),
        ({}, {"ShmSize": 128 << 20}, {"shm_size": 128 << 20}),
        ({}, {"ExtraHosts": ["a:10.0.0.1"]}, {"add_hosts": ("a:10.0.0.1",)}),
        (
            {},
            {"Dns": ["9.9.9.9"], "DnsSearch": ["x.y"], "DnsOptions": ["ndots:1"]},
            {"dns": ("9.9.9.9",), "dns_search": ("x.y",), "dns_options": ("ndots:1",)},
        ),
        ({"Tty": True, "OpenStdin": True}, {"Init": True}, {"tty": True, "interactive": True, "init": True}),
        (made_by("--userns", "keep-id:uid=1"), {"UsernsMode": "private"}, {"userns": "keep-id:uid=1"}),
        ({}, {"GroupAdd": ["5"]}, {"group_add": ("5",)}),
        ({"Annotations": {"run.oci.keep_original_groups": "1"}}, {}, {"group_add": ("keep-groups",)}),
        ({"WorkingDir": "/app"}, {}, {"workdir": "/app"}),
        ({"User": "5", **made_by("--user", "5")}, {}, {"user": "5"}),
        ({"User": "999:995", **made_by("--userns", "keep-id")}, {}, {"userns": "keep-id"}),
        (
            {"StopTimeout": 3},
            {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}},
            {"stop_timeout": timedelta(seconds=3), "restart": "on-failure:2"},
        ),
    ],
)
def test_what_was_asked_for_is_declared(config: dict[str, Any], host: dict[str, Any], expected: dict[str, Any]) -> None:
    assert said(described(config, host)) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ({"Memory": 1 << 20, "NanoCpus": 500_000_000, "PidsLimit": 9}, Resources(1 << 20, 0.5, 9)),
        ({"PidsLimit": 2048}, Resources()),
        ({"PidsLimit": -1, "Memory": 0}, Resources()),
        ({"Memory": 1 << 20, "MemorySwap": 2 << 20}, Resources(1 << 20)),
        ({"Memory": 1 << 20, "MemorySwap": 9 << 20}, Resources(1 << 20, memory_swap=9 << 20)),
        ({"Memory": 1 << 20, "MemorySwap": 2**63 - 4096}, Resources(1 << 20, memory_swap=-1)),
        (
            {"CpuShares": 9, "CpusetCpus": "0-1", "OomScoreAdj": -5, "MemoryReservation": 7},
            Resources(cpu_shares=9, cpuset="0-1", oom_score_adj=-5, memory_reservation=7),
        ),
    ],
)
def test_limits_without_podmans_own(host: dict[str, Any], expected: Resources) -> None:
    assert described(host=host).component.resources == expected


@pytest.mark.parametrize(
    ("config", "image", "expected"),
    [
        # podman's API of version 4 joins an entry point's words, later ones list them.
        (
            {"Entrypoint": "/init --fast", "Cmd": ["a"]},
            {"Entrypoint": ["/init", "--fast"], "Cmd": ["b"]},
            {"cmd": ("a",)},
        ),
        ({"Entrypoint": ["/init"], "Cmd": ["b"]}, {"Entrypoint": ["/init"], "Cmd": ["b"]}, {}),
        ({"Cmd": ["sleep", "9"]}, {"Cmd": ["/bin/app"]}, {"cmd": ("sleep", "9")}),
        (
            {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["sleep 9"]},
            {},
            {"entrypoint": ("/bin/sh", "-c"), "cmd": ("sleep 9",)},
        ),
        ({"Entrypoint": ["/other"], "Cmd": None}, {"Entrypoint": ["/init"]}, {"entrypoint": ("/other",)}),
        ({"Entrypoint": "", "Cmd": ["a"]}, {"Entrypoint": ["/init"]}, {"entrypoint": (), "cmd": ("a",)}),
        # Asked for by itself, the image's own entry point loses the image's command.
        ({"Entrypoint": ["/init"], "Cmd": None}, {"Entrypoint": ["/init"], "Cmd": ["b"]}, {"entrypoint": ("/init",)}),
        # What the image says is not declared, and what is asked against it is.
        ({"StopSignal": 3}, {"StopSignal": "SIGQUIT", "Cmd": ["/bin/app"]}, {}),
        ({"StopSignal": "SIGTERM"}, {"StopSignal": "SIGQUIT", "Cmd": ["/bin/app"]}, {"stop_signal": "SIGTERM"}),
        ({"StopSignal": 37}, {"StopSignal": "SIGRTMIN+3", "Cmd": ["/bin/app"]}, {}),
        ({"WorkingDir": "/app"}, {"WorkingDir": "/app", "Cmd": ["/bin/app"]}, {}),
        ({"WorkingDir": "/"}, {"WorkingDir": "/app", "Cmd": ["/bin/app"]}, {"workdir": "/"}),
        (
            {"Labels": {"a": "b", "c": "d"}},
            {"Labels": {"a": "b", "c": "e"}, "Cmd": ["/bin/app"]},
            {"labels": {"c": "d"}},
        ),
    ],
)
def test_a_setting_is_compared_with_the_images_own(
    config: dict[str, Any], image: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert said(described(config, image={"Config": image})) == expected


def test_the_words_of_a_joined_entry_point_are_found_in_what_runs() -> None:
    joined = {"Entrypoint": "/bin/sh -c echo a  b", "Cmd": ["x y"]}
    argv = {"Path": "/bin/sh", "Args": ["-c", "echo a  b", "x y"]}
    assert described(joined, **argv).component.entrypoint == ("/bin/sh", "-c", "echo a  b")
    with_init = {"Path": "/run/podman-init", "Args": ["--", "/bin/sh", "-c", "echo a  b", "x y"]}
    found = described(joined, {"Init": True}, **with_init).component
    assert (found.entrypoint, found.cmd, found.init) == (("/bin/sh", "-c", "echo a  b"), ("x y",), True)


def test_podmans_init_is_no_part_of_the_command() -> None:
    more = {"Path": "/run/podman-init", "Args": ["--", "/bin/sh", "-c", "sleep 9"]}
    entry = {"Entrypoint": "/bin/sh", "Cmd": ["-c", "sleep 9"], "Annotations": {"io.podman.annotations.init": "TRUE"}}
    expected = {"init": True, "entrypoint": ("/bin/sh",), "cmd": ("-c", "sleep 9")}
    assert said(described(entry, **more)) == expected
    words = ("/bin/sh", "-c", "sleep 9")
    assert said(described({"Cmd": list(words)}, {"Init": True}, **more)) == {"init": True, "cmd": words}


def test_the_environment_is_what_somebody_asked_for() -> None:
    env = ["A=1", "B=x=y", "FROM=image", "PATH=/bin", "HOME=/data", "TERM=xterm"]
    asked = ["podman", "run", "-e", "A=1", "--env=HOME=/data", APP, "-e", "TERM=no"]
    found = described(
        {"Env": env, "CreateCommand": asked}, image={"Config": {"Env": ["FROM=image"], "Cmd": ["/bin/app"]}}
    )
    assert found.component.env == {"A": "1", "B": "x=y", "HOME": "/data"}
    unknown = described({"Env": ["PATH=/bin", "TERM=xterm", "HOME=/x", "HOSTNAME=y"], "CreateCommand": None})
    assert unknown.component.env == {"PATH": "/bin", "HOME": "/x"}


def test_the_value_of_a_secret_is_never_declared() -> None:
    """podman 4 shows it in the environment of a container that has been started, podman 5 stars under its name."""
    env = ["S=the value", "s=*******", "A=1"]
    found = said(described({"Env": env, **made_by("--secret", "s,type=env,target=S")}))
    assert found == {"env": {"A": "1"}, "secrets": (Secret("s", env="S"),)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("s",), "s"),
        (("s,type=mount,target=s",), "s"),
        (("source=s,type=env",), Secret("s", env="s")),
        (("s,target=/run/x,uid=5,GID=6,mode=0400",), Secret("s", "/run/x", uid=5, gid=6, mode=0o400)),
    ],
)
def test_secrets_as_they_were_asked_for(words: tuple[str, ...], expected: Any) -> None:
    assert said(described(made_by("--secret", *words))) == {"secrets": (expected,)}


def test_ports_with_addresses_protocols_and_ranges() -> None:
    bindings = {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "", "HostPort": "5353"}],
        "9/sctp": [{"HostIp": "", "HostPort": "9"}],
        "70/tcp": None,
    }
    unknown = described({"CreateCommand": None}, {"PortBindings": bindings})
    assert unknown.component.ports == ("127.0.0.1:8080:80", "[::1]:8080:80", "5353:53/udp", "9:9/sctp")


def test_a_port_that_podman_chose_is_chosen_again() -> None:
    bindings = {"80/tcp": [{"HostPort": "41000"}], "91/tcp": [{"HostPort": "8001"}], "7/tcp": [{"HostPort": "7"}]}
    asked = made_by("-p", "80/tcp", "--publish=8000-8001:90-91")
    assert described(asked, {"PortBindings": bindings}).component.ports == ("80", "8000-8001:90-91", "7:7")
    exposed = described(made_by("-P"), {"PortBindings": {"80/tcp": [{"HostPort": "41000"}]}, "PublishAllPorts": True})
    assert exposed.component.ports == ("80",)
    assert any("--publish-all" in each for each in exposed.notes)


def test_mounts_with_what_was_asked_and_without_what_podman_adds() -> None:
    mounts = [
        {"Type": "bind", "Source": "/srv/x", "Destination": "/x", "Options": ["rbind"], "RW": False},
        {
            "Type": "bind",
            "Source": "/srv/y",
            "Destination": "/y",
            "Options": ["noexec", "rbind"],
            "Propagation": "rslave",
        },
        {"Type": "volume", "Name": "data", "Destination": "/d", "Mode": "Z", "Options": ["nosuid", "nodev", "rbind"]},
        {"Type": "volume", "Name": "c" * 64, "Destination": "/a", "Options": ["nosuid", "nodev", "rbind"]},
        {"Type": "bind", "Source": "/od:d", "Destination": "/o"},
        {"Type": "bind", "Source": "/graph/merge", "Destination": "/l", "Options": ["lowerdir=/low", "upperdir=/u"]},
    ]
    asked = ["podman", "run", "-v", "/srv/x:/x:ro,z", "--volume=data:/d:U", "-v/new:/n:O", APP]
    found = described({"CreateCommand": asked}, Mounts=mounts)
    strings = ("/srv/x:/x:ro,z", "/srv/y:/y:noexec,rslave", "data:/d:Z,U", "c" * 64 + ":/a", "/low:/l:O", "/new:/n:O")
    assert found.component.volumes == (*strings, Mount("/o", "/od:d"))
    assert found.losses == ()
    assert found.notes == ("its anonymous volume at /a, kept under its name",)


def test_options_of_a_mount_that_act_when_it_is_made() -> None:
    mounts = [
        {"Type": "bind", "Source": "/srv/x", "Destination": "/x", "Options": ["rbind"], "Propagation": "rprivate"}
    ]
    asked = made_by("--mount", "type=bind,src=/srv/x,dst=/x,relabel=private,chown=true")
    assert described(asked, Mounts=mounts).component.volumes == ("/srv/x:/x:Z,U",)


def test_a_read_only_containers_own_folders_in_memory_are_not_declared() -> None:
    tmpfs = dict.fromkeys(("/run", "/tmp", "/var/tmp"), TMPFS)
    host = {"ReadonlyRootfs": True, "Tmpfs": tmpfs}
    assert said(described(host=host)) == {"read_only": True}
    assert said(described(made_by("--tmpfs", "/run"), host)) == {"read_only": True, "tmpfs": ("/run",)}


@pytest.mark.parametrize(
    ("mode", "networks", "asked", "expected"),
    [
        ("bridge", {"podman": {}}, (), "private"),
        ("bridge", {"default-of-this-machine": {}}, (), "private"),
        ("bridge", {"podman": {}}, ("--network", "bridge"), "bridge"),
        ("bridge", {"mine": {}}, ("--network", "mine"), "mine"),
        ("bridge", {"mine": {}}, ("--net=mine",), "mine"),
        ("host", {}, (), "host"),
        ("none", {}, (), "none"),
        ("slirp4netns", {}, (), "private"),
        ("slirp4netns", {}, ("--network", "slirp4netns"), "slirp4netns"),
        ("pasta", None, (), "private"),
    ],
)
def test_the_network(mode: str, networks: dict[str, Any] | None, asked: tuple[str, ...], expected: str) -> None:
    command = ["podman", "run", *asked, APP]
    found = described({"CreateCommand": command}, {"NetworkMode": mode}, NetworkSettings={"Networks": networks})
    assert (found.component.network, found.component.networks, found.losses) == (expected, (), ())


def test_networks_with_their_aliases_and_addresses() -> None:
    joined = {"Networks": {"mine": {"Aliases": [ID[:12], "web-x", "db"]}, "other": {"Aliases": [ID[:12]]}}}
    asked = made_by("--network", "mine:ip=10.0.0.9,alias=db,ip6=fd00::9", "--network=other")
    found = said(described(asked, NetworkSettings=joined))
    assert found == {"network": None, "networks": ("other", Network("mine", ("db",), "10.0.0.9", "fd00::9"))}
    one = made_by("--network", "mine", "--network-alias=al", "--ip=10.0.0.9")
    unseen = described(one, NetworkSettings={"Networks": {"mine": {}}})
    assert said(unseen) == {"network": None, "networks": (Network("mine", ("al",), "10.0.0.9"),)}


def test_an_address_on_the_default_network_is_one_on_a_network_with_a_name() -> None:
    found = said(described(made_by("--network=bridge:ip=10.88.0.9")))
    assert found == {"network": None, "networks": (Network("podman", ip="10.88.0.9"),)}


def test_options_of_a_users_own_network_are_lost() -> None:
    asked = made_by("--network", "slirp4netns:allow_host_loopback=true")
    found = described(asked, {"NetworkMode": "slirp4netns"})
    assert found.losses == ("--network slirp4netns:allow_host_loopback=true",)
    assert found.component.network == "slirp4netns"


def test_a_namespace_of_another_component_is_that_components() -> None:
    names = {"abc": "db", "def": "cache"}
    host = {"NetworkMode": "container:abc", "PidMode": "container:abc", "IpcMode": "container:def"}
    found = described(host=host, names=names, Dependencies=["abc", "def"])
    shared = {"network": "component:db", "pid": "component:db", "ipc": "component:cache"}
    # Whoever shares a namespace waits for its owner anyway.
    assert said(found) == shared
    assert said(described(made_by("--requires=x"), names=names, Dependencies=["def"])) == {"depends_on": ("cache",)}


def test_a_health_check_becomes_a_probe() -> None:
    probe = {"Test": ["CMD-SHELL", "true || false"], "Interval": 10_000_000_000, "Timeout": 1_000_000, "Retries": 5}
    times = {"interval": timedelta(seconds=10), "timeout": timedelta(milliseconds=1), "retries": 5}
    assert described({"Healthcheck": probe}).component.health == Health(cmd=("/bin/sh", "-c", "true || false"), **times)
    # podman-run(1): 30 seconds unless it says otherwise.
    bare = described({"Healthcheck": {"Test": ["CMD", "a", "b"]}}).component.health
    assert bare == Health(cmd=("a", "b"), timeout=timedelta(seconds=30))
    assert described({"Healthcheck": {"Test": ["NONE"]}}).component.health is None


def test_a_health_check_of_the_image_is_nobodys_or_is_switched_off() -> None:
    full = {"Interval": 30_000_000_000, "Timeout": 30_000_000_000, "Retries": 3, "Test": ["CMD", "a"]}
    image = {"Config": {"Cmd": ["/bin/app"]}, "Healthcheck": {"Test": ["CMD", "a"]}}
    assert said(described({"Healthcheck": full}, image=image)) == {}
    for off in ({"Healthcheck": {"Test": ["NONE"]}}, {}):
        assert said(described(off, image=image)) == {"health": Health(disable=True)}


def test_an_image_that_was_named_by_nothing_is_named_by_its_tag_or_its_id() -> None:
    tagged = described(image={"RepoTags": ["localhost/app:v2"], "Config": {"Cmd": ["/bin/app"]}}, ImageName="")
    assert tagged.component.image == "localhost/app:v2"
    assert described(ImageName="").component.image == "ab" * 32


@pytest.mark.parametrize("size", ["10.49MB", "0B"])
def test_of_what_was_made_through_the_api_the_inspection_alone_tells(size: str) -> None:
    limits = [
        {"Name": "RLIMIT_NOFILE", "Soft": 1048576, "Hard": 1048576},
        {"Name": "RLIMIT_MEMLOCK", "Soft": -1, "Hard": -1},
    ]
    secrets = [{"Name": "s", "UID": 5, "GID": 0, "Mode": 0o400}, {"Name": "t", "Mode": 0}]
    host = {"Ulimits": limits, "LogConfig": {"Type": "none", "Size": size}, "SecurityOpt": ["label=a,label=b"]}
    assert said(described({"CreateCommand": None, "Secrets": secrets}, host)) == {
        "secrets": ("t", Secret("s", uid=5, mode=0o400)),
        "log": Log(LogDriver.NONE),
        "ulimits": {"memlock": "-1:-1"},
        "security_opt": ("label=a", "label=b"),
    }


def labelled(of: Component) -> dict[str, Any]:
    among = Surroundings(configs={each.target: "/v" for each in of.configs})
    body = container_spec("web-x", "rift", "web", of, spec_hash(of), among)
    return {"Labels": body["labels"], "CreateCommand": None}


def test_what_mcpd_made_says_itself_what_an_inspection_hides() -> None:
    hidden = {
        "sysctls": {"net.core.somaxconn": "9"},
        "secrets": (Secret("s", env="S"),),
        "stop_signal": "INT",
        "networks": (Network("web", ip="10.0.0.9"),),
        "resources": Resources(cpuset="0"),
    }
    made = component("x", **hidden)
    found = described({**labelled(made), "Env": ["S=the value"]}, {"UTSMode": "host"})
    assert said(found) == {"network": None, **hidden}


def test_of_mcpds_own_without_a_label_only_what_it_could_say_is_read() -> None:
    """An inspection shows limits that the node gives to all containers."""
    made = component("x", image=APP, user="5", env={"HOME": "/x"})
    limits = {"Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 5, "Hard": 5}]}
    found = described({**labelled(made), "User": "5", "Env": ["HOME=/x"]}, limits)
    assert said(found) == {"network": None, "user": "5", "env": {"HOME": "/x"}}
    no_home = described({**labelled(component("x", image=APP)), "Env": ["HOME=/of/passwd"]})
    assert said(no_home) == {"network": None}


def test_of_a_config_of_mcpds_the_text_is_missing_and_its_file_is_no_volume() -> None:
    made = component("x", configs=(ConfigFile("/etc/a", content="text"),))
    mounts = [{"Type": "bind", "Source": "/v", "Destination": "/etc/a", "Options": ["rbind"]}]
    found = described(labelled(made), Mounts=mounts)
    assert (found.component.volumes, found.component.configs) == ((), ())
    assert found.notes == ("its config at /etc/a, whose text only its definition has",)


@pytest.mark.parametrize("label", ["nonsense", "[]", "{}"])
def test_a_label_that_makes_no_sense_says_nothing(label: str) -> None:
    labels = {"mcp.spec-hash": "0", "mcp.declared": label}
    assert said(described({"Labels": labels, "CreateCommand": None})) == {}


def test_of_a_label_only_what_a_definition_could_say_counts() -> None:
    said_twice = {"sysctls": 5, "name": "y", "env": {"A": "1"}, "odd": 1, "network": "mine"}
    labels = {"mcp.spec-hash": "0", "mcp.declared": msgspec.json.encode(said_twice).decode()}
    assert said(described({"Labels": labels, "CreateCommand": None})) == {"network": "mine"}


def test_a_strangers_label_says_nothing() -> None:
    labels = {"mcp.spec-hash": "0", "mcp.declared": msgspec.json.encode({"privileged": True}).decode()}
    assert said(described({"Labels": labels})) == {}
