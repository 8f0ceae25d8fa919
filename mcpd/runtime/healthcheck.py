"""A container's health check, as podman keeps it, as our probe. Pure functions."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from protos.parts import Health

# podman-run(1), --health-timeout: what podman takes where an image says nothing.
_DEFAULT_TIMEOUT = timedelta(seconds=30)


class Probe(msgspec.Struct, frozen=True, rename="pascal"):
    """podman's own notation; times in nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0
    start_interval: int = 0


def probe_of(probe: Probe | None) -> Health | None:
    """The probe that asks the same; None where there is none, or where it is switched off."""
    kind, *words = (probe.test if probe else None) or ["NONE"]
    if probe is None or kind in ("", "NONE") or (kind in ("CMD", "CMD-SHELL") and not words):
        return None
    default = Health()
    # A test that begins with neither word is the command itself.
    argv = {"CMD": tuple(words), "CMD-SHELL": ("/bin/sh", "-c", " ".join(words))}.get(kind, (kind, *words))
    return Health(
        cmd=argv,
        interval=_nanoseconds(probe.interval) or default.interval,
        timeout=_nanoseconds(probe.timeout) or _DEFAULT_TIMEOUT,
        retries=probe.retries or default.retries,
        start_period=_nanoseconds(probe.start_period),
        start_interval=_nanoseconds(probe.start_interval) or None,
    )


def _nanoseconds(count: int) -> timedelta:
    return timedelta(microseconds=max(count, 0) // 1000)
