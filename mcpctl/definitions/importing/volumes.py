"""What a component mounts: folders of the node, volumes, file systems in memory, and files that become configs."""

from __future__ import annotations

import posixpath
import re
from typing import Any

import msgspec

from mcpctl.definitions.beside import reason
from mcpctl.definitions.importing.declared import Declared
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.places import Place, Places, looks_like_file
from mcpctl.definitions.importing.source import Kind, Source
from protos import grammar
from protos.parts import MAX_CONFIG_BYTES

_LONG_KEYS: tuple[str, ...] = (
    "type",
    "source",
    "target",
    "read_only",
    "consistency",
    "bind",
    "volume",
    "tmpfs",
    "content",
    "image",
)
# Coolify's own: what it makes of a path is said by its content, or is a folder.
_LONG_KEYS += ("is_directory", "isDirectory")
_DEFAULT_OPTION = "rw"
# Of Docker Desktop's file sharing: nothing on Linux.
_OF_DESKTOP = frozenset({"cached", "delegated", "consistent", "default"})
# What is there on every node, or is no folder: a folder in its place would help nobody.
_SYSTEM: tuple[str, ...] = (
    "/dev",
    "/sys",
    "/proc",
    "/run",
    "/var/run",
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/boot",
)
_SYSTEM += tuple(
    f"/etc/{each}"
    for each in ("localtime", "timezone", "passwd", "group", "shadow", "hosts", "hostname", "resolv.conf", "machine-id")
)
_SYSTEM += ("/etc/os-release", "/etc/nsswitch.conf", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/fstab")
_SOCKETS = {"/var/run/docker.sock": "/run/podman/podman.sock", "/run/docker.sock": "/run/podman/podman.sock"}
_SOCKET_WARNING = (
    "the container gets podman's API, which Docker's clients understand, without Swarm, and so the node's containers; "
    "where mcpd is not root, the socket is /run/user/UID/podman/podman.sock of its user"
)
_DOCKER_DATA = "/var/lib/docker"
_DOCKER_VOLUMES, _PODMAN_VOLUMES = f"{_DOCKER_DATA}/volumes", "/var/lib/containers/storage/volumes"
_PRIVATE = "PRIVATE KEY"
_WINDOWS = re.compile(r"[A-Za-z]:(\\|/[^:]*:/)|\\\\")
_SCRIPT, _SCRIPT_MODE, _FILE_MODE = "#!", 0o555, 0o444
_RECURSIVE = {"disabled": "bind"}


class Mounted(msgspec.Struct):
    """Our values. Of two things at one place the later one counts, as with compose."""

    volumes: dict[str, dict[str, Any]] = {}
    tmpfs: dict[str, str] = {}
    configs: dict[str, dict[str, Any]] = {}

    def forget(self, target: str) -> str:
        place = posixpath.normpath(target)
        for each in (self.volumes, self.tmpfs, self.configs):
            each.pop(place, None)
        return place


class Volumes:
    """Those of one file."""

    def __init__(self, source: Source, places: Places, declared: Declared, report: Diagnostics) -> None:
        self._source = source
        self._places = places
        self._declared = declared
        self._report = report

    def of(self, value: Any, key: str, path: str) -> Mounted:
        """``key``: whose they are."""
        made = Mounted()
        for index, each in enumerate(self._report.items(value, path)):
            here = f"{path}[{index}]"
            if isinstance(each, dict):
                self._long(each, key, here, made)
            else:
                self._short(self._report.text(each, here), key, here, made)
        return made

    # -- the two notations

    def _short(self, text: str, key: str, path: str, made: Mounted) -> None:
        if _WINDOWS.match(text):
            self._report.lost(path, f"{text} is a path of Windows; name a folder of the node")
            return
        source, colon, rest = text.strip().partition(":")
        target, _, options = rest.partition(":") if colon else (source, "", "")
        if not target.startswith("/"):
            if text.strip():
                self._report.wrong(path, f"{text!r} mounts at {target!r}; allowed is [SOURCE:]/TARGET[:OPTIONS]")
            return
        given = [each.strip() for each in options.split(",") if each.strip()]
        if colon and not source.strip():
            self._report.wrong(path, f"{text!r} has no source; allowed is [SOURCE:]/TARGET[:OPTIONS]")
        elif not colon:
            self._anonymous(target, given, key, path, made)
        elif source.startswith(("/", ".", "~")):
            self._bind(source, target, given, path, made)
        else:
            self._named(source, target, given, path, made)

    def _long(self, volume: dict[str, Any], key: str, path: str, made: Mounted) -> None:
        report = self._report
        report.ignore_others(volume, _LONG_KEYS, path)
        source = report.text(volume["source"], f"{path}.source") if volume.get("source") is not None else ""
        target = report.text(volume.get("target"), f"{path}.target")
        kind = volume.get("type") or ("bind" if source.startswith(("/", ".", "~")) else "volume")
        if not target.startswith("/"):
            report.wrong(f"{path}.target", f"{target!r} is not an absolute path in the container, say /data")
            return
        options = ["ro"] if volume.get("read_only") is not None and report.boolean(volume["read_only"], path) else []
        if isinstance(content := volume.get("content"), str):
            self._content(content, target, path, made)
        elif kind == "bind" and source:
            is_made = self._bind_options(volume, path, options)
            self._bind(
                source if source.startswith(("/", ".", "~")) else f"./{source}", target, options, path, made, is_made
            )
        elif kind == "volume":
            self._volume_options(volume, path, options)
            self._named(source, target, options, path, made) if source else self._anonymous(
                target, options, key, path, made
            )
        elif kind == "tmpfs":
            self._tmpfs(report.mapping(volume.get("tmpfs"), f"{path}.tmpfs"), target, options, path, made)
        else:
            report.lost(path, f"{target}: a mount of type {kind!r} has no equivalent; mount a folder or a volume there")

    def _bind_options(self, volume: dict[str, Any], path: str, options: list[str]) -> bool:
        """Adds the options; whether a folder is made that is missing."""
        report, path = self._report, f"{path}.bind"
        bind = report.mapping(volume.get("bind"), path)
        report.ignore_others(bind, ("propagation", "selinux", "create_host_path", "recursive"), path)
        said = (each for each in ("propagation", "selinux") if bind.get(each))
        options += [report.text(bind[each], f"{path}.{each}") for each in said]
        if isinstance(recursive := bind.get("recursive"), str):
            options += [_RECURSIVE[recursive]] if recursive in _RECURSIVE else []
        made = bind.get("create_host_path")
        return True if made is None else report.boolean(made, f"{path}.create_host_path")

    def _volume_options(self, volume: dict[str, Any], path: str, options: list[str]) -> None:
        report, path = self._report, f"{path}.volume"
        given = report.mapping(volume.get("volume"), path)
        report.ignore_others(given, ("nocopy", "subpath"), path)
        if given.get("nocopy") is not None and report.boolean(given["nocopy"], f"{path}.nocopy"):
            options.append("nocopy")
        if subpath := given.get("subpath"):
            report.lost(f"{path}.subpath", f"{subpath}: the whole volume is mounted; make a volume of that folder")

    # -- what can be mounted

    def _named(self, source: str, target: str, options: list[str], path: str, made: Mounted) -> None:
        self._mount(self._declared.volume(source, path), target, options, path, made)

    def _anonymous(self, target: str, options: list[str], key: str, path: str, made: Mounted) -> None:
        """Compose hands the volume on to the next container; here only one with a name outlives its container."""
        name = self._declared.anonymous(key, target)
        self._report.changed(path, f"is the volume {name}: with a name it outlives its container, as with compose")
        self._mount(name, target, options, path, made)

    def _tmpfs(self, given: dict[str, Any], target: str, options: list[str], path: str, made: Mounted) -> None:
        report = self._report
        report.ignore_others(given, ("size", "mode"), f"{path}.tmpfs")
        words = list(options)
        if given.get("size") and (size := report.size(given["size"], f"{path}.tmpfs.size")):
            words.append(f"size={size}")
        if given.get("mode"):
            words.append(f"mode={report.text(given['mode'], f'{path}.tmpfs.mode').removeprefix('0o')}")
        made.tmpfs[made.forget(target)] = f"{target}:{','.join(words)}" if words else target

    def _content(self, content: str, target: str, path: str, made: Mounted) -> None:
        mode = _SCRIPT_MODE if content.startswith(_SCRIPT) else _FILE_MODE
        self._report.changed(path, f"{target} is a config of the definition, which the container cannot write to")
        made.configs[made.forget(target)] = {"target": target, "content": content, "mode": mode}

    def _bind(
        self, source: str, target: str, options: list[str], path: str, made: Mounted, is_made: bool = True
    ) -> None:
        source = re.sub(r"^/+", "/", source)
        if (place := self._places.of(source)) is not None:
            self._local(source, place, target, options, path, made, is_made)
            return
        if source.startswith("~"):
            self._report.lost(
                path, f"{source}: the home folder of somebody on this machine; write the path on the node"
            )
            return
        source = posixpath.normpath(source)
        if (socket := _SOCKETS.get(source)) is not None:
            self._report.changed(
                path, f"{source} is {socket} on the node; `systemctl enable --now podman.socket` makes it"
            )
            self._report.warn(path, _SOCKET_WARNING)
            source = socket
        elif source.startswith(f"{_DOCKER_VOLUMES}/") or source == _DOCKER_VOLUMES:
            ours = source.replace(_DOCKER_VOLUMES, _PODMAN_VOLUMES, 1)
            self._report.changed(path, f"{source} is {ours}, where podman keeps volumes, in the same form")
            self._report.warn(
                path, f"{_PODMAN_VOLUMES} is where root's podman keeps volumes; `podman info` says where another's"
            )
            source = ours
        elif f"{source}/".startswith(f"{_DOCKER_DATA}/"):
            self._report.lost(path, f"{source} is Docker's; podman keeps images and logs otherwise, see `podman info`")
        self._mount(source, target, options, path, made, is_made and not _is_system(source))

    def _local(
        self, source: str, place: Place, target: str, options: list[str], path: str, made: Mounted, is_made: bool
    ) -> None:
        if place.kind is Kind.FILE and "ro" in options and (text := self._text_of(place)) is not None:
            self._report.changed(path, f"{target} is a config of the definition, with the text of {source}")
            made.configs[made.forget(target)] = {"target": target, "content": text, "mode": place.mode | _FILE_MODE}
            return
        push = self._places.push(place)
        if place.is_file:
            self._report.changed(path, f"{source} is {place.node} on the node; before the deploy: `{push}`")
        elif place.kind is Kind.FOLDER:
            self._report.changed(path, f"{source} is {place.node} on the node; with what is in it now: `{push}`")
        else:
            self._report.changed(path, f"{source} is {place.node} on the node{', made if missing' if is_made else ''}")
        self._mount(place.node, target, options, path, made, is_made and not place.is_file)

    def _text_of(self, place: Place) -> str | None:
        """None for what does not belong into a definition."""
        try:
            text = self._source.read(place.here)
        except (OSError, UnicodeDecodeError) as error:
            self._report.warn(str(place.here), f"cannot be read: {reason(error)}")
            return None
        is_short = len(text.encode()) <= MAX_CONFIG_BYTES
        return text if is_short and "\0" not in text and _PRIVATE not in text else None

    def _mount(
        self, source: str, target: str, options: list[str], path: str, made: Mounted, is_made: bool = False
    ) -> None:
        kept = [each for each in options if each in grammar.VOLUME_OPTIONS and each != _DEFAULT_OPTION]
        for option in options:
            if option not in grammar.VOLUME_OPTIONS:
                is_nothing = option in _OF_DESKTOP
                tell = self._report.ignored if is_nothing else self._report.lost
                known = " ".join(sorted(grammar.VOLUME_OPTIONS))
                tell(path, f"option {option}" + ("" if is_nothing else f"; allowed are {known}"))
        values: dict[str, Any] = {"target": target, "source": source, "options": list(dict.fromkeys(kept))}
        made.volumes[made.forget(target)] = values | ({"create": True} if is_made else {})


def _is_system(path: str) -> bool:
    within = any(f"{path}/".startswith(f"{each}/") for each in _SYSTEM)
    return within or path == "/" or path.endswith(".sock") or looks_like_file(path)
