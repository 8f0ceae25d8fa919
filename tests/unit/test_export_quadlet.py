"""Services as Quadlet units, read as Quadlet and then systemd read them."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from mcpctl.definitions.exporting import quadlet
from protos.parts import (
    Build,
    ConfigFile,
    Heal,
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
from tests.support.exports import FULL, HOSTILE, PLAIN, losses


def units(of: Service) -> dict[str, dict[str, list[str]]]:
    return {file.name: _parsed(file.text) for file in quadlet.export(of).files}


def _parsed(text: str) -> dict[str, list[str]]:
    """Values by SECTION.KEY."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.split("\n"):
        if line.startswith("["):
            section = line.strip("[]")
        elif line:
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def _words(value: str) -> Iterator[str]:
    """systemd.syntax(7): quoted words with C escapes, and then specifiers and variables."""
    for quoted in re.findall(r'"((?:[^"\\]|\\.)*)"', value):
        unescaped = re.sub(r"\\x(..)|\\(.)", _unescaped, quoted)
        yield _specified(unescaped)


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}.get(match[2], match[2])


def _specified(text: str) -> str:
    assert not re.search(r"(?<!%)(%%)*%(?!%)", text), "a specifier would be expanded"
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", text), "a variable would be expanded"
    return text.replace("%%", "%").replace("$$", "$")


def test_a_component_is_a_container_unit() -> None:
    found = units(FULL)
    assert set(found) == {"web-api.container", "web-db.container", "mcpnet.network", "web.network"}
    assert found["mcpnet.network"] == {"Network.NetworkName": ["mcpnet"]}
    unit = found["web-api.container"]
    assert {key: value for key, value in unit.items() if len(value) == 1} == {
        "Unit.Description": ["web/api"],
        "Unit.After": ["web-db.service"],
        "Unit.Requires": ["web-db.service"],
        "Unit.StartLimitIntervalSec": ["infinity"],
        "Unit.StartLimitBurst": ["4"],
        "Container.ContainerName": ["web-api"],
        "Container.Image": ["registry.example.net:5000/app:v1"],
        "Container.Exec": ['"serve" "--name" "a b"'],
        "Container.User": ["1000"],
        "Container.Group": ["1001"],
        "Container.Network": ["mcpnet.network"],
        "Container.Secret": ["key"],
        "Container.HealthCmd": ['["check", "a b"]'],
        "Container.HealthInterval": ["1.5s"],
        "Container.HealthTimeout": ["5s"],
        "Container.HealthRetries": ["3"],
        "Container.HealthStartPeriod": ["0s"],
        "Container.PidsLimit": ["77"],
        "Container.StopTimeout": ["3"],
        "Service.Restart": ["on-failure"],
        "Service.TimeoutStartSec": ["900"],
        "Install.WantedBy": ["default.target"],
    }
    assert unit["Container.PublishPort"] == ["127.0.0.1:8080:80", "53:53/udp"]
    assert unit["Container.Volume"] == ["/srv/web:/data:ro", "cache:/cache"]
    assert unit["Container.PodmanArgs"] == ["--memory=268435456b", "--cpus=0.5"]
    assert unit["Container.Environment"] == ['"LOG=info"', '"ODD=$$x"']
    assert found["web-db.container"]["Container.Notify"] == ["healthy"], "somebody waits for it"


def test_quoting_survives_quadlet_and_systemd() -> None:
    made = service(component(cmd=HOSTILE, env={"A": HOSTILE[0], **{f"V{n}": text for n, text in enumerate(HOSTILE)}}))
    unit = units(made)["web-api.container"]
    assert tuple(_words(unit["Container.Exec"][0])) == HOSTILE
    assert [next(_words(each)) for each in unit["Container.Environment"]] == [
        f"{name}={value}" for name, value in made.components[0].env.items()
    ]


def test_a_probe_of_quadlet_is_one_line_of_json() -> None:
    unit = units(service(component(health=Health(cmd=("sh", "-c", "a\nb $x %h")))))["web-api.container"]
    assert json.loads(_specified(unit["Container.HealthCmd"][0])) == ["sh", "-c", "a\nb $x %h"]


def test_a_probe_of_one_word_is_quoted_for_the_shell_that_runs_it() -> None:
    unit = units(service(component(health=Health(cmd=("/a b",)))))["web-api.container"]
    assert json.loads(unit["Container.HealthCmd"][0]) == ["'/a b'"]


def test_a_volume_that_volume_cannot_say_is_an_argument() -> None:
    unit = units(service(component(volumes=("/a\nb:/c", "/100%:/d"))))["web-api.container"]
    assert unit["Container.Volume"] == ["/100%%:/d"]
    assert tuple(_words(unit["Container.PodmanArgs"][0])) == ("--volume=/a\nb:/c",)


@pytest.mark.parametrize(
    ("restart", "told", "lost"),
    [
        ("no", ("no", None), []),
        ("always", ("always", "0"), []),
        ("on-failure", ("on-failure", "0"), []),
        ("on-failure:3", ("on-failure", "infinity"), ["components[api].restart"]),
        ("unless-stopped", ("always", "0"), ["components[api].restart"]),
    ],
)
def test_restart_policies_of_quadlet(restart: str, told: tuple[str, str | None], lost: list[str]) -> None:
    made = service(component(restart=restart))
    unit = units(made)["web-api.container"]
    interval = unit.get("Unit.StartLimitIntervalSec", [None])[0]
    assert (unit["Service.Restart"][0], interval) == told
    assert losses(quadlet.export(made)) == lost


def test_what_is_stopped_is_not_started_at_boot() -> None:
    made = service(component(), component("db", active=False))
    assert "Install.WantedBy" not in units(made)["web-db.container"]
    assert "Install.WantedBy" in units(made)["web-api.container"]


def test_systemd_waits_for_a_long_stop() -> None:
    unit = units(service(component(stop_timeout=timedelta(minutes=5))))["web-api.container"]
    assert (unit["Container.StopTimeout"], unit["Service.TimeoutStopSec"]) == (["300"], ["320"])


def test_losses_of_quadlet() -> None:
    assert losses(quadlet.export(PLAIN)) == []
    made = service(component(heal=Heal.ALERT, cmd=("a", "", "b"), health=Health(tcp="127.0.0.1:80")))
    assert losses(quadlet.export(made)) == [f"components[api].{each}" for each in ("heal", "cmd", "health.tcp")]


def said(**keys: Any) -> list[str]:
    """The lines of a component that says these, beside those of every component."""
    plain, made = (quadlet.export(service(component(**each))).files[0].text.splitlines() for each in ({}, keys))
    return [line for line in made if line not in plain]


# -- networks and volumes


def test_the_services_own_network_has_a_unit_and_names() -> None:
    found = units(service(component(), component("db", network="none")))
    assert set(found) == {"web-api.container", "web-db.container", "web.network"}
    assert found["web.network"] == {"Network.NetworkName": ["web"]}
    assert found["web-api.container"]["Container.Network"] == ["web.network:alias=api"]
    assert found["web-db.container"]["Container.Network"] == ["none"]


def test_networks_with_names_and_addresses_of_quadlet() -> None:
    declared = NetworkDeclaration(
        "macvlan", ("10.89.7.0/24", "fd00::/64"), "10.89.7.1", True, True, {"mtu": "1400"}, {"a": "b c"}
    )
    networks = ("web", Network("front", ("shop",), "10.89.7.5", "fd00::5"), "old", Network("shared", ("me",)))
    found = units(
        service(component(networks=networks), networks={"front": declared, "old": NetworkDeclaration(external=True)})
    )
    assert found["web-api.container"]["Container.Network"] == [
        "web.network:alias=api",
        "front.network:alias=api,alias=shop,ip=10.89.7.5,ip6=fd00::5",
        "old",
        "shared.network:alias=me",
    ]
    assert "old.network" not in found, "somebody else makes it"
    assert found["front.network"] == {
        "Network.NetworkName": ["front"],
        "Network.Driver": ["macvlan"],
        "Network.Subnet": ["10.89.7.0/24", "fd00::/64"],
        "Network.Gateway": ["10.89.7.1"],
        "Network.Internal": ["true"],
        "Network.IPv6": ["true"],
        "Network.PodmanArgs": ["--opt=mtu=1400"],
        "Network.Label": ['"a=b c"'],
    }


def test_a_name_that_others_may_have_is_given_only_if_it_is_asked_for() -> None:
    made = service(component(network="front"), component("db", networks=(Network("front", ("db",)),)))
    assert units(made)["web-api.container"]["Container.Network"] == ["front.network"]
    (loss,) = quadlet.export(made).losses
    assert loss.path == "components[api].networks"
    assert '{ name = "front", aliases = ["api"] }' in loss.message


def test_the_network_of_another_component_is_joined_after_it_is_up() -> None:
    unit = units(service(component(network="component:db", pid="component:db"), component("db")))["web-api.container"]
    assert unit["Container.Network"] == ["container:web-db"]
    assert unit["Container.PodmanArgs"] == ["--pid=container:web-db"]
    assert unit["Unit.Requires"] == unit["Unit.After"] == ["web-db.service"]


def test_no_two_units_make_one_service() -> None:
    """Quadlet makes web-network.service of web.network, and of web-network.container as well."""
    found = units(
        service(component("network"), component("volume", volumes=("web:/a",)), volumes={"web": Volume("nfs")})
    )
    assert set(found) == {"web-network.container", "web-volume.container", "web-net.network", "web-data.volume"}
    assert found["web-network.container"]["Container.Network"] == ["web-net.network:alias=network"]
    assert found["web-volume.container"]["Container.Volume"] == ["web-data.volume:/a"]
    assert found["web-net.network"]["Network.NetworkName"] == ["web"]


def test_a_volume_has_a_unit_only_if_more_is_said_of_it() -> None:
    made = service(
        component(volumes=("cache:/cache:ro", "plain:/plain", "old:/old", Mount("/a:b", "cache"))),
        volumes={
            "cache": Volume("local", {"o": "size=1m"}, {"a": "b"}),
            "plain": Volume(),
            "old": Volume(external=True),
        },
    )
    found = units(made)
    assert found["web-api.container"]["Container.Volume"] == ["cache.volume:/cache:ro", "plain:/plain", "old:/old"]
    assert found["web-api.container"]["Container.Mount"] == ["type=volume,source=cache.volume,target=/a:b"]
    assert {name for name in found if name.endswith(".volume")} == {"cache.volume"}
    assert found["cache.volume"] == {
        "Volume.VolumeName": ["cache"],
        "Volume.Driver": ["local"],
        "Volume.PodmanArgs": ["--opt=o=size=1m"],
        "Volume.Label": ["a=b"],
    }
    assert losses(quadlet.export(made)) == ["volumes.old.external"]


def test_mounts_that_volume_cannot_say() -> None:
    mounts = (
        Mount("/a:b", "/srv/x y", ("ro", "z", "rslave", "O"), create=True),
        Mount("/anonymous", options=("ro",)),
        Mount("/c", "/srv/c", create=True),
    )
    made = service(component(volumes=mounts))
    unit = units(made)["web-api.container"]
    assert list(map(_specified, unit["Container.Mount"])) == [
        '"type=bind,source=/srv/x y,target=/a:b,ro,relabel=shared,bind-propagation=rslave"'
    ]
    # Quadlet 5.4 falls over a mount that has no source.
    assert unit["Container.PodmanArgs"] == ["--mount=type=volume,target=/anonymous,ro"]
    assert unit["Container.Volume"] == ["/srv/c:/c"]
    assert unit["Service.ExecStartPre"] == ['mkdir -p -- "/srv/x y"', 'mkdir -p -- "/srv/c"']
    assert losses(quadlet.export(made)) == ["components[api].volumes[0]"]


# -- configs and secrets


def test_configs_are_files_beside_the_unit() -> None:
    texts = (ConfigFile("/etc/a", content="x\n", uid=5), ConfigFile('/b:c,"', content=""))
    configs = (*texts, ConfigFile("/d", "d.conf"), ConfigFile("/e", "/srv/e"))
    exported = quadlet.export(service(component(configs=configs)))
    files = {file.name: file.text for file in exported.files}
    assert (files["web-api-config-0"], files["web-api-config-1"]) == ("x\n", "")
    unit = _parsed(files["web-api.container"])
    assert unit["Container.Volume"] == ["./web-api-config-0:/etc/a:ro,z", "./d.conf:/d:ro,z", "/srv/e:/e:ro"]
    assert unit["Container.Mount"] == [r'"type=bind,source=./web-api-config-1,\"target=/b:c,\"\"\",ro,relabel=shared"']
    assert losses(exported) == [f"components[api].configs[{index}]" for index in range(4)]
    assert "`chmod 0444 web-api-config-0`, and `chown 5:0 web-api-config-0`" in exported.losses[0].message


def test_secrets_of_quadlet() -> None:
    secrets = (
        "key",
        Secret("token", "/a b", uid=5, gid=6, mode=0o440),
        Secret("other", env="X"),
        Secret("bad", "/a,b"),
    )
    made = service(component(secrets=secrets))
    assert units(made)["web-api.container"]["Container.Secret"] == [
        "key",
        '"token,target=/a b,uid=5,gid=6,mode=0440"',
        "other,type=env,target=X",
    ]
    assert losses(quadlet.export(made)) == ["components[api].secrets"]


# -- the rest


def test_a_oneshot_takes_its_time_and_stays_done() -> None:
    made = service(component(depends_on=("migrate",)), component("migrate", oneshot=True))
    unit = units(made)["web-migrate.container"]
    assert (unit["Service.Type"], unit["Service.RemainAfterExit"]) == (["oneshot"], ["yes"])
    assert "Service.TimeoutStartSec" not in unit
    assert losses(quadlet.export(made)) == ["components[migrate].oneshot"]


def test_a_probe_before_the_first_success_and_none_at_all() -> None:
    lines = said(health=Health(cmd=("a", "b"), start_interval=timedelta(seconds=1)))
    assert lines[-3:] == ['HealthStartupCmd=["a", "b"]', "HealthStartupInterval=1s", "HealthStartupTimeout=5s"]
    assert said(health=Health(disable=True)) == ["HealthCmd=none"]


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ({"pull": Pull.NEWER}, ["Pull=newer"]),
        ({"entrypoint": ("/a", 'b "c"')}, [r'Entrypoint=["/a", "b \"c\""]']),
        ({"entrypoint": ()}, ["Entrypoint=[]"]),
        ({"read_only": True, "init": True}, ["ReadOnly=true", "RunInit=true"]),
        ({"privileged": True, "tty": True}, ["PodmanArgs=--tty", "PodmanArgs=--privileged"]),
        ({"cap_add": ("A_B", "C_D")}, ["AddCapability=A_B", "AddCapability=C_D"]),
        ({"sysctls": {"a.b": "1 2"}}, ['Sysctl="a.b=1 2"']),
        ({"ulimits": {"nofile": "1:2"}}, ["Ulimit=nofile=1:2"]),
        ({"labels": {"a": "$b %c"}}, ['Label="a=$$b %%c"']),
        ({"workdir": "/a b"}, ["WorkingDir=/a b"]),
        ({"workdir": "/a\n[b]"}, [r'PodmanArgs="--workdir=/a\n[b]"']),
        ({"security_opt": ("label=disable",)}, ["PodmanArgs=--security-opt=label=disable"]),
        ({"log": Log(LogDriver.JOURNALD, 5, "a b")}, ["LogDriver=journald", "LogOpt=max-size=5", 'LogOpt="tag=a b"']),
        (
            {
                "resources": Resources(
                    1, memory_reservation=2, memory_swap=-1, cpu_shares=3, cpuset="0", oom_score_adj=-4
                )
            },
            [
                "PodmanArgs=--memory=1b",
                "PodmanArgs=--memory-reservation=2b",
                "PodmanArgs=--memory-swap=-1",
                "PodmanArgs=--cpu-shares=3",
                "PodmanArgs=--oom-score-adj=-4",
                "PodmanArgs=--cpuset-cpus=0",
            ],
        ),
    ],
)
def test_keys_that_quadlet_or_podman_has_a_word_for(keys: dict[str, Any], lines: list[str]) -> None:
    assert said(**keys) == lines
    assert losses(quadlet.export(service(component(**keys)))) == []


def test_how_to_build_an_image_is_told() -> None:
    (loss,) = quadlet.export(service(component(image="x:v1", build=Build("/a b", args={"A": "b c"})))).losses
    assert loss.message == "build the image first: `podman build --tag x:v1 --build-arg 'A=b c' '/a b'`"
