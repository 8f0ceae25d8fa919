"""Describes a container not created by mcpd as a component: the inverse of `mcpd.runtime.create`. Pure functions.

What podman shows of a container (podman-inspect(1)) is more than was asked for when it was made: the image's own
settings and podman's defaults are in it. They are taken off, so that a definition says what a person would write.
What a definition cannot say at all is named, never dropped in silence (audit E4).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mcpd.model import LABEL_SPEC_HASH
from mcpd.runtime import declared_label, mounts
from mcpd.runtime.inspected import Details, ImageDefaults
from mcpd.runtime.setting import Made, Setting, clipped, default_of
from mcpd.runtime.settings import SETTINGS
from mcpd.runtime.unsupported_options import unsupported
from protos.fingerprint import spec_hash
from protos.spec import Component
from protos.validation import examine


class Description(msgspec.Struct, frozen=True):
    """What can be declared, and what cannot (``losses``): options such as ``--uts``, to end a sentence with.

    ``notes`` are of what is declared otherwise than it was asked for.
    """

    component: Component
    losses: tuple[str, ...]
    notes: tuple[str, ...] = ()


def describe(name: str, details: Details, image: ImageDefaults, names: Mapping[str, str] | None = None) -> Description:
    """A container as the component ``name``; ``names`` are the components beside it, by their containers' ids."""
    it = Made.of(details, image, names or {})
    losses: list[str] = []
    found: dict[str, Any] = {}
    for each in SETTINGS:
        value = each.read(it, losses)
        said = default_of(each.key) if value is None else _sayable(each, value, losses)
        if said != default_of(each.key):
            table, _, key = each.key.rpartition(".")
            found.setdefault(table, {})[key] = said
    fields = found.pop("") | {table: _type(table)(**values) for table, values in found.items()}
    if it.is_ours:
        # It has nothing but what its label says, or, without one, what an inspection shows.
        trusted = declared_label.SHOWN if it.declared else declared_label.SHOWN | declared_label.FIRST
        fields = {key: value for key, value in fields.items() if key in trusted} | _declared(it)
    component = _as_labelled(Component(name=name, **fields), it)
    # mcpd makes a container with nothing but what was declared.
    lost = () if it.is_ours else dict.fromkeys((*losses, *unsupported(it)))
    return Description(component, tuple(lost), tuple(_notes(it)))


def _sayable(setting: Setting, value: Any, losses: list[str]) -> Any:
    """The value as a component has it; without what breaks the key's rule, which is a loss."""
    kind, default = _type(setting.key), default_of(setting.key)

    def is_sayable(part: Any) -> bool:
        _, problems = examine(part, kind)
        what = setting.options[0] if setting.options else setting.key
        losses.extend(clipped(f"{what}: {problem.message}") for problem in problems)
        return not problems

    # Of several entries a bad one costs only itself.
    if isinstance(default, Mapping):
        return examine({name: each for name, each in value.items() if is_sayable({name: each})}, kind)[0]
    if isinstance(default, tuple):
        return examine([each for each in value or () if is_sayable([each])], kind)[0]
    return examine(value, kind)[0] if is_sayable(value) else default


def _declared(it: Made) -> dict[str, Any]:
    """What a container of mcpd's says of itself; of its configs it has no text."""
    hidden = {key: value for key, value in it.declared.items() if key not in (*declared_label.SHOWN, "configs")}
    said = {key: examine(value, _type(key)) for key, value in hidden.items() if key in _types()}
    return {key: value for key, (value, problems) in said.items() if not problems}


def _as_labelled(component: Component, it: Made) -> Component:
    """Of one of mcpd's: what its label's hash is of. No inspection tells whether a network or HOME was asked for."""
    label = (it.config.labels or {}).get(LABEL_SPEC_HASH, "") if it.is_ours else ""
    no_home = {name: value for name, value in component.env.items() if name != "HOME"}
    for env in (component.env, no_home):
        for network in ({}, {"network": None, "networks": ()}):
            variant = msgspec.structs.replace(component, env=env, **network)
            if spec_hash(variant) == label:
                return variant
    return component


@functools.cache
def _types() -> Mapping[str, Any]:
    """The types of a component's keys, with the rules of their values; of the keys in its tables, too."""
    found = {each.name: each.type for each in msgspec.structs.fields(Component)}
    for table in ("resources", "log"):
        found |= {f"{table}.{each.name}": each.type for each in msgspec.structs.fields(found[table])}
    return found


def _type(key: str) -> Any:
    return _types()[key]


def _notes(it: Made) -> Iterator[str]:
    if it.host.publish_all_ports:
        yield "--publish-all (the ports that it has now are declared; podman chooses again where)"
    if it.command.has("--env-host"):
        yield "--env-host (the variables that it has now are declared)"
    if it.host.volumes_from:
        yield "--volumes-from (the volumes that it has now are declared)"
    for target in mounts.anonymous(it):
        yield f"its anonymous volume at {clipped(target)}, kept under its name"
    for target in mounts.config_targets(it):
        yield f"its config at {clipped(target)}, whose text only its definition has"
