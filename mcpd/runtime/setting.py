"""How one key of a component goes to podman and comes back; `mcpd.runtime.settings` has the table of all keys.

A key is sent as a part of libpod's SpecGenerator, the body of its container create; parts are merged. It is read from
what podman shows of a container, as the value that a definition file would have.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from mcpd.model import LABEL_SPEC_HASH
from mcpd.runtime import declared_label
from mcpd.runtime.inspected import Config, Details, Host, ImageDefaults
from mcpd.runtime.original_command import CreateCommand
from protos.spec import Component


class Surroundings(msgspec.Struct, frozen=True):
    """What a container is created among.

    ``containers``: what the containers of the service's components are called. ``own_networks``: those that nobody
    but the service uses, where its components have their names. ``configs``: files on the node, by their targets.
    ``host_gateway``: the node's address, for a podman that cannot find it (before 4.7); empty: podman can.
    ``route_ports``: the node's ports for those that routes go to, by their names. ``called``: what the container will
    be called, where it is started under another name; podman's DNS knows it by the name that it is started with.
    ``secret_ids``: podman's, of the secrets that are variables, by name.
    """

    containers: Mapping[str, str] = {}
    own_networks: frozenset[str] = frozenset()
    configs: Mapping[str, str] = {}
    host_gateway: str = ""
    route_ports: Mapping[str, int] = {}
    called: str = ""
    secret_ids: Mapping[str, str] = {}


class Context(NamedTuple):
    """Besides the component itself, what its container is made from."""

    service: str
    among: Surroundings


class Made(msgspec.Struct, frozen=True):
    """A container, and what tells how it was made.

    ``command``: the options of the command line that made it. ``names``: the service's components, by their
    containers' ids. ``declared``: keys that mcpd itself made it with; empty for everybody else's.
    """

    details: Details
    image: ImageDefaults
    command: CreateCommand
    names: Mapping[str, str] = {}
    declared: Mapping[str, Any] = {}
    is_ours: bool = False

    @staticmethod
    def of(details: Details, image: ImageDefaults, names: Mapping[str, str]) -> Made:
        labels, command = details.config.labels or {}, details.command
        # What a person makes with our labels has a command line; what mcpd makes through the API has none.
        is_ours = LABEL_SPEC_HASH in labels and not command.is_known
        declared = declared_label.read(labels) if is_ours else {}
        return Made(details, image, command, names, declared, is_ours)

    @property
    def config(self) -> Config:
        return self.details.config

    @property
    def host(self) -> Host:
        return self.details.host_config

    def asked(self, *options: str) -> tuple[str, ...]:
        """The values of these options of the command line."""
        return self.command.values(*options)


Part = Mapping[str, Any]
Send = Callable[[Component, Context], Part]
Value = Callable[[Made], Any]
# The second argument takes what a definition cannot say.
Read = Callable[[Made, list[str]], Any]


class Setting(NamedTuple):
    """A key, the options of podman-run(1) that say the same, and its two ways.

    ``key`` has a dot where it is in a table: ``resources.memory``. ``read`` gives None for what was not asked for.
    """

    key: str
    options: tuple[str, ...]
    send: Send
    read: Read


def plain(
    key: str, options: str | tuple[str, ...], into: str, read: Value, convert: Callable[[Any], Any] | None = None
) -> Setting:
    """A key whose value goes to one place, ``into`` (``a.b``: in a table), unless it is the default."""

    def send(component: Component, _: Context) -> Part:
        value = value_of(component, key)
        if value == default_of(key):
            return {}
        return nested(into, convert(value) if convert else _json(value))

    named = (options,) if isinstance(options, str) else options
    return Setting(key, named, send, lambda it, _: read(it))


def nothing(*_: object) -> dict[str, Any]:
    """The part of a key that another one sends."""
    return {}


def unread(*_: object) -> None:
    """The value of what nobody can read."""


def value_of(component: Component, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), component)


_BARE = Component(name="x", image="x")


@functools.cache
def default_of(key: str) -> Any:
    return value_of(_BARE, key)


def nested(path: str, value: Any) -> Part:
    """``a.b`` as a table in a table."""
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def merged(parts: Iterable[Part]) -> dict[str, Any]:
    """One table from several: tables in them are merged as well, lists joined."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            before = found.get(key)
            if isinstance(value, Mapping):
                found[key] = merged((before or {}, value))
            elif isinstance(before, list):
                found[key] = [*before, *value]
            else:
                found[key] = value
    return found


def clipped(text: str, longest: int = 120) -> str:
    """Untrusted text, on one line and cut to ``longest`` characters."""
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
