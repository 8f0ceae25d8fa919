"""Where files of this machine that a compose file mounts are on the node: below /srv/SERVICE, where push puts them."""

from __future__ import annotations

import posixpath
import shlex
from pathlib import Path

import msgspec

from mcpctl.definitions.importing.source import Kind, Source

_ROOT = "/srv"
# What a name ends in when it is hardly a folder's.
_OF_FILES = frozenset(
    {
        ".bash",
        ".cfg",
        ".cnf",
        ".conf",
        ".config",
        ".crt",
        ".css",
        ".csv",
        ".db",
        ".env",
        ".exs",
        ".htm",
        ".html",
        ".ini",
    }
    | {
        ".j2",
        ".jks",
        ".js",
        ".json",
        ".key",
        ".lua",
        ".mjs",
        ".p12",
        ".pem",
        ".php",
        ".properties",
        ".pub",
        ".py",
        ".rb",
    }
    | {".sh", ".so", ".sql", ".sqlite", ".sqlite3", ".tmpl", ".toml", ".tpl", ".ts", ".txt", ".vcl", ".xml", ".yaml"}
    | {".yml"}
)
_FILES = frozenset(
    {
        ".env",
        ".htaccess",
        ".htpasswd",
        ".netrc",
        ".npmrc",
        ".pgpass",
        "Caddyfile",
        "Corefile",
        "Dockerfile",
        "Procfile",
        "Vagrantfile",
        "acme.json",
        "hosts",
    }
)


class Place(msgspec.Struct, frozen=True):
    """``node``: the absolute path there. ``here``: the same on this machine."""

    node: str
    here: Path
    kind: Kind
    mode: int

    @property
    def is_file(self) -> bool:
        """As it is, or as its name says when it is not here."""
        return self.kind in (Kind.FILE, Kind.OTHER) or (self.kind is Kind.MISSING and looks_like_file(self.node))


def looks_like_file(path: str) -> bool:
    name = posixpath.basename(path)
    return name in _FILES or posixpath.splitext(name)[1].lower() in _OF_FILES


class Places:
    """Each path of this machine has one of its own on the node."""

    def __init__(self, source: Source, service: str) -> None:
        self._source = source
        self._service = service
        self._taken: dict[str, Path] = {}

    def of(self, text: str) -> Place | None:
        """Where a relative path is, or one in the home folder of whoever imports; None for any other."""
        if text.startswith("/") or (text.startswith("~") and not (text == "~" or text.startswith("~/"))):
            return None
        here = self._source.path(text)
        look = self._source.look(here)
        return Place(self._node_path(text, here), here, look.kind, look.mode)

    def _node_path(self, text: str, here: Path) -> str:
        top = f"{_ROOT}/{self._service}"
        if here.is_relative_to(self._source.folder):
            below = here.relative_to(self._source.folder).as_posix()
        else:
            # Of a folder above, or a home: what follows the way there.
            parts = [each for each in posixpath.normpath(text).split("/") if each not in ("..", "~", "")]
            below = "/".join(parts) or here.name or "."
        path = top if below == "." else f"{top}/{below}"
        number = 2
        made = path
        while self._taken.setdefault(made, here) != here:
            made, number = f"{path}-{number}", number + 1
        return made

    def push(self, place: Place) -> str:
        """The command that brings what is here to its place."""
        below = posixpath.relpath(place.node, f"{_ROOT}/{self._service}")
        here = shlex.quote(str(place.here))
        if place.kind in (Kind.FILE, Kind.MISSING, Kind.OTHER):
            return f"mcpctl push {here} {self._service} {shlex.quote(below)}"
        parent, name = posixpath.split(below)
        if below == "." or name != place.here.name:
            to = "" if below == "." else f" {shlex.quote(below + '/')}"
            return f'for each in {here}/*; do mcpctl push "$each" {self._service}{to} --recursive; done'
        to = f" {shlex.quote(parent + '/')}" if parent else ""
        return f"mcpctl push {here} {self._service}{to} --recursive"
