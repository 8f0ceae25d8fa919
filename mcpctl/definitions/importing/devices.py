"""Devices of the node: files in /dev, and GPUs, which podman knows by names of the Container Device Interface (CDI)."""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.importing.diagnostics import Diagnostics

_NVIDIA = "nvidia"
_GPU = "gpu"
# Vendors whose tools write CDI specifications.
_VENDORS = {_NVIDIA: "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "intel.com/gpu"}
_CDI = "cdi"
_ALL = ("all", "-1")
_MOST = 64
_KEYS = ("capabilities", "driver", "count", "device_ids", "options")
_LONG = ("source", "target", "permissions")
# Which run a container as podman does.
_USUAL_RUNTIMES = ("runc", "crun", "youki", "io.containerd.runc.v2", "default", "")


def devices(service: dict[str, Any], path: str, report: Diagnostics) -> list[str]:
    """Every device that the service says, in whatever way."""
    found = []
    for index, each in enumerate(report.items(service.get("devices"), f"{path}.devices")):
        found.append(_device(each, f"{path}.devices[{index}]", report))
    gpus = service.get("gpus")
    entries = [{}] if isinstance(gpus, str) and gpus in _ALL else report.items(gpus, f"{path}.gpus")
    found += _reserved(entries, f"{path}.gpus", report, is_gpu=True)
    found += _swarm(service, path, report)
    found += _runtime(service, path, report, has_gpu=any("=" in each for each in found))
    return list(dict.fromkeys(filter(None, found)))


def _device(value: Any, path: str, report: Diagnostics) -> str:
    if not isinstance(value, dict):
        text = report.text(value, path).strip()
        parts = text.split(":")
        # Docker's `/dev/x:rwm` has no place in the container.
        return f"{parts[0]}:{parts[0]}:{parts[1]}" if len(parts) == 2 and not parts[1].startswith("/") else text
    report.ignore_others(value, _LONG, path)
    source = report.text(value.get("source"), f"{path}.source")
    target = report.text(value.get("target") or source, f"{path}.target")
    permissions = value.get("permissions")
    return ":".join([source, target, *([report.text(permissions, f"{path}.permissions")] if permissions else [])])


def _swarm(service: dict[str, Any], path: str, report: Diagnostics) -> list[str]:
    found: Any = service.get("deploy")
    for key in ("resources", "reservations"):
        found = found.get(key) if isinstance(found, dict) else None
    here = f"{path}.deploy.resources.reservations.devices"
    entries = report.items(found.get("devices"), here) if isinstance(found, dict) else []
    return _reserved(entries, here, report, is_gpu=False)


def _reserved(entries: list[Any], path: str, report: Diagnostics, *, is_gpu: bool) -> list[str]:
    found: list[str] = []
    for index, each in enumerate(entries):
        here = f"{path}[{index}]"
        said = report.mapping(each, here)
        report.ignore_others(said, _KEYS, here)
        driver = report.text(said.get("driver") or "", f"{here}.driver").lower()
        capabilities = _flat(said.get("capabilities"))
        ids = report.words(said.get("device_ids"), f"{here}.device_ids")
        if driver == _CDI:
            found += ids
        elif (vendor := _VENDORS.get(driver or _NVIDIA)) and (is_gpu or driver or _GPU in capabilities):
            names = ids or _counted(said.get("count"), f"{here}.count", report)
            found += (made := [f"{vendor}={name}" for name in names])
            if made:
                report.changed(
                    here,
                    f"is the CDI device {', '.join(made[:4])}; the node needs a specification of it "
                    "(for NVIDIA: `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`)",
                )
        else:
            words = ", ".join([driver, *capabilities]).strip(", ")
            report.lost(here, f"{words}: name the device itself in devices, as /dev/NAME or VENDOR/CLASS=NAME")
    return found


def _counted(count: Any, path: str, report: Diagnostics) -> list[str]:
    if count is None or (isinstance(count, str) and count.strip().lower() in _ALL):
        return ["all"]
    return [str(number) for number in range(min(report.number(count, path), _MOST))]


def _runtime(service: dict[str, Any], path: str, report: Diagnostics, *, has_gpu: bool) -> list[str]:
    runtime = report.text(service.get("runtime") or "", f"{path}.runtime")
    if runtime == _NVIDIA:
        made = [] if has_gpu else [f"{_VENDORS[_NVIDIA]}=all"]
        report.changed(f"{path}.runtime", "is the CDI device nvidia.com/gpu=all" if made else "is said by its devices")
        return made
    if runtime in _USUAL_RUNTIMES:
        if runtime:
            report.ignored(f"{path}.runtime")
    else:
        report.lost(f"{path}.runtime", f"{runtime}: podman's own runtime is used; set it in the node's containers.conf")
    return []


def _flat(value: Any) -> list[str]:
    """Names in lists, or lists of lists (as old files have them)."""
    if isinstance(value, list):
        return [name for each in value for name in _flat(each)]
    return [value] if isinstance(value, str) else []
