"""The limits of a container, its log and its health check, to podman and back. Pure functions."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

from mcpd.runtime.healthcheck import probe_of
from mcpd.runtime.setting import Context, Made, Part, clipped, nested
from protos.parts import LogDriver
from protos.podman_notation import UNLIMITED
from protos.spec import Component
from protos.validation import plain

# Docker's and podman's own period for a CPU quota, in microseconds.
_CPU_PERIOD_US = 100_000
# containers.conf(5): the limit of processes that podman gives to every container.
_DEFAULT_PIDS = 2048
# The most that the kernel takes, in whole pages. podman's API refuses -1.
_MOST_SWAP = 2**63 - 4096
# A container that prints endlessly must not fill the node's disk; podman sets no limit by default.
LOG_SIZE_LIMIT = 10 * 1024 * 1024
_FILES = (LogDriver.K8S_FILE, LogDriver.JSON_FILE)
# podman's sizes of logs, which are decimal whatever they look like.
_LOG_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_DIGITS_SHOWN = 4


def send_cpus(component: Component, _: Context) -> Part:
    cpus = component.resources.cpus
    if not cpus:
        return {}
    return nested("resource_limits.cpu", {"quota": round(cpus * _CPU_PERIOD_US), "period": _CPU_PERIOD_US})


def read_cpus(it: Made, losses: list[str]) -> float:
    cpus = round(it.host.nano_cpus / 1e9, 3)
    if cpus and cpus < 0.01:
        losses.append(f"--cpus {cpus}")
        return 0.0
    return cpus


def send_timeout(component: Component, _: Context) -> Part:
    """SpecGenerator's ``timeout``: seconds, after which conmon kills the container."""
    return {"timeout": component.timeout // timedelta(seconds=1)} if component.timeout else {}


def read_timeout(it: Made, losses: list[str]) -> None:
    """Only what ends can say it, and no inspection tells whether a container was made to end."""
    if it.config.timeout:
        losses.append(f"--timeout {it.config.timeout}")


def send_pids(component: Component, _: Context) -> Part:
    pids = component.resources.pids
    return nested("resource_limits.pids.limit", pids) if pids else {}


def read_pids(it: Made, losses: list[str]) -> int:
    asked, limit = it.asked("--pids-limit"), it.host.pids_limit
    losses += [f"--pids-limit {each}" for each in asked[-1:] if each in ("-1", "0")]
    return limit if limit > 0 and (asked or limit != _DEFAULT_PIDS) else 0


def send_memory_swap(component: Component, _: Context) -> Part:
    memory, swap = component.resources.memory, component.resources.memory_swap
    if swap == UNLIMITED:
        # Nothing limits it when nothing limits the memory.
        swap = _MOST_SWAP if memory else 0
    return nested("resource_limits.memory.swap", swap) if swap else {}


def read_memory_swap(it: Made, _: list[str]) -> int:
    # podman's own: as much again as the memory.
    swap = it.host.memory_swap
    if swap in (0, 2 * it.host.memory):
        return 0
    return UNLIMITED if swap >= _MOST_SWAP else swap


def send_log(component: Component, _: Context) -> Part:
    log = component.log
    found: dict[str, Any] = {"driver": log.driver.value}
    if log.driver in _FILES:
        found["size"] = log.max_size or LOG_SIZE_LIMIT
    if log.tag:
        found["options"] = {"tag": log.tag}
    return {"log_configuration": found}


def read_log_driver(it: Made, _: list[str]) -> str | None:
    if it.command.is_known:
        asked = (*it.asked("--log-driver"), *_log_options(it, "driver"))
        return next(iter(asked[-1:]), None)
    # Which one podman takes by itself differs between systems; only this one it never does.
    return LogDriver.NONE if it.host.log_config.type == LogDriver.NONE else None


def read_log_size(it: Made, losses: list[str]) -> int:
    known = ("driver", "max-size", "tag")
    losses += [clipped(f"--log-opt {each}") for each in it.asked("--log-opt") if each.partition("=")[0] not in known]
    if it.command.is_known:
        return max((_log_size(each) for each in _log_options(it, "max-size")[-1:]), default=0)
    shown = _log_size(it.host.log_config.size)
    # What was made without a command line may be ours, with our limit.
    return 0 if shown == _as_shown(LOG_SIZE_LIMIT) else shown


def _log_size(text: str) -> int:
    match = _LOG_SIZE.fullmatch(text)
    return round(float(match[1]) * 1000 ** " kmgtp".index(match[2].lower() or " ")) if match else 0


def _as_shown(size: int) -> int:
    """podman shows four digits of a size."""
    return round(size, _DIGITS_SHOWN - len(str(size)))


def read_log_tag(it: Made) -> str | None:
    return next(iter(_log_options(it, "tag")[-1:]), None) or it.host.log_config.tag or None


def _log_options(it: Made, name: str) -> list[str]:
    return [each.partition("=")[2] for each in it.asked("--log-opt") if each.partition("=")[0] == name]


def send_health(component: Component, _: Context) -> Part:
    # A probe is mcpd's own; what podman has by the image is switched off only when the definition says so.
    is_off = component.health is not None and component.health.disable
    return {"healthconfig": {"Test": ["NONE"]}} if is_off else {}


def read_health(it: Made, _: list[str]) -> dict[str, Any] | None:
    probe, of_image = probe_of(it.config.healthcheck), probe_of(it.image.healthcheck)
    if probe == of_image:
        return None
    return {"disable": True} if probe is None else plain(probe)


def send_stop_timeout(component: Component, _: Context) -> Part:
    # In whole seconds, and at least 1: 0 would mean no grace period.
    return {"stop_timeout": math.ceil(component.stop_timeout.total_seconds())}
