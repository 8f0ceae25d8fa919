"""The label by which a container that mcpd made tells what an inspection of it hides. Pure functions.

podman shows no kernel settings, fixed addresses, masked paths or targets of secrets; of those that become variables it
may show the value. When the registry that knew a container is lost, this label says it all. Whatever was declared
before there was this label is shown in full, and a container that has nothing else does not have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from protos import grammar, podman_notation
from protos.fingerprint import default_of
from protos.parts import ConfigFile, Mount, Resources, Secret
from protos.spec import Component
from protos.validation import plain

LABEL_DECLARED = "mcp.declared"

# What an inspection shows in full, or mcpd alone uses. Values of variables and labels may be long or confidential.
SHOWN = frozenset(
    {"name", "image", "active", "oneshot", "depends_on", "settle", "heal", "health", "pull", "build"}
    | {"update", "drain_timeout", "routes", "schedule", "timezone", "timeout"}
    | {"env", "env_file", "labels", "annotations", "stop_timeout", "restart"}
)
# Also shown, unless they say something that they could not say at first.
FIRST = frozenset({"user", "cmd", "network", "ports", "volumes", "secrets", "resources"})
_FIRST_LIMITS = frozenset({"memory", "cpus", "pids"})
_FIRST_MODES = ("host", "none")


def write(component: Component) -> dict[str, str]:
    """The label, if the component says anything that needs it."""
    said = {
        key: getattr(component, key)
        for key in component.__struct_fields__
        if key not in SHOWN and getattr(component, key) != default_of(Component, key)
    }
    if all(_is_first(key, value) for key, value in said.items()):
        return {}
    values = plain(component)
    declared = {key: values[key] for key in said}
    # The text is the registry's, and may be long.
    declared |= {"configs": [_without_content(each) for each in component.configs]} if component.configs else {}
    return {LABEL_DECLARED: msgspec.json.encode(declared).decode()}


def read(labels: Mapping[str, str]) -> Mapping[str, Any]:
    """The keys with their plain values; none when there is no such label, or when it makes no sense."""
    try:
        return msgspec.json.decode(labels.get(LABEL_DECLARED, "{}"), type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _without_content(config: ConfigFile) -> dict[str, Any]:
    return {key: value for key, value in plain(config).items() if key not in ("content", "source")}


def _is_first(key: str, value: Any) -> bool:
    if key == "network":
        return value in _FIRST_MODES or not (
            value in podman_notation.NETWORK_MODES or podman_notation.named_component(value)
        )
    if key == "ports":
        return all(port.host and port.length == 1 for port in map(grammar.port, value))
    if key == "secrets":
        return not any(isinstance(each, Secret) for each in value)
    if key == "volumes":
        return all(isinstance(each, str) and Mount.of(each).source for each in value)
    if key == "resources":
        said = {name for name in Resources.__struct_fields__ if getattr(value, name) != default_of(Resources, name)}
        return said <= _FIRST_LIMITS
    return key in FIRST
