"""What a compose file declares beside its services, and how a service uses it: networks, volumes, secrets, configs.

All with names of their own: compose would put the project's before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mcpctl.definitions.exporting.formats import Losses, mode, namespace
from mcpctl.definitions.loss import Loss
from protos import naming, podman_notation
from protos.parts import SECRET_MODE, ConfigFile, Mount, Network, NetworkDeclaration, Secret, Volume
from protos.spec import Component, Service

# Compose's own network, which a service joins that names none.
_DEFAULT = "default"
# The short notation's: the others are podman's own.
_MOUNT_OPTIONS = frozenset(
    {"ro", "rw", "z", "Z", "U", "O", "exec", "noexec", "dev", "nodev", "suid", "nosuid", "bind", "rbind"}
    | {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
)
_PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_CONFIG_MODE = ConfigFile("/").mode


def declarations(service: Service, keys: Mapping[str, str], losses: list[Loss]) -> dict[str, Any]:
    """What stands at the top of the file beside the services."""
    volumes = dict.fromkeys(mount.volume for each in service.components for mount in each.mounts if mount.volume)
    networks = [each for each in keys if each in {*service.joined_networks(), *service.networks}]
    secrets = dict.fromkeys(each.name for component in service.components for each in _files(component))
    made = {
        "networks": {keys[name]: _network(name, service.networks.get(name), losses) for name in networks},
        "volumes": {name: _volume(name, service.volumes.get(name), losses) for name in {**volumes, **service.volumes}},
        "secrets": {name: {"external": True} for name in secrets} | _build_secrets(service),
        "configs": {
            _config_key(component, index): {"file": each.source} if each.source else {"content": each.content or ""}
            for component in service.components
            for index, each in enumerate(component.configs)
        },
    }
    return {key: value for key, value in made.items() if value}


def pairs(table: Mapping[str, Any]) -> dict[str, Any] | list[str]:
    # Keys are interpolated by some and not by others, a list's entries by all.
    return [f"{name}={value}" for name, value in table.items()] if any("$" in name for name in table) else dict(table)


def files_beside(field: str, names: Iterable[str], lost: Losses) -> list[str]:
    for name in names:
        if not name.startswith("/") and "://" not in name:
            lost.add(field, f"{name} is looked for beside the compose file: copy it there")
    return list(names)


# -- networks


def network_keys(service: Service) -> dict[str, str]:
    """The keys of networks in the file, by their names."""
    own = naming.own_network(service.name)
    is_default = any(_is_default(each) for each in service.components)
    keys: dict[str, str] = {own: _DEFAULT} if is_default else {}
    for name in (*service.joined_networks(), *service.networks):
        key = name
        while name not in keys and key in keys.values():
            key += "-"
        keys.setdefault(name, key)
    return keys


def joins(service: Service, component: Component, keys: Mapping[str, str]) -> dict[str, Any]:
    """Compose itself makes the component's name an alias."""
    if component.network_mode:
        name = podman_notation.named_component(component.network_mode)
        return {"network_mode": f"service:{name}" if name else namespace(service, component.network_mode)}
    if _is_default(component):
        return {}
    joined = {keys[each.name]: _joining(each) for each in component.joins(service.name)}
    return {"networks": joined if any(joined.values()) else list(joined)}


def _is_default(component: Component) -> bool:
    return not component.networks and component.network is None


def _joining(network: Network) -> dict[str, Any]:
    made = {"aliases": list(network.aliases), "ipv4_address": network.ip, "ipv6_address": network.ip6}
    return {key: value for key, value in made.items() if value}


def _network(name: str, declared: NetworkDeclaration | None, losses: list[Loss]) -> dict[str, Any]:
    if declared is None:
        return {"name": name}
    if declared.external:
        return _external(f"networks.{name}", name, declared, losses)
    ipam = [{"subnet": each} for each in declared.subnets]
    if declared.gateway and ipam:
        ipam[0]["gateway"] = declared.gateway
    elif declared.gateway:
        losses.append(Loss(f"networks.{name}.gateway", "compose takes a gateway only with subnets: add them"))
    made: dict[str, Any] = {
        "name": name,
        "driver": declared.driver,
        "driver_opts": dict(declared.options),
        "ipam": {"config": ipam} if ipam else None,
        "internal": declared.internal,
        "enable_ipv6": declared.ipv6,
        "labels": pairs(declared.labels),
    }
    return {key: value for key, value in made.items() if value}


def _external(path: str, name: str, declared: Volume | NetworkDeclaration, losses: list[Loss]) -> dict[str, Any]:
    lost = Losses(path)
    others = msgspec.structs.replace(declared, external=False)
    lost.add_all("", others, "compose takes no more than the name of what is external")
    losses += lost.found
    return {"name": name, "external": True}


# -- volumes


def mount(each: Mount, index: int, lost: Losses) -> str | dict[str, Any]:
    """In the short notation where that can say it."""
    if each.short() is not None:
        kept = [option for option in each.options if option in _MOUNT_OPTIONS]
        _tell_options(index, [option for option in each.options if option not in _MOUNT_OPTIONS], lost)
        return ":".join([*([each.source] if each.source else []), each.target, *([",".join(kept)] if kept else [])])
    bind = {
        "propagation": next((option for option in each.options if option in _PROPAGATION), None),
        "selinux": next((option for option in each.options if option in ("z", "Z")), None),
        "create_host_path": each.create,
    }
    bind = {key: value for key, value in bind.items() if value} if each.folder else {}
    known = {"ro", "rw", "bind", "rbind", "nocopy", "copy"} | set(bind.values())
    _tell_options(index, [option for option in each.options if option not in known], lost)
    made: dict[str, Any] = {
        "type": "bind" if each.folder else "volume",
        "source": each.source,
        "target": each.target,
        "read_only": "ro" in each.options,
        "bind": bind,
        "volume": {"nocopy": True} if "nocopy" in each.options and not each.folder else None,
    }
    return {key: value for key, value in made.items() if value}


def _tell_options(index: int, dropped: list[str], lost: Losses) -> None:
    if dropped:
        lost.add(f"volumes[{index}]", f"{', '.join(dropped)}: only podman has this option; use `podman volume create`")


def _volume(name: str, declared: Volume | None, losses: list[Loss]) -> dict[str, Any]:
    if declared is None:
        return {"name": name}
    if declared.external:
        return _external(f"volumes.{name}", name, declared, losses)
    made = {
        "name": name,
        "driver": declared.driver,
        "driver_opts": dict(declared.options),
        "labels": pairs(declared.labels),
    }
    return {key: value for key, value in made.items() if value}


# -- secrets and configs


def secrets(component: Component, lost: Losses) -> list[Any]:
    for each in component.secret_list:
        if each.env:
            message = "compose has secrets only as files: have the program read one, or set the variable when it runs"
            lost.add("secrets", f"{each.name}: {message} ({each.env})")
    return [_secret(each) for each in _files(component)]


def _files(component: Component) -> list[Secret]:
    return [each for each in component.secret_list if not each.env]


def _secret(secret: Secret) -> str | dict[str, Any]:
    if secret.short() is not None:
        return secret.name
    owner = _owner(secret, SECRET_MODE)
    return {"source": secret.name, **({"target": secret.target} if secret.target else {}), **owner}


def configs(component: Component, lost: Losses) -> list[dict[str, Any]]:
    made = []
    for index, each in enumerate(component.configs):
        lost.add(f"configs[{index}]", f"podman-compose ignores it; there, mount a file with this text at {each.target}")
        files_beside(f"configs[{index}].source", [each.source] if each.source else [], lost)
        made.append({"source": _config_key(component, index), "target": each.target, **_owner(each, _CONFIG_MODE)})
    return made


def _config_key(component: Component, index: int) -> str:
    return f"{component.name}-{index}"


def _owner(file: Secret | ConfigFile, default: int) -> dict[str, str]:
    """Compose has ids as strings."""
    made = {"uid": str(file.uid) if file.uid else "", "gid": str(file.gid) if file.gid else ""}
    made["mode"] = mode(file.mode) if file.mode != default else ""
    return {key: value for key, value in made.items() if value}


# -- build


def build(component: Component, lost: Losses) -> dict[str, Any]:
    if component.build is None:
        return {}
    said = component.build
    files_beside("build.context", [said.context], lost)
    for each in said.secrets:
        if not _build_secret(each):
            lost.add("build.secrets", f"{each!r}: compose builds with files and variables: write id=NAME,src=FILE")
    made: dict[str, Any] = {
        "context": said.context,
        "dockerfile": said.dockerfile,
        "target": said.target,
        "args": pairs(said.args),
        "secrets": [name for each in said.secrets for name in _build_secret(each)],
        "ssh": list(said.ssh),
    }
    return {key: value for key, value in made.items() if value}


def _build_secrets(service: Service) -> dict[str, Any]:
    said = (each for component in service.components if component.build for each in component.build.secrets)
    return {name: source for each in said for name, source in _build_secret(each).items()}


def _build_secret(text: str) -> dict[str, dict[str, str]]:
    """podman-build(1), --secret; empty: it is something else."""
    words = dict(word.partition("=")[::2] for word in text.split(","))
    name, file, variable = words.get("id"), words.get("src") or words.get("source"), words.get("env")
    if not name or bool(file) == bool(variable):
        return {}
    return {name: {"file": file} if file else {"environment": variable or ""}}
