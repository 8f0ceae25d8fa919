"""Services as Quadlet units, read as Quadlet and then systemd read them."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from mcpctl.definitions.exporting import quadlet
from protos.parts import Heal, Health
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
