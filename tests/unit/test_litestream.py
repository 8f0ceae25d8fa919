"""Litestream beside a registry that is in use: its copy follows, and becomes a registry again (docs/litestream.md)."""

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest
import trio
import yaml

from mcpd.registry.snapshots.restore import rehearse, restore
from mcpd.registry.snapshots.take import examine
from mcpd.registry.store import Registry
from tests.documents import blocks
from tests.documents.__main__ import REPOSITORY
from tests.support.builders import NOW, service
from tests.support.waiting import until

PROGRAM = shutil.which("litestream", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])) or ""
SAMPLE = REPOSITORY / "contrib/litestream/litestream.yml"
UNIT = REPOSITORY / "contrib/systemd/mcpd-litestream.service"
DOCUMENT = REPOSITORY / "docs/litestream.md"
COMMAND_DEADLINE_S = 60
# Writes as fast as it goes, and prints what is committed: with every event the revision grows by one.
WRITER = """
import sys, trio
from datetime import UTC, datetime
from pathlib import Path
from mcpd.registry.events import add_event
from mcpd.registry.store import Registry

def step(db):
    db.execute("UPDATE services SET revision = revision + 1")
    add_event(db, "web", "api", "deployed", "x" * 200, "ops", datetime.now(UTC))
    return db.execute("SELECT revision FROM services").fetchone()[0]

async def write(path):
    async with Registry.open(path) as registry:
        while True:
            print(await registry.transact(step, changes_services=True), flush=True)

trio.run(write, Path(sys.argv[1]))
"""

needs_litestream = pytest.mark.skipif(
    not PROGRAM, reason="litestream is not installed (the extra `litestream`), so nothing was replicated"
)


@dataclass(frozen=True)
class Node:
    """A registry, and Litestream's configuration for it: the sample, with other paths and less patience."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "srv/mcp.db"

    @property
    def config(self) -> Path:
        return self.folder / "litestream.yml"

    @property
    def log(self) -> Path:
        return self.folder / "litestream.log"

    def litestream(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [PROGRAM, words[0], "-config", str(self.config), *words[1:]]
        return subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_DEADLINE_S, check=False)

    @contextlib.contextmanager
    def replicating(self, end: signal.Signals = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("ab") as log, running([PROGRAM, "replicate", "-config", str(self.config)], log, end) as it:
            yield it

    def restored(self, name: str = "looked.db") -> Path:
        """What Litestream makes of its copy."""
        file = self.folder / name
        for each in self.folder.glob(f"{name}*"):
            each.unlink()
        done = self.litestream("restore", "-if-replica-exists", "-o", str(file), str(self.database))
        assert done.returncode == 0, done.stderr
        return file

    def reached(self) -> int:
        """The revision in the copy; -1 while there is none. Fails for a copy that is no committed moment."""
        file = self.restored()
        return revision(file) if file.exists() else -1


@contextlib.contextmanager
def running(argv: list[str], output: BinaryIO, end: signal.Signals) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is told to end when the block is left, and that ends then, whatever it does."""
    process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, cwd=REPOSITORY)
    try:
        yield process
        process.send_signal(end)
        process.wait(COMMAND_DEADLINE_S)
    finally:
        process.kill()
        process.wait()


def revision(file: Path) -> int:
    """Of a whole copy, in which every event has its revision: some committed moment."""
    assert examine(file).services == 1
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as db:
        (found,) = db.execute("SELECT revision FROM services").fetchone()
        assert db.execute("SELECT count(*), coalesce(max(id), 0) FROM events").fetchone() == (found, found)
    return int(found)


@contextlib.contextmanager
def writing(node: Node, end: signal.Signals) -> Iterator[Path]:
    """A real Registry that is written in another process; yields the file with the revisions that it committed."""
    said = node.folder / "committed"
    with said.open("wb") as output, running([sys.executable, "-c", WRITER, str(node.database)], output, end):
        yield said


def committed(said: Path) -> int:
    """The newest revision that the writer told; its last line may be half written."""
    lines = said.read_text().split("\n")[:-1]
    return int(lines[-1]) if lines else 0


def put(database: Path, events: int = 0) -> None:
    """Opens the registry, records the service if it is new, adds events, closes it, as a daemon's whole life."""

    def step(db: sqlite3.Connection) -> None:
        db.execute("UPDATE services SET revision = revision + 1")
        db.execute("INSERT INTO events (at, service, component, kind, message, caller) VALUES (0,'','','','','')")

    async def write() -> None:
        async with Registry.open(database) as registry:
            if not await registry.services():
                await registry.put_service(service(name="web"), {"api": "h1"}, NOW)
                await registry.transact(lambda db: db.execute("UPDATE services SET revision = 0").close())
            for _ in range(events):
                await registry.transact(step, changes_services=True)

    trio.run(write)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.database.parent.mkdir()
    text = SAMPLE.read_text().replace("sync-interval: 1s", "sync-interval: 100ms")
    text = text.replace("/mnt/mcp-replica", f"{tmp_path}/r").replace("/srv/mcp/mcp.db", str(node.database))
    node.config.write_text(text)
    put(node.database)
    return node


@needs_litestream
def test_after_both_are_killed_the_copy_is_a_committed_moment_and_becomes_the_registry(node: Node) -> None:
    with node.replicating(signal.SIGKILL), writing(node, signal.SIGKILL) as said:
        until(lambda: committed(said) >= 500, "the writer gets on", COMMAND_DEADLINE_S)
        written = committed(said)
        until(lambda: node.reached() >= written, "the copy follows while it writes", COMMAND_DEADLINE_S)
        surely = node.reached()
        until(lambda: committed(said) > surely, "there is more than was copied", COMMAND_DEADLINE_S)
    file = node.restored("found.db")
    # The last commit may have been made and not told.
    assert surely <= revision(file) <= committed(said) + 1

    assert trio.run(rehearse, file) == 1
    done = restore(file, node.database, NOW)
    assert done.kept is not None

    async def goes_on() -> int:
        async with Registry.open(node.database) as registry:
            assert [each.name for each in await registry.services()] == ["web"]
            return await registry.add_event("web", "", "later", "", "", NOW)

    assert trio.run(goes_on) > committed(said), "no id is given twice"


@needs_litestream
def test_it_goes_on_beside_a_registry_that_is_opened_and_closed(node: Node) -> None:
    """Each close would checkpoint, and more than the thousand pages at which SQLite does it by itself are written."""
    with node.replicating() as process:
        total = 0
        for _ in range(4):
            put(node.database, 400)
            total += 400
            until(lambda wanted=total: node.reached() == wanted, f"revision {total} is copied")
        assert process.poll() is None
    assert "level=ERROR" not in node.log.read_text()


@needs_litestream
def test_what_was_written_while_it_was_away_is_copied_when_it_is_back(node: Node) -> None:
    with node.replicating(signal.SIGKILL):
        put(node.database, 50)
        until(lambda: node.reached() == 50, "the copy has begun")
    # Its place in the log is lost: the last to close a database removes that.
    put(node.database, 50)
    assert not node.database.with_name("mcp.db-wal").exists()
    assert node.reached() == 50
    with node.replicating():
        until(lambda: node.reached() == 100, "it found its way back")
        put(node.database, 50)
        until(lambda: node.reached() == 150, "and goes on")


@needs_litestream
def test_at_an_orderly_end_nothing_is_left_to_copy(node: Node) -> None:
    with node.replicating():
        until(lambda: node.reached() == 0, "the copy has begun")
        put(node.database, 100)
    assert node.reached() == 100


@needs_litestream
def test_it_follows_the_registry_that_was_restored(node: Node) -> None:
    """As docs/litestream.md says: ended, `mcpd restore`, `litestream reset`, started again."""
    with node.replicating():
        put(node.database, 50)
        until(lambda: node.reached() == 50, "the copy is there")
    file = node.restored("older.db")
    with node.replicating():
        put(node.database, 50)
        until(lambda: node.reached() == 100, "the copy is newer")
    restore(file, node.database, NOW)
    done = node.litestream("reset", str(node.database))
    assert done.returncode == 0, done.stderr
    with node.replicating():

        def events() -> tuple[int, int]:
            with contextlib.closing(sqlite3.connect(node.restored())) as db:
                found = db.execute("SELECT count(*), max(id) FROM events").fetchone()
                return found[0], found[1]

        put(node.database, 1)
        until(lambda: events() == (51, 101), "the copy is of the restored one, with ids that were never given")


@needs_litestream
def test_it_listens_nowhere(node: Node) -> None:
    with node.replicating() as process:
        put(node.database, 1)
        until(lambda: node.reached() == 1, "it works")
        open_files = [str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir() if each.is_symlink()]
    assert [each for each in open_files if each.startswith("socket:")] == []


def samples() -> dict[str, str]:
    """The sample with each of its replicas, by the replica's type."""
    head, *rest = re.split(r"\n(?=    (?:# )?replica:\n)", SAMPLE.read_text())
    bare = [re.sub(r"^    # ", "    ", each, flags=re.MULTILINE) for each in rest]
    # The words above the next one are no YAML.
    found = [re.match(r"    replica:\n(?:      .*\n)+", each) for each in bare]
    texts = [f"{head}\n{match[0]}" for match in found if match]
    return {yaml.safe_load(text)["dbs"][0]["replica"]["type"]: text for text in texts}


@pytest.mark.parametrize("kind", ["file", "s3", "sftp"])
def test_every_replica_of_the_sample_is_one_without_secrets_or_listeners(kind: str, tmp_path: Path) -> None:
    text = samples()[kind]
    data = yaml.safe_load(text)
    assert set(data) == {"logging", "snapshot", "dbs"}, "addr, mcp-addr and socket would listen"
    (database,) = data["dbs"]
    assert database["path"] == "/srv/mcp/mcp.db"
    assert not {"password", "secret-access-key", "access-key-id"} & set(database["replica"])
    assert kind != "sftp" or database["replica"]["host-key"]
    if not PROGRAM:
        pytest.skip("litestream is not installed (the extra `litestream`), so it was not asked about the sample")
    config = tmp_path / "litestream.yml"
    config.write_text(text)
    done = subprocess.run(
        [PROGRAM, "databases", "-config", str(config)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split() == ["/srv/mcp/mcp.db", kind]


def test_the_unit_the_sample_and_the_document_name_the_same_places() -> None:
    unit, document = UNIT.read_text(), DOCUMENT.read_text()
    folder = str(Path(yaml.safe_load(SAMPLE.read_text())["dbs"][0]["replica"]["path"]).parent)
    assert f"ReadWritePaths=/srv/mcp -{folder}\n" in unit
    for each in ("/srv/mcp/litestream.yml", "/srv/mcp/litestream.env", "/usr/local/bin/litestream"):
        assert each in unit
        assert each in document
    (sample,) = re.findall(r"^readonly LITESTREAM_SAMPLE=(.+)$", (REPOSITORY / "contrib/install").read_text(), re.M)
    assert sample in document
    assert UNIT.name in (REPOSITORY / "contrib/install").read_text()


def test_the_unit_begins_before_mcpd_and_ends_with_it() -> None:
    """Stopped after mcpd, whose last words are copied; and never there while `mcpd restore` replaces the database."""
    lines = UNIT.read_text().splitlines()
    assert {"Before=mcpd.service", "PartOf=mcpd.service", "WantedBy=mcpd.service"} <= set(lines)


@needs_litestream
def test_the_document_types_what_litestream_knows() -> None:
    """Its options, asked of the program itself."""
    typed = [
        match.groups()
        for each in blocks.blocks(DOCUMENT)
        for match in re.finditer(r"\blitestream (restore|reset|ltx|databases)\b((?: [^\s|;&]+)*)", each.text)
    ]
    assert {command for command, _ in typed} >= {"restore", "reset", "ltx"}
    for command, words in typed:
        done = subprocess.run([PROGRAM, command, "-h"], capture_output=True, text=True, timeout=30, check=False)
        known = re.findall(r"^\t(-[a-z-]+)", done.stdout + done.stderr, re.M)
        assert [each for each in words.split() if each.startswith("-") and each not in known] == [], command


def test_the_unit_is_sound(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed, so the unit was not checked")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/litestream", "/bin/true"))
    argv = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_DEADLINE_S, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line] == []
    (documented,) = re.findall(r"has exposure (\d+\.\d)", DOCUMENT.read_text())
    argv = ["systemd-analyze", "security", "--offline=yes", "--threshold=100", str(UNIT)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_DEADLINE_S, check=False)
    (measured,) = re.findall(r"exposure level for \S+: (\d+\.\d)", done.stdout)
    assert float(measured) <= float(documented), "the unit is more exposed than docs/litestream.md says"
