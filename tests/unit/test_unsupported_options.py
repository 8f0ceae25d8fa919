"""What a definition cannot say of a container is named, and nothing else is."""

from typing import Any

import pytest

from mcpd.runtime.settings import SUPPORTED
from mcpd.runtime.unsupported_options import TRANSIENT, UNSUPPORTED
from tests.support.inspections import described, made_by


@pytest.mark.parametrize(
    ("config", "host", "loss"),
    [
        ({}, {"AutoRemove": True}, "--rm (it goes when it ends)"),
        ({"Labels": {"a=\n": "SECRET"}}, {}, "--label: 'a=\\n' is not the name of a label"),
        (made_by("--cgroupns", "host"), {}, "--cgroupns host"),
        (made_by("--secret", "s,type=odd"), {}, "--secret s,type=odd"),
        (made_by("--secret", "s,mode=x"), {}, "--secret s,mode=x"),
        (made_by("--requires=db"), {}, "--requires db"),
        (made_by("--ulimit", "host"), {}, "--ulimit host"),
        (
            made_by("--ulimit", "nofile=lots"),
            {},
            "--ulimit: nofile: 'lots' is not a limit: SOFT[:HARD], numbers, -1 for unlimited",
        ),
        (made_by("--log-opt", "path=/x"), {}, "--log-opt path=/x"),
        (
            made_by("--log-driver", "passthrough"),
            {},
            "--log-driver: found 'passthrough'; allowed: k8s-file, json-file, journald, none",
        ),
        (made_by("--network", "mine:mac=92:d0:c6:0a:29:33"), {}, "--network mine:mac=92:d0:c6:0a:29:33"),
        (made_by("--mac-address", "92:d0:c6:0a:29:33"), {}, "--mac-address 92:d0:c6:0a:29:33"),
        (made_by("--systemd=always"), {"StopSignal": 37, "SystemdMode": True}, "--systemd always"),
        (made_by("--security-opt", "odd=x"), {}, "--security-opt: 'odd=x' is not a security option"),
        (made_by("--passwd-entry", "root:SECRET"), {}, "--passwd-entry"),
        (made_by("--of-another-year", "x"), {}, "--of-another-year"),
        (made_by("--read-only", "--read-only-tmpfs=false"), {}, "--read-only-tmpfs false"),
        (made_by("--pids-limit=-1"), {"PidsLimit": 0}, "--pids-limit -1"),
        (made_by("--pid", "ns:/x"), {"PidMode": "ns:/x"}, "--pid ns:/x"),
        (made_by("--ipc", "container:1"), {"IpcMode": "container:1"}, "--ipc container:1"),
        (
            made_by("--userns", "ns:/x"),
            {},
            "--userns: 'ns:/x' is not a user namespace: host, keep-id[:OPTIONS], auto[:OPTIONS] or nomap",
        ),
        (made_by("--uidmap", "0:1:2"), {"UsernsMode": "private"}, "--uidmap 0:1:2"),
        ({}, {"UTSMode": "host"}, "--uts host"),
        ({}, {"UsernsMode": "private"}, "--userns private"),
        ({}, {"OomKillDisable": True}, "--oom-kill-disable"),
        ({}, {"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 5}]}, "--device-read-bps /dev/sda:5"),
        ({"Umask": "0077"}, {}, "--umask 0077"),
        ({"Timezone": "Europe/Berlin"}, {}, "--tz Europe/Berlin"),
        ({"HealthcheckOnFailureAction": "kill"}, {}, "--health-on-failure kill"),
        ({"Env": [" odd =1"]}, {}, "--env: ' odd ' is not the name of an environment variable"),
        ({"User": "a b", "CreateCommand": None}, {}, "--user: 'a b' is not a user: USER[:GROUP], names or numbers"),
    ],
)
def test_what_a_definition_cannot_say_is_named(config: dict[str, Any], host: dict[str, Any], loss: str) -> None:
    (found,) = described(config, host).losses
    assert found.startswith(loss)
    assert "SECRET" not in found


@pytest.mark.parametrize("mode", ["container:1234", "ns:/run/x"])
def test_namespaces_of_strangers_cannot_be_said(mode: str) -> None:
    assert described(host={"NetworkMode": mode}).losses == (f"--network {mode}",)


def test_a_mount_of_another_kind_and_an_odd_option_of_one_are_named() -> None:
    mounts = [
        {"Type": "image", "Source": "/i", "Destination": "/i"},
        {"Type": "bind", "Source": "/s", "Destination": "/s", "Options": ["rbind", "odd"]},
    ]
    found = described(Mounts=mounts)
    assert found.losses == ("a mount of type image at /i", "the option odd of the mount at /s")
    assert found.component.volumes == ("/s:/s",)


def test_one_bad_entry_of_several_costs_only_itself() -> None:
    found = described(host={"Dns": ["9.9.9.9", "none"]}, config={"Env": ["A=1", " b=2"]})
    assert (found.component.dns, found.component.env) == (("9.9.9.9",), {"A": "1"})
    assert len(found.losses) == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--init=false", "--read-only=false", "--systemd=true", "--http-proxy", "--log-driver", "k8s-file"),
        ("--pull=always", "--replace", "--name", "web-x", "--label-file", "f", "--cidfile", "c", "-d", "--expose=80"),
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


def test_what_tools_find_their_containers_by_and_what_we_made_is_no_loss() -> None:
    labels = {"com.docker.compose.project": "p", "io.podman.compose.version": "1", "mcp.node": "rift"}
    found = described({"Labels": {**labels, "PODMAN_SYSTEMD_UNIT": "x.service"}})
    assert (found.losses, found.component.labels) == ((), {})
    ours = {"Labels": {"mcp.spec-hash": "0", "a": "b"}, "CreateCommand": None}
    assert described(ours, {"UTSMode": "host"}).losses == ()


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
    places = [*SUPPORTED, *TRANSIENT, *(each.option for each in UNSUPPORTED)]
    assert sorted(places) == sorted(f"--{each}" for each in OPTIONS.split())
