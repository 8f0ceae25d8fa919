"""podman's secrets: listed, set and removed through its API. No value is in a log, an error or a repr.

podman before 4.7 cannot replace a secret: it must be removed, and made anew. So that nothing which goes wrong between
the two loses it, the new value is kept under a temporary name meanwhile. Whoever finds a temporary secret, at start or
before the next change, ends what was begun (docs/decisions/0051).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
import trio

from mcpd.errors import ConflictError, McpdError, NotFoundError, RefusedError, UnavailableError
from mcpd.runtime import api_types
from mcpd.runtime.api import Api, NoSuchError, PodmanError
from protos.grammar import TEMPORARY_SECRET

log = structlog.get_logger()

T = TypeVar("T")

# Reading takes milliseconds; a podman that needs longer hangs, and callers must learn so before they give up.
_LOOK_S = 5.0
# Between tries to end what was begun, while podman does not answer or refuses.
_RETRY_S = 2.0
# podman's driver for files, the default, and the file in its folder: values by the ids of secrets, in base64
# (containers/common, pkg/secrets/filedriver).
_FILE_DRIVER = "file"
_VALUES = "secretsdata.json"
# What JSON of podman has in place of bytes that are no text.
_NO_TEXT = "\N{REPLACEMENT CHARACTER}"


class StoredSecret(msgspec.Struct, frozen=True):
    """A secret, without its value. ``id`` changes with every value, ``set_at`` is when it got this one."""

    id: str
    name: str
    driver: str
    created_at: datetime
    set_at: datetime


class _UnreadableError(McpdError):
    """The value of a secret that was being replaced is only where it cannot be read, in the one with this id."""

    def __init__(self, name: str, temporary: str) -> None:
        super().__init__(f"the new value of the secret {name} cannot be read; `mcpctl secret set {name}` sets it again")
        self.temporary = temporary


class SecretStore:
    """Those of one podman. Raises PodmanError, or UnavailableError when podman does not answer."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._locks: dict[str, trio.Lock] = {}
        # At start there may be something of a daemon that was killed.
        self._unfinished = trio.Event()
        self._unfinished.set()
        # Replacements that are between removing and making, the number of those that ever were, and their end.
        self._open = 0
        self._begun = 0
        self._settled = trio.Event()

    async def listed(self) -> Mapping[str, StoredSecret]:
        """By name, without temporary ones. Values are never requested."""
        return {
            each.spec.name: StoredSecret(
                each.id,
                each.spec.name,
                each.spec.driver.name,
                each.created_at,
                max(each.created_at, each.updated_at),
            )
            for each in await self._all()
            if not each.spec.name.startswith(TEMPORARY_SECRET)
        }

    async def set(self, name: str, value: bytes, *, must_be_new: bool) -> bool:
        """Gives the secret a value, and makes it when it is missing; returns whether there was one.

        Goes on to its end when it is cancelled. Raises ConflictError when it ``must_be_new`` and is not.
        """
        async with self._alone(name):
            try:
                await self._finish(name)
            except _UnreadableError:
                await self._create(name, value)
                await self._finish(name)
                return True
            old = (await self.listed()).get(name)
            if old is None:
                await self._create(name, value)
                return False
            if must_be_new:
                raise ConflictError(f"there is a secret {name} already; without --new it gets the new value")
            await self._replace(old, value)
            return True

    async def remove(self, name: str) -> None:
        """Raises NotFoundError."""
        async with self._alone(name):
            try:
                await self._finish(name)
            except _UnreadableError as error:
                await self._remove(error.temporary)
                return
            found = (await self.listed()).get(name)
            if found is None:
                raise NotFoundError(f"there is no secret {name}")
            await self._remove(found.id)

    async def keep(self) -> None:
        """Ends whatever was begun and not ended: by a daemon that was killed, or when podman failed. Never returns."""
        told = ""
        while True:
            await self._unfinished.wait()
            self._unfinished = trio.Event()
            try:
                await self._finish_all()
                told = ""
            except McpdError as error:
                self._unfinished.set()
                if str(error) != told:
                    log.warning("the replacement of a secret waits for podman", error=str(error))
                told = str(error)
                await trio.sleep(_RETRY_S)

    async def despite_replacement(self, call: Callable[[], Awaitable[T]]) -> T:
        """``call``, once more when it fails while a secret is replaced: podman may not have found the secret."""
        begun, is_open = self._begun, self._open
        try:
            return await call()
        except PodmanError:
            if self._begun == begun and not is_open:
                raise
            if self._open:
                await self._settled.wait()
            return await call()

    # -- replacing one

    async def _replace(self, old: StoredSecret, value: bytes) -> None:
        try:
            temporary = await self._prepare(old.name, value)
            with self._replacing():
                try:
                    await self._remove(old.id)
                    await self._create(old.name, value)
                    await self._remove(temporary)
                except McpdError as error:
                    kind = UnavailableError if isinstance(error, UnavailableError) else RefusedError
                    raise kind(
                        f"the secret {old.name} was being replaced: {error}; when podman answers again it has its old "
                        "value or the new one: set it again then"
                    ) from error
        except McpdError:
            self._unfinished.set()
            raise

    async def _prepare(self, name: str, value: bytes) -> str:
        """Keeps the new value under the temporary name, and returns its id. Raises when podman would lose it there."""
        await self._create(TEMPORARY_SECRET + name, value)
        temporary = {each.spec.name: each for each in await self._all()}[TEMPORARY_SECRET + name]
        if await self._value(temporary) != value:
            await self._remove(temporary.id)
            raise RefusedError(
                f"replacing {name} could lose it: podman here does not give the value of a secret back, as podman 4.7 "
                f"does, and the file driver; `podman secret rm {name}` on the node, and then set it"
            )
        return temporary.id

    async def _finish_all(self) -> None:
        begun = [each.spec.name for each in await self._all() if each.spec.name.startswith(TEMPORARY_SECRET)]
        unreadable: _UnreadableError | None = None
        for name in (each.removeprefix(TEMPORARY_SECRET) for each in begun):
            async with self._alone(name):
                try:
                    await self._finish(name)
                except _UnreadableError as error:  # the others can be ended all the same
                    unreadable = error
        if unreadable:
            raise unreadable

    async def _finish(self, name: str) -> None:
        """Ends the replacement of a secret that was begun, if one was: its value is the old one or the new one.

        Raises _UnreadableError when the new one, the only one that is left, cannot be read now; it stays where it is.
        podman writes the file in place, so that it is in pieces for a moment when another secret changes.
        """
        here = {each.spec.name: each for each in await self._all()}
        temporary = here.get(TEMPORARY_SECRET + name)
        if temporary is None:
            return
        if name not in here:
            value = await self._value(temporary)
            if value is None:
                raise _UnreadableError(name, temporary.id)
            await self._create(name, value)
            log.warning("a secret that was being replaced has its new value", secret=name)
        await self._remove(temporary.id)

    async def _value(self, secret: api_types.Secret) -> bytes | None:
        """Its value; None when nobody tells: podman does since 4.7, as text, and the file driver's file does."""
        folder = (secret.spec.driver.options or {}).get("path", "")
        if secret.spec.driver.name == _FILE_DRIVER and folder:
            value = await trio.to_thread.run_sync(_of_file, Path(folder) / _VALUES, secret.id)
            if value is not None:
                return value
        shown = await self._api.ask(
            "GET", f"/secrets/{secret.id}/json", api_types.ShownSecret, params={"showsecret": "true"}, timeout=_LOOK_S
        )
        return None if not shown.secret_data or _NO_TEXT in shown.secret_data else shown.secret_data.encode()

    # -- podman's API

    async def _all(self) -> tuple[api_types.Secret, ...]:
        return await self._api.ask("GET", "/secrets/json", tuple[api_types.Secret, ...], timeout=_LOOK_S)

    async def _create(self, name: str, value: bytes) -> str:
        headers = {"Content-Type": "application/octet-stream"}  # what looks like a form is read as one
        made = await self._api.ask(
            "POST", "/secrets/create", api_types.MadeSecret, params={"name": name}, content=value, headers=headers
        )
        return made.id

    async def _remove(self, number: str) -> None:
        """By id: podman takes the beginning of an id for one, so that a name may mean another secret."""
        try:
            await self._api.do("DELETE", f"/secrets/{number}")
        except NoSuchError:
            return

    # -- one at a time

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """The only change of this secret, and one that is not cut off in the middle."""
        lock = self._locks.setdefault(name, trio.Lock())
        try:
            async with lock:
                with trio.CancelScope(shield=True):
                    yield
        finally:
            if not lock.locked():
                self._locks.pop(name, None)

    @contextmanager
    def _replacing(self) -> Iterator[None]:
        self._begun += 1
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._settled.set()
                self._settled = trio.Event()


def _of_file(path: Path, number: str) -> bytes | None:
    """None: it is not there, or not for us."""
    try:
        values = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
        return msgspec.json.decode(values[number], type=bytes)
    except (OSError, msgspec.DecodeError, KeyError):
        return None
