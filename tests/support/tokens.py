"""Tokens of MCIAS, good ones and ended ones; where `mcpctl` keeps them; and a clock that goes wrong."""

import base64
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from mcpctl.auth import session

LOGIN, RENEW, LOGOUT = "/v1/auth/login", "/v1/auth/renew", "/v1/auth/logout"
HOUR = 3600
NOW = time.time()


def configure(folder: Path, tables: str) -> None:
    path = folder / "mcp.toml"
    path.write_text(tables + path.read_text())


def kept(folder: Path) -> str:
    path = folder / "token"
    return path.read_text().strip() if path.is_file() else ""


def keep(folder: Path, token: str) -> str:
    (folder / "token").touch(0o600)
    (folder / "token").write_text(token)
    return token


def a_token(start: float, end: float) -> str:
    """As MCIAS gives, but by nobody; times in seconds from `NOW`."""
    payload = json.dumps({"iat": NOW + start, "exp": NOW + end}).encode()
    return ".".join(base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in (b"{}", payload, b"signed"))


EXPIRED = a_token(-2 * HOUR, -HOUR)


class AllBut(NamedTuple):
    """The tokens that a node knows."""

    bad: tuple[str, ...]

    def __contains__(self, token: object) -> bool:
        return token not in self.bad


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    clock = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic)
    monkeypatch.setattr(session, "time", clock)
