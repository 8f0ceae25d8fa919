"""What compose says of running a service: the restart policy of ``deploy``, and limits in both notations."""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.importing.diagnostics import Diagnostics

_SWARM_POLICIES = {"none": "no", "on-failure": "on-failure", "any": "always"}


def restart(deploy: dict[str, Any], path: str, report: Diagnostics) -> str | None:
    """The restart policy, None where it says none; and tells what else there is that is not imported."""
    made = None
    replicas = deploy.get("replicas")
    if replicas not in (None, "1"):
        report.lost(f"{path}.replicas", f"{replicas}: a component is a single container")
    if policy := report.mapping(deploy.get("restart_policy"), f"{path}.restart_policy"):
        condition = report.text(policy.get("condition") or "any", f"{path}.restart_policy.condition")
        tries = policy.get("max_attempts")
        made = _SWARM_POLICIES.get(condition, condition)
        made = f"{made}:{tries}" if made == "on-failure" and tries else made
        for key in policy:
            if key not in ("condition", "max_attempts"):
                report.lost(f"{path}.restart_policy.{key}", "is not imported")
    for key in deploy:
        if key not in ("replicas", "restart_policy", "resources"):
            report.lost(f"{path}.{key}", "is not imported")
    return made


def limits(service: dict[str, Any], path: str, report: Diagnostics) -> dict[str, Any]:
    """Our ``resources``: what the service says itself, else what its ``deploy`` does."""
    resources = report.mapping(report.mapping(service.get("deploy"), path).get("resources"), f"{path}.deploy.resources")
    for key in resources:
        if key != "limits":
            report.lost(f"{path}.deploy.resources.{key}", "a component has limits only")
    swarm = report.mapping(resources.get("limits"), f"{path}.deploy.resources.limits")
    for key in swarm:
        if key not in ("memory", "cpus", "pids"):
            report.lost(f"{path}.deploy.resources.limits.{key}", "is not imported")
    found: dict[str, Any] = {}
    if memory := service.get("mem_limit") or swarm.get("memory"):
        found["memory"] = report.size(memory, f"{path}.mem_limit")
    if cpus := service.get("cpus") or swarm.get("cpus"):
        found["cpus"] = report.cpus(cpus, f"{path}.cpus")
    if (pids := service.get("pids_limit") or swarm.get("pids")) and pids not in ("-1", "0"):
        found["pids"] = report.number(pids, f"{path}.pids_limit")
    return found
