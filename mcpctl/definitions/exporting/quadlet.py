"""A service as Quadlet units: podman-systemd.unit(5) of podman 5.4, which systemd starts as services."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator

from mcpctl.definitions.exporting.formats import Exported, File, Losses, cpus, go_duration, seconds
from mcpctl.definitions.loss import Loss
from protos import grammar
from protos.parts import Health
from protos.spec import Component, Service

# A pull is part of the start, for which systemd would wait 90 s.
_START_TIMEOUT_S = 900
# What systemd gives a service to end (systemd-system.conf(5), DefaultTimeoutStopSec); podman needs some of it itself.
_DEFAULT_STOP_S = 90
_PODMAN_STOPS_WITHIN_S = 20
# systemd.syntax(7), quoting: the escapes that systemd and Quadlet both know.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
_ESCAPES |= {"\a": "\\a"}
_MODES = ("host", "none")
_BY_HAND = "write a HealthCmd= that runs inside the container"


def export(service: Service) -> Exported:
    """A unit for each component, and one for each network of the service's own."""
    losses: list[Loss] = []
    files = []
    for component in service.components:
        lost = Losses(component.name)
        files.append(File(f"{service.container(component.name)}.container", _container(service, component, lost)))
        losses += lost.found
    networks = dict.fromkeys(each.network for each in service.components if each.network not in (None, *_MODES))
    files += [File(f"{name}.network", _unit([("Network", [f"NetworkName={name}"])])) for name in networks]
    return Exported(tuple(files), tuple(losses))


def _container(service: Service, component: Component, lost: Losses) -> str:
    if component.settle is not None:
        lost.add("settle", "a unit counts as started immediately")
    if component.heal:
        lost.add(
            "heal", "only systemd's Restart= applies, and no alert is sent; OnFailure= can start a unit that sends one"
        )
    restart, limits = _restart(component, lost)
    before = [f"{service.container(name)}.service" for name in component.depends_on]
    unit = [f"Description={service.name}/{component.name}"]
    if before:
        unit += [f"After={' '.join(before)}", f"Requires={' '.join(before)}"]
    stop = seconds(component.stop_timeout)
    run = [f"Restart={restart}", f"TimeoutStartSec={_START_TIMEOUT_S}"]
    if stop + _PODMAN_STOPS_WITHIN_S > _DEFAULT_STOP_S:
        run.append(f"TimeoutStopSec={stop + _PODMAN_STOPS_WITHIN_S}")
    sections = [
        ("Unit", [*unit, *limits]),
        ("Container", list(_keys(service, component, lost))),
        ("Service", run),
    ]
    if service.wants_running(component):
        sections.append(("Install", ["WantedBy=default.target"]))
    return _unit(sections)


def _keys(service: Service, component: Component, lost: Losses) -> Iterator[str]:
    yield f"ContainerName={service.container(component.name)}"
    yield f"Image={component.image}"
    if "" in component.cmd:
        lost.add("cmd", "Quadlet drops the empty argument and everything after it; rewrite Exec=")
    if component.cmd:
        yield f"Exec={' '.join(map(_word, component.cmd))}"
    for name, value in component.env.items():
        yield f"Environment={_word(f'{name}={value}')}"
    yield from _joins(component)
    yield from (f"Secret={secret}" for secret in component.secrets)
    if component.health:
        yield from _health(service, component, component.health, lost)
    yield from _limits(component)
    yield f"StopTimeout={seconds(component.stop_timeout)}"


def _joins(component: Component) -> Iterator[str]:
    """Ports, volumes, user, network."""
    yield from (f"PublishPort={port}" for port in component.ports)
    for volume in map(str, component.volumes):
        # Volume= is taken as it stands, without any quoting.
        is_simple = volume.isprintable() and volume == volume.strip() and not volume.endswith("\\")
        yield f"Volume={_expanded(volume)}" if is_simple else f"PodmanArgs={_word('--volume')} {_word(volume)}"
    if component.user:
        user, _, group = component.user.partition(":")
        yield f"User={user}"
        if group:
            yield f"Group={group}"
    if component.network:
        yield f"Network={component.network}{'' if component.network in _MODES else '.network'}"


def _limits(component: Component) -> Iterator[str]:
    if component.resources.pids:
        yield f"PidsLimit={component.resources.pids}"
    # 5.4 has no key for these two.
    if component.resources.memory:
        yield f"PodmanArgs=--memory={component.resources.memory}b"
    if component.resources.cpus:
        yield f"PodmanArgs=--cpus={cpus(component)}"


def _restart(component: Component, lost: Losses) -> tuple[str, list[str]]:
    """systemd.service(5): Restart=, and the limits of systemd.unit(5), which podman does not have."""
    policy, tries = grammar.restart(component.restart)
    if policy == "unless-stopped":
        lost.add("restart", "unless-stopped became always: a stopped unit starts again at the next boot")
    if tries:
        lost.add("restart", f"the {tries} retries became StartLimitBurst=; `systemctl reset-failed` resets the count")
        # The first start counts, too.
        return policy, ["StartLimitIntervalSec=infinity", f"StartLimitBurst={tries + 1}"]
    if policy == "no":
        return policy, []
    return policy.replace("unless-stopped", "always"), ["StartLimitIntervalSec=0"]


def _health(service: Service, component: Component, health: Health, lost: Losses) -> Iterator[str]:
    if not health.cmd:
        kind = "http" if health.http else "tcp"
        lost.add(f"health.{kind}", f"Quadlet supports only command probes; {_BY_HAND}")
        return
    yield f"HealthCmd={_expanded(_health_command(health.cmd))}"
    yield f"HealthInterval={go_duration(health.interval)}"
    yield f"HealthTimeout={go_duration(health.timeout)}"
    yield f"HealthRetries={health.retries}"
    yield f"HealthStartPeriod={go_duration(health.start_period)}"
    if any(component.name in each.depends_on for each in service.components):
        yield "Notify=healthy"


def _health_command(cmd: tuple[str, ...]) -> str:
    """As podman-run(1) takes it: a JSON array, of which a single word goes to a shell."""
    return json.dumps(cmd if len(cmd) > 1 else [shlex.quote(cmd[0])], ensure_ascii=False)


def _word(text: str) -> str:
    """One word for Quadlet, which makes it a word of ExecStart= for systemd."""
    quoted = "".join(_ESCAPES.get(char) or _escaped(char) for char in _expanded(text))
    return f'"{quoted}"'


def _expanded(text: str) -> str:
    """Survives systemd's specifiers and variables (systemd.unit(5), systemd.service(5))."""
    return text.replace("%", "%%").replace("$", "$$")


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x20 or code == 0x7F else char


def _unit(sections: Iterable[tuple[str, list[str]]]) -> str:
    return "\n".join("".join(f"{line}\n" for line in (f"[{name}]", *lines)) for name, lines in sections)
