"""How the values of single options are read, from a container's inspection or from its command line. Pure functions.

`mcpd.runtime.unsupported_options` has the table of options that uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mcpd.runtime.healthcheck import Probe
from mcpd.runtime.inspected import Rate
from mcpd.runtime.setting import Made

Read = Callable[[Made], Iterable[str]]


def switch(is_on: Callable[[Made], object]) -> Read:
    return lambda it: [""] if is_on(it) else []


def single(value: Callable[[Made], object], *usual: object) -> Read:
    """One value, unless it is empty or ``usual``."""

    def read(it: Made) -> Iterable[str]:
        found = value(it)
        return [str(found)] if found and found not in usual else []

    return read


def several(values: Callable[[Made], Iterable[str] | None]) -> Read:
    return lambda it: list(values(it) or ())


def rates(values: Callable[[Made], Sequence[Rate] | None]) -> Read:
    return lambda it: [f"{each.path}:{each.rate or each.weight}" for each in values(it) or ()]


def swappiness(it: Made) -> Iterable[str]:
    return [str(it.host.memory_swappiness)] if it.host.memory_swappiness > 0 else []


def _is_off(probe: Probe) -> bool:
    return (probe.test or ["NONE"])[0] == "NONE"


def startup_health(it: Made) -> Iterable[str]:
    probe = it.config.startup_healthcheck
    return [" ".join((probe.test or [])[1:])] if probe and not _is_off(probe) else []


def unset(it: Made) -> Iterable[str]:
    """Variables of the image that the container has not; of podman's own, those that were asked away."""
    has = {each.partition("=")[0] for each in it.config.env or ()}
    asked = it.asked("--unsetenv")
    return dict.fromkeys(
        [*(name for each in it.image.config.env or () if (name := each.partition("=")[0]) not in has), *asked]
    )


def cgroup_parent(it: Made) -> Iterable[str]:
    # podman's default differs between nodes.
    if it.command.is_known:
        return it.asked("--cgroup-parent")
    return [each for each in [it.host.cgroup_parent] if each not in ("", "machine.slice", "user.slice")]
