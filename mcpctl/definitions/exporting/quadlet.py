"""A service as Quadlet units: podman-systemd.unit(5) of podman 5.4, which systemd starts as services."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from mcpctl.definitions.exporting import commands, quadlet_places, routes, schedules
from mcpctl.definitions.exporting.formats import (
    Exported,
    File,
    Losses,
    cpus,
    go_duration,
    is_waited_for,
    mode,
    of_component,
    plain,
    seconds,
    size,
    waits_for,
)
from mcpctl.definitions.exporting.quadlet_text import argument, expanded, quoted, unit, value, word
from mcpctl.definitions.loss import Loss
from protos import grammar
from protos.parts import SECRET_MODE, Health, Log, Pull, Secret
from protos.spec import Component, Service

# A pull is part of the start, for which systemd would wait 90 s.
_START_TIMEOUT_S = 900
# What systemd gives a service to end (systemd-system.conf(5), DefaultTimeoutStopSec); podman needs some of it itself.
_DEFAULT_STOP_S = 90
_PODMAN_STOPS_WITHIN_S = 20
_BY_HAND = "write a HealthCmd= that runs inside the container"
# Of a timer: by default it may be a minute late (systemd.timer(5)).
_ACCURACY = "1s"
# Keys of which Quadlet splits the value into words, and unquotes them.
_WORDS = frozenset({"AddCapability", "AddDevice", "Annotation", "DropCapability", "Label", "Sysctl"})


def export(service: Service) -> Exported:
    """A unit for each component and what it needs, and the files that they mount."""
    losses: list[Loss] = []
    files = []
    for component in service.components:
        lost = of_component(component)
        files.append(File(f"{service.container(component.name)}.container", _container(service, component, lost)))
        files += quadlet_places.config_files(service, component)
        files += _timer(service, component, lost)
        losses += lost.found
    files += quadlet_places.units(service, losses)
    return Exported(tuple(files), tuple(losses))


def _container(service: Service, component: Component, lost: Losses) -> str:
    _tell_what_is_missing(component, lost)
    restart, limits = _restart(component, lost)
    before = [f"{service.container(name)}.service" for name in waits_for(component)]
    described = [f"Description={service.name}/{component.name}"]
    if before:
        described += [f"After={' '.join(before)}", f"Requires={' '.join(before)}"]
    stop = seconds(component.stop_timeout)
    # A service that is done when it has ended may take its time (systemd.service(5), TimeoutStartSec=). A timer starts
    # none that counts as running still.
    run = [f"TimeoutStartSec={_START_TIMEOUT_S}"]
    if component.oneshot or component.schedule:
        run = ["Type=oneshot", *([] if component.schedule else ["RemainAfterExit=yes"])]
    if stop + _PODMAN_STOPS_WITHIN_S > _DEFAULT_STOP_S:
        run.append(f"TimeoutStopSec={stop + _PODMAN_STOPS_WITHIN_S}")
    sections = [
        ("Unit", [*described, *limits]),
        ("Container", list(_keys(service, component, lost))),
        ("Service", [f"Restart={restart}", *run, *quadlet_places.folders(component)]),
    ]
    if service.wants_running(component) and not component.schedule:
        sections.append(("Install", ["WantedBy=default.target"]))
    return unit(sections)


def _timer(service: Service, component: Component, lost: Losses) -> list[File]:
    """What starts the service of a job; systemd never starts it while it runs."""
    if not component.schedule:
        return []
    name = f"{service.container(component.name)}.timer"
    times = schedules.on_calendar(component)
    if not times:
        lost.add("schedule", f"{component.schedule}: systemd.time(7) cannot say it; write a {name}")
        return []
    start = f"put {name} where systemd looks for units, and start it: `systemctl enable --now {name}`"
    lost.add("schedule", f"{start}; {schedules.NO_ALERT}: OnFailure= can start a unit that sends one")
    schedules.tell_of_summer_time(component, lost, repeats_hours=False)
    sections = [
        ("Unit", [f"Description={service.name}/{component.name}"]),
        ("Timer", [*(f"OnCalendar={each}" for each in times), f"AccuracySec={_ACCURACY}", "Persistent=true"]),
    ]
    if service.wants_running(component):
        sections.append(("Install", ["WantedBy=timers.target"]))
    return [File(name, unit(sections))]


def _tell_what_is_missing(component: Component, lost: Losses) -> None:
    if component.oneshot:
        lost.add("oneshot", "it runs when its unit starts, also at boot, and not with a deploy")
    if component.settle is not None:
        lost.add("settle", "a unit counts as started immediately")
    if component.heal:
        lost.add(
            "heal", "only systemd's Restart= applies, and no alert is sent; OnFailure= can start a unit that sends one"
        )
    routes.tell(component, lost)
    if component.build:
        lost.add("build", f"build the image first: `{commands.build_image(component.image, component.build)}`")


def _keys(service: Service, component: Component, lost: Losses) -> Iterator[str]:
    yield f"ContainerName={service.container(component.name)}"
    yield f"Image={component.image}"
    if component.pull is not Pull.MISSING:
        yield f"Pull={component.pull.value}"
    yield from _command(component, lost)
    yield from _environment(component, lost)
    yield from (f"PublishPort={port}" for port in component.ports)
    yield from quadlet_places.mounts(service, component, lost)
    if component.user:
        user, _, group = component.user.partition(":")
        yield f"User={user}"
        if group:
            yield f"Group={group}"
    yield from quadlet_places.networks(service, component, lost)
    yield from quadlet_places.configs(service, component, lost)
    yield from filter(None, (_secret(each, lost) for each in component.secret_list))
    if component.health:
        yield from _health(service, component, component.health, lost)
    yield from _limits(component)
    yield from _log(component.log)
    yield from _plain(service, component)
    yield f"StopTimeout={seconds(component.stop_timeout)}"
    # RuntimeMaxSec= is nothing to a service that is done when it has ended.
    if limit := schedules.limit(component):
        yield argument("--timeout", str(limit))


def _command(component: Component, lost: Losses) -> Iterator[str]:
    if component.entrypoint is not None:
        yield f"Entrypoint={expanded(json.dumps(component.entrypoint, ensure_ascii=False))}"
    if "" in component.cmd:
        lost.add("cmd", "Quadlet drops the empty argument and everything after it; rewrite Exec=")
    if component.cmd:
        yield f"Exec={' '.join(map(quoted, component.cmd))}"


def _environment(component: Component, lost: Losses) -> Iterator[str]:
    for name in component.env_file:
        lost.add("env_file", f"{name} is looked for beside the unit, and podman takes quotes in it as they are")
        yield f"EnvironmentFile={word(name)}"
    for name, text in component.env.items():
        yield f"Environment={quoted(f'{name}={text}')}"


def _secret(secret: Secret, lost: Losses) -> str:
    said = {"type": "env", "target": secret.env} if secret.env else {"target": secret.target}
    said |= {"uid": str(secret.uid) if secret.uid else None, "gid": str(secret.gid) if secret.gid else None}
    said |= {"mode": mode(secret.mode) if secret.mode != SECRET_MODE else None}
    words = [secret.name, *(f"{key}={text}" for key, text in said.items() if text)]
    if any("," in each for each in words):
        lost.add("secrets", f"{secret.name}: podman takes no comma in {secret.env or secret.target!r}")
        return ""
    return f"Secret={word(','.join(words))}"


def _plain(service: Service, component: Component) -> Iterator[str]:
    for each, said in plain(service, component):
        if said is True:
            yield f"{each.quadlet}=true" if each.quadlet else argument(each.option)
            continue
        pairs = (f"{name}={text}" for name, text in said.items()) if isinstance(said, dict) else said
        for text in (said,) if isinstance(said, str) else pairs:
            if each.quadlet in _WORDS:
                yield f"{each.quadlet}={word(text)}"
            else:
                yield value(each.quadlet, each.option, text) if each.quadlet else argument(each.option, text)


def _limits(component: Component) -> Iterator[str]:
    said = component.resources
    if said.pids:
        yield f"PidsLimit={said.pids}"
    # 5.4 has no key for the others.
    for option, number in (("memory", said.memory), ("memory-reservation", said.memory_reservation)):
        if number:
            yield argument(f"--{option}", size(number))
    if said.memory_swap:
        yield argument("--memory-swap", size(said.memory_swap))
    if said.cpus:
        yield argument("--cpus", cpus(component))
    for option, wanted in (("cpu-shares", said.cpu_shares), ("oom-score-adj", said.oom_score_adj)):
        if wanted:
            yield argument(f"--{option}", str(wanted))
    if said.cpuset:
        yield argument("--cpuset-cpus", said.cpuset)


def _log(log: Log) -> Iterator[str]:
    if log == Log():
        return
    yield f"LogDriver={log.driver.value}"
    if log.max_size:
        yield f"LogOpt=max-size={log.max_size}"
    if log.tag:
        yield f"LogOpt={word(f'tag={log.tag}')}"


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
    if health.disable:
        yield "HealthCmd=none"
        return
    if not health.cmd:
        kind = "http" if health.http else "tcp"
        lost.add(f"health.{kind}", f"Quadlet supports only command probes; {_BY_HAND}")
        return
    command = expanded(_health_command(health.cmd))
    yield f"HealthCmd={command}"
    yield f"HealthInterval={go_duration(health.interval)}"
    yield f"HealthTimeout={go_duration(health.timeout)}"
    yield f"HealthRetries={health.retries}"
    yield f"HealthStartPeriod={go_duration(health.start_period)}"
    if health.start_interval:
        lost.add("health.start_interval", "podman's startup check goes on after start_period, until it succeeds once")
        yield f"HealthStartupCmd={command}"
        yield f"HealthStartupInterval={go_duration(health.start_interval)}"
        yield f"HealthStartupTimeout={go_duration(health.timeout)}"
    if is_waited_for(service, component) and not component.oneshot:
        yield "Notify=healthy"


def _health_command(cmd: tuple[str, ...]) -> str:
    """As podman-run(1) takes it: a JSON array, of which a single word goes to a shell."""
    return json.dumps(cmd if len(cmd) > 1 else [shlex.quote(cmd[0])], ensure_ascii=False)
