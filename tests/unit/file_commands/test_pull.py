"""`mcpctl pull` of a file: whole, or not at all."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.nodes import client
from protos.mcp import v1
from tests.support.agent import JSON, Node, Program, Run, of_a_shell
from tests.support.files import GOOD, LARGE, TEXT, names, parts, sha
from tests.support.waiting import DEADLINE_S, until


@pytest.mark.parametrize("content", [b"", TEXT, LARGE], ids=["empty", "small", "large"])
def test_a_pulled_file_has_its_name_content_and_mode(run: Run, rift: Node, web: Path, content: bytes) -> None:
    rift.agent.prepared["PullFileRequest"] = parts(content, 0o604)
    status, out, err = run("pull", "web", "conf/app.ini")
    assert (status, err) == (0, "")
    assert out.startswith("web:conf/app.ini on rift -> app.ini: ")
    assert (web / "app.ini").read_bytes() == content
    assert stat.S_IMODE((web / "app.ini").stat().st_mode) == 0o604
    assert names(web) == ["app.ini"]
    assert rift.agent.requests == [v1.PullFileRequest("web", "conf/app.ini")]


@pytest.mark.parametrize(
    ("to", "arrives"), [("mine.ini", "mine.ini"), ("folder", "folder/app.ini"), ("folder/", "folder/app.ini")]
)
def test_a_file_is_pulled_to_a_file_or_into_a_folder(run: Run, rift: Node, web: Path, to: str, arrives: str) -> None:
    (web / "folder").mkdir()
    rift.agent.prepared["PullFileRequest"] = parts()
    assert run("pull", "web", "conf/app.ini", to).status == 0
    assert (web / arrives).read_bytes() == TEXT


def test_an_empty_chunk_is_not_the_end(run: Run, rift: Node, web: Path) -> None:
    rift.agent.prepared["PullFileRequest"] = [GOOD[0], v1.PullFileResponse(chunk=b""), *GOOD[1:]]
    assert run("pull", "web", "app.ini").status == 0
    assert (web / "app.ini").read_bytes() == TEXT


def test_setuid_does_not_travel(run: Run, rift: Node, web: Path) -> None:
    rift.agent.prepared["PullFileRequest"] = parts(mode=0o4755)
    run("pull", "web", "app")
    assert stat.S_IMODE((web / "app").stat().st_mode) == 0o755


def test_as_json_a_pull_is_one_document(run: Run, rift: Node, web: Path) -> None:  # noqa: ARG001
    rift.agent.prepared["PullFileRequest"] = parts()
    document = json.loads(run("pull", "web", "conf/app.ini", *JSON).out)
    assert document["files"] == [
        {"local": "app.ini", "path": "conf/app.ini", "size": len(TEXT), "mode": "0640", "sha256": sha(TEXT)}
    ]
    assert document["bytes"] == len(TEXT)


def test_to_standard_output_nothing_but_the_file_goes(rift: Node, web: Path) -> None:
    rift.agent.prepared["PullFileRequest"] = parts(LARGE)
    done = subprocess.run(
        [sys.executable, "-m", "mcpctl", "pull", "web", "conf/app.ini", "-"],
        env=of_a_shell(web.parent),
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == LARGE
    assert names(web) == []


def test_a_reader_that_has_enough_is_no_error(rift: Node, web: Path) -> None:
    rift.agent.prepared["PullFileRequest"] = parts(LARGE)
    with subprocess.Popen(
        [sys.executable, "-m", "mcpctl", "pull", "web", "conf/app.ini", "-"],
        env=of_a_shell(web.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(DEADLINE_S), process.stderr.read()) == (0, b"")


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_an_existing_file_is_overwritten_only_when_that_is_said(run: Run, rift: Node, web: Path, kind: str) -> None:
    precious = web / "precious"
    if kind != "dangling":
        precious.write_text("mine")
    if kind == "file":
        precious.rename(web / "app.ini")
    else:
        (web / "app.ini").symlink_to("precious")
    rift.agent.prepared["PullFileRequest"] = parts()
    status, out, err = run("pull", "web", "conf/app.ini")
    assert (status, out, err) == (2, "", "mcpctl: app.ini already exists; --force overwrites it\n")
    assert rift.connections == 0
    assert run("pull", "web", "conf/app.ini", "--force").status == 0
    assert (web / "app.ini").read_bytes() == TEXT
    assert not (web / "app.ini").is_symlink()
    # What a link pointed to is not ours.
    assert not precious.exists() or precious.read_text() == "mine"


def test_a_file_that_somebody_makes_meanwhile_is_not_overwritten(run: Run, rift: Node, web: Path) -> None:
    def made() -> Iterator[v1.PullFileResponse]:
        yield from parts()[:-1]
        (web / "app.ini").write_text("mine")
        yield parts()[-1]

    rift.agent.prepared["PullFileRequest"] = made()
    assert run("pull", "web", "conf/app.ini") == (2, "", "mcpctl: app.ini already exists; --force overwrites it\n")
    assert names(web) == ["app.ini"]
    assert (web / "app.ini").read_text() == "mine"


def test_without_hard_links_a_pull_works_as_well(
    run: Run, rift: Node, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    rift.agent.prepared["PullFileRequest"] = parts()
    assert run("pull", "web", "conf/app.ini").status == 0
    assert names(web) == ["app.ini"]


@pytest.mark.parametrize(
    ("sent", "part"),
    [
        (GOOD[:-1], "the connection closed before web:conf/app.ini on rift was complete; 12 bytes arrived"),
        ([], "the connection closed"),
        ([*GOOD[:-1], v1.PullFileResponse(sha256=bytes(32))], "its SHA-256 is 0000"),
        ([GOOD[0], GOOD[2]], "12 bytes were announced, but 0 arrived"),
        ([GOOD[0], GOOD[1], GOOD[1], GOOD[2]], "more than the announced 12 bytes"),
        (GOOD[1:], "sent chunk out of order"),
        ([*GOOD, GOOD[1]], "sent chunk out of order"),
        ([GOOD[0], v1.PullFileResponse(), *GOOD[1:]], "sent an unknown message out of order"),
        ([GOOD[0], *GOOD], "sent header out of order"),
        ([*GOOD[:-1], GRPCError(Status.DATA_LOSS, "it changed while it was read")], "it changed while it was read"),
        (GRPCError(Status.FAILED_PRECONDITION, "conf is a folder"), "conf is a folder"),
    ],
    ids=[
        "truncated",
        "nothing",
        "checksum",
        "short",
        "long",
        "headless",
        "tail",
        "unknown",
        "two headers",
        "error",
        "refused",
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_does_not_arrive_as_it_is_leaves_nothing(
    run: Run, rift: Node, web: Path, sent: Any, part: str, force: bool
) -> None:
    if force:
        (web / "app.ini").write_text("mine")
    rift.agent.prepared["PullFileRequest"] = sent
    status, out, err = run("pull", "web", "conf/app.ini", *(["--force"] if force else []))
    assert (status, out) == (1, "")
    assert part in err
    assert names(web) == (["app.ini"] if force else [])
    assert not force or (web / "app.ini").read_text() == "mine"


def test_an_interrupted_pull_leaves_nothing(launch: Callable[..., Program], rift: Node, web: Path) -> None:
    rift.agent.prepared["PullFileRequest"] = [*parts(LARGE)[:2], ...]
    program = launch("pull", "web", "conf/app.ini")
    until(lambda: any(path.stat().st_size for path in web.glob(".mcpctl-*")), "the first bytes")
    assert program.interrupt()[0] == 130
    assert program.err == "mcpctl: interrupted; nothing was copied on this machine\n"
    assert names(web) == []


def test_a_node_that_sends_nothing_any_more_is_given_up(
    run: Run, rift: Node, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SILENCE_S", 0.5)
    rift.agent.prepared["PullFileRequest"] = [*parts(LARGE)[:2], ...]
    status, _, err = run("pull", "web", "conf/app.ini")
    assert status == 1
    assert "node rift: no data for 0.5 s" in err
    assert names(web) == []


def test_a_full_disk_blames_no_node(run: Run, rift: Node, web: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    rift.agent.prepared["PullFileRequest"] = parts()
    assert run("pull", "web", "conf/app.ini") == (1, "", "mcpctl: app.ini: No space left on device\n")
    assert names(web) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("web", "."), "--recursive"),
        (("web", "../x"), "must stay inside"),
        (("web", "x", "missing/x"), "missing is not a folder"),
        (("web", "x", "missing/"), "missing/ is not a folder"),
        (("web", "x", "-", "-r"), "--recursive"),
        (("web", "x", "-", *JSON), "--output json"),
        (("web", "x", "--forec"), "--forec"),
    ],
    ids=str,
)
def test_a_pull_that_cannot_be_is_told_before_a_node_is_asked(
    run: Run, rift: Node, web: Path, words: tuple[str, ...], part: str
) -> None:
    (web / "folder").mkdir()
    status, out, err = run("pull", *words)
    assert (status, out) == (2, "")
    assert part in err
    assert rift.connections == 0
