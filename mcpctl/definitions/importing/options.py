"""Keys of a service that are written alike here, or nearly so: those of `plain_keys`, each as its field wants it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.networks import Networks
from mcpctl.definitions.importing.places import Places
from mcpctl.definitions.plain_keys import PLAIN_KEYS
from protos import podman_notation
from protos.spec import Component

# Compose's words for them, ours behind; `read` leaves out what others read together with something else.
NAMES = {each.compose: each.key for each in PLAIN_KEYS if each.compose}
_ELSEWHERE = frozenset({"devices", "tmpfs"})
_PLATFORM = re.compile(r"[a-z0-9_]+")
_SYSTEMS = ("linux", "windows", "darwin", "freebsd")
_TMPFS_OPTION = re.compile(r"[a-z]+(=[A-Za-z0-9%]+)?")
_PATH_OF_SECCOMP = re.compile(r"seccomp[:=](?P<path>[.~].*|[^/:=]*\.json)")
_SEPARATORS = re.compile(r"[:=]")


class Options:
    def __init__(self, networks: Networks, places: Places, report: Diagnostics) -> None:
        self._networks = networks
        self._places = places
        self._report = report
        self._defaults = {each.name: _default(each) for each in msgspec.structs.fields(Component)}
        self._readers: dict[str, Callable[[Any, str], Any]] = {
            "add_hosts": self._hosts,
            "annotations": report.texts,
            "cap_add": self._upper,
            "cap_drop": self._upper,
            "hostname": self._host_name,
            "ipc": self._namespace(podman_notation.ipc_namespace),
            "labels": self._labels,
            "pid": self._namespace(podman_notation.process_namespace),
            "platform": self._platform,
            "security_opt": self._security,
            "shm_size": report.size,
            "sysctls": report.texts,
            "ulimits": self._ulimits,
            "userns": self._namespace(podman_notation.user_namespace),
        }

    def read(self, service: dict[str, Any], path: str) -> dict[str, Any]:
        """Ours of all that the service says and that is not empty."""
        made = {}
        for theirs, ours in NAMES.items():
            value = service.get(theirs)
            if value in (None, "", [], {}) or ours in _ELSEWHERE:
                continue
            reader = self._readers.get(ours) or self._by_kind(self._defaults[ours])
            found = reader(value, f"{path}.{theirs}")
            if found not in (None, "", [], {}, False, 0):
                made[ours] = found
        return made

    def _by_kind(self, default: Any) -> Callable[[Any, str], Any]:
        if default is False:
            return self._report.boolean
        if default == ():
            return lambda value, path: list(dict.fromkeys(self._report.words(value, path)))
        return lambda value, path: self._report.text(value, path).strip()

    # -- tables

    def _labels(self, value: Any, path: str) -> dict[str, str]:
        found = self._report.texts(value, path)
        for name in [each for each in found if each.startswith(podman_notation.OWN_LABELS)]:
            self._report.lost(f"{path}.{name}", f"labels that begin with {podman_notation.OWN_LABELS} are mcp's own")
            del found[name]
        return found

    def _ulimits(self, value: Any, path: str) -> dict[str, str]:
        report, made = self._report, {}
        for name, each in report.mapping(value, path).items():
            here = f"{path}.{name}"
            if isinstance(each, dict):
                soft = report.text(each.get("soft") or each.get("hard") or "", f"{here}.soft")
                hard = report.text(each.get("hard") or soft, f"{here}.hard")
                text = f"{soft}:{hard}" if soft != hard else soft
            else:
                text = report.text(each, here)
            if name not in podman_notation.ULIMITS:
                report.lost(
                    here, f"is not a limit of setrlimit(2); known are {' '.join(sorted(podman_notation.ULIMITS))}"
                )
            elif text:
                made[name] = text
        return made

    # -- lists

    def _hosts(self, value: Any, path: str) -> list[str]:
        """``NAME:IP``, ``NAME=IP``, or a mapping with one address or several."""
        report, found = self._report, list[str]()
        if isinstance(value, dict):
            pairs = [
                (name, each)
                for name, found in value.items()
                for each in (found if isinstance(found, list) else [found])
            ]
        else:
            words = report.words(value, path)
            pairs = [
                (parts[0], parts[1] if len(parts) > 1 else "")
                for parts in (_SEPARATORS.split(each, 1) for each in words)
            ]
        for name, each in pairs:
            address = report.text(each, f"{path}.{name}").strip()
            if not name.strip() or not address:
                report.ignored(path, f"{name.strip()}: has no address")
                continue
            found.append(f"{name.strip()}:{address.strip('[]')}")
        return self._kept(list(dict.fromkeys(found)), path, _host)

    def _upper(self, value: Any, path: str) -> list[str]:
        return list(dict.fromkeys(each.strip().upper() for each in self._report.words(value, path)))

    def _security(self, value: Any, path: str) -> list[str]:
        return self._kept(self._report.words(value, path), path, lambda text: self._security_option(text, path))

    def _security_option(self, text: str, path: str) -> str:
        match = _PATH_OF_SECCOMP.fullmatch(text)
        if match and (place := self._places.of(match["path"])) is not None:
            self._report.changed(
                path, f"{match['path']} is {place.node} on the node; before the deploy: `{self._places.push(place)}`"
            )
            text = f"seccomp={place.node}"
        podman_notation.security_option(text)
        return text

    def _kept(self, texts: list[str], path: str, rule: Callable[[str], str]) -> list[str]:
        """Those that are allowed; the others are lost."""
        found = []
        for index, text in enumerate(texts):
            try:
                found.append(rule(text))
            except ValueError as error:
                self._report.lost(f"{path}[{index}]", str(error))
        return list(dict.fromkeys(found))

    def tmpfs(self, value: Any, path: str) -> list[str]:
        """``TARGET[:OPTIONS]``, without options that no mount of ours takes."""
        found = []
        for index, text in enumerate(self._report.words(value, path)):
            target, colon, rest = text.strip().partition(":")
            options = [each.strip() for each in rest.split(",") if each.strip()] if colon else []
            for each in options:
                if not _TMPFS_OPTION.fullmatch(each):
                    self._report.lost(f"{path}[{index}]", f"option {each}; allowed is NAME or NAME=VALUE, say size=64m")
            options = [each for each in options if _TMPFS_OPTION.fullmatch(each)]
            found.append(f"{target}:{','.join(options)}" if options else target)
        return found

    # -- words

    def _platform(self, value: Any, path: str) -> str:
        """Docker also takes the architecture alone."""
        text = self._report.text(value, path).strip().lower()
        return f"linux/{text}" if _PLATFORM.fullmatch(text) and text not in _SYSTEMS else text if "/" in text else ""

    def _host_name(self, value: Any, path: str) -> str | None:
        """Docker takes what no host can be called."""
        text = self._report.text(value, path).strip()
        try:
            return podman_notation.host_name(text)
        except ValueError as error:
            self._report.lost(path, str(error))
            return None

    def _namespace(self, rule: Callable[[str], object]) -> Callable[[Any, str], str | None]:
        def read(value: Any, path: str) -> str | None:
            text = self._report.text(value, path).strip()
            component = self._networks.component(text)
            text = f"{podman_notation.COMPONENT}{component}" if component is not None else text
            try:
                rule(text)
            except ValueError as error:
                self._report.lost(path, str(error))
                return None
            return text

        return read


def _host(text: str) -> str:
    podman_notation.added_host(text)
    return text


def _default(field: Any) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return None if field.default_factory is msgspec.NODEFAULT else field.default_factory()
