"""Starts and ends the stand-in MCIAS server, in a folder of the test's own and on a free port of loopback."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from protos import atomic
from tests.support.waiting import DEADLINE_S, accepts, free_port, until

HOST = "127.0.0.1"
PASSWORD = "correct horse battery staple"
_PROJECT = Path(__file__).parents[2]


@dataclass
class Mcias:
    """The server, while ``process`` runs. ``with Mcias(folder) as mcias:`` starts it, and ends it in any case."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    @property
    def ca(self) -> Path:
        """What signed its certificate; there once it has been started."""
        return self.folder / "ca.pem"

    def start(self) -> None:
        """Returns once it accepts connections; at once when it does already."""
        if not self._has_ended():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.support.mcias_server",
                    "--folder",
                    str(self.folder),
                    "--port",
                    str(self.port),
                ],
                cwd=_PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(lambda: self._has_ended() or accepts(self.port), "the stand-in MCIAS accepts connections")
        assert not self._has_ended(), (self.folder / "log").read_text()

    def stop(self) -> None:
        """Ends it, if it runs; `start` starts it again with all that it knew."""
        if self.process is None or self._has_ended():
            return
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def account(
        self,
        username: str,
        *roles: str,
        password: str = PASSWORD,
        totp: str | None = None,
        denied: bool = False,
        lifetime_s: int = 3600,
    ) -> None:
        """Adds an account, or replaces the one of that name."""
        path = self.folder / "accounts.json"
        others = json.loads(path.read_bytes()) if path.exists() else []
        made = {
            "username": username,
            "password": password,
            "roles": roles,
            "totp": totp,
            "denied": denied,
            "lifetime_s": lifetime_s,
        }
        kept = [each for each in others if each["username"] != username]
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic.write(path, json.dumps([*kept, made]).encode(), mode=atomic.PRIVATE)

    def mood(self, mood: str = "") -> None:
        """How it answers from now on (`tests.support.mcias_server` has the list); empty: well."""
        atomic.write(self.folder / "mood", mood.encode(), mode=atomic.PUBLIC)

    def requests(self, path: str) -> int:
        """How many requests for ``path``, say ``/v1/auth/login``, it has had in its folder's life."""
        log = self.folder / "requests.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return sum(line.partition(" ")[2] == path for line in lines)

    def token(self, username: str, password: str = PASSWORD, **more: str) -> str:
        """Logs in by HTTP, as any client would."""
        status, answer = self.post("/v1/auth/login", {"username": username, "password": password, **more})
        assert status == 200, answer
        return str(answer["token"])

    def logout(self, token: str) -> None:
        status, answer = self.post("/v1/auth/logout", {}, token)
        assert status == 204, answer

    def post(self, path: str, body: dict[str, str], token: str = "") -> tuple[int, dict[str, object]]:
        """Status and JSON body of any answer, the body {} when it has none."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca)),
        )
        try:
            with opener.open(request, timeout=DEADLINE_S) as response:
                return response.status, json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}")

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None
