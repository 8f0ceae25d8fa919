"""The folder of certificates of routes, read again when something in it has changed, or a certificate has ended."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import trio

from mcpd.routing import certificates
from mcpd.routing.certificates import CHAIN, KEY, Found
from mcpd.routing.table import Certificate

# What is in order today may have ended tomorrow, though no file changes: that of an issuer, say.
_READ_AGAIN_S = 3600.0
# A folder of some hundred files, each of some KiB. What takes longer is a network filesystem that hangs.
_LOOK_S = 30.0


class _Look(NamedTuple):
    """``found``: None when nothing has changed."""

    signature: object
    found: Found | None


class CertificateFolder:
    """``combined`` is a folder of ours, for certificates whose chain and key are in several files."""

    def __init__(self, folder: Path, combined: Path) -> None:
        self._folder = folder
        self._combined = combined
        self._signature: object = None
        self._read_at = 0.0
        self._found = Found((), ())
        # A filesystem that hangs holds up one thread of ours, and no second one.
        self._looking = trio.CapacityLimiter(1)
        self._hangs = False

    async def read(self) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
        """Those that can be used, and in words why others cannot.

        While the folder's filesystem hangs, what was last known, and a sentence that says so: after half a minute, and
        from then on at once.
        """
        # The thread has its token until it ends, also when nobody waits for it any more.
        if not (self._hangs and self._looking.borrowed_tokens):
            with trio.move_on_after(_LOOK_S) as looking:
                await self._look()
            self._hangs = looking.cancelled_caught
        return self._found.certificates, (*self._found.problems, *self._complaint())

    async def _look(self) -> None:
        known = None if self._is_old() else self._signature
        look = await trio.to_thread.run_sync(
            _look, self._folder, self._combined, known, abandon_on_cancel=True, limiter=self._looking
        )
        if look.found is not None:
            self._found, self._signature, self._read_at = look.found, look.signature, trio.current_time()

    def _is_old(self) -> bool:
        now = datetime.now(UTC)
        has_ended = any(each.until <= now for each in self._found.certificates)
        return has_ended or trio.current_time() - self._read_at > _READ_AGAIN_S

    def _complaint(self) -> tuple[str, ...]:
        if not self._hangs:
            return ()
        return (
            f"{self._folder} could not be read within {_LOOK_S:.0f} s: its filesystem hangs, and what was last read "
            "of it is used",
        )


def _look(folder: Path, combined: Path, known: object) -> _Look:
    """Reads the folder unless its signature is ``known``."""
    signature = _signature(folder)
    return _Look(signature, None if signature == known else certificates.read(folder, combined))


def _signature(folder: Path) -> object:
    """Changes with what `certificates.read` would find, also with the right to read it; links are followed."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        return error.errno
    return tuple((entry.name, *(_seen(each) for each in (entry, entry / CHAIN, entry / KEY))) for entry in entries)


def _seen(path: Path) -> object:
    try:
        seen = path.stat()
    except OSError as error:
        return error.errno
    # ctime: of a changed mode, which changes no mtime.
    return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino
