"""Describes a container not created by mcpd as a component: the inverse of `mcpd.runtime.create`. Pure functions.

What podman shows of a container (podman-inspect(1)) is more than was asked for when it was made: the image's own
settings and podman's defaults are in it. They are taken off here, so that a definition says what a person would write.
What a definition cannot say at all is named, never dropped in silence (audit E4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import msgspec

from mcpd.model import LABEL_SPEC_HASH
from mcpd.runtime.healthcheck import probe_of
from mcpd.runtime.inspected import Details, Host, ImageDefaults, Mount, Policy
from mcpd.runtime.unsupported_options import clipped, unsupported
from protos import grammar, naming
from protos.parts import Resources
from protos.spec import Component

T = TypeVar("T")

# podman sets these itself; they count only when they were requested.
_PODMANS_OWN = ("PATH", "TERM", "container", "HOME", "HOSTNAME")
# containers.conf(5): the limit of processes that podman gives to every container.
_DEFAULT_PIDS = 2048
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
# Mount options that podman adds to the requested ones.
_DEFAULT_OPTIONS = {"bind": frozenset({"rbind"}), "volume": frozenset({"rbind", "nosuid", "nodev"})}
# Volume options that no inspection shows: they take effect when the container is created.
_UNSEEN_OPTIONS = frozenset({"z", "Z", "U", "O", "idmap", "copy", "nocopy"})
# Their names in `--mount`, each with the equivalent volume option.
_MOUNT_WORDS = {"relabel=shared": "z", "relabel=private": "Z", "chown": "U", "U": "U", "idmap": "idmap"}
# podman-run(1), --secret: a file that everybody may read, which is what a definition's secrets are.
_SECRET_MODE = 0o444


class Description(msgspec.Struct, frozen=True):
    """What can be declared, and what cannot (``losses``): options such as ``--privileged``, to end a sentence with.

    ``notes`` are of what is declared otherwise than it was asked for, with the same effect.
    """

    component: Component
    losses: tuple[str, ...]
    notes: tuple[str, ...] = ()


def describe(name: str, details: Details, image: ImageDefaults, depends_on: Sequence[str] = ()) -> Description:
    """A container as the component ``name``; ``depends_on`` are the components that it requires."""
    losses: list[str] = []
    host, config = details.host_config, details.config
    component = Component(
        name=name,
        image=_image(details, image),
        network=_network(details, losses),
        user=_user(config.user, image.user, losses),
        restart=_restart(host.restart_policy),
        ports=tuple(_ports(host, losses)),
        volumes=tuple(_volumes(details, losses)),
        cmd=_cmd(details, image, losses),
        env=_env(details, image, losses),
        secrets=tuple(_secrets(details, losses)),
        depends_on=tuple(depends_on),
        stop_timeout=timedelta(seconds=max(config.stop_timeout, 0)),
        health=probe_of(config.healthcheck),
        resources=_resources(details, losses),
    )
    losses += _unmet(details, depends_on)
    found = () if _is_ours(details) else dict.fromkeys((*losses, *unsupported(details, image)))
    return Description(component, tuple(found), tuple(_notes(details)))


def _is_ours(details: Details) -> bool:
    """Whether mcpd created it through the API, so that it has nothing but what was declared."""
    return LABEL_SPEC_HASH in (details.config.labels or {}) and not details.command.is_known


def _image(details: Details, image: ImageDefaults) -> str:
    names = (details.image_name, *(image.repo_tags or ()))
    # An image's id always is a reference.
    return next(filter(naming.is_image_reference, names), details.image)


def _cmd(details: Details, image: ImageDefaults, losses: list[str]) -> tuple[str, ...]:
    cmd, entrypoint = details.config.cmd or [], _joined(details.config.entrypoint)
    # 1. The image's own entry point, if any: only the command may differ.
    if entrypoint == _joined(image.config.entrypoint):
        return () if cmd == (image.config.cmd or []) else tuple(cmd)
    # 2. One where the image has none: entry point and command together are the command.
    if not image.config.entrypoint:
        return details.argv
    # 3. An entry point other than the image's.
    losses.append(f"--entrypoint {entrypoint!r}")
    return tuple(cmd)


def _joined(words: Sequence[str] | str | None) -> str:
    return words if isinstance(words, str) else " ".join(words or ())


def _env(details: Details, image: ImageDefaults, losses: list[str]) -> dict[str, str]:
    of_image = set(image.config.env or ())
    found: dict[str, str] = {}
    for entry in details.config.env or ():
        name, _, value = entry.partition("=")
        if entry in of_image or (name in _PODMANS_OWN and not _asks_for_variable(details, name)):
            continue
        if _sayable(grammar.env_name, name, losses, "an environment variable") is not None:
            found[name] = value
    return found


def _asks_for_variable(details: Details, name: str) -> bool:
    return any(each.startswith(f"{name}=") for each in details.command.values("--env", "--env-merge"))


def _ports(host: Host, losses: list[str]) -> Iterator[str]:
    for inside, bindings in (host.port_bindings or {}).items():
        container, _, protocol = inside.partition("/")
        suffix = "" if protocol in ("", "tcp") else f"/{protocol}"
        for each in bindings or ():
            address = f"[{each.host_ip}]" if ":" in each.host_ip else each.host_ip
            text = f"{address}:" * bool(address) + f"{each.host_port}:{container}{suffix}"
            if _sayable(grammar.port, text, losses, "--publish") is not None:
                yield text


def _volumes(details: Details, losses: list[str]) -> Iterator[str]:
    for each in details.mounts or ():
        source = each.name if each.type == "volume" else each.source
        options = ",".join(_mount_options(details, each))
        text = f"{source}:{each.destination}" + f":{options}" * bool(options)
        if each.type not in _DEFAULT_OPTIONS or (each.type == "bind" and not source.startswith("/")):
            losses.append(clipped(f"a mount of type {each.type} at {each.destination}"))
        elif _sayable(grammar.volume, text, losses, "--volume") is not None:
            yield text
            if each.sub_path:
                losses.append(clipped(f"--mount subpath={each.sub_path} at {each.destination}"))


def _mount_options(details: Details, mount: Mount) -> list[str]:
    has = frozenset(mount.options or ())
    usual = _DEFAULT_OPTIONS.get(mount.type, frozenset())
    options = ["ro"] * (not mount.rw) + sorted(has - usual)
    # A default option that is missing was turned off.
    options += [each.removeprefix("no") for each in sorted(usual - has) if each.startswith("no") and has]
    if mount.propagation not in ("", "rprivate") and mount.propagation not in options:
        options.append(mount.propagation)
    for word in details.command.values("--volume"):
        source, _, rest = word.partition(":")
        target, _, asked = rest.partition(":")
        if source and target == mount.destination:
            options += [each for each in asked.split(",") if each in _UNSEEN_OPTIONS]
    for word in details.command.values("--mount"):
        words = [each.removesuffix("=true") for each in word.split(",")]
        if any(f"{key}={mount.destination}" in words for key in ("destination", "dst", "target")):
            options += [_MOUNT_WORDS[each] for each in words if each in _MOUNT_WORDS]
    return options


def _network(details: Details, losses: list[str]) -> str | None:
    mode, joined = details.host_config.network_mode, list(details.network_settings.networks or {})
    losses += [clipped(f"--network {each}") for each in details.command.values("--network") if _has_options(each)]
    if mode in ("host", "none"):
        return mode
    if mode.startswith(("container:", "ns:")):
        losses.append(f"--network {mode}")
        return None
    # podman's default network also has a name, which containers.conf(5) may set.
    is_default = details.command.is_known and not details.command.has("--network")
    if not joined or joined == ["podman"] or (len(joined) == 1 and is_default):
        return None
    losses += [f"--network {each}" for each in joined[1:]]
    return joined[0]


def _has_options(network: str) -> bool:
    """Whether it was joined with options other than aliases (``NAME:ip=...``), or with a program's own settings."""
    name, _, options = network.partition(":")
    several = [each for each in options.split(",") if each and not each.startswith("alias=")]
    return bool(several) and name not in ("container", "ns")


def _user(user: str, of_image: str, losses: list[str]) -> str | None:
    if not user or user == of_image:
        return None
    return user if _sayable(grammar.user, user, losses, "--user") else None


def _restart(policy: Policy) -> str:
    name = policy.name or "no"
    return f"{name}:{policy.maximum_retry_count}" if name == "on-failure" and policy.maximum_retry_count else name


def _secrets(details: Details, losses: list[str]) -> Iterator[str]:
    asked = {name: options for name, _, options in (each.partition(",") for each in details.command.values("--secret"))}
    for each in details.config.secrets or ():
        yield each.name
        if each.name not in asked and (each.uid, each.gid, each.mode) != (0, 0, _SECRET_MODE):
            losses.append(clipped(f"--secret {each.name},uid={each.uid},gid={each.gid},mode={each.mode:04o}"))
    for name, options in asked.items():
        if set(filter(None, options.split(","))) - {"type=mount", f"target={name}"}:
            losses.append(clipped(f"--secret {name},{options}"))


def _resources(details: Details, losses: list[str]) -> Resources:
    host = details.host_config
    cpus = round(host.nano_cpus / 1e9, 3)
    if cpus and cpus < 0.01:
        losses.append(f"--cpus {cpus}")
        cpus = 0.0
    asked = details.command.has("--pids-limit")
    pids = host.pids_limit if host.pids_limit > 0 and (asked or host.pids_limit != _DEFAULT_PIDS) else 0
    return Resources(memory=max(host.memory, 0), cpus=cpus, pids=pids)


def _unmet(details: Details, depends_on: Sequence[str]) -> list[str]:
    """``--requires``, when it names a container that is not one of the service's components."""
    required = [name for each in details.command.values("--requires") for name in each.split(",")]
    return [clipped(f"--requires {','.join(required)}")] if len(required) > len(depends_on) else []


def _notes(details: Details) -> Iterator[str]:
    if details.host_config.publish_all_ports:
        yield "--publish-all (the ports that it has now are declared)"
    if details.command.has("--env-host"):
        yield "--env-host (the variables that it has now are declared)"
    if details.host_config.volumes_from:
        yield "--volumes-from (the volumes that it has now are declared)"
    yield from (f"its anonymous volume at {each}, kept under its name" for each in _anonymous(details))


def _anonymous(details: Details) -> list[str]:
    return [clipped(each.destination) for each in details.mounts or () if _ANONYMOUS.fullmatch(each.name)]


def _sayable(rule: Callable[[str], T], text: str, losses: list[str], what: str) -> T | None:
    """``text`` parsed by ``rule``; None, and a loss, when a definition cannot express it."""
    try:
        return rule(text)
    except ValueError as error:
        losses.append(f"{what}: {clipped(str(error))}")
        return None
