"""What compose says of running a service: how many, the restart policy of ``deploy``, and limits in both notations."""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.importing.diagnostics import Diagnostics

_SWARM_POLICIES = {"none": "no", "no": "no", "any": "always", "": "always"}
# The labels are read elsewhere: they may say when it runs.
_DEPLOY = ("replicas", "restart_policy", "resources", "labels")
# Compose's default of `cpu_period`, in microseconds, as of `cpu_quota` (05-services.md).
_CPU_PERIOD = 100_000
_UNLIMITED = ("-1", "0")
# What the kernel is told, and a definition has no word for.
_LOST = {
    "mem_swappiness": "the node's own setting counts: sysctl vm.swappiness",
    "oom_kill_disable": "the kernel kills it when memory runs out; oom_score_adj makes that less likely",
    "blkio_config": "disk access has no limit; use a slice of systemd's for it",
    "cpu_rt_runtime": "it has no realtime share of the CPU",
    "cpu_rt_period": "it has no realtime share of the CPU",
    "storage_opt": "what it writes has no limit; use a volume of a limited size",
}
# Of Windows.
_IGNORED = ("cpu_count", "cpu_percent")


def restart(service: dict[str, Any], path: str, report: Diagnostics) -> str | None:
    """The restart policy, None where nothing says one."""
    said = report.text(service.get("restart") or "no", f"{path}.restart").strip().lower()
    made = None if service.get("restart") is None else "no" if said in ("", "false", "none") else said
    deploy = report.mapping(service.get("deploy"), f"{path}.deploy")
    here = f"{path}.deploy.restart_policy"
    if policy := report.mapping(deploy.get("restart_policy"), here):
        condition = report.text(policy.get("condition") or "any", f"{here}.condition")
        made = _SWARM_POLICIES.get(condition, condition)
        if made == "on-failure" and policy.get("max_attempts") is not None:
            tries = report.number(policy["max_attempts"], f"{here}.max_attempts")
            made = f"{made}:{tries}" if tries > 0 else made
        report.ignore_others(policy, ("condition", "max_attempts"), here)
    report.ignore_others(deploy, _DEPLOY, f"{path}.deploy")
    return made


def is_wanted(service: dict[str, Any], path: str, report: Diagnostics, *, is_job: bool = False) -> bool:
    """Whether there is one at all; and tells where there are more. Of a job there is none between its runs."""
    wanted = True
    deploy = report.mapping(service.get("deploy"), f"{path}.deploy")
    for value, here in ((service.get("scale"), f"{path}.scale"), (deploy.get("replicas"), f"{path}.deploy.replicas")):
        if value in (None, ""):
            continue
        count = report.number(value, here)
        if count > 1:
            report.lost(here, f"{count}: a component is one container; write a component for each of the others")
        elif count == 0 and not is_job:
            report.changed(here, "0: the component is there, with active = false")
            wanted = False
    return wanted


def limits(service: dict[str, Any], path: str, report: Diagnostics) -> dict[str, Any]:
    """Our ``resources``: what the service says itself, else what its ``deploy`` does."""
    deploy = report.mapping(service.get("deploy"), f"{path}.deploy")
    here = f"{path}.deploy.resources"
    resources = report.mapping(deploy.get("resources"), here)
    report.ignore_others(resources, ("limits", "reservations"), here)
    swarm = report.mapping(resources.get("limits"), f"{here}.limits")
    report.ignore_others(swarm, ("memory", "cpus", "pids"), f"{here}.limits")
    reserved = report.mapping(resources.get("reservations"), f"{here}.reservations")
    # CPUs are reserved by schedulers alone; devices are read elsewhere.
    report.ignore_others(reserved, ("memory", "devices"), f"{here}.reservations")
    _tell(service, path, report)
    found = _memory(service, swarm, reserved, path, report)
    if cpus := service.get("cpus") or swarm.get("cpus"):
        found["cpus"] = report.cpus(cpus, f"{path}.cpus")
    elif (quota := service.get("cpu_quota")) and quota not in _UNLIMITED:
        found["cpus"] = _of_quota(service, path, report)
    if (pids := service.get("pids_limit") or swarm.get("pids")) and pids not in _UNLIMITED:
        found["pids"] = report.number(pids, f"{path}.pids_limit")
    for key in ("cpu_shares", "oom_score_adj"):
        if service.get(key):
            found[key] = report.number(service[key], f"{path}.{key}")
    if cpuset := service.get("cpuset"):
        found["cpuset"] = report.text(cpuset, f"{path}.cpuset").replace(" ", "")
    return {key: each for key, each in found.items() if each}


def _memory(
    service: dict[str, Any], swarm: dict[str, Any], reserved: dict[str, Any], path: str, report: Diagnostics
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if memory := service.get("mem_limit") or swarm.get("memory"):
        found["memory"] = report.size(memory, f"{path}.mem_limit")
    if memory := service.get("mem_reservation") or reserved.get("memory"):
        found["memory_reservation"] = report.size(memory, f"{path}.mem_reservation")
    if swap := service.get("memswap_limit"):
        found["memory_swap"] = -1 if swap == "-1" else report.size(swap, f"{path}.memswap_limit")
    if found.get("memory_swap") and not found.get("memory"):
        del found["memory_swap"]
        report.ignored(f"{path}.memswap_limit", "has no meaning without mem_limit")
    return found


def _of_quota(service: dict[str, Any], path: str, report: Diagnostics) -> float:
    def microseconds(key: str) -> int:
        text = report.text(service[key], f"{path}.{key}")
        return report.number(text.removesuffix("us"), f"{path}.{key}")

    period = microseconds("cpu_period") if service.get("cpu_period") else 0
    made = round(microseconds("cpu_quota") / (period or _CPU_PERIOD), 4)
    report.changed(f"{path}.cpu_quota", f"is cpus = {made}")
    return made


def _tell(service: dict[str, Any], path: str, report: Diagnostics) -> None:
    for key, words in _LOST.items():
        value = service.get(key)
        if value not in (None, "", {}) and not (key == "oom_kill_disable" and not report.is_true(value)):
            report.lost(f"{path}.{key}", words)
    for key in _IGNORED:
        if service.get(key) is not None:
            report.ignored(f"{path}.{key}", "has a meaning on Windows only")
