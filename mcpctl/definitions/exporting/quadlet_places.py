"""Units for networks and volumes, and how a container of Quadlet's joins and mounts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from mcpctl.definitions.exporting.formats import File, Losses, joined, mode, namespace
from mcpctl.definitions.exporting.quadlet_text import argument, expanded, fields, quoted, unit, value, word
from mcpctl.definitions.loss import Loss
from protos.parts import ConfigFile, Mount, Network
from protos.spec import Component, Service

# What Quadlet takes for units of its own, whatever they are called.
_UNITS = (".network", ".container", ".volume")
# podman-run(1): how the options of --volume are called where --mount takes them; "" for what needs no word.
_MOUNT_WORDS = {
    **{each: {each: ""} for each in ("ro", "dev", "nodev", "suid", "nosuid", "exec", "noexec", "idmap")},
    **{each: {} for each in ("rw", "rbind")},
    "U": {"U": "true"},
    "z": {"relabel": "shared"},
    "Z": {"relabel": "private"},
}
_BIND_WORDS: dict[str, dict[str, str]] = {
    **{each: {"bind-propagation": each} for each in ("private", "rprivate", "shared", "rshared", "slave", "rslave")},
    "bind": {"bind-nonrecursive": "true"},
}


def units(service: Service, losses: list[Loss]) -> Iterator[File]:
    """One for each network that podman makes, and for each volume that is more than a name."""
    for name in dict.fromkeys((*service.joined_networks(), *service.networks)):
        if _has_network_unit(service, name):
            yield File(_unit_name(service, name, "network"), unit([("Network", list(_network(service, name)))]))
    for name in service.volumes:
        if _has_volume_unit(service, name):
            yield File(_unit_name(service, name, "volume"), unit([("Volume", list(_volume(service, name)))]))
        elif service.volumes[name].external:
            losses.append(Loss(f"volumes.{name}.external", "podman makes the volume when it is missing"))


def _unit_name(service: Service, name: str, kind: str) -> str:
    """NAME.network becomes NAME-network.service, which no container's service may be called."""
    taken = {service.container(each) for each in service.component_names}
    while f"{name}-{kind}" in taken:
        name += "-net" if kind == "network" else "-data"
    return f"{name}.{kind}"


# -- networks


def networks(service: Service, component: Component, lost: Losses) -> Iterator[str]:
    if component.network_mode:
        yield f"Network={namespace(service, component.network_mode)}"
    for each in joined(service, component):
        yield _joining(service, each)
        if component.name not in each.aliases and _is_shared(service, component, each.name):
            told = f"other services may join {each.name}, so {component.name} is no name there"
            lost.add("networks", f'{told}: say {{ name = "{each.name}", aliases = ["{component.name}"] }} if none does')


def _is_shared(service: Service, component: Component, network: str) -> bool:
    """Whether other components of the service join it."""
    others = (each for each in service.components if each.name != component.name)
    return any(network == joined.name for each in others for joined in each.joins(service.name))


def _joining(service: Service, network: Network) -> str:
    options = [f"alias={each}" for each in network.aliases]
    options += [f"ip={network.ip}"] if network.ip else []
    options += [f"ip6={network.ip6}"] if network.ip6 else []
    has_unit = _has_network_unit(service, network.name)
    name = _unit_name(service, network.name, "network") if has_unit else network.name
    text = ":".join([name, *([",".join(options)] if options else [])])
    is_taken = not has_unit and network.name.endswith(_UNITS)
    return argument("--network", text) if is_taken else f"Network={text}"


def _has_network_unit(service: Service, name: str) -> bool:
    return name not in service.networks or not service.networks[name].external


def _network(service: Service, name: str) -> Iterator[str]:
    yield f"NetworkName={name}"
    if (said := service.networks.get(name)) is None:
        return
    if said.driver:
        yield value("Driver", "--driver", said.driver)
    yield from (f"Subnet={each}" for each in said.subnets)
    if said.gateway:
        yield f"Gateway={said.gateway}"
    yield from ["Internal=true"] if said.internal else []
    yield from ["IPv6=true"] if said.ipv6 else []
    yield from (argument("--opt", f"{key}={text}") for key, text in said.options.items())
    yield from labels(said.labels)


def labels(table: Mapping[str, str]) -> Iterator[str]:
    return (f"Label={word(f'{name}={text}')}" for name, text in table.items())


# -- volumes


def mounts(service: Service, component: Component, lost: Losses) -> Iterator[str]:
    for index, each in enumerate(component.mounts):
        has_unit = _has_volume_unit(service, each.volume)
        source = _unit_name(service, each.volume, "volume") if has_unit else each.source
        # What is created is so by a command of its own.
        if (text := msgspec.structs.replace(each, create=False).short()) is None:
            yield _mount(each, source, index, lost)
        elif source == each.source:
            is_taken = each.volume.endswith(_UNITS)
            yield argument("--volume", text) if is_taken else value("Volume", "--volume", text)
        else:
            yield value("Volume", "--volume", f"{source}{text.removeprefix(each.volume)}")


def folders(component: Component) -> Iterator[str]:
    """Commands that make those of the node that may be missing."""
    return (
        f"ExecStartPre=mkdir -p -- {quoted(each.folder)}" for each in component.mounts if each.create and each.folder
    )


def _mount(mount: Mount, source: str | None, index: int, lost: Losses) -> str:
    """In the notation that can say everything."""
    words = {**_MOUNT_WORDS, **(_BIND_WORDS if mount.folder else {})}
    if unknown := [each for each in mount.options if each not in words]:
        lost.add(f"volumes[{index}]", f"{', '.join(unknown)}: `podman run --mount` has no such option")
    said = {key: text for each in mount.options for key, text in words.get(each, {}).items()}
    kind = "bind" if mount.folder else "volume"
    if not source:
        # Quadlet 5.4 looks for a source, and ends when there is none.
        return argument("--mount", fields({"type": kind, "target": mount.target, **said}))
    return f"Mount={word(fields({'type': kind, 'source': source, 'target': mount.target, **said}))}"


def _has_volume_unit(service: Service, name: str) -> bool:
    said = service.volumes.get(name)
    return bool(said and not said.external and (said.driver or said.options or said.labels))


def _volume(service: Service, name: str) -> Iterator[str]:
    said = service.volumes[name]
    yield f"VolumeName={name}"
    if said.driver:
        yield value("Driver", "--driver", said.driver)
    yield from (argument("--opt", f"{key}={text}") for key, text in said.options.items())
    yield from labels(said.labels)


# -- configs


def config_files(service: Service, component: Component) -> Iterator[File]:
    """Files beside the unit, with the texts that the definition has."""
    for index, each in enumerate(component.configs):
        if each.source is None:
            yield File(_config_name(service, component, index), each.content or "")


def configs(service: Service, component: Component, lost: Losses) -> Iterator[str]:
    """Paths that begin with a dot are beside the unit; these are for the container alone, and SELinux is told so."""
    for index, each in enumerate(component.configs):
        name = each.source or _config_name(service, component, index)
        lost.add(f"configs[{index}]", f"mounted from {_where(name)}; prepare it there: {_prepared(name, each)}")
        source, options = (name, ["ro"]) if name.startswith("/") else (f"./{name}", ["ro", "z"])
        text = f"{source}:{each.target}:{','.join(options)}"
        if text.isprintable() and text == text.strip() and text.count(":") == 2:
            yield f"Volume={expanded(text)}"
        else:
            said = {key: wanted for option in options for key, wanted in _MOUNT_WORDS[option].items()}
            yield f"Mount={word(fields({'type': 'bind', 'source': source, 'target': each.target, **said}))}"


def _config_name(service: Service, component: Component, index: int) -> str:
    return f"{service.container(component.name)}-config-{index}"


def _where(name: str) -> str:
    return name if name.startswith("/") else f"the file {name} beside the unit, which its owner alone can read"


def _prepared(name: str, config: ConfigFile) -> str:
    """What gives the file the permissions of the config."""
    owner = f", and `chown {config.uid}:{config.gid} {name}` as the container's ids are on the node"
    return f"`chmod {mode(config.mode)} {name}`{owner if config.uid or config.gid else ''}"
