"""Definitions beside what the nodes have: what is not deployed, and what is deployed otherwise than defined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mcpctl.config import Settings
from mcpctl.definitions import definition
from protos.fingerprint import definition_hash
from protos.mcp import v1
from protos.spec import Service

# More names than a line has room for.
_MOST_NAMES = 8


class Read(NamedTuple):
    """The services that definitions declare, and how many files say nothing that can be compared."""

    services: Sequence[Service]
    wrong: int


class Difference(NamedTuple):
    """Names of services."""

    missing: list[str]
    otherwise: list[str]


def read(settings: Settings, name: str) -> Read:
    """``name``: only its definition. Raises nothing: whoever looks at the nodes need not have definitions."""
    services, wrong = definition.readable(settings, name)
    return Read(services, len(wrong))


def difference(services: Iterable[Service], told: Mapping[str, Iterable[v1.ServiceInfo]]) -> Difference:
    """``told``: what each node that answered has, by its name; definitions for other nodes are left alone."""
    have = {node: {each.name: each for each in infos if each.components} for node, infos in told.items()}
    ours = [each for each in services if each.node in have]
    missing = [each.name for each in ours if each.name not in have[each.node]]
    there = [(each, have[each.node][each.name]) for each in ours if each.name in have[each.node]]
    return Difference(missing, [each.name for each, info in there if _is_otherwise(each, info)])


def _is_otherwise(service: Service, there: v1.ServiceInfo) -> bool:
    # A viewer is not told, nor does an older mcpd tell.
    if any(not each.definition_hash for each in there.components):
        return False
    recorded = {
        each.component: each.definition_hash for each in there.components if each.desired != v1.DesiredState.IGNORE
    }
    defined = {each.name: definition_hash(each) for each in service.components}
    return service.active is not there.active or defined != recorded


def sentences(read: Read, found: Difference) -> list[str]:
    """What there is to say of it, a line each."""
    parts = []
    if found.missing:
        parts.append(f"defined but not deployed: {_names(found.missing)}")
    if found.otherwise:
        parts.append(f"deployed but different from the definition: {_names(found.otherwise)}")
    names = [*found.missing, *found.otherwise]
    lines = []
    if parts:
        plan = f"mcpctl plan {names[0]}" if len(names) == 1 else "mcpctl plan"
        lines.append(f"{'; '.join(parts)}; `{plan}` shows what a deploy would change")
    if read.wrong:
        what = (
            "1 definition is invalid and was" if read.wrong == 1 else f"{read.wrong} definitions are invalid and were"
        )
        lines.append(f"{what} not compared; `mcpctl service list` shows why")
    return lines


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
