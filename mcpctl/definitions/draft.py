"""A draft of a definition: edited in the user's editor, checked, compared, and put in the definition's place."""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.errors import CliError, UsageError
from mcpctl.ui import render
from protos import atomic

# environ(7); the editor that POSIX systems have.
_EDITORS = ("VISUAL", "EDITOR")
_EDITOR = "vi"

TEMPLATE = """\
# Every key is explained in docs/configuration.md. Lines that are commented out are defaults or examples.
name = "NAME"
node = "NODE"
# active = true                    # false: stopped

[[components]]
name = "NAME"
image = "registry.example.net/NAME:v1"
# cmd = ["serve", "--verbose"]
# user = "1000:1000"
# env = { LOG_LEVEL = "info" }
# env_file = ["NAME.env"]          # beside this file
# secrets = ["NAME-key"]           # podman secrets, files in /run/secrets; { name = "x", env = "X" } is a variable
# networks = ["front"]             # podman networks; default: the service's own, where components have their names
# ports = ["127.0.0.1:8080:80"]    # [[IP:]HOST:]CONTAINER[/udp]
# volumes = ["/srv/NAME:/data:ro", "cache:/cache"]
# tmpfs = ["/run"]
# read_only = true                 # the root file system
# cap_drop = ["ALL"]
# restart = "no"                   # no | on-failure[:N] | unless-stopped | always
# depends_on = ["migrate"]         # components of this service
# stop_timeout = "10s"
# settle = "5s"                    # how long it must stay up to count as started
# heal = "alert"                   # alert | restart; default: the node's setting

# [[components.configs]]           # a text file, put into the container
# target = "/etc/NAME.conf"
# source = "NAME.conf"             # beside this file; or content = "..."

# [components.health]              # one of cmd, http, tcp; default: the image's own
# http = "http://127.0.0.1:8080/healthz"
# interval = "30s"
# timeout = "5s"
# retries = 3
# start_period = "0s"

# [[components.routes]]            # how the world reaches it through the node's proxy: docs/routes.md
# host = "NAME.example.net"
# port = 8080                      # where it listens, inside

# [components.resources]
# memory = "256MiB"
# cpus = 0.5
# pids = 256

# [[components]]                   # runs to its end before those that depend on it, in every deploy of a change
# name = "migrate"
# image = "registry.example.net/NAME:v1"
# oneshot = true
"""


class Draft:
    """A copy beside the definition, under the same name in a folder of its own."""

    def __init__(self, path: Path, folder: Path, text: bytes) -> None:
        self.path = path
        self.file = folder / path.name
        self._before = text
        self.file.write_bytes(text)

    def is_changed(self) -> bool:
        return self.text() != self._before

    def text(self) -> bytes:
        try:
            return self.file.read_bytes()
        except FileNotFoundError:
            return self._before

    def difference(self) -> Iterator[str]:
        """A unified diff, as lines."""
        before, after = (each.decode(errors="replace").splitlines() for each in (self._before, self.text()))
        return difflib.unified_diff(before, after, str(self.path), f"{self.path} (draft)", lineterm="")


@contextmanager
def draft(path: Path, text: bytes) -> Iterator[Draft]:
    """Removed at the end; but somebody's work is not thrown away when nothing became of it, and its place is told."""
    try:
        # Its mode lets nobody else read it (mkdtemp), whatever the definition says.
        folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    except OSError as error:
        raise CliError(f"{path.parent} cannot be written to: {error.strerror}") from None
    made = Draft(path, folder, text)
    try:
        yield made
    except BaseException:
        if made.is_changed():
            render.note(f"mcpctl: your draft is kept in {made.file}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def run_editor(file: Path) -> None:
    """Raises UsageError when there is none, CliError when it fails."""
    name = next((value for each in _EDITORS if (value := os.environ.get(each))), _EDITOR)
    try:
        argv = shlex.split(name)
    except ValueError as error:
        raise UsageError(f"VISUAL or EDITOR ({name!r}) is not a valid command: {error}") from None
    if not argv:
        raise UsageError("no editor: set VISUAL or EDITOR")
    try:
        status = subprocess.run([*argv, str(file)], check=False).returncode
    except OSError as error:
        raise UsageError(f"the editor {argv[0]} cannot be run: {error.strerror}; set VISUAL or EDITOR") from None
    if status:
        raise CliError(f"the editor {argv[0]} exited with status {status}; nothing was changed")


def checked(settings: Settings, made: Draft) -> definition.Definition:
    """What the draft says, edited again as often as somebody at a terminal wants. Raises UsageError."""
    while True:
        run_editor(made.file)
        try:
            found = definition.read(settings, made.file, made.path.parent)
            definition.check_ports(settings, found)
            return found
        except UsageError as error:
            if not made.is_changed() or not sys.stdin.isatty():
                raise
            render.note(f"mcpctl: {error}")
            if not asked("Edit it again?", default=True):
                raise UsageError("cancelled: the definition was not changed") from None


def asked(question: str, *, default: bool) -> bool:
    """Somebody at the terminal."""
    print(f"{question} [{'Y/n' if default else 'y/N'}] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    # The end of input is no.
    return answer.strip().lower() in ("y", "yes") or (default and answer == "\n")


def replace(path: Path, text: bytes, before: bytes | None) -> None:
    """Puts the text in the definition's place; ``before`` is what stood there, None for nothing.

    Raises CliError when something else stands there by now.
    """
    try:
        if before is None:
            atomic.create(path, text, mode=atomic.PRIVATE)  # it may get secrets later
            return
        real = path.resolve()  # a definition may be a link into a repository
        if real.read_bytes() != before:
            raise CliError(f"{path} changed while you were editing and was not overwritten; merge the two by hand")
        atomic.write(real, text, mode=real.stat().st_mode & 0o777)
    except FileExistsError:
        raise CliError(
            f"{path} was created while you were editing and was not overwritten; merge the two by hand"
        ) from None
    except OSError as error:
        raise CliError(f"{path} could not be written: {error.strerror}") from None
