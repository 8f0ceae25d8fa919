"""What is declared beside the services, by the names that compose gives it: volumes, secrets and configs."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.names import Names
from mcpctl.definitions.importing.places import Places
from mcpctl.definitions.importing.source import Kind

_VOLUME_KEYS = ("name", "external", "driver", "driver_opts", "labels")
# Docker's own, which is podman's, too.
LOCAL = ("local", "default")


class Entry(msgspec.Struct, frozen=True):
    """``name``: what it is called on the node. ``said``: what the file says of it."""

    key: str
    name: str
    said: Mapping[str, Any]
    is_external: bool
    has_own_name: bool


class Declared:
    """Those of one file. What components use is told of once."""

    def __init__(self, document: dict[str, Any], names: Names, places: Places, report: Diagnostics) -> None:
        self._document = document
        self._places = places
        self._names = names
        self._report = report
        self._volumes: dict[str, Entry] = {}

    def entry(self, kind: str, key: str) -> Entry:
        """Of what nothing is declared, too. A name of its own counts, else the project's comes first."""
        report, path = self._report, f"{kind}.{key}"
        said = report.mapping(report.mapping(self._document.get(kind), kind).get(key), path)
        external = said.get("external")
        if isinstance(external, dict):  # of old versions
            said = {**said, "name": said.get("name") or external.get("name")}
        is_external = isinstance(external, dict) or report.is_true(external)
        own = said.get("name") or (key if is_external else "")
        name = report.text(own, f"{path}.name") or f"{self._names.project}_{key}"
        return Entry(key, name, said, is_external, bool(own))

    def volume(self, key: str, path: str) -> str:
        """The volume's name, for a component that mounts it."""
        if key not in self._volumes:
            self._volumes[key] = self.entry("volumes", key)
        name = self._volumes[key].name
        if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", name):
            self._report.wrong(path, f"{key!r} is neither a path (./{key}) nor a volume's name: letters, digits, _ . -")
        return name

    @property
    def called(self) -> str:
        """What is told of a volume or network without a name of its own."""
        return f"is called {self._names.project}_NAME on the node, as with compose"

    def anonymous(self, key: str, target: str) -> str:
        """The name of a volume that has none."""
        below = re.sub(r"[^A-Za-z0-9]+", "-", posixpath.normpath(target)).strip("-") or "root"
        return f"{self._names.project}_{self._names.components[key]}_{below}"

    def volumes(self) -> dict[str, Any]:
        """Our declarations of those that are mounted, where there is more to say than a name."""
        return {each.name: made for each in self._volumes.values() if (made := self._declaration(each))}

    def _declaration(self, entry: Entry) -> dict[str, Any]:
        report, path, said = self._report, f"volumes.{entry.key}", dict(entry.said)
        if entry.is_external:
            return {"external": True}
        report.ignore_others(said, _VOLUME_KEYS, path)
        if not entry.has_own_name:
            report.changed(path, self.called)
        made: dict[str, Any] = {}
        if said.get("driver") and said["driver"] not in LOCAL:
            made["driver"] = report.text(said["driver"], f"{path}.driver")
            report.warn(f"{path}.driver", f"{made['driver']}: podman on the node needs a volume plugin of this name")
        if options := self._report.texts(said.get("driver_opts"), f"{path}.driver_opts"):
            made["options"] = self._options(options, path)
        if labels := self._report.texts(said.get("labels"), f"{path}.labels"):
            made["labels"] = labels
        return made

    def _options(self, options: dict[str, str], path: str) -> dict[str, str]:
        """A folder of this machine is one of the service's on the node, which the driver does not make."""
        device = options.get("device", "")
        place = self._places.of(device) if device.startswith((".", "~")) else None
        if place is None:
            return options
        push = self._places.push(place) if place.kind is Kind.FOLDER else f"mkdir -p {shlex.quote(place.node)}"
        where = "" if place.kind is Kind.FOLDER else ", on the node"
        self._report.changed(
            f"{path}.driver_opts.device", f"{device} is {place.node} on the node; before the deploy{where}: `{push}`"
        )
        return {**options, "device": place.node}
