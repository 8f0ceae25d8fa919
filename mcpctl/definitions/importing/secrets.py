"""Secrets and configs that a component is given."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from mcpctl.definitions.beside import reason
from mcpctl.definitions.importing.declared import Declared, Entry
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.names import Names
from mcpctl.definitions.importing.places import Places
from mcpctl.definitions.importing.source import Kind, Source
from mcpctl.definitions.importing.volumes import Mounted
from protos.parts import MAX_CONFIG_BYTES, SECRET_MODE

_GRANT = ("source", "target", "uid", "gid", "mode")
_DECLARED = ("name", "external", "file", "environment", "content", "labels")
_FOLDER = "/run/secrets/"
_PERMISSIONS = 0o777


class Granted:
    """Those of one file."""

    def __init__(self, source: Source, places: Places, declared: Declared, names: Names, report: Diagnostics) -> None:
        self._source = source
        self._places = places
        self._declared = declared
        self._service, self._node = names.service, names.node
        self._report = report

    # -- secrets

    def secrets(self, value: Any, path: str) -> list[dict[str, Any]]:
        """Each becomes a file, called like its key unless it says otherwise."""
        found: dict[str, dict[str, Any]] = {}
        for entry, grant, here in self._grants("secrets", value, path):
            target = grant.get("target") or entry.key
            made = {"name": entry.name, **self._owner(grant, here, SECRET_MODE)}
            if target.removeprefix(_FOLDER) != entry.name:
                made["target"] = f"{_FOLDER}{target}" if "/" in target and not target.startswith("/") else target
            found[target.removeprefix(_FOLDER)] = made
            self._tell_secret(entry)
        return list(found.values())

    def _tell_secret(self, entry: Entry) -> None:
        report, path, said = self._report, f"secrets.{entry.key}", entry.said
        if entry.is_external:
            return
        report.ignore_others(dict(said), _DECLARED, path)
        command = f"mcpctl secret set {shlex.quote(entry.name)} --node {self._node}"
        if variable := said.get("environment"):
            value = f'"${report.text(variable, f"{path}.environment")}"'
            report.changed(path, f"is podman's secret {entry.name}: `printf %s {value} | {command}`")
            return
        file = str(self._source.path(report.text(said["file"], f"{path}.file"))) if said.get("file") else "FILE"
        report.changed(path, f"is podman's secret {entry.name}: `{command} --file {shlex.quote(file)}`")

    # -- configs

    def configs(self, value: Any, path: str, made: Mounted) -> None:
        for entry, grant, here in self._grants("configs", value, path):
            target = grant.get("target") or entry.key
            target = target if target.startswith("/") else f"/{target}"
            if (content := self._content(entry, here)) is not None:
                values = {"target": target, **content, **self._owner(grant, here, None)}
                made.configs[made.forget(target)] = values

    def _content(self, entry: Entry, here: str) -> dict[str, Any] | None:
        """Its text, or the file beside the definition that has it; None: it is lost."""
        report, path, said = self._report, f"configs.{entry.key}", entry.said
        if entry.is_external:
            report.lost(here, f"{entry.name} is kept by Swarm: write its text into the definition, as content")
            return None
        report.ignore_others(dict(said), _DECLARED, path)
        if isinstance(said.get("content"), str):
            return {"content": said["content"]}
        if variable := said.get("environment"):
            name = report.text(variable, f"{path}.environment")
            if name not in self._source.environment:
                report.warn(f"{path}.environment", f"{name} is not set; the config is empty, as with compose")
            return {"content": self._source.environment.get(name, "")}
        if not said.get("file"):
            report.wrong(here, f"{entry.key!r} is not declared: add it to configs: with file, content or environment")
            return None
        return self._of_file(report.text(said["file"], f"{path}.file"), path)

    def _of_file(self, name: str, path: str) -> dict[str, Any] | None:
        report = self._report
        here = self._source.path(name)
        look = self._source.look(here)
        ours = f"{self._service}-{here.name}"
        try:
            text = self._source.read(here)
        except FileNotFoundError:
            report.changed(path, f"{name} is not here; put it beside the definition as {ours}, or nothing is deployed")
            return {"source": ours}
        except (OSError, ValueError) as error:
            words = reason(error)
            report.lost(path, f"{name} cannot be a config ({words}): push it to the node, and mount it as a volume")
            return None
        if len(text.encode()) > MAX_CONFIG_BYTES or "\0" in text:
            most = MAX_CONFIG_BYTES // 1024
            report.lost(
                path, f"{name}: a config is text of {most} KiB at most: push it to the node, and mount it as a volume"
            )
            return None
        report.changed(path, f"the text of {name} is in the definition")
        mode = look.mode & _PERMISSIONS if look.kind is Kind.FILE else SECRET_MODE
        return {"content": text, "mode": mode | SECRET_MODE}

    # -- both

    def _grants(self, kind: str, value: Any, path: str) -> Iterator[tuple[Entry, dict[str, Any], str]]:
        report = self._report
        for index, each in enumerate(report.items(value, path)):
            here = f"{path}[{index}]"
            grant = each if isinstance(each, dict) else {"source": each}
            report.ignore_others(grant, _GRANT, here)
            key = report.text(grant.get("source"), f"{here}.source")
            if key:
                target = grant.get("target")
                grant = {**grant, "target": report.text(target, f"{here}.target") if target is not None else ""}
                yield self._declared.entry(kind, key), grant, here

    def _owner(self, grant: dict[str, Any], path: str, mode: int | None) -> dict[str, Any]:
        report, made = self._report, dict[str, Any]()
        for key in ("uid", "gid"):
            if grant.get(key):
                made[key] = report.number(grant[key], f"{path}.{key}")
        if grant.get("mode"):
            text = report.text(grant["mode"], f"{path}.mode").strip().removeprefix("0o")
            if not text or set(text) - set("01234567") or len(text) > 5:
                report.wrong(f"{path}.mode", f"{text[:20]!r} is not a file mode: octal digits, say 0440")
            else:
                made["mode"] = int(text, 8) & _PERMISSIONS
        elif mode is not None:
            made["mode"] = mode
        return made
