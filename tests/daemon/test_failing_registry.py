"""A real mcpd whose database or disk fails: it says so, observes and tells on, or refuses to start; nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socketserver
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trio

from mcpd.registry.snapshots.take import default_folder, listed
from mcpd.registry.store import Registry
from protos.fingerprint import spec_hash
from protos.spec import Component, Service
from tests.support.waiting import until

from .conftest import NODE, Daemon, fill_registry

API = Component("api", "localhost/web:v1")
STARTED = "2026-03-01T12:00:00Z"
ENDED = "2026-03-01T13:00:00Z"
FLIPS = 6


class Pretended(socketserver.ThreadingUnixStreamServer):
    """podman's API for one container, web/api, which runs until it is told to die."""

    daemon_threads = False

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Handler)
        self.has_died = threading.Event()
        self.is_closing = threading.Event()

    def container(self) -> dict[str, Any]:
        state = {"Status": "running", "StartedAt": STARTED}
        if self.has_died.is_set():
            state = {"Status": "exited", "StartedAt": STARTED, "FinishedAt": ENDED, "ExitCode": 137}
        labels = {"mcp.service": "web", "mcp.component": "api", "mcp.spec-hash": spec_hash(API), "mcp.node": NODE}
        return {"Id": "c1", "Name": "web-api", "ImageName": API.image, "State": state, "Config": {"Labels": labels}}

    def listed(self) -> dict[str, Any]:
        found = self.container()
        common = {"Id": "c1", "Names": ["web-api"], "Image": API.image, "ImageID": "sha256:0", "StartedAt": 1772366400}
        return common | {"State": found["State"]["Status"], "Labels": found["Config"]["Labels"]}


class _Handler(BaseHTTPRequestHandler):
    server: Pretended

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].partition("/libpod")[2]
        answers: dict[str, Callable[[], Any]] = {
            "/_ping": lambda: "OK",
            "/containers/json": lambda: [self.server.listed()],
            "/containers/c1/json": self.server.container,
        }
        if path == "/events":
            self._tell()
        elif path in answers:
            self._send(200, answers[path]())
        else:
            self._send(404, {"message": f"no {path} here"})

    def _tell(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        has_told = False
        while not self.server.is_closing.wait(0.02):
            if self.server.has_died.is_set() and not has_told:
                has_told = True
                event = {"Type": "container", "Actor": {"ID": "c1"}, "timeNano": 1772370000 * 10**9}
                self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()

    def _send(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Libpod-API-Version", "5.4.2")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "mcpd"

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving_podman(path: Path) -> Iterator[Pretended]:
    server = Pretended(path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.is_closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def mounted(folder: Path, *how: str) -> Iterator[Path]:
    """A file system of the test's own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder.mkdir()
    done = subprocess.run(["mount", *how, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def put_database_into(folder: Path, node: Daemon) -> None:
    """Has the node's database there, with web/api declared; what mcpd tells is in `told`, in the node's folder."""
    database = folder / "mcp.db"
    node.edit('path = "mcp.db"', f'path = "{database}"')
    command = node.folder / "notify"
    command.write_text(f'#!/bin/sh\necho "$MCP_ALERT_ID $MCP_KIND $MCP_REASON" >> {node.folder}/told\n')
    command.chmod(0o755)
    node.edit('["/usr/local/bin/notify", "--channel", "mcp"]', f'["{command}"]')
    node.edit('drift_grace = "10s"', 'drift_grace = "100ms"')

    definition = f'name = "web"\nnode = "{NODE}"\n[[components]]\nname = "api"\nimage = "{API.image}"\n'
    (node.folder / "services" / "web.toml").write_text(definition)

    async def declare() -> None:
        async with Registry.open(database) as registry:
            service = Service(name="web", node=NODE, components=(API,))
            await registry.put_service(service, {"api": spec_hash(API)}, datetime(2026, 3, 1, 12, 0, tzinfo=UTC))

    trio.run(declare)


def told(node: Daemon) -> list[str]:
    """What was told, but for how much room there is: that is looked at now and then."""
    path = node.folder / "told"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line.split()[1] != "disk"]


def printed(node: Daemon, *words: str) -> Any:
    """What a command of mcpctl prints as JSON."""
    ran = node.mcpctl(*words, "--output", "json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def link(node: Daemon) -> dict[str, Any]:
    (shown,) = printed(node, "node", "show", NODE)
    return next(each for each in shown["links"] if each["name"] == "registry")


def kinds_of_events(node: Daemon) -> list[str]:
    return [each["kind"] for each in printed(node, "events", "web")]


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_hides_no_death_and_what_was_held_is_written_when_there_is_room(node: Daemon) -> None:
    with (
        mounted(node.folder / "data", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as folder,
        serving_podman(node.podman_socket) as podman,
    ):
        put_database_into(folder, node)
        try:
            node.start()
            assert link(node)["ok"]
            until(lambda: "running" in kinds_of_events(node), "the container is known to run")
            filler = fill(folder)
            podman.has_died.set()
            until(lambda: len(told(node)) == 2, "the death and the full disk are told")
            assert sorted(line.split()[:2] for line in told(node)) == [["0", "drift"], ["0", "registry"]]
            found = link(node)
            assert not found["ok"]
            assert f"{folder}/mcp.db cannot be written: database or disk is full" in found["detail"]
            assert f"df -h {folder}" in found["detail"]
            for words in (["list"], ["status"], ["events"], ["alerts", "list"]):
                assert node.mcpctl(*words).returncode in (0, 3), words
            refused = node.mcpctl("stop", "web")
            assert refused.returncode == 1
            assert f"{folder}/mcp.db cannot be written: database or disk is full; free space" in refused.stderr
            filler.unlink()
            until(lambda: link(node)["ok"], "it is written again")
            until(lambda: len(told(node)) == 3, "that is told")
            assert told(node)[-1].startswith("0 recovered")
            assert kinds_of_events(node) == ["running", "exited"]
            alerts = printed(node, "alerts", "list", "--all")
            (alert,) = [each for each in alerts["alerts"] if each["service"] == "web"]
            assert (alert["kind"], alert["delivery"], alert["reason"]) == ("drift", "sent", "exited 137 (SIGKILL)")
            assert node.log.count("the registry cannot be written;") == 1
            assert node.log.count("the registry can be written again") == 1
            assert node.terminate() == 0
            assert len(told(node)) == 3, "nothing was told twice"
        finally:
            node.stop()


@pytest.mark.parametrize("is_killed", [False, True])
def test_on_a_disk_that_is_full_already_it_says_why_it_does_not_start(node: Daemon, is_killed: bool) -> None:
    with mounted(node.folder / "data", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as folder:
        put_database_into(folder, node)
        try:
            node.start()
            if is_killed:
                node.signal(signal.SIGKILL)
                assert node.process
                node.process.wait()
            else:
                assert node.terminate() == 0
            filler = fill(folder)
            assert node.run_to_end() == 1
            assert "Traceback" not in node.log
            last = node.log.splitlines()[-1]
            assert f"{folder}/mcp.db" in last
            assert f"df -h {folder}" in last
            filler.unlink()
            node.start()
        finally:
            node.stop()


def test_a_file_system_that_became_read_only_hides_no_death(node: Daemon) -> None:
    """As ext4 makes itself when it finds an error; ext4(5), errors=remount-ro."""
    image = node.folder / "image"
    image.touch()
    os.truncate(image, 16 << 20)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4 here")
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with (
        mounted(node.folder / "data", "-o", "loop,errors=remount-ro", str(image)) as folder,
        serving_podman(node.podman_socket) as podman,
    ):
        source = subprocess.run(["findmnt", "-n", "-o", "SOURCE", str(folder)], capture_output=True, text=True)
        trigger = Path("/sys/fs/ext4") / Path(source.stdout.strip()).name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel's ext4 cannot be told to find an error")
        put_database_into(folder, node)
        try:
            node.start()
            until(lambda: "running" in kinds_of_events(node), "the container is known to run")
            trigger.write_text("1")
            podman.has_died.set()
            until(lambda: len(told(node)) == 2, "the death and the disk are told")
            assert sorted(line.split()[:2] for line in told(node)) == [["0", "drift"], ["0", "registry"]]
            assert f"{folder}/mcp.db cannot be written" in link(node)["detail"]
            assert node.mcpctl("list").returncode == 0
            assert node.mcpctl("stop", "web").returncode == 1
            assert node.terminate() == 0
            assert node.run_to_end() == 1
            assert "Traceback" not in node.log
            assert "Read-only file system" in node.log.splitlines()[-1]
        finally:
            node.stop()


# --------------------------------------------------------------------------------------------------- at the start


def flipped(database: Path) -> None:
    """Bytes that chance names, anywhere."""
    content = bytearray(database.read_bytes())
    chance = random.Random(len(content))
    for _ in range(200):
        content[chance.randrange(len(content))] ^= chance.randrange(1, 256)
    database.write_bytes(content)


def truncated(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 3)


def emptied(database: Path) -> None:
    os.truncate(database, 0)


def replaced(database: Path) -> None:
    database.write_text("no database\n" * 1000)


@pytest.mark.parametrize("damage", [flipped, truncated, emptied, replaced])
def test_a_damaged_database_is_refused_with_what_is_wrong_and_what_mends_it(
    node: Daemon, damage: Callable[[Path], None]
) -> None:
    trio.run(fill_registry, node.folder)
    database = node.folder / "mcp.db"
    made = node.mcpd("snapshot")
    assert made.returncode == 0, made.stderr
    damage(database)
    content = database.read_bytes()
    assert node.run_to_end() == 1
    last = node.log.splitlines()[-1]
    assert last.startswith(f"mcpd: {database} is ")
    assert "`mcpd restore`" in last
    assert "Traceback" not in node.log
    assert database.read_bytes() == content, "it is left as it is, for whoever tries to save it"
    (snapshot,) = listed(default_folder(database))
    restored = node.mcpd("restore", str(snapshot))
    assert restored.returncode == 0, restored.stderr
    node.start()
    assert "web" in node.mcpctl("list").stdout


def test_single_bytes_that_flipped_are_found_or_do_no_harm(node: Daemon) -> None:
    trio.run(fill_registry, node.folder)
    database = node.folder / "mcp.db"
    whole = database.read_bytes()
    for seed in range(FLIPS):
        chance, content = random.Random(seed), bytearray(whole)
        for _ in range(10):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        for each in database.parent.glob("mcp.db-*"):
            each.unlink()
        database.write_bytes(content)
        process = node.spawn()
        until(lambda: process.poll() is not None or node.accepts(), "it runs, or says why not")  # noqa: B023
        if process.poll() is None:
            assert node.terminate() == 0, node.log
        else:
            assert process.returncode == 1
            assert str(database) in node.log.splitlines()[-1], f"seed {seed}"
        assert "Traceback" not in node.log, f"seed {seed}"


def test_a_database_that_is_missing_beside_its_snapshots_is_said_to_be(node: Daemon) -> None:
    node.start()
    node.terminate()
    assert "there is no registry" not in node.log, "a new node is none that has lost it"
    assert node.mcpd("snapshot").returncode == 0
    database = node.folder / "mcp.db"
    (snapshot,) = listed(default_folder(database))
    for each in node.folder.glob("mcp.db*"):
        each.unlink()
    node.start()
    assert f"mcpd restore {snapshot}" in node.log
    assert node.mcpctl("list").returncode == 0
    with contextlib.closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT count(*) FROM services").fetchone() == (0,)
