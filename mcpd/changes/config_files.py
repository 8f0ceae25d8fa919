"""Configs: text files of a definition, kept on the node for as long as a container mounts them.

A file is named by what it is, so that a container keeps the text that it was made with when another one is declared,
and a rollback needs to write nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from mcpd.errors import RefusedError
from mcpd.runtime.podman_service import local_environment
from protos import atomic
from protos.parts import ConfigFile
from protos.spec import Component

_FOLDER_MODE = 0o700
# It starts a process in podman's user namespace.
_DEADLINE_S = 15.0


class ConfigFiles(NamedTuple):
    """The folder with the configs of this node's services: ``folder/SERVICE/COMPONENT/HASH``."""

    folder: Path

    def places(self, service: str, component: Component) -> dict[str, str]:
        """Where each of the component's configs is on the node, by its target."""
        return {each.target: str(self._place(service, component.name, each)) for each in component.configs}

    async def put(self, service: str, component: Component) -> None:
        """Writes those that are missing. Raises RefusedError."""
        for each in component.configs:
            place = self._place(service, component.name, each)
            try:
                if await trio.to_thread.run_sync(_write, place, each):
                    await _give_away(place, each)
            except OSError as error:
                raise RefusedError(
                    f"the config {each.target} cannot be written to {place}: {error.strerror}"
                ) from error

    async def keep(self, service: str, components: Iterable[Component]) -> None:
        """Removes every config of the service but those of ``components``."""
        kept = {self._place(service, each.name, config) for each in components for config in each.configs}
        await trio.to_thread.run_sync(_clear, self.folder, service, kept)

    def _place(self, service: str, component: str, config: ConfigFile) -> Path:
        digest = hashlib.sha256(msgspec.json.encode((config.content, config.mode, config.uid, config.gid)))
        return self.folder / service / component / digest.hexdigest()[:32]


def _write(place: Path, config: ConfigFile) -> bool:
    """Whether it was not there."""
    if place.exists():
        return False
    for folder in (place.parents[2], place.parents[1], place.parent):
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    atomic.write(place, (config.content or "").encode(), mode=config.mode)
    return True


async def _give_away(place: Path, config: ConfigFile) -> None:
    """Makes the container's user its owner. Raises RefusedError, and leaves no file then."""
    if not config.uid and not config.gid:
        return
    if os.geteuid() == 0:
        await trio.to_thread.run_sync(os.chown, place, config.uid, config.gid)
        return
    owner = f"{config.uid}:{config.gid}"
    if problem := await _unshared(["chown", owner, str(place)]):
        await trio.Path(place).unlink(missing_ok=True)
        raise RefusedError(f"the config {config.target} cannot belong to {owner}: {problem}")


async def _unshared(argv: list[str]) -> str:
    """Runs a program as root of podman's user namespace, whose ids a rootless mcpd has not (podman-unshare(1)).

    Returns why it could not, else "".
    """
    try:
        with trio.fail_after(_DEADLINE_S):
            done = await trio.run_process(
                ["podman", "unshare", *argv],
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=local_environment(),
            )
    except trio.TooSlowError:
        return f"`podman unshare` did not end within {_DEADLINE_S:.0f} s"
    words = done.stderr.decode(errors="replace").strip()
    return (words or f"`podman unshare` exited with {done.returncode}") if done.returncode else ""


def _clear(folder: Path, service: str, kept: Collection[Path]) -> None:
    ours = folder / service
    for component in _entries(ours):
        for file in _entries(component):
            if file not in kept:
                file.unlink(missing_ok=True)
        _remove_if_empty(component)
    _remove_if_empty(ours)
    _remove_if_empty(folder)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
