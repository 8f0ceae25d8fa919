"""A service's folder, and all that must not be reached from it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from mcpd.files.beneath import Opener, Tree, opener_of, parts_of
from mcpd.files.download import Download
from mcpd.files.ids import of_this_user
from mcpd.files.listing import listing
from mcpd.files.upload import Incoming, Upload

NEW = b"pushed"
SECRET = b"what nobody may read or change"


class Place:
    """A service's folder, a neighbour's, and what is outside of both."""

    def __init__(self, folder: Path, opener: Opener) -> None:
        self.folder = folder
        self.outside = folder / "outside"
        self.root = folder / "srv"
        self.web = self.root / "web"
        for each in (self.outside / "inner", self.web / "real/deep", self.root / "other"):
            each.mkdir(parents=True)
        for path in (self.outside / "canary", self.outside / "inner/canary", self.root / "other/file"):
            path.write_bytes(SECRET)
        for path in (self.web / "file", self.web / "real/file"):
            path.write_bytes(b"inside")
        self.tree = Tree(self.root, opener)
        self.held: list[int] = []

    def push(self, path: str, service: str = "web", content: bytes = NEW) -> None:
        wanted = Incoming(service, parts_of(path), len(content), 0o640, None)
        upload = Upload(self.tree, wanted, of_this_user())
        try:
            upload.write([content])
            upload.commit(hashlib.sha256(content).digest())
        finally:
            upload.close()

    def pull(self, path: str, service: str = "web") -> bytes:
        download = Download(self.tree, service, parts_of(path))
        try:
            return b"".join(download.read(100))
        finally:
            download.close()

    def list(self, path: str, service: str = "web") -> list[str]:
        found, _ = listing(self.tree, service, parts_of(path, empty=True, folder=True), after="", limit=1000)
        return [each.name for each in found]

    def everything(self) -> dict[str, tuple[object, ...]]:
        """All that is there, inside and outside: a push that did anything would show."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.folder.rglob("*")):
            looked = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(looked.st_mode) else b""
            target = str(path.readlink()) if path.is_symlink() else ""
            found[str(path)] = (looked.st_mode, looked.st_ino, looked.st_mtime_ns, looked.st_nlink, target, content)
        return found

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        before = self.everything()
        yield
        assert self.everything() == before


def opener_of_root() -> Opener:
    root = os.open("/", os.O_PATH)
    try:
        return opener_of(root)
    finally:
        os.close(root)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


ACTIONS: dict[str, Callable[[Place, str], object]] = {"push": Place.push, "pull": Place.pull, "list": Place.list}
TO_SERVICES: dict[str, Callable[[Place, str], object]] = {
    "push": lambda place, service: place.push("x", service),
    "pull": lambda place, service: place.pull("file", service),
    "list": lambda place, service: place.list("", service),
}
