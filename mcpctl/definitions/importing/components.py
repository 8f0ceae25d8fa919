"""The components themselves: each from the keys of its service, as a definition file would have it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from mcpctl.definitions.importing import environment, jobs, limits
from mcpctl.definitions.importing.build import build
from mcpctl.definitions.importing.declared import Declared
from mcpctl.definitions.importing.devices import devices
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.health import health
from mcpctl.definitions.importing.log_driver import log
from mcpctl.definitions.importing.names import Names, built_image, full_image
from mcpctl.definitions.importing.networks import Networks
from mcpctl.definitions.importing.options import NAMES, Options
from mcpctl.definitions.importing.places import Places
from mcpctl.definitions.importing.ports import ports
from mcpctl.definitions.importing.relations import Relations, lender
from mcpctl.definitions.importing.secrets import Granted
from mcpctl.definitions.importing.source import Source
from mcpctl.definitions.importing.volumes import Mounted, Volumes
from protos import grammar, podman_notation

# What this module reads, or a module that it asks.
_READ = frozenset(
    {"image", "build", "command", "entrypoint", "environment", "env_file", "label_file", "ports", "volumes", "user"}
    | {"restart", "depends_on", "links", "volumes_from", "healthcheck", "stop_grace_period", "secrets", "configs"}
    | {
        "networks",
        "network_mode",
        "container_name",
        "domainname",
        "pull_policy",
        "logging",
        "deploy",
        "scale",
        "devices",
    }
    | {"gpus", "runtime", "mem_limit", "mem_reservation", "memswap_limit", "cpus", "cpu_quota", "cpu_period"}
    | {"pids_limit", "cpu_shares", "oom_score_adj", "cpuset", "mem_swappiness", "oom_kill_disable", "blkio_config"}
    | {"cpu_rt_runtime", "cpu_rt_period", "storage_opt", "cpu_count", "cpu_percent", "profiles", "extends", "tmpfs"}
)
# What a definition has no word for, and somebody would miss.
_LOST = {
    "external_links": "join the network of the other service: networks",
    "mac_address": "podman chooses one",
    "cgroup_parent": "podman chooses the cgroup",
    "device_cgroup_rules": "name the devices themselves in devices",
    "credential_spec": "Windows only",
    "uts": "the container has a host name of its own; say it in hostname",
    "models": "run the model as a component, and name its address in env",
    "use_api_socket": "mount /run/podman/podman.sock as a volume",
    "post_start": "start it in the entrypoint, or as a oneshot component that depends on this one",
    "pre_stop": "do it in the program itself, at its stop_signal",
}
_HARMLESS = {"cgroup": ("private", "default"), "isolation": ("default", ""), "uts": ("private", "")}
_PULL = {"always": "always", "never": "never", "missing": "missing", "if_not_present": "missing", "build": "missing"}
_SHELL_WORDS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"})


class Built(msgspec.Struct, frozen=True):
    """Our values, by the file's keys; and of the service, those of what it mounts and joins."""

    components: dict[str, dict[str, Any]]
    volumes: dict[str, Any]
    networks: dict[str, Any]


class Components:
    """Those of one file."""

    def __init__(
        self, document: dict[str, Any], source: Source, names: Names, relations: Relations, report: Diagnostics
    ) -> None:
        self._services: Mapping[str, dict[str, Any]] = document["services"]
        self._secrets = report.mapping(document.get("secrets"), "secrets")
        self._source, self._names, self._relations, self._report = source, names, relations, report
        containers = {
            each["container_name"]: names.components[key]
            for key, each in self._services.items()
            if isinstance(each.get("container_name"), str)
        }
        places = Places(source, names.service)
        self._declared = Declared(document, names, places, report)
        self._networks = Networks(document, names, self._declared, containers, report)
        self._volumes = Volumes(source, places, self._declared, report)
        self._options = Options(self._networks, places, report)
        self._granted = Granted(source, places, self._declared, names, report)
        self._env_files = environment.EnvFiles(source, names.service, report)
        self._jobs = jobs.jobs(self._services, relations.oneshots, names, report)

    def build(self) -> Built:
        mounted = {key: self._mounted(key, each) for key, each in self._services.items()}
        made = {key: self._component(key, each, mounted) for key, each in self._services.items()}
        jobs.let_nobody_wait(self._jobs, made, self._names, self._report)
        self._move_ports(made)
        return Built(made, self._declared.volumes(), self._networks.declarations())

    def _component(self, key: str, service: dict[str, Any], mounted: Mapping[str, Mounted]) -> dict[str, Any]:
        path, report = f"services.{key}", self._report
        self._tell(key, service, path)
        mounts = self._with_borrowed(key, service, mounted)
        made: dict[str, Any] = {
            "name": self._names.components[key],
            **self._options.read(service, path),
            **self._image(service, path, key),
            **self._commands(service, path),
            **self._environment(service, path),
            **self._networks.of(key, service, self._relations.aliases.get(key, [])),
            "active": None if limits.is_wanted(service, path, report, is_job=key in self._jobs.found) else False,
            "ports": ports(service.get("ports"), f"{path}.ports", report),
            "volumes": list(mounts.volumes.values()),
            "tmpfs": list(mounts.tmpfs.values()),
            "configs": list(mounts.configs.values()),
            "secrets": self._granted.secrets(service.get("secrets"), f"{path}.secrets"),
            "devices": devices(service, path, report),
            "user": self._user(service.get("user"), f"{path}.user"),
            "restart": limits.restart(service, path, report),
            "depends_on": self._relations.waits_for[key],
            "stop_timeout": report.duration(service.get("stop_grace_period") or "", f"{path}.stop_grace_period"),
            "health": health(service.get("healthcheck"), f"{path}.healthcheck", report),
            "resources": limits.limits(service, path, report),
            "log": log(service.get("logging"), f"{path}.logging", report),
        }
        self._domain(service, made, path)
        self._labels(key, service, made, path)
        if job := self._jobs.found.get(key):
            jobs.make(job, made, self._words(job.command, job.path), path, report)
        if key in self._relations.oneshots:
            self._oneshot(made, path)
        self._without_network(made, path)
        is_said = {"entrypoint"} if made.get("entrypoint") == [] else set()
        return {field: value for field, value in made.items() if value not in (None, "", [], {}) or field in is_said}

    # -- single keys

    def _tell(self, key: str, service: dict[str, Any], path: str) -> None:
        report = self._report
        for name, value in service.items():
            if name in _READ or name in NAMES or value in (None, "", [], {}):
                continue
            is_harmless = value in _HARMLESS.get(name, ()) or (name in _LOST and value == "false")
            if name in _LOST and not is_harmless:
                report.lost(f"{path}.{name}", f"has no equivalent: {_LOST[name]}")
            elif name in ("cgroup", "isolation") and not is_harmless:
                report.lost(f"{path}.{name}", f"{value}: has no equivalent; allowed is {_HARMLESS[name][0]}")
            else:
                report.ignored(f"{path}.{name}")
        ours, said = self._names.container(key), service.get("container_name")
        if said is not None and report.text(said, f"{path}.container_name") not in ("", ours):
            alias = "" if service.get("network_mode") else f"; others still reach it as {said}, an alias"
            report.changed(f"{path}.container_name", f"the container is called {ours}{alias}")
        policy = service.get("restart")
        ends = key in self._relations.oneshots or key in self._jobs.found
        if (policy == "no" or service.get("exclude_from_hc") == "true") and not ends:
            report.warn(
                path, "if it does its work and ends, say `oneshot = true`, or a deploy takes its end for a failure"
            )

    def _image(self, service: dict[str, Any], path: str, key: str) -> dict[str, Any]:
        report = self._report
        said = self._reference(service.get("image") or "", f"{path}.image")
        if not service.get("build"):
            if not service.get("image"):
                report.wrong(f"{path}.image", "is missing: name the image, or say in build how it is built")
            policy = self._pull(service.get("pull_policy"), f"{path}.pull_policy", is_built=False)
            return {"image": full_image(said), "pull": policy}
        image = built_image(said or f"{self._names.project}_{self._names.components[key]}")
        ours = self._names.service
        made = build(service["build"], image, f"{path}.build", ours, self._source, self._secrets, report)
        return {
            "image": image,
            "build": made,
            "pull": self._pull(service.get("pull_policy"), f"{path}.pull_policy", is_built=True),
        }

    def _reference(self, value: Any, path: str) -> str:
        """Checked as it is written, before it gets its registry."""
        text = self._report.text(value, path).strip()
        try:
            return grammar.image(text) if text else ""
        except ValueError as error:
            self._report.wrong(path, str(error))
            return text

    def _pull(self, value: Any, path: str, *, is_built: bool) -> str | None:
        report = self._report
        text = report.text(value or "", path).strip().lower()
        if not text:
            return None
        if text in _PULL:
            if text == "build" and not is_built:
                report.ignored(path, "build: has no meaning without build")
            return _PULL[text]
        if text in ("daily", "weekly", "refresh") or text.startswith("every_"):
            report.changed(path, f"{text} is newer: every new container gets the newest image")
            return "newer"
        report.wrong(path, f"{text[:40]!r} is not a policy; allowed are {', '.join(_PULL)}, daily, weekly, every_TIME")
        return None

    def _commands(self, service: dict[str, Any], path: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        # An empty one takes the image's away; an empty command does not (Docker's API).
        if service.get("entrypoint") is not None:
            made["entrypoint"] = self._words(service["entrypoint"], f"{path}.entrypoint")
        if service.get("command") is not None:
            made["cmd"] = self._words(service["command"], f"{path}.command")
        return made

    def _words(self, value: Any, path: str) -> list[str]:
        report = self._report
        if isinstance(value, list):
            return [report.text(each, f"{path}[{index}]") for index, each in enumerate(value)]
        # As a shell does, a line goes on behind a backslash.
        text = report.text(value, path).replace("\\\n", " ")
        try:
            words = shlex.split(text)
        except ValueError as error:
            reason = "a quote is never closed" if "quotation" in str(error) else "a backslash ends it"
            report.wrong(path, f"cannot be split into words as a shell does: {reason}; write a list of words")
            return []
        if found := [each for each in words if each in _SHELL_WORDS]:
            report.warn(path, f"no shell runs it: {found[0]} is an argument; write [sh, -c, ...] for a shell")
        return words

    def _environment(self, service: dict[str, Any], path: str) -> dict[str, Any]:
        env, missing = self._env_files.read(service.get("env_file"), f"{path}.env_file")
        env |= environment.own(service.get("environment"), f"{path}.environment", self._source, self._report)
        return {"env": env, "env_file": missing}

    def _user(self, value: Any, path: str) -> str:
        """Variables that are not set leave half of it, or nothing."""
        user, colon, group = self._report.text(value or "", path).strip().partition(":")
        return f"{user or '0'}:{group}" if colon and group else user

    def _domain(self, service: dict[str, Any], made: dict[str, Any], path: str) -> None:
        if domain := self._report.text(service.get("domainname") or "", f"{path}.domainname").strip():
            if host := made.get("hostname"):
                made["hostname"] = host if host.endswith(f".{domain}") else f"{host}.{domain}"
                self._report.changed(f"{path}.domainname", f"the host name is {made['hostname']}")
            else:
                self._report.lost(f"{path}.domainname", "has no meaning without hostname; say the whole name there")

    def _labels(self, key: str, service: dict[str, Any], made: dict[str, Any], path: str) -> None:
        taken = self._jobs.labels.get(key, set())
        made["labels"] = {name: text for name, text in made.get("labels", {}).items() if name not in taken}
        found, missing = self._env_files.read(service.get("label_file"), f"{path}.label_file")
        if missing:
            self._report.wrong(f"{path}.label_file", "cannot be read: put the file beside the compose file")
        if found:
            made["labels"] = {**found, **made["labels"]}

    def _oneshot(self, made: dict[str, Any], path: str) -> None:
        made["oneshot"] = True
        self._report.changed(path, "is oneshot: others wait until it has ended with status 0")
        if made.get("restart") in ("always", "unless-stopped"):
            self._report.changed(f"{path}.restart", f"{made['restart']} is no: it ends, and others wait for that")
            made["restart"] = "no"
        if made.get("health") and "disable" not in made["health"]:
            self._report.ignored(f"{path}.healthcheck", "has no meaning for what runs to its end")
            del made["health"]

    # -- what several components have to do with one another

    def _mounted(self, key: str, service: dict[str, Any]) -> Mounted:
        path = f"services.{key}"
        made = self._volumes.of(service.get("volumes"), key, f"{path}.volumes")
        for each in self._options.tmpfs(service.get("tmpfs"), f"{path}.tmpfs"):
            made.tmpfs[made.forget(each.partition(":")[0])] = each
        self._granted.configs(service.get("configs"), f"{path}.configs", made)
        return made

    def _with_borrowed(self, key: str, service: dict[str, Any], mounted: Mapping[str, Mounted]) -> Mounted:
        """With what it mounts because another service does; what it says itself counts."""
        own = mounted[key]
        made = Mounted(dict(own.volumes), own.tmpfs, own.configs)
        for index, text in enumerate(self._report.words(service.get("volumes_from"), f"services.{key}.volumes_from")):
            other = lender(text, self._services)
            if other is None or other == key:
                continue
            is_read_only = text.endswith(":ro")
            self._report.changed(
                f"services.{key}.volumes_from[{index}]", f"its volumes are those of {other}, one by one"
            )
            for target, each in mounted[other].volumes.items():
                options = each["options"] + (["ro"] if is_read_only and "ro" not in each["options"] else [])
                options = [word for word in options if not (is_read_only and word == "rw")]
                made.volumes.setdefault(target, {**each, "options": options})
        return made

    def _without_network(self, made: dict[str, Any], path: str) -> None:
        mode = made.get("network")
        if mode in ("host", "none") and made["ports"]:
            self._report.ignored(f"{path}.ports", f"nothing is published where the network is {mode}")
            made["ports"] = []

    def _move_ports(self, made: dict[str, dict[str, Any]]) -> None:
        """Whoever is in another's network publishes nothing; the other one does."""
        by_name = {each["name"]: each for each in made.values()}
        for key, each in made.items():
            owner = by_name.get(podman_notation.named_component(each.get("network")))
            if owner is None or owner is each or not each.get("ports"):
                continue
            if podman_notation.named_component(owner.get("network")) or owner.get("network") in ("host", "none"):
                continue
            self._report.changed(f"services.{key}.ports", f"are published by {owner['name']}, whose network it is")
            owner["ports"] = list(dict.fromkeys([*owner.get("ports", []), *each.pop("ports")]))
