"""Files go to a service's folder on a real node and come back, and its containers have them."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.podman.node import Node, running
from tests.support.waiting import DEADLINE_S, until

SERVICE = """\
name = "carrier"
node = "NODE"
[[components]]
name = "api"
image = "localhost/mcp-demo:v1"
volumes = ["FOLDER:/data:ro"]
cmd = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]
"""
TEXT = b"listen = 80\n"
MIB = 2**20


@pytest.fixture(scope="module")
def carrier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that keeps its services' files in its own folder."""
    with running(Node(tmp_path_factory.mktemp("carrier") / "node", "carrier")) as node:
        config = node.folder / "mcpd.toml"
        if "[files]" not in config.read_text():
            with config.open("a") as file:
                file.write('\n[files]\nroot = "srv"\n')
        srv = node.folder / "srv"
        srv.mkdir(exist_ok=True)
        node.stop_daemon(signal.SIGTERM)
        node.up()
        node.define("carrier", SERVICE.replace("FOLDER", str(srv / "carrier")))
        yield node
        node.clear()


@pytest.fixture
def there(carrier: Node) -> Path:
    """The service's folder on the node."""
    return carrier.folder / "srv/carrier"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def found(folder: Path) -> dict[str, Any]:
    """Every file with its content and mode, every folder with None."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else (path.read_bytes(), mode(path))
        for path in folder.rglob("*")
    }


def test_a_file_goes_there_and_comes_back_as_it_was(carrier: Node, there: Path, tmp_path: Path) -> None:
    content = os.urandom(3 * MIB + 17)
    here = tmp_path / "app.bin"
    here.write_bytes(content)
    here.chmod(0o640)
    (moved,) = carrier.json("push", str(here), "carrier", "conf/")["files"]
    assert (moved["path"], moved["sha256"]) == ("conf/app.bin", hashlib.sha256(content).hexdigest())
    assert ((there / "conf/app.bin").read_bytes(), mode(there / "conf/app.bin")) == (content, 0o640)
    carrier.mcpctl("diff-file", str(here), "carrier", "conf")
    back = tmp_path / "back.bin"
    carrier.mcpctl("pull", "carrier", "conf/app.bin", str(back))
    assert (back.read_bytes(), mode(back)) == (content, 0o640)


def test_a_folder_is_seen_by_the_services_containers(carrier: Node, there: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "css/empty").mkdir(parents=True)
    (site / "index.html").write_bytes(TEXT)
    (site / "css/site.css").write_bytes(b"")
    (site / "css/site.css").chmod(0o604)
    (site / "link").symlink_to("/etc/passwd")
    pushed = carrier.mcpctl("push", "-r", str(site), "carrier")
    assert "skipped 1" in pushed.stderr
    (site / "link").unlink()
    assert found(there / "site") == found(site)
    carrier.mcpctl("pull", "-r", "carrier", "site", str(tmp_path / "back"))
    assert found(tmp_path / "back") == found(site)
    carrier.mcpctl("deploy", "carrier")
    assert carrier.podman("exec", "carrier-api", "cat", "/data/site/index.html").encode() == TEXT
    carrier.mcpctl("undeploy", "carrier")


def test_an_owner_is_the_containers(carrier: Node, there: Path, tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_bytes(TEXT)
    carrier.mcpctl("push", str(tmp_path / "app.ini"), "carrier", "owned/", "--chown", "1000:33", "--mode", "0600")
    (row,) = carrier.json("ls", "carrier", "owned")
    assert (row["name"], row["kind"], row["size"], row["mode"], row["owner"]) == (
        "app.ini",
        "file",
        len(TEXT),
        "0600",
        "1000:33",
    )
    assert mode(there / "owned/app.ini") == 0o600


def test_many_files_are_listed_page_after_page(carrier: Node, there: Path) -> None:
    many = there / "many"
    many.mkdir(parents=True)
    names = [f"file-{number:04}" for number in range(2100)]
    for name in names:
        (many / name).touch()
    assert [row["name"] for row in carrier.json("ls", "carrier", "many")] == names
    limited = carrier.mcpctl("ls", "carrier", "many", "--limit", "1500")
    assert len(limited.stdout.splitlines()) == 1501
    assert "has more entries than the 1500 shown" in limited.stderr


def test_a_difference_is_said_and_a_missing_file_too(carrier: Node, tmp_path: Path) -> None:
    here = tmp_path / "app.ini"
    here.write_bytes(TEXT)
    carrier.mcpctl("push", str(here), "carrier", "diff.ini", "--mode", "0600")
    here.write_bytes(TEXT.upper())
    here.chmod(0o600)
    assert carrier.mcpctl("diff-file", str(here), "carrier", "diff.ini", status=1).stdout.startswith("different")
    missing = carrier.mcpctl("diff-file", str(here), "carrier", "nowhere.ini", status=2)
    assert "nowhere.ini on carrier does not exist" in missing.stderr


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (("pull", "carrier", "nowhere.ini"), 2, "nowhere.ini"),
        (("pull", "carrier", "folder"), 1, "folder"),
        (("pull", "carrier", "out/passwd"), 1, "symlink"),
        (("ls", "carrier", "nowhere"), 2, "nowhere"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_what_the_node_refuses_is_told_and_leaves_nothing_here(
    carrier: Node, there: Path, tmp_path: Path, words: tuple[str, ...], status: int, part: str
) -> None:
    (there / "folder").mkdir(parents=True, exist_ok=True)
    if not (there / "out").is_symlink():
        (there / "out").symlink_to("/etc")
    to = (str(tmp_path / "arrived"),) if words[0] == "pull" else ()
    refused = carrier.mcpctl(*words, *to, status=status)
    assert part in refused.stderr
    assert "bug" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_too_large_for_the_node_is_refused_at_once(carrier: Node, there: Path, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    refused = carrier.mcpctl("push", str(tmp_path / "huge"), "carrier", "huge/", status=1)
    assert "files.max_size" in refused.stderr
    assert not (there / "huge").exists()


def test_an_interrupted_push_leaves_nothing_on_the_node(carrier: Node, there: Path, tmp_path: Path) -> None:
    fifth = 100 * MIB
    with (tmp_path / "large").open("wb") as file:
        file.truncate(5 * fifth)
    process = subprocess.Popen(
        ["mcpctl", "push", str(tmp_path / "large"), "carrier", "interrupted/"],
        env=carrier.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Started from a shell's background job it would inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        until(lambda: (there / "interrupted").exists(), "the folder of the file")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert err == b"mcpctl: interrupted; nothing was copied on node carrier\n"
    until(lambda: not (there / "interrupted").exists() or list((there / "interrupted").iterdir()) == [])
