"""podman's secrets, pretended: what its API does, as seen of podman 4.3.1."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import trio

_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9])?")
_TOO_LARGE = 512_000
_BASE = "/v4.0.0/libpod"


class NoSuchSecretError(Exception):
    """podman's 404."""


class RefusedSecretError(Exception):
    """podman's 500."""


class Kept(NamedTuple):
    id: str
    name: str
    value: bytes
    at: datetime


class PretendedSecrets:
    """``folder``: of the file driver; None: another driver, whose values podman shows as text (4.7)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.kept: dict[str, Kept] = {}
        self.asked_for_values = 0
        self._folder = folder
        self._ids = (f"{number:025x}" for number in itertools.count(0xA1))

    def value(self, name: str) -> bytes | None:
        found = self.named(name)
        return found.value if found else None

    def named(self, name: str) -> Kept | None:
        return next((each for each in self.kept.values() if each.name == name), None)

    def found(self, name: str) -> Kept:
        """By name, or by the beginning of an id. Raises NoSuchSecretError."""
        by_id = (each for each in self.kept.values() if each.id.startswith(name))
        if found := self.named(name) or next(by_id, None):
            return found
        raise NoSuchSecretError(f'no secret with name or id "{name}": no such secret')

    def create(self, name: str, value: bytes) -> str:
        """Raises RefusedSecretError."""
        if not _NAME.fullmatch(name):
            raise RefusedSecretError(f"only 64 [a-zA-Z0-9-_.] characters allowed: {name}: invalid secret name")
        if not 0 < len(value) < _TOO_LARGE:
            raise RefusedSecretError("secret data must be larger than 0 and less than 512000 bytes")
        if self.named(name):
            raise RefusedSecretError(f"{name}: secret name in use")
        made = Kept(next(self._ids), name, value, datetime.now(UTC))
        self.kept[made.id] = made
        self._write()
        return made.id

    def remove(self, name: str) -> None:
        """Raises NoSuchSecretError."""
        del self.kept[self.found(name).id]
        self._write()

    def listed(self) -> list[dict[str, Any]]:
        return [self._json(each) for each in self.kept.values()]

    def shown(self, name: str, *, value: bool) -> dict[str, Any]:
        """Raises NoSuchSecretError."""
        found = self.found(name)
        self.asked_for_values += value
        shows = value and self._folder is None
        return self._json(found) | ({"SecretData": found.value.decode(errors="replace")} if shows else {})

    def _json(self, kept: Kept) -> dict[str, Any]:
        driver = {"Name": "shell", "Options": {}}
        if self._folder:
            driver = {"Name": "file", "Options": {"path": str(self._folder)}}
        at = kept.at.isoformat()
        return {"ID": kept.id, "CreatedAt": at, "UpdatedAt": at, "Spec": {"Name": kept.name, "Driver": driver}}

    def _write(self) -> None:
        if self._folder:
            values = {each.id: base64.b64encode(each.value).decode() for each in self.kept.values()}
            (self._folder / "secretsdata.json").write_text(json.dumps(values))


class SecretsTransport(httpx.AsyncBaseTransport):
    """The API of nothing else. ``gate`` is called before and after each request has its effect."""

    def __init__(self, secrets: PretendedSecrets) -> None:
        self.secrets = secrets
        self.gate: Callable[[httpx.Request], None] = lambda _: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        await trio.lowlevel.checkpoint()
        self.gate(request)
        status, answer = self._answer(request.method, request.url, body)
        self.gate(request)
        return httpx.Response(status, stream=httpx.ByteStream(json.dumps(answer).encode()))

    def _answer(self, method: str, url: httpx.URL, body: bytes) -> tuple[int, Any]:
        path = url.path.removeprefix(f"{_BASE}/secrets/")
        try:
            if (method, path) == ("GET", "json"):
                return 200, self.secrets.listed()
            if method == "GET":
                return 200, self.secrets.shown(path.removesuffix("/json"), value="showsecret" in url.params)
            if (method, path) == ("POST", "create"):
                return 200, {"ID": self.secrets.create(url.params["name"], body)}
            assert method == "DELETE", f"{method} {url}"
            self.secrets.remove(path)
            return 204, None
        except NoSuchSecretError as error:
            return 404, {"message": str(error)}
        except RefusedSecretError as error:
            return 500, {"message": str(error)}
