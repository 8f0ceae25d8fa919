"""Services as other programs' files: what reads back, what survives quoting, and what is told to be lost."""

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mcpctl.definitions import exporting
from mcpctl.definitions.exporting import compose, formats, kube, quadlet, toml, yamltext
from mcpctl.definitions.exporting.formats import Exported, Format
from protos import grammar
from protos.spec import Component, Heal, Health, Resources, Service, examine_service
from tests.support.builders import component, service
from tests.support.strategies import arguments, durations, services, sizes

HOSTILE = (
    "a b",
    "'single' \"double\"",
    "$HOME ${HOME} $$ $(id) %h %%",
    "back\\slash\\",
    "line\nbreak\r\ttab",
    "\x01\x1b[2J\x7f\x9b",
    "é ☃ 🦀 \u2028",
    "# no comment",
    "yes",
    "0x1F",
    "1e3",
    "22:22",
    "- a",
    " lead and trail ",
)
EVERYTHING = component(
    network="mcpnet",
    user="1000:1001",
    restart="on-failure:3",
    ports=("127.0.0.1:8080:80", "53:53/udp"),
    volumes=("/srv/web:/data:ro", "cache:/cache"),
    cmd=("serve", "--name", "a b"),
    env={"LOG": "info", "ODD": "$x"},
    secrets=("key",),
    depends_on=("db",),
    stop_timeout=timedelta(seconds=2.5),
    heal=Heal.RESTART,
    health=Health(cmd=("check", "a b"), interval=timedelta(seconds=1.5)),
    resources=Resources(256 * 2**20, 0.5, 77),
)
FULL = service(EVERYTHING, component("db", image="postgres:16", health=Health(cmd=("pg_isready", "-q"))))
PLAIN = service(component("web", stop_timeout=timedelta(seconds=10)))


def losses(exported: Exported) -> list[str]:
    return [each.path for each in exported.losses]


# -- a definition


@given(services())
def test_a_definition_reads_back_as_the_same_service(made: Service) -> None:
    assert examine_service(tomllib.loads(toml.text(made))) == (made, [])


@given(arguments)
@example('"""')
@example("\x7f\x80\u2028\ufeff\U000e0001")
def test_any_string_reads_back(text: str) -> None:
    line = toml.string(text)
    assert tomllib.loads(f"a = {line}") == {"a": text}
    assert line.isprintable()


@given(durations)
def test_any_duration_reads_back(value: timedelta) -> None:
    assert grammar.duration(toml.duration(value)) == value


@given(sizes)
def test_any_size_reads_back(value: int) -> None:
    assert grammar.size(tomllib.loads(f"a = {toml.size(value)}")["a"]) == value


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (10, "10s"), (90, "1m30s"), (0.25, "250ms"), (86400, "1d"), (0.000001, "0.001ms")]
)
def test_durations_are_written_as_people_write_them(seconds: float, text: str) -> None:
    assert toml.duration(timedelta(seconds=seconds)) == text


def test_a_definition_is_readable() -> None:
    assert toml.text(FULL) == (
        'name = "web"\nnode = "rift"\n\n[[components]]\nname = "api"\nimage = "registry.example.net:5000/app:v1"\n'
        'network = "mcpnet"\nuser = "1000:1001"\nrestart = "on-failure:3"\n'
        'ports = ["127.0.0.1:8080:80", "53:53/udp"]\nvolumes = ["/srv/web:/data:ro", "cache:/cache"]\n'
        'cmd = ["serve", "--name", "a b"]\nenv = { LOG = "info", ODD = "$x" }\nsecrets = ["key"]\n'
        'depends_on = ["db"]\nstop_timeout = "2s500ms"\nheal = "restart"\n'
        '[components.health]\ncmd = ["check", "a b"]\ninterval = "1s500ms"\n'
        '[components.resources]\nmemory = "256MiB"\ncpus = 0.5\npids = 77\n'
        '\n[[components]]\nname = "db"\nimage = "postgres:16"\n[components.health]\ncmd = ["pg_isready", "-q"]\n'
    )


def test_long_lists_and_large_environments_have_lines_of_their_own() -> None:
    made = service(component(cmd=("x" * 60, "y" * 60), env=dict.fromkeys(("A", "B", "memory", "a key"), "v")))
    text = toml.text(made)
    assert f'cmd = [\n    "{"x" * 60}",\n    "{"y" * 60}",\n]\n' in text
    assert '[components.env]\nA = "v"\nB = "v"\nmemory = "v"\n"a key" = "v"\n' in text
    assert examine_service(tomllib.loads(text)) == (made, [])


def test_a_definition_loses_nothing() -> None:
    assert exporting.export(FULL, Format.TOML).losses == ()


# -- YAML


@pytest.mark.parametrize("text", HOSTILE)
def test_any_string_is_that_string_to_every_parser(text: str) -> None:
    written = yamltext.document({"a": [text]})
    assert yaml.safe_load(written) == {"a": [text]}
    # Without a schema at all, and with the one of 1.1: quoted, unless nothing could take it for something else.
    assert re.search(r'^ *- "', written, re.MULTILINE)


@pytest.mark.parametrize("text", ["a", "/srv/data", "registry.example.net", "v1"])
def test_what_is_plain_is_left_plain(text: str) -> None:
    assert yamltext.document({"a": text}) == f"a: {text}\n"


# -- Quadlet: read as Quadlet and then systemd read it


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
    assert set(found) == {"web-api.container", "web-db.container", "mcpnet.network"}
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
    assert tuple(_words(unit["Container.PodmanArgs"][0])) == ("--volume", "/a\nb:/c")


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


# -- Kubernetes


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
                "resources.pids",
                "restart",
                "health",
                "health.interval",
                "health.cmd",
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


# -- compose


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
                "network_mode": "bridge",
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
        "networks": {"mcpnet": {"name": "mcpnet"}},
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


# -- all of them


@given(services(), st.sampled_from(Format))
def test_every_service_can_be_exported(made: Service, to: Format) -> None:
    exported = exporting.export(made, to)
    assert len({file.name for file in exported.files}) == len(exported.files) >= 1
    names = {each.name for each in made.components}
    for loss in exported.losses:
        match = re.match(r"components\[([^]]+)\]\.\w", loss.path)
        assert match
        assert match[1] in names
        assert loss.message
    if to is Format.QUADLET:
        # One line is one line: nothing in a value begins another.
        text = "".join(file.text for file in exported.files)
        assert all(re.match(r"\[\w+\]$|\w+=|$", line) for line in text.split("\n"))
    if to in (Format.KUBE, Format.COMPOSE):
        assert list(yaml.safe_load_all(exported.files[0].text))


def test_dependencies_go_first() -> None:
    chain = [Component(name, "x", depends_on=needs) for name, needs in (("a", ("b",)), ("b", ("c",)), ("c", ()))]
    assert [each.name for each in formats.in_dependency_order(service(*chain))] == ["c", "b", "a"]
