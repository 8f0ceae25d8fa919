"""What an inspection of a container comes to as a declaration: what podman and the image add is taken off."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mcpd.runtime.describe import Description, describe
from mcpd.runtime.inspected import Details, ImageDefaults
from mcpd.runtime.unsupported_options import SETTINGS, SUPPORTED, TRANSIENT
from protos.parts import Health, Resources
from protos.spec import Component

ID = "0123456789abcdef" * 4


def described(
    config: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    image: dict[str, Any] | None = None,
    **more: Any,
) -> Description:
    """A container of which only these things are not as podman makes them by itself."""
    plain = {
        "Id": ID,
        "Name": "web-x",
        "Image": "ab" * 32,
        "ImageName": "localhost/app:v1",
        "Path": "/bin/app",
        "Args": ["/bin/app"],
        "Config": {
            "Hostname": ID[:12],
            "Env": ["PATH=/bin", "TERM=xterm", "container=podman", "HOME=/root", f"HOSTNAME={ID[:12]}"],
            "Cmd": ["/bin/app"],
            "Entrypoint": "",
            "CreateCommand": ["podman", "run", "-d", "localhost/app:v1"],
            **(config or {}),
        },
        "HostConfig": {"NetworkMode": "bridge", "PidsLimit": 2048, **(host or {})},
        "NetworkSettings": {"Networks": {"podman": {}}},
        **more,
    }
    details = msgspec.convert(plain, type=Details)
    defaults = msgspec.convert(image or {"Config": {"Cmd": ["/bin/app"]}}, type=ImageDefaults)
    return describe("x", details, defaults)


def made_by(*words: str) -> dict[str, Any]:
    return {"CreateCommand": ["podman", "run", *words, "localhost/app:v1"]}


def test_of_a_plain_container_only_the_image_is_left() -> None:
    assert described() == Description(Component("x", "localhost/app:v1"), ())


@pytest.mark.parametrize(
    ("config", "image", "expected"),
    [
        # podman 4 joins an entry point's words, podman 5 lists them.
        ({"Entrypoint": "/init --fast", "Cmd": ["a"]}, {"Entrypoint": ["/init", "--fast"], "Cmd": ["b"]}, ("a",)),
        ({"Entrypoint": ["/init"], "Cmd": ["b"]}, {"Entrypoint": ["/init"], "Cmd": ["b"]}, ()),
        ({"Cmd": ["sleep", "9"]}, {"Cmd": ["/bin/app"]}, ("sleep", "9")),
    ],
)
def test_the_command_is_what_differs_from_the_image(
    config: dict[str, Any], image: dict[str, Any], expected: tuple[str, ...]
) -> None:
    found = described(config, image={"Config": image})
    assert (found.component.cmd, found.losses) == (expected, ())


def test_an_entry_point_that_the_image_has_not_is_the_head_of_the_command() -> None:
    more = {"Path": "/bin/sh", "Args": ["-c", "sleep 9"]}
    found = described({"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["sleep 9"]}, **more)
    assert found.component.cmd == ("/bin/sh", "-c", "sleep 9")


def test_another_entry_point_than_the_images_cannot_be_said() -> None:
    found = described({"Entrypoint": ["/other"], "Cmd": ["a"]}, image={"Config": {"Entrypoint": ["/init"]}})
    assert any(each.startswith("--entrypoint") for each in found.losses)


def test_the_environment_is_what_somebody_asked_for() -> None:
    env = ["A=1", "B=x=y", "FROM=image", "PATH=/bin", "HOME=/data", "TERM=xterm"]
    asked = ["podman", "run", "-e", "A=1", "--env=HOME=/data", "localhost/app:v1", "-e", "TERM=no"]
    found = described(
        {"Env": env, "CreateCommand": asked}, image={"Config": {"Env": ["FROM=image"], "Cmd": ["/bin/app"]}}
    )
    assert found.component.env == {"A": "1", "B": "x=y", "HOME": "/data"}


def test_ports_with_addresses_protocols_and_ranges() -> None:
    bindings = {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "", "HostPort": "5353"}],
        "9/sctp": [{"HostIp": "", "HostPort": "9"}],
        "70/tcp": None,
    }
    found = described(host={"PortBindings": bindings})
    assert found.component.ports == ("127.0.0.1:8080:80", "[::1]:8080:80", "5353:53/udp")
    assert any("9:9/sctp" in each for each in found.losses)


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
        {"Type": "volume", "Name": "data", "Destination": "/d", "Options": ["nosuid", "nodev", "rbind"]},
        {"Type": "volume", "Name": "c" * 64, "Destination": "/a", "Options": ["nosuid", "nodev", "rbind"]},
        {"Type": "bind", "Source": "/od:d", "Destination": "/o"},
        {"Type": "image", "Source": "/i", "Destination": "/i"},
    ]
    asked = ["podman", "run", "-v", "/srv/x:/x:ro,z", "--volume=data:/d:U", "localhost/app:v1"]
    found = described({"CreateCommand": asked}, Mounts=mounts)
    assert found.component.volumes == ("/srv/x:/x:ro,z", "/srv/y:/y:noexec,rslave", "data:/d:U", "c" * 64 + ":/a")
    losses = "\n".join(found.losses)
    assert "/od:d" in losses
    assert "of type image at /i" in losses
    assert found.notes == ("its anonymous volume at /a, kept under its name",)


@pytest.mark.parametrize(
    ("mode", "networks", "asked", "expected"),
    [
        ("bridge", {"podman": {}}, (), None),
        ("bridge", {"default-of-this-machine": {}}, (), None),
        ("bridge", {"mine": {}}, ("--network", "mine"), "mine"),
        ("bridge", {"mine": {}}, ("--net=mine",), "mine"),
        ("host", {}, (), "host"),
        ("none", {}, (), "none"),
        ("slirp4netns", {}, (), None),
        ("pasta", None, (), None),
    ],
)
def test_the_network(mode: str, networks: dict[str, Any] | None, asked: tuple[str, ...], expected: str | None) -> None:
    command = ["podman", "run", *asked, "localhost/app:v1"]
    found = described({"CreateCommand": command}, {"NetworkMode": mode}, NetworkSettings={"Networks": networks})
    assert (found.component.network, found.losses) == (expected, ())


def test_a_second_network_and_another_containers_cannot_be_said() -> None:
    two = described({"CreateCommand": None}, NetworkSettings={"Networks": {"a": {}, "b": {}}})
    assert (two.component.network, two.losses) == ("a", ("--network b",))
    assert described(host={"NetworkMode": "container:1234"}).losses == ("--network container:1234",)


def test_limits_and_podmans_own_limit_of_processes() -> None:
    limited = {"Memory": 1 << 20, "NanoCpus": 500_000_000, "PidsLimit": 9}
    assert described(host=limited).component.resources == Resources(1 << 20, 0.5, 9)
    assert described(host={"PidsLimit": 2048}).component.resources == Resources()
    assert described(host={"PidsLimit": -1, "Memory": 0}).component.resources == Resources()


def test_a_health_check_becomes_a_probe() -> None:
    probe = {"Test": ["CMD-SHELL", "true || false"], "Interval": 10_000_000_000, "Timeout": 0, "Retries": 5}
    expected = Health(cmd=("/bin/sh", "-c", "true || false"), interval=timedelta(seconds=10), retries=5)
    assert described({"Healthcheck": probe}).component.health == expected
    assert described({"Healthcheck": {"Test": ["CMD", "a", "b"]}}).component.health == Health(cmd=("a", "b"))
    assert described({"Healthcheck": {"Test": ["NONE"]}}).component.health is None


def test_an_image_that_was_named_by_nothing_is_named_by_its_tag_or_its_id() -> None:
    tagged = described(image={"RepoTags": ["localhost/app:v2"], "Config": {"Cmd": ["/bin/app"]}}, ImageName="")
    assert tagged.component.image == "localhost/app:v2"
    assert described(ImageName="").component.image == "ab" * 32


@pytest.mark.parametrize(
    ("config", "host", "loss"),
    [
        ({}, {"Privileged": True, "CapAdd": ["ALL"]}, "--privileged"),
        ({}, {"CapAdd": ["CAP_NET_ADMIN"]}, "--cap-add CAP_NET_ADMIN"),
        ({}, {"ReadonlyRootfs": True}, "--read-only"),
        ({}, {"Tmpfs": {"/t": "rw"}}, "--tmpfs /t"),
        ({}, {"AutoRemove": True}, "--rm (it goes when it ends)"),
        ({}, {"PidMode": "host"}, "--pid host"),
        ({"Hostname": "hh"}, {}, "--hostname hh"),
        ({"StopSignal": 3}, {}, "--stop-signal 3"),
        ({"StopSignal": "SIGQUIT"}, {}, "--stop-signal SIGQUIT"),
        ({"Labels": {"a\n": "b"}}, {}, "--label a?"),
        (made_by("--sysctl=a=b"), {}, "--sysctl a=b"),
        (made_by("--cgroupns", "host"), {}, "--cgroupns host"),
        (made_by("--secret", "s,type=env,target=S"), {}, "--secret s,type=env,target=S"),
        (made_by("--requires=db"), {}, "--requires db"),
        (made_by("--ulimit", "nofile=1:2"), {"Ulimits": [{"Name": "RLIMIT_NOFILE"}]}, "--ulimit nofile=1:2"),
        (made_by("--log-opt", "max-size=5m"), {}, "--log-opt max-size=5m"),
        (made_by("--log-driver=journald"), {"LogConfig": {"Type": "journald"}}, "--log-driver journald"),
        (made_by("--ip", "10.0.0.9"), {}, "--ip 10.0.0.9"),
        (made_by("--systemd=always"), {"StopSignal": 37, "SystemdMode": True}, "--systemd always"),
        (made_by("--security-opt", "unmask=ALL"), {}, "--security-opt unmask=ALL"),
        (made_by("--device=vendor.com/gpu=all"), {}, "--device vendor.com/gpu=all"),
        (made_by("--passwd-entry", "root:SECRET"), {}, "--passwd-entry"),
        (made_by("--of-another-year", "x"), {}, "--of-another-year"),
        (made_by("--volume", "/a:/b", "-dit", "--platform=linux/arm64"), {}, "--platform linux/arm64"),
        ({}, {"SecurityOpt": ["no-new-privileges"]}, "--security-opt no-new-privileges"),
        ({}, {"ShmSize": 128 << 20}, "--shm-size 134217728"),
        ({}, {"ExtraHosts": ["a:10.0.0.1"]}, "--add-host a:10.0.0.1"),
        ({}, {"Init": True}, "--init"),
        ({}, {"UTSMode": "host"}, "--uts host"),
        ({}, {"UsernsMode": "private"}, "--userns private"),
        ({}, {"Memory": 1 << 20, "MemorySwap": 9 << 20}, f"--memory-swap {9 << 20}"),
        ({}, {"OomKillDisable": True}, "--oom-kill-disable"),
        ({}, {"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 5}]}, "--device-read-bps /dev/sda:5"),
        ({}, {"Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b"}]}, "--device /dev/a:/dev/b"),
        ({"WorkingDir": "/app"}, {}, "--workdir /app"),
        ({"Umask": "0077"}, {}, "--umask 0077"),
        ({"Timezone": "Europe/Berlin"}, {}, "--tz Europe/Berlin"),
        ({"Annotations": {"x": "SECRET", "io.podman.annotations.init": "FALSE"}}, {}, "--annotation x"),
        ({"HealthcheckOnFailureAction": "kill"}, {}, "--health-on-failure kill"),
        ({"Env": [" odd =1"]}, {}, "an environment variable: ' odd ' is not the name of an environment variable"),
        ({"User": "a b"}, {}, "--user: 'a b' is not a user: USER[:GROUP], names or numbers"),
    ],
)
def test_what_a_definition_cannot_say_is_named(config: dict[str, Any], host: dict[str, Any], loss: str) -> None:
    assert described(config, host).losses == (loss,)


def test_labels_of_the_image_are_nobodys_loss() -> None:
    image = {"Config": {"Cmd": ["/bin/app"], "Labels": {"a": "b"}}}
    assert described({"Labels": {"a": "b"}}, image=image).losses == ()


@pytest.mark.parametrize(
    ("config", "image", "losses"),
    [
        # What the image says is nobody's loss, and what is asked against it is one.
        ({"StopSignal": 3}, {"StopSignal": "SIGQUIT"}, ()),
        ({"StopSignal": "SIGTERM"}, {"StopSignal": "SIGQUIT"}, ("--stop-signal SIGTERM",)),
        ({"StopSignal": 37}, {"StopSignal": "SIGRTMIN+3"}, ()),
        ({"WorkingDir": "/app"}, {"WorkingDir": "/app"}, ()),
        ({"WorkingDir": "/"}, {"WorkingDir": "/app"}, ("--workdir /",)),
        ({}, {"Env": ["A=1"]}, ("--unsetenv A",)),
        ({"Entrypoint": ""}, {"Entrypoint": ["/init"]}, ("--entrypoint ''",)),
    ],
)
def test_a_setting_is_compared_with_the_images_own(
    config: dict[str, Any], image: dict[str, Any], losses: tuple[str, ...]
) -> None:
    assert described(config, image={"Config": {"Cmd": ["/bin/app"], **image}}).losses == losses


def test_a_health_check_of_the_image_that_was_switched_off_is_named() -> None:
    off = {"Healthcheck": {"Test": ["NONE"]}}
    checked = {"Config": {"Cmd": ["/bin/app"]}, "Healthcheck": {"Test": ["CMD", "a"]}}
    assert described(off).losses == ()
    assert described(off, image=checked).losses == ("--no-healthcheck",)


@pytest.mark.parametrize(
    "words",
    [
        ("--init=false", "--read-only=false", "--systemd=true", "--http-proxy", "--log-driver", "k8s-file"),
        (
            "--pull",
            "always",
            "--replace",
            "--name",
            "web-x",
            "--label-file",
            "f",
            "--cidfile",
            "c",
            "-d",
            "--expose=80",
        ),
        ("-e", "--flag=x", "--env", "--sysctl", "-v", "/a:/b", "-p80:80", "-eA=--sysctl"),
        ("--secret", "s,type=mount", "--image-volume=bind", "--umask", "0022", "--network=podman:alias=x"),
    ],
)
def test_what_changes_nothing_or_is_only_a_value_is_no_loss(words: tuple[str, ...]) -> None:
    assert described(made_by(*words)).losses == ()


def test_the_options_of_the_program_are_not_podmans() -> None:
    command = ["podman", "run", "-d", "localhost/app:v1", "--sysctl", "a=b", "--privileged"]
    assert described({"CreateCommand": command}).losses == ()
    # The API's service made it, whose own command line podman keeps.
    assert described({"CreateCommand": ["podman", "system", "service", "--time=0"]}).losses == ()


def test_aliases_but_for_those_that_podman_gives_are_named() -> None:
    joined = {"Networks": {"mine": {"Aliases": [ID[:12], "web-x", "db"]}}}
    assert described(made_by("--network", "mine"), NetworkSettings=joined).losses == ("--network-alias db",)
    fixed = described(made_by("--network", "mine:ip=10.0.0.9,alias=db"), NetworkSettings=joined)
    assert fixed.losses == ("--network mine:ip=10.0.0.9,alias=db", "--network-alias db")


def test_podmans_init_is_no_part_of_the_command() -> None:
    more = {"Path": "/run/podman-init", "Args": ["--", "/bin/sh", "-c", "sleep 9"]}
    entry = {"Entrypoint": "/bin/sh", "Cmd": ["-c", "sleep 9"], "Annotations": {"io.podman.annotations.init": "TRUE"}}
    found = described(entry, **more)
    assert (found.component.cmd, found.losses) == (("/bin/sh", "-c", "sleep 9"), ("--init",))
    assert described({"Cmd": ["/bin/sh", "-c", "sleep 9"]}, {"Init": True}, **more).component.cmd == (
        "/bin/sh",
        "-c",
        "sleep 9",
    )


def test_options_of_a_mount_that_act_when_it_is_made() -> None:
    mounts = [
        {"Type": "bind", "Source": "/srv/x", "Destination": "/x", "Options": ["rbind"], "Propagation": "rprivate"}
    ]
    asked = made_by("--mount", "type=bind,src=/srv/x,dst=/x,relabel=private,chown=true")
    assert described(asked, Mounts=mounts).component.volumes == ("/srv/x:/x:Z,U",)


def test_a_read_only_containers_own_folders_in_memory_are_no_loss_of_theirs() -> None:
    tmpfs = dict.fromkeys(("/run", "/tmp", "/var/tmp"), "rw")
    assert described(host={"ReadonlyRootfs": True, "Tmpfs": tmpfs}).losses == ("--read-only",)
    assert described(made_by("--tmpfs", "/run:size=1m"), {"ReadonlyRootfs": True, "Tmpfs": tmpfs}).losses == (
        "--read-only",
        "--tmpfs /run",
    )


def test_what_tools_find_their_containers_by_and_what_we_made_is_no_loss() -> None:
    labels = {"com.docker.compose.project": "p", "io.podman.compose.version": "1", "mcp.node": "rift"}
    assert described({"Labels": labels}).losses == ()
    ours = {"Labels": {"mcp.spec-hash": "0", "a": "b"}, "CreateCommand": None}
    assert described(ours, {"Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 5, "Hard": 5}]}).losses == ()


def test_of_what_was_made_through_the_api_the_inspection_alone_tells() -> None:
    limits = [
        {"Name": "RLIMIT_NOFILE", "Soft": 1048576, "Hard": 1048576},
        {"Name": "RLIMIT_MEMLOCK", "Soft": -1, "Hard": -1},
    ]
    secret = {"Name": "s", "UID": 5, "GID": 0, "Mode": 0o400}
    found = described({"CreateCommand": None, "Secrets": [secret]}, {"Ulimits": limits, "LogConfig": {"Type": "none"}})
    assert found.losses == ("--secret s,uid=5,gid=0,mode=0400", "--log-driver none", "--ulimit memlock=-1:-1")


# podman-run(1) of 4.3 and of 5.4.
OPTIONS = """
add-host annotation arch attach authfile blkio-weight blkio-weight-device cap-add cap-drop cert-dir cgroup-conf
cgroup-parent cgroupns cgroups chrootdirs cidfile conmon-pidfile cpu-period cpu-quota cpu-rt-period cpu-rt-runtime
cpu-shares cpus cpuset-cpus cpuset-mems creds decryption-key detach detach-keys device device-cgroup-rule
device-read-bps device-read-iops device-write-bps device-write-iops disable-content-trust dns dns-option dns-search
entrypoint env env-file env-host env-merge expose gidmap gpus group-add group-entry health-cmd health-interval
health-log-destination health-max-log-count health-max-log-size health-on-failure health-retries health-start-period
health-startup-cmd health-startup-interval health-startup-retries health-startup-success health-startup-timeout
health-timeout help hostname hosts-file hostuser http-proxy image-volume init init-ctr init-path interactive ip ip6 ipc
label label-file log-driver log-opt mac-address memory memory-reservation memory-swap memory-swappiness mount name
network network-alias no-healthcheck no-hostname no-hosts oom-kill-disable oom-score-adj os passwd passwd-entry
personality pid pidfile pids-limit platform pod pod-id-file preserve-fd preserve-fds privileged publish publish-all pull
quiet rdt-class read-only read-only-tmpfs replace requires restart retry retry-delay rm rmi rootfs runtime sdnotify
seccomp-policy secret security-opt shm-size shm-size-systemd sig-proxy stop-signal stop-timeout subgidname subuidname
sysctl systemd timeout tls-verify tmpfs tty tz uidmap ulimit umask unsetenv unsetenv-all user userns uts variant volume
volumes-from workdir
"""


def test_every_option_of_podman_run_is_in_one_place() -> None:
    places = [*SUPPORTED, *TRANSIENT, *(each.option for each in SETTINGS)]
    assert sorted(places) == sorted(f"--{each}" for each in OPTIONS.split())
