"""What a container mounts: volumes, folders, memory and configs, to podman and back. Pure functions."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Any

from mcpd.runtime import inspected
from mcpd.runtime.setting import Context, Made, Part, clipped
from protos import grammar, podman_notation
from protos.parts import Mount
from protos.spec import Component

_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
# Mount options that podman adds to the requested ones.
_DEFAULT_OPTIONS = {"bind": frozenset({"rbind"}), "volume": frozenset({"rbind", "nosuid", "nodev"})}
_DEFAULT_TMPFS = frozenset({"rw", "rprivate", "nosuid", "nodev", "tmpcopyup"})
# Volume options that no inspection shows: they take effect when the container is created.
_UNSEEN_OPTIONS = frozenset({"z", "Z", "U", "O", "idmap", "copy", "nocopy"})
# Their names in `--mount`, each with the equivalent volume option.
_MOUNT_WORDS = {"relabel=shared": "z", "relabel=private": "Z", "chown": "U", "U": "U", "idmap": "idmap"}
# What a mount of several layers shows, with the folder below them.
_LOWER = "lowerdir="
_OVERLAY = "O"
# podman-run(1), --read-only-tmpfs.
_TMPFS_OF_READ_ONLY = ("/run", "/tmp", "/var/tmp")  # noqa: S108


def send_volumes(component: Component, _: Context) -> Part:
    mounts = component.mounts
    overlays = [each for each in mounts if each.folder and _OVERLAY in each.options]
    part: dict[str, Any] = {
        "mounts": [_bind(each) for each in mounts if each.folder and each not in overlays],
        "volumes": [
            {"Name": each.volume, "Dest": each.target, "Options": list(each.options)}
            for each in mounts
            if not each.folder
        ],
    }
    if overlays:
        part["overlay_volumes"] = [
            {"source": each.folder, "destination": each.target, "options": list(each.options)} for each in overlays
        ]
    return part


def _bind(mount: Mount) -> dict[str, Any]:
    # podman takes only one of the two words.
    recursive = () if {"bind", "rbind"} & set(mount.options) else ("rbind",)
    options = [*recursive, *mount.options]
    return {"type": "bind", "source": mount.folder, "destination": mount.target, "options": options}


def send_tmpfs(component: Component, _: Context) -> Part:
    parsed = map(podman_notation.tmpfs, component.tmpfs)
    mounts = [_in_memory(each.target, each.options) for each in parsed]
    return {"mounts": mounts} if mounts else {}


def _in_memory(target: str, options: Iterable[str] = ()) -> dict[str, Any]:
    return {"type": "tmpfs", "source": "tmpfs", "destination": target, "options": list(options)}


def send_configs(component: Component, context: Context) -> Part:
    mounts = [
        {
            "type": "bind",
            "source": context.among.configs[each.target],
            "destination": each.target,
            "options": ["rbind", "ro", "z"],
        }
        for each in component.configs
    ]
    return {"mounts": mounts} if mounts else {}


def send_read_only(component: Component, _: Context) -> Part:
    if not component.read_only:
        return {}
    taken = {posixpath.normpath(each) for each in _targets(component)}
    free = [each for each in _TMPFS_OF_READ_ONLY if each not in taken]
    # podman 5 mounts them when it is told so, podman 4 leaves them to whoever speaks to it.
    return {
        "read_only_filesystem": True,
        "read_write_tmpfs": True,
        "mounts": [_in_memory(each) for each in free],
    }


def _targets(component: Component) -> Iterator[str]:
    yield from (each.target for each in component.mounts)
    yield from (each.target for each in map(podman_notation.tmpfs, component.tmpfs))
    yield from (each.target for each in component.configs)


def read_volumes(it: Made, losses: list[str]) -> list[dict[str, Any]]:
    found = [*_shown(it, losses), *_not_yet_layered(it)]
    return [{key: value for key, value in each.items() if value} for each in found]


def _shown(it: Made, losses: list[str]) -> Iterator[dict[str, Any]]:
    own = config_targets(it)
    for each in it.details.mounts or ():
        if each.destination in own or _is_images(it, each):
            continue
        lower = next((option for option in each.options or () if option.startswith(_LOWER)), "")
        source = lower.removeprefix(_LOWER) or (each.name if each.type == "volume" else each.source)
        if each.type not in _DEFAULT_OPTIONS or (each.type == "bind" and not source.startswith("/")):
            losses.append(clipped(f"a mount of type {each.type} at {each.destination}"))
            continue
        options = [_OVERLAY] if lower else _options(it, each)
        odd = [option for option in options if option not in grammar.VOLUME_OPTIONS]
        losses += [clipped(f"the option {option} of the mount at {each.destination}") for option in odd]
        if each.sub_path:
            losses.append(clipped(f"--mount subpath={each.sub_path} at {each.destination}"))
        known = [option for option in options if option not in odd]
        yield {"target": each.destination, "source": source, "options": known}


def _not_yet_layered(it: Made) -> Iterator[dict[str, Any]]:
    """Of the mounts with layers an inspection shows nothing before the first start."""
    present = {each.destination for each in it.details.mounts or ()}
    for word in it.asked("--volume"):
        source, _, rest = word.partition(":")
        target, _, options = rest.partition(":")
        if _OVERLAY in options.split(",") and target not in present:
            yield {"target": target, "source": source, "options": options.split(",")}


def _options(it: Made, mount: inspected.Mount) -> list[str]:
    has = frozenset(mount.options or ())
    usual = _DEFAULT_OPTIONS.get(mount.type, frozenset())
    options = ["ro"] * (not mount.rw) + sorted(has - usual)
    # A default option that is missing was turned off.
    options += [each.removeprefix("no") for each in sorted(usual - has) if each.startswith("no") and has]
    # podman's own, which is not recursive where the mount is not.
    if mount.propagation not in ("", "rprivate", *(("private",) if "bind" in has else ())):
        options.append(mount.propagation)
    options += [mount.mode] if mount.mode in _UNSEEN_OPTIONS else []
    for word in it.asked("--volume"):
        source, _, rest = word.partition(":")
        target, _, asked = rest.partition(":")
        if source and target == mount.destination:
            options += [each for each in asked.split(",") if each in _UNSEEN_OPTIONS]
    for word in it.asked("--mount"):
        words = [each.removesuffix("=true") for each in word.split(",")]
        if any(f"{key}={mount.destination}" in words for key in ("destination", "dst", "target")):
            options += [_MOUNT_WORDS[each] for each in words if each in _MOUNT_WORDS]
    return list(dict.fromkeys(options))


def _is_images(it: Made, mount: inspected.Mount) -> bool:
    """Whether mcpd was not asked for it: an anonymous volume that the image wants."""
    wanted = it.image.config.volumes or {}
    return it.is_ours and bool(_ANONYMOUS.fullmatch(mount.name)) and mount.destination in wanted


def anonymous(it: Made) -> list[str]:
    """Where it has anonymous volumes, which are declared under their names, so that what is in them stays."""
    mounts = it.details.mounts or ()
    return [] if it.is_ours else [each.destination for each in mounts if _ANONYMOUS.fullmatch(each.name)]


def config_targets(it: Made) -> list[str]:
    """Where it has configs; only of a container that mcpd made."""
    configs = it.declared.get("configs")
    listed = configs if isinstance(configs, list) else []
    return [str(each["target"]) for each in listed if isinstance(each, dict) and "target" in each]


def read_tmpfs(it: Made, _: list[str]) -> list[str]:
    asked = {posixpath.normpath(each.partition(":")[0]) for each in it.asked("--tmpfs")}
    found = []
    for target, shown in (it.host.tmpfs or {}).items():
        options = [each for each in shown.split(",") if each and each not in _DEFAULT_TMPFS]
        is_own = it.host.readonly_rootfs and target in _TMPFS_OF_READ_ONLY and target not in asked
        if options or not is_own:
            found.append(":".join((target, ",".join(options))) if options else target)
    return found
