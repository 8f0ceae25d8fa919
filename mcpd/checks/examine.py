"""Runs all checks concurrently, each with a deadline. A check that fails to run is a finding too."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from mcpd.checks import authentication, database, files, machine, podman, proxy, server, user
from mcpd.checks.finding import Finding, warning
from mcpd.config.settings import Config

# Longer than all deadlines within a check together; file systems that hang have none.
_LOOK_S = 30.0


class Look(NamedTuple):
    """One check; ``name`` stands in the finding when the check itself fails."""

    name: str
    take: Callable[[], list[Finding]]


async def examine(config: Config, now: datetime) -> list[Finding]:
    """Every finding, in the order of the documentation (docs/check.md). Changes nothing on the machine."""
    about_podman: list[podman.Info] = []

    def ask_podman() -> list[Finding]:
        found, info = podman.look(config)
        about_podman.extend([info] if info else [])
        return found

    # First: it tells which user's ids apply and where containers are stored.
    found = await take(Look(podman.NAME, ask_podman))
    info = about_podman[0] if about_podman else None
    return found + await take_all(looks(config, info, now))


def looks(config: Config, info: podman.Info | None, now: datetime) -> list[Look]:
    uid = podman_uid(config)
    rootless = info.host.security.rootless if info else uid != 0
    root, database_path = config.files.root, config.database.path
    every = [
        Look("user", lambda: user.look(user.owner(uid, rootless=rootless))),
        Look(server.CERTIFICATE, lambda: server.look_certificate(config.server, now)),
        Look(server.ADDRESS, lambda: server.look_address(config.server)),
        Look(config.auth.mode, lambda: authentication.look_identity(config, now)),
        Look(database.NAME, lambda: database.look(database_path)),
        Look(files.ROOT, lambda: files.look_root(root)),
        Look(
            "service folders",
            lambda: files.look_folders(root, database.declared(database_path), user.owner(uid, rootless=rootless)),
        ),
        Look("database space", lambda: files.look_space("database space", database_path.parent)),
    ]
    if info and (graph_root := info.store.graph_root):
        every.append(Look("container space", lambda: files.look_space("container space", Path(graph_root))))
    return [
        *every,
        *([Look(proxy.NAME, partial(proxy.look, config.proxy))] if config.proxy else ()),
        Look(machine.ALERT, lambda: machine.look_alert_command(config.monitor.alert_command)),
        Look(machine.CLOCK, lambda: machine.look_clock(now)),
    ]


def podman_uid(config: Config) -> int:
    """The user that runs mcpd's podman: the owner of the configured socket, otherwise mcpd's own user."""
    if config.podman.socket:
        try:
            return config.podman_socket.stat().st_uid
        except OSError:
            pass  # which is a finding of its own
    return os.geteuid()


async def take_all(every: list[Look]) -> list[Finding]:
    found: list[list[Finding]] = [[] for _ in every]

    async def keep(number: int, look: Look) -> None:
        found[number] = await take(look)

    async with trio.open_nursery() as nursery:
        for number, look in enumerate(every):
            nursery.start_soon(keep, number, look)
    return [each for one in found for each in one]


async def take(look: Look, deadline_s: float = _LOOK_S) -> list[Finding]:
    """Runs a check in a thread, which is abandoned when it misses the deadline."""
    try:
        with trio.move_on_after(deadline_s):
            return await trio.to_thread.run_sync(look.take, abandon_on_cancel=True)
        reason = f"no answer after {deadline_s:g} s"
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except Exception as error:
        # A check that crashes must not hide the findings of the others.
        reason = f"{type(error).__name__}: {error}"
    return [warning(look.name, f"could not be checked: {reason}")]
