"""A compose file (Compose Specification) as a service of ours, with a report of what a definition cannot say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec

from mcpctl import composefile
from mcpctl.composefile import ComposeError
from mcpctl.exporting import Loss
from protos import grammar, naming
from protos.spec import MAX_COMPONENTS, Service, examine_service

__all__ = ["ComposeError", "Imported", "import_compose"]

# Of a service, with what each is good for here; the rest is lost.
_TOP = frozenset({"name", "version", "services", "volumes", "networks", "secrets"})
# Compose's defaults (05-services.md, healthcheck): not ours.
_HEALTH_DEFAULTS = {"interval": "30s", "timeout": "30s"}
_HEALTH_KEYS = ("interval", "timeout", "start_period")
_BYTES = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)\s*(b|k|kb|m|mb|g|gb)?", re.IGNORECASE)
# Compose counts in powers of 1024 (11-extension.md, byte values).
_FACTORS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)")
_MAX_PORT_RANGE = 1000
_SWARM_POLICIES = {"none": "no", "on-failure": "on-failure", "any": "always"}
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_MODES = ("host", "none")


class Imported(msgspec.Struct, frozen=True):
    service: Service
    losses: tuple[Loss, ...]


class Source(msgspec.Struct, frozen=True):
    """Where the file is (an absolute folder), and what it can ask for."""

    folder: Path
    environment: Mapping[str, str]
    # Raises OSError or UnicodeDecodeError.
    read: Callable[[Path], str]


def import_compose(text: str, source: Source, *, name: str, node: str) -> Imported:
    """``name`` "": the file's own, else its folder's. Raises ComposeError with every problem."""
    document = composefile.interpolated(composefile.load(text), source.environment)
    found = _Import(document, source, name)
    values = {"name": found.name, "node": node, "components": found.components()}
    if found.problems:
        raise ComposeError("\n".join(dict.fromkeys(found.problems)))
    service, problems = examine_service(values)
    if service is None:
        raise ComposeError("\n".join(f"as a definition: {problem}" for problem in problems))
    return Imported(service, tuple(found.losses))


class _Import:
    """One file. Methods return plain values, as a definition file would have them."""

    def __init__(self, document: dict[str, Any], source: Source, name: str) -> None:
        self._document = document
        self._source = source
        self.losses: list[Loss] = []
        self.problems: list[str] = []
        self._project = str(document.get("name") or _normal(source.folder.name) or "compose")
        self.name = name or self._converted(self._project, "name")

    # -- what is told

    def lost(self, path: str, message: str) -> None:
        self.losses.append(Loss(path, message))

    def wrong(self, path: str, message: str) -> None:
        self.problems.append(f"{path}: {message}")

    # -- the whole

    def components(self) -> list[dict[str, Any]]:
        for key in self._document:
            if key not in _TOP and not key.startswith("x-"):
                self.lost(key, "is not imported" + ("; name the file itself" if key == "include" else ""))
        services = self.mapping(self._document.get("services"), "services")
        if not services:
            self.wrong("services", "the file has none")
        if len(services) > MAX_COMPONENTS:
            self.wrong("services", f"has {len(services)} entries; at most {MAX_COMPONENTS} are allowed")
            return []
        self._names = {each: self._converted(each, f"services.{each}") for each in services}
        self._told: set[str] = set()
        return [self._component(name, self.mapping(each, f"services.{name}")) for name, each in services.items()]

    def _converted(self, name: str, path: str) -> str:
        made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
        if made != name and naming.is_name(made):
            self.lost(path, f"{name!r} is no name here ({naming.NAME_RULE}): called {made}")
            return made
        return name

    def _component(self, key: str, service: dict[str, Any]) -> dict[str, Any]:
        path = f"services.{key}"
        made: dict[str, Any] = {"name": self._names[key]}
        handled: dict[str, Callable[[Any, str], dict[str, Any]]] = {
            "image": self._image,
            "build": lambda _value, _path: {},
            "command": self._command,
            "environment": self._environment,
            "env_file": lambda _value, _path: {},
            "ports": self._ports,
            "volumes": self._volumes,
            "user": lambda value, path: {"user": self.text(value, path)},
            "restart": lambda value, path: {"restart": self.text(value, path)},
            "depends_on": self._depends_on,
            "healthcheck": self._healthcheck,
            "stop_grace_period": lambda value, path: {"stop_timeout": self.duration(value, path)},
            "secrets": self._secrets,
            "container_name": self._container_name,
            "deploy": lambda _value, _path: {},
            **dict.fromkeys(("mem_limit", "cpus", "pids_limit", "networks", "network_mode"), lambda _value, _path: {}),
        }
        for field, value in service.items():
            if field not in handled:
                if not field.startswith("x-"):
                    self.lost(f"{path}.{field}", "is not imported; a definition has nothing like it")
            elif value is not None:
                made |= handled[field](value, f"{path}.{field}")
        self._check_image(service, path)
        self._add_env_files(made, service.get("env_file"), f"{path}.env_file")
        made |= self._network(service, path)
        self._deploy(made, self.mapping(service.get("deploy"), f"{path}.deploy"), f"{path}.deploy")
        self._limits(made, service, path)
        return {field: value for field, value in made.items() if value is not None}

    # -- plain values

    def mapping(self, value: Any, path: str) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(path, "expected a mapping")
            return {}
        return value

    def items(self, value: Any, path: str) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(path, "expected a list")
            return []
        return value

    def text(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            self.wrong(path, f"expected a string, found {_kind(value)}")
            return ""
        return value

    def number(self, value: Any, path: str) -> int:
        text = self.text(value, path)
        if not re.fullmatch(r"[0-9]{1,18}", text):
            if text:
                self.wrong(path, f"{text[:40]!r} is not a whole number")
            return 0
        return int(text)

    def duration(self, value: Any, path: str) -> str | None:
        """Compose's ``1m30s`` in our notation, which has no microseconds."""
        text = self.text(value, path)
        text = "".join(
            f"{float(number) / 1000:.3f}ms" if unit == "us" else f"{number}{unit}"
            for number, unit in _DURATION_PART.findall(text)
            if _DURATION_PART.sub("", text) == ""
        )
        try:
            grammar.duration(text or str(value))
        except ValueError as error:
            self.wrong(path, str(error))
            return None
        return text

    # -- what a component has

    def _image(self, value: Any, path: str) -> dict[str, Any]:
        return {"image": self.text(value, path)}

    def _check_image(self, service: dict[str, Any], path: str) -> None:
        if service.get("image"):
            if service.get("build"):
                self.lost(f"{path}.build", "nothing is built here: build and push the image yourself")
        elif service.get("build"):
            self.wrong(f"{path}.build", "nothing is built here: build and push the image, and say it in image:")
        else:
            self.wrong(f"{path}.image", "is missing")

    def _command(self, value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, list):
            return {"cmd": [self.text(each, f"{path}[{index}]") for index, each in enumerate(value)]}
        return {"cmd": self._split(self.text(value, path), path)}

    def _split(self, text: str, path: str) -> list[str]:
        try:
            return shlex.split(text)
        except ValueError as error:
            self.wrong(path, f"{text!r} is not a command: {error}")
            return []

    def _pairs(self, value: Any, path: str) -> Iterator[tuple[str, str | None]]:
        """A mapping, or a list of ``NAME=VALUE``."""
        if isinstance(value, list):
            for index, each in enumerate(value):
                name, is_set, text = self.text(each, f"{path}[{index}]").partition("=")
                yield name, text if is_set else None
            return
        for name, each in self.mapping(value, path).items():
            yield name, None if each is None else self.text(each, f"{path}.{name}")

    def _environment(self, value: Any, path: str) -> dict[str, Any]:
        env = {}
        for name, text in self._pairs(value, path):
            if text is None:
                self.lost(f"{path}.{name}", "has no value, and the node has no environment to take it from")
            else:
                env[name] = text
        return {"env": env}

    def _add_env_files(self, made: dict[str, Any], value: Any, path: str) -> None:
        """Theirs are weaker than ``environment``, and a later file's stronger than an earlier one's."""
        env: dict[str, str] = {}
        several = [value] if isinstance(value, (str, dict)) else self.items(value, path)
        for each in several:
            name = self.text(each.get("path") if isinstance(each, dict) else each, path)
            if not name:
                continue
            try:
                env |= self._env_lines(self._source.read(self._source.folder / name), f"{path} ({name})")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                self.lost(path, f"{name} cannot be read: {reason}")
        if env:
            made["env"] = env | made.get("env", {})

    def _env_lines(self, text: str, path: str) -> dict[str, str]:
        env = {}
        for line in text.splitlines():
            line = line.strip().removeprefix("export ")
            name, is_set, value = line.partition("=")
            if not line or line.startswith("#"):
                continue
            if not is_set:
                self.lost(path, f"{name!r} has no value")
                continue
            env[name.strip()] = _unquoted(value.strip())
        return env

    def _ports(self, value: Any, path: str) -> dict[str, Any]:
        ports: list[str] = []
        for index, each in enumerate(self.items(value, path)):
            here = f"{path}[{index}]"
            if isinstance(each, dict):
                ports += self._long_port(each, here)
            else:
                ports += self._short_port(self.text(each, here), here)
        return {"ports": ports}

    def _short_port(self, text: str, path: str) -> list[str]:
        """``[[IP:]HOST:]CONTAINER[/PROTOCOL]``, where ports may be ranges."""
        rest, _, protocol = text.partition("/")
        host, _, container = rest.rpartition(":")
        ip, _, published = host.rpartition(":")
        return self._published(ip, published, container, protocol, path)

    def _long_port(self, port: dict[str, Any], path: str) -> list[str]:
        known = ("target", "published", "host_ip", "protocol", "mode", "name", "app_protocol")
        for key in port:
            if key not in known:
                self.lost(f"{path}.{key}", "is not imported")
        text = {key: self.text(port[key], f"{path}.{key}") for key in known if port.get(key) is not None}
        return self._published(
            text.get("host_ip", ""), text.get("published", ""), text.get("target", ""), text.get("protocol", ""), path
        )

    def _published(self, ip: str, published: str, target: str, protocol: str, path: str) -> list[str]:
        if not published:
            self.lost(path, f"{target}: compose would choose a port of the node; write HOST:{target}")
            return []
        if protocol not in ("", "tcp", "udp"):
            self.lost(path, f"protocol {protocol}: only tcp and udp are published")
            return []
        outside, inside = self._range(published, path), self._range(target, path)
        if len(inside) == 1 and len(outside) > 1:
            self.lost(path, f"{published}: compose would choose one of them; the first is taken")
            outside = outside[:1]
        if len(outside) != len(inside):
            if outside and inside:
                self.wrong(path, f"{published} and {target} are ranges of different lengths")
            return []
        ip = f"[{ip.strip('[]')}]" if ":" in ip else ip
        suffix = f"/{protocol}" if protocol == "udp" else ""
        return [
            f"{ip}{':' if ip else ''}{host}:{container}{suffix}"
            for host, container in zip(outside, inside, strict=True)
        ]

    def _range(self, text: str, path: str) -> range:
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
        if match is None or not 0 <= int(match[2] or match[1]) - int(match[1]) < _MAX_PORT_RANGE:
            self.wrong(path, f"{text[:40]!r} is neither a port nor a range of at most {_MAX_PORT_RANGE}")
            return range(0)
        return range(int(match[1]), int(match[2] or match[1]) + 1)

    def _volumes(self, value: Any, path: str) -> dict[str, Any]:
        several = [
            self._long_volume(each, f"{path}[{index}]")
            if isinstance(each, dict)
            else self._short_volume(self.text(each, f"{path}[{index}]"), f"{path}[{index}]")
            for index, each in enumerate(self.items(value, path))
        ]
        return {"volumes": [each for each in several if each]}

    def _short_volume(self, text: str, path: str) -> str:
        source, _, rest = text.partition(":")
        target, _, options = rest.partition(":")
        if not rest or not target.startswith("/"):
            self.lost(path, f"{text}: a volume without a name; give it one, NAME:{source}")
            return ""
        return self._mount(source, target, [each for each in options.split(",") if each], path)

    def _long_volume(self, volume: dict[str, Any], path: str) -> str:
        kind = volume.get("type", "volume")
        source, target = volume.get("source"), self.text(volume.get("target"), f"{path}.target")
        if kind not in ("bind", "volume") or not isinstance(source, str):
            self.lost(path, f"{target}: only bind mounts and named volumes are imported")
            return ""
        options = ["ro"] if volume.get("read_only") in _TRUE else []
        bind = self.mapping(volume.get("bind"), f"{path}.bind")
        options += [each for key in ("propagation", "selinux") if isinstance(each := bind.get(key), str)]
        for key in (*volume, *(f"bind.{each}" for each in bind)):
            known = ("type", "source", "target", "read_only", "bind", "bind.propagation", "bind.selinux")
            if key not in known:
                self.lost(f"{path}.{key}", "is not imported")
        if kind == "bind" and not source.startswith(("/", ".", "~")):
            source = f"./{source}"
        return self._mount(source, target, options, path)

    def _mount(self, source: str, target: str, options: list[str], path: str) -> str:
        kept = [each for each in options if each in grammar.VOLUME_OPTIONS]
        for option in options:
            if option not in kept:
                self.lost(path, f"option {option}")
        if source.startswith("~"):
            self.lost(path, f"{source} is a home on this machine, not on the node; write the absolute path")
            return ""
        if source.startswith("."):
            absolute = _normalized(self._source.folder, source)
            self.lost(path, f"{source} became {absolute}, which must be there on the node")
            source = str(absolute)
        elif not source.startswith("/"):
            source = self._resource("volumes", source)
        return ":".join([source, target, *([",".join(kept)] if kept else [])])

    def _resource(self, kind: str, key: str) -> str:
        """The name that compose gives to a volume or network: its own, else with the project's before it."""
        path = f"{kind}.{key}"
        declared = self.mapping(self.mapping(self._document.get(kind), kind).get(key), path)
        external = declared.get("external")
        if isinstance(external, dict):  # of old versions
            declared = declared | external
        is_external = bool(external) and external not in _FALSE
        own = declared.get("name") or (key if is_external else None)
        name = self.text(own, f"{path}.name") if own is not None else f"{self._project}_{key}"
        if path not in self._told:
            self._told.add(path)
            if own is None:
                self.lost(path, f"called {name}, as compose does: the project's name before its own")
            for each in declared:
                if each not in ("name", "external"):
                    self.lost(f"{path}.{each}", "is not imported: podman's defaults apply to what is made here")
        return name

    def _network(self, service: dict[str, Any], path: str) -> dict[str, Any]:
        mode, networks = service.get("network_mode"), service.get("networks")
        if mode is not None:
            return self._network_mode(self.text(mode, f"{path}.network_mode"), f"{path}.network_mode")
        names = list(networks) if isinstance(networks, dict) else self.items(networks, f"{path}.networks")
        for name in names[1:]:
            self.lost(f"{path}.networks.{name}", f"a component joins one network: {names[0]}")
        for name, options in networks.items() if isinstance(networks, dict) else ():
            if options:
                self.lost(f"{path}.networks.{name}", f"{', '.join(self.mapping(options, path))}: not imported")
        several = len(self._names) > 1
        if not names and not several:
            return {}
        if several:
            self._tell_of_its_name(path)
        return {"network": self._resource("networks", self.text(names[0] if names else "default", f"{path}.networks"))}

    def _tell_of_its_name(self, path: str) -> None:
        key = path.removeprefix("services.")
        container = naming.container_name(self.name, self._names[key], self._names.values())
        self.lost(path, f"others in its network find it as {container}, not as {key}")

    def _network_mode(self, mode: str, path: str) -> dict[str, Any]:
        if mode in _MODES:
            return {"network": mode}
        if mode not in ("bridge", "private"):
            self.lost(path, f"{mode}: podman's default network instead")
        return {}

    def _depends_on(self, value: Any, path: str) -> dict[str, Any]:
        names = []
        conditions = (
            value
            if isinstance(value, dict)
            else dict.fromkeys(self.text(each, path) for each in self.items(value, path))
        )
        for name, options in conditions.items():
            if name not in self._names:
                self.wrong(path, f"names {name!r}, which is no service of this file")
                continue
            names.append(self._names[name])
            for key, each in self.mapping(options, f"{path}.{name}").items():
                usual = {"condition": ("service_started", "service_healthy"), "required": _TRUE, "restart": _FALSE}
                if each not in usual.get(key, ()):
                    self.lost(f"{path}.{name}.{key}", f"{each}: a component waits until the other runs, or is healthy")
        return {"depends_on": names}

    def _healthcheck(self, value: Any, path: str) -> dict[str, Any]:
        check = self.mapping(value, path)
        if check.get("disable") in _TRUE:
            return {}
        cmd = self._test(check.get("test"), f"{path}.test")
        for key in check:
            if key not in ("test", "disable", "retries", *_HEALTH_KEYS):
                self.lost(f"{path}.{key}", "is not imported")
        if not cmd:
            return {}
        health: dict[str, Any] = {"cmd": cmd}
        for key in _HEALTH_KEYS:
            if (text := check.get(key) or _HEALTH_DEFAULTS.get(key)) is not None:
                health[key] = self.duration(text, f"{path}.{key}")
        if check.get("retries") is not None:
            health["retries"] = self.number(check["retries"], f"{path}.retries")
        return {"health": {key: each for key, each in health.items() if each is not None}}

    def _test(self, test: Any, path: str) -> list[str]:
        if test is None:
            self.lost(path, "is the image's own, which nobody runs here: write the command")
            return []
        if isinstance(test, str):
            return ["sh", "-c", test]
        kind, *words = [self.text(each, path) for each in self.items(test, path)] or ["NONE"]
        if kind == "CMD-SHELL":
            return ["sh", "-c", *words[:1]]
        if kind not in ("CMD", "NONE"):
            self.wrong(path, f"begins with {kind!r}, not with CMD, CMD-SHELL or NONE")
        return words if kind == "CMD" else []

    def _secrets(self, value: Any, path: str) -> dict[str, Any]:
        names = []
        declared = self.mapping(self._document.get("secrets"), "secrets")
        for index, each in enumerate(self.items(value, path)):
            here = f"{path}[{index}]"
            key = self.text(each.get("source") if isinstance(each, dict) else each, here)
            for option in each if isinstance(each, dict) else ():
                if option != "source":
                    self.lost(f"{here}.{option}", "a secret is mounted at /run/secrets/NAME")
            about = self.mapping(declared.get(key), f"secrets.{key}")
            if not about.get("external") or about["external"] in _FALSE:
                self.lost(
                    f"secrets.{key}", f"values do not pass through here: `podman secret create {key} FILE` on the node"
                )
            names.append(self.text(about.get("name") or key, here))
        return {"secrets": names}

    def _container_name(self, value: Any, path: str) -> dict[str, Any]:
        key = path.removeprefix("services.").removesuffix(".container_name")
        ours = naming.container_name(self.name, self._names.get(key, key), self._names.values())
        if value != ours:
            self.lost(path, f"{value}: the container is called {ours}")
        return {}

    def _deploy(self, made: dict[str, Any], deploy: dict[str, Any], path: str) -> None:
        replicas = deploy.get("replicas")
        if replicas not in (None, "1"):
            self.lost(f"{path}.replicas", f"{replicas}: a component is one container")
        if policy := self.mapping(deploy.get("restart_policy"), f"{path}.restart_policy"):
            condition = self.text(policy.get("condition") or "any", f"{path}.restart_policy.condition")
            tries = policy.get("max_attempts")
            restart = _SWARM_POLICIES.get(condition, condition)
            made["restart"] = f"{restart}:{tries}" if restart == "on-failure" and tries else restart
            for key in policy:
                if key not in ("condition", "max_attempts"):
                    self.lost(f"{path}.restart_policy.{key}", "is not imported")
        for key in deploy:
            if key not in ("replicas", "restart_policy", "resources"):
                self.lost(f"{path}.{key}", "is not imported")

    def _limits(self, made: dict[str, Any], service: dict[str, Any], path: str) -> None:
        resources = self.mapping(self.mapping(service.get("deploy"), path).get("resources"), f"{path}.deploy.resources")
        for key in resources:
            if key != "limits":
                self.lost(f"{path}.deploy.resources.{key}", "a component has limits only")
        limits = self.mapping(resources.get("limits"), f"{path}.deploy.resources.limits")
        for key in limits:
            if key not in ("memory", "cpus", "pids"):
                self.lost(f"{path}.deploy.resources.limits.{key}", "is not imported")
        found: dict[str, Any] = {}
        if memory := service.get("mem_limit") or limits.get("memory"):
            found["memory"] = self._bytes(self.text(memory, f"{path}.mem_limit"), f"{path}.mem_limit")
        if cpus := service.get("cpus") or limits.get("cpus"):
            found["cpus"] = self._float(self.text(cpus, f"{path}.cpus"), f"{path}.cpus")
        if (pids := service.get("pids_limit") or limits.get("pids")) and pids not in ("-1", "0"):
            found["pids"] = self.number(pids, f"{path}.pids_limit")
        if found:
            made["resources"] = found

    def _bytes(self, text: str, path: str) -> int:
        match = _BYTES.fullmatch(text.strip())
        if match is None:
            self.wrong(path, f"{text[:40]!r} is not a size: a number and b, k, m or g")
            return 0
        return int(Fraction(match[1]) * _FACTORS[(match[2] or "b").lower()[0]])

    def _float(self, text: str, path: str) -> float:
        if not re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", text):
            self.wrong(path, f"{text[:40]!r} is not a number of CPUs")
            return 0.0
        return float(text)


def _normal(text: str) -> str:
    """A folder's name as compose makes a project's of it."""
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")


def _normalized(folder: Path, relative: str) -> Path:
    """Without ``.`` and ``..``, by name alone: links are the node's affair."""
    parts: list[str] = []
    for part in (folder / relative).parts[1:]:
        if part == "..":
            parts[-1:] = []
        else:
            parts.append(part)
    return Path("/", *parts)


def _unquoted(text: str) -> str:
    """A value of an env file: quoted as a whole, or up to a comment."""
    if len(text) >= 2 and text[0] in "\"'" and (end := text.find(text[0], 1)) > 0:
        return text[1:end]
    return re.split(r"\s#", text, maxsplit=1)[0].rstrip()


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "nothing"
