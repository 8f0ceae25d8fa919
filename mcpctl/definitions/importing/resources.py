"""What components use that is declared beside them: volumes, networks and secrets, by the names that compose gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcpctl.definitions.importing.diagnostics import FALSE, TRUE, Diagnostics
from mcpctl.definitions.importing.names import Names
from protos import grammar

_MODES = ("host", "none")
_VOLUME_KEYS = ("type", "source", "target", "read_only", "bind", "bind.propagation", "bind.selinux")


class Resources:
    """Those of one file, each told of once. ``folder`` is the file's, an absolute path."""

    def __init__(self, document: dict[str, Any], folder: Path, names: Names, report: Diagnostics) -> None:
        self._document = document
        self._folder = folder
        self._names = names
        self._report = report
        self._seen: set[str] = set()

    def _name(self, kind: str, key: str) -> str:
        """The name that compose gives to a volume or network: its own, else with the project's before it."""
        report, path = self._report, f"{kind}.{key}"
        declared = report.mapping(report.mapping(self._document.get(kind), kind).get(key), path)
        external = declared.get("external")
        if isinstance(external, dict):  # of old versions
            declared = declared | external
        is_external = bool(external) and external not in FALSE
        own = declared.get("name") or (key if is_external else None)
        name = report.text(own, f"{path}.name") if own is not None else f"{self._names.project}_{key}"
        if path not in self._seen:
            self._seen.add(path)
            if own is None:
                report.lost(path, f"named {name}, as compose does: the project's name comes first")
            for each in declared:
                if each not in ("name", "external"):
                    report.lost(f"{path}.{each}", "is not imported: it is created with podman's defaults")
        return name

    # -- volumes

    def volumes(self, value: Any, path: str) -> list[str]:
        """Bind mounts and named volumes, as ``SOURCE:TARGET[:OPTIONS]``."""
        several = [
            self._long_volume(each, f"{path}[{index}]")
            if isinstance(each, dict)
            else self._short_volume(self._report.text(each, f"{path}[{index}]"), f"{path}[{index}]")
            for index, each in enumerate(self._report.items(value, path))
        ]
        return [each for each in several if each]

    def _short_volume(self, text: str, path: str) -> str:
        source, _, rest = text.partition(":")
        target, _, options = rest.partition(":")
        if not rest or not target.startswith("/"):
            self._report.lost(path, f"{text}: the volume has no name; write NAME:{source}")
            return ""
        return self._mount(source, target, [each for each in options.split(",") if each], path)

    def _long_volume(self, volume: dict[str, Any], path: str) -> str:
        report, kind = self._report, volume.get("type", "volume")
        source, target = volume.get("source"), report.text(volume.get("target"), f"{path}.target")
        if kind not in ("bind", "volume") or not isinstance(source, str):
            report.lost(path, f"{target}: only bind mounts and named volumes are imported")
            return ""
        options = ["ro"] if volume.get("read_only") in TRUE else []
        bind = report.mapping(volume.get("bind"), f"{path}.bind")
        options += [each for key in ("propagation", "selinux") if isinstance(each := bind.get(key), str)]
        for key in (*volume, *(f"bind.{each}" for each in bind)):
            if key not in _VOLUME_KEYS:
                report.lost(f"{path}.{key}", "is not imported")
        if kind == "bind" and not source.startswith(("/", ".", "~")):
            source = f"./{source}"
        return self._mount(source, target, options, path)

    def _mount(self, source: str, target: str, options: list[str], path: str) -> str:
        kept = [each for each in options if each in grammar.VOLUME_OPTIONS]
        for option in options:
            if option not in kept:
                self._report.lost(path, f"option {option}")
        if source.startswith("~"):
            self._report.lost(
                path, f"{source} is a home folder on this machine, not on the node; write the absolute path"
            )
            return ""
        if source.startswith("."):
            absolute = _normalized(self._folder, source)
            self._report.lost(path, f"{source} became {absolute}, which must exist on the node")
            source = str(absolute)
        elif not source.startswith("/"):
            source = self._name("volumes", source)
        return ":".join([source, target, *([",".join(kept)] if kept else [])])

    # -- networks

    def network(self, key: str, service: dict[str, Any]) -> str | None:
        """What the service called ``key`` in the file joins; None: podman's default network."""
        report, path = self._report, f"services.{key}"
        mode, networks = service.get("network_mode"), service.get("networks")
        if mode is not None:
            return self._network_mode(report.text(mode, f"{path}.network_mode"), f"{path}.network_mode")
        names = list(networks) if isinstance(networks, dict) else report.items(networks, f"{path}.networks")
        for name in names[1:]:
            report.lost(f"{path}.networks.{name}", f"a component can join only one network; it joins {names[0]}")
        for name, options in networks.items() if isinstance(networks, dict) else ():
            if options:
                report.lost(f"{path}.networks.{name}", f"{', '.join(report.mapping(options, path))}: not imported")
        several = len(self._names.components) > 1
        if not names and not several:
            return None
        if several:
            report.lost(path, f"other containers in its network reach it as {self._names.container(key)}, not as {key}")
        return self._name("networks", report.text(names[0] if names else "default", f"{path}.networks"))

    def _network_mode(self, mode: str, path: str) -> str | None:
        if mode in _MODES:
            return mode
        if mode not in ("bridge", "private"):
            self._report.lost(path, f"{mode}: replaced by podman's default network")
        return None

    # -- secrets

    def secrets(self, value: Any, path: str) -> list[str]:
        report, names = self._report, []
        declared = report.mapping(self._document.get("secrets"), "secrets")
        for index, each in enumerate(report.items(value, path)):
            here = f"{path}[{index}]"
            key = report.text(each.get("source") if isinstance(each, dict) else each, here)
            for option in each if isinstance(each, dict) else ():
                if option != "source":
                    report.lost(f"{here}.{option}", "a secret is mounted at /run/secrets/NAME")
            about = report.mapping(declared.get(key), f"secrets.{key}")
            if not about.get("external") or about["external"] in FALSE:
                report.lost(
                    f"secrets.{key}",
                    f"secret values are not imported: run `podman secret create {key} FILE` on the node",
                )
            names.append(report.text(about.get("name") or key, here))
        return names


def _normalized(folder: Path, relative: str) -> Path:
    """Without ``.`` and ``..``, by name alone: links are the node's affair."""
    parts: list[str] = []
    for part in (folder / relative).parts[1:]:
        if part == "..":
            parts[-1:] = []
        else:
            parts.append(part)
    return Path("/", *parts)
