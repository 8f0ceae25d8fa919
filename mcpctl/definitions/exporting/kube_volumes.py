"""Volumes of a Pod and where its container mounts them; config maps beside it."""

from __future__ import annotations

import re
from typing import Any

from mcpctl.definitions.exporting import yamltext
from mcpctl.definitions.exporting.formats import Losses
from protos import podman_notation
from protos.parts import ConfigFile, Mount
from protos.spec import Component

# Kubernetes insists on a size, and podman ignores it.
_CLAIM_SIZE = "1Gi"
# podman-kube-play(1): how mount options are said in Kubernetes.
_PROPAGATION = {"private": "None", "rprivate": "None", "rslave": "HostToContainer", "rshared": "Bidirectional"}
# What podman does by itself.
_IMPLIED = frozenset({"rw", "rbind", "z"})
# A DNS label; podman 4.3 calls a volume of its own so, on the whole node.
_LONGEST_NAME = 63
_SIZE = re.compile(r"([0-9]+)([kmgKMG]?)")
_FACTORS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def mounts(component: Component, pod: str, lost: Losses) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the container mounts, and the volumes of the Pod."""
    pairs = [_mount(each, index, pod, lost) for index, each in enumerate(component.mounts)]
    pairs += [_tmpfs(text, index, pod, lost) for index, text in enumerate(component.tmpfs)]
    pairs += [_config(each, index, pod, lost) for index, each in enumerate(component.configs) if each.source is None]
    for index, each in enumerate(component.configs):
        if each.source is not None:
            lost.add(f"configs[{index}]", f"write the text of {each.source} into a ConfigMap, mounted at {each.target}")
    kept = []
    for mount, volume in pairs:
        # podman takes what follows a colon for options, and refuses the whole file.
        if ":" in mount["mountPath"]:
            lost.add("volumes", f"{mount['mountPath']} has a colon, which podman cannot mount at: choose another path")
        else:
            kept.append((mount, volume))
    return [mount for mount, _ in kept], [volume for _, volume in kept]


def _mount(volume: Mount, index: int, pod: str, lost: Losses) -> tuple[dict[str, Any], dict[str, Any]]:
    name = f"volume-{index}"
    source: dict[str, Any] = {"emptyDir": {}}
    if volume.folder:
        source = {"hostPath": {"path": volume.folder, **({"type": "DirectoryOrCreate"} if volume.create else {})}}
    elif volume.volume:
        source = {"persistentVolumeClaim": {"claimName": volume.volume}}
    else:
        name = _own_name(pod, name)
    mount: dict[str, Any] = {"name": name, "mountPath": volume.target}
    for option in volume.options:
        if option == "ro":
            mount["readOnly"] = True
        elif option in _PROPAGATION:
            mount["mountPropagation"] = _PROPAGATION[option]
        elif option not in _IMPLIED:
            lost.add(f"volumes[{index}]", f"option {option}; podman takes it as mountPath: {volume.target}:{option}")
    return mount, {"name": name, **source}


def _tmpfs(text: str, index: int, pod: str, lost: Losses) -> tuple[dict[str, Any], dict[str, Any]]:
    target, options = podman_notation.tmpfs(text)
    name = _own_name(pod, f"tmpfs-{index}")
    medium: dict[str, Any] = {"medium": "Memory"}
    lost.add(f"tmpfs[{index}]", "podman 4.3 makes it a volume on the disk, and podman 5 sets no size")
    for option in options:
        key, _, value = option.partition("=")
        match = _SIZE.fullmatch(value) if key == "size" else None
        if match:
            medium["sizeLimit"] = str(int(match[1]) * _FACTORS[match[2].lower()])
        else:
            lost.add(f"tmpfs[{index}]", f"{option}: an emptyDir has no such option")
    return {"name": name, "mountPath": target}, {"name": name, "emptyDir": medium}


def _own_name(pod: str, name: str) -> str:
    return f"{pod}-{name}"[-_LONGEST_NAME:].lstrip("-")


# -- configs


def config_maps(component: Component, pod: str) -> list[dict[str, Any]]:
    """One for each: podman makes a volume of each, whatever part of it a Pod asks for."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{pod}-config-{index}"},
            "data": {_key(each): each.content or ""},
        }
        for index, each in enumerate(component.configs)
        if each.source is None
    ]


def _config(config: ConfigFile, index: int, pod: str, lost: Losses) -> tuple[dict[str, Any], dict[str, Any]]:
    name = f"config-{index}"
    lost.add(f"configs[{index}]", f"podman 4.3 makes a folder {config.target} that has the file in it")
    if config.uid or config.gid:
        lost.add(f"configs[{index}]", f"owner {config.uid}:{config.gid}: a ConfigMap's file belongs to root")
    mount = {"name": name, "mountPath": config.target, "subPath": _key(config), "readOnly": True}
    return mount, {"name": name, "configMap": {"name": f"{pod}-{name}", "defaultMode": config.mode}}


def _key(config: ConfigFile) -> str:
    """The file's own name, as far as a ConfigMap's key can be that."""
    made = re.sub(r"[^A-Za-z0-9_.-]", "-", config.target.rstrip("/").rpartition("/")[2])
    return made if made.strip(".") else "content"


# -- claims


def claims(component: Component) -> str:
    """Beside the Pod: podman makes a volume that is missing, and 4.3 refuses a claim whose volume is there."""
    named = dict.fromkeys(each.volume for each in component.mounts if each.volume)
    if not named:
        return ""
    found = [
        yamltext.document(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": _CLAIM_SIZE}},
                },
            }
        )
        for name in named
    ]
    return "podman makes volumes that are missing. Kubernetes needs, as documents of their own:\n" + "---\n".join(found)
