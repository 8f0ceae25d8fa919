"""push, pull, ls and diff-file, against agents that answer as the test prepared."""

import asyncio
import hashlib
import json
import os
import pty
import select
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.nodes import client
from mcpctl.nodes.transfer import chunks, local
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, WEB, Node, Program, Run, of_a_shell, stripped
from tests.support.waiting import DEADLINE_S, until

JSON = ("--output", "json")
TEXT = b"listen = 80\n"
# Three chunks, and the last one is not full.
LARGE = bytes(range(256)) * 2500


@pytest.fixture
def web(nodes: tuple[Node, Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A service on rift, and the folder in which the commands run."""
    (tmp_path / "services/web.toml").write_text(WEB)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def a_file(name: str, content: bytes = TEXT, mode: int = 0o640) -> v1.FileInfo:
    return v1.FileInfo(name, "file", len(content), mode, AT, "0:0")


def a_folder(name: str, mode: int = 0o750) -> v1.FileInfo:
    return v1.FileInfo(name, "folder", 4096, mode, AT, "0:0")


def a_link(name: str, target: str = "/etc/passwd") -> v1.FileInfo:
    return v1.FileInfo(name, "symlink", 0, 0o777, AT, "0:0", target)


def parts(content: bytes = TEXT, mode: int = 0o640, *, chunk: int = local.CHUNK_BYTES) -> list[v1.PullFileResponse]:
    """What a good node sends."""
    header = v1.FileHeader("web", "conf/app.ini", len(content), mode)
    chunks = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    return [
        v1.PullFileResponse(header=header),
        *(v1.PullFileResponse(chunk=each) for each in chunks),
        v1.PullFileResponse(sha256=hashlib.sha256(content).digest()),
    ]


GOOD = parts()


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- push


@pytest.mark.parametrize("content", [b"", TEXT, LARGE], ids=["empty", "small", "large"])
def test_a_pushed_file_arrives_with_its_mode_size_and_checksum(run: Run, rift: Node, web: Path, content: bytes) -> None:
    (web / "app.ini").write_bytes(content)
    (web / "app.ini").chmod(0o640)
    status, out, err = run("push", "app.ini", "web")
    assert (status, err) == (0, "")
    assert out.startswith("app.ini -> web:app.ini on rift: ")
    (pushed,) = rift.agent.pushed
    assert bytes(pushed.content) == content
    assert pushed.header == v1.FileHeader("web", "app.ini", len(content), 0o640)


def test_without_a_path_nothing_but_the_file_is_sent(run: Run, rift: Node, web: Path) -> None:
    (web / "app.ini").write_bytes(TEXT)
    run("push", "app.ini", "web")
    run("push", "app.ini", "web", "conf/")
    run("push", "app.ini", "web", ".")
    assert rift.agent.asked(v1.ListFilesRequest) == []
    assert [each.header.path for each in rift.agent.pushed] == ["app.ini", "conf/app.ini", "app.ini"]


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("conf/", "conf/app.ini"),
        ("new/deep/", "new/deep/app.ini"),
        ("conf", "conf/app.ini"),
        ("conf/empty", "conf/empty/app.ini"),
        ("conf/other.ini", "conf/other.ini"),
        ("new.ini", "new.ini"),
        # A folder with one file in it, which has the folder's name.
        ("twin", "twin/app.ini"),
        ("./conf//x.ini", "conf/x.ini"),
    ],
)
def test_a_path_that_is_a_folder_there_is_where_the_file_goes(
    run: Run, rift: Node, web: Path, path: str, arrives: str
) -> None:
    rift.agent.folders = {
        "": [a_folder("conf"), a_folder("twin")],
        "conf": [a_folder("empty"), a_file("other.ini"), a_file("third.ini")],
        "conf/empty": [],
        "twin": [a_file("twin")],
    }
    (web / "app.ini").write_bytes(TEXT)
    assert run("push", "app.ini", "web", path).status == 0
    assert [each.header.path for each in rift.agent.pushed] == [arrives]


def test_mode_and_owner_can_be_given(run: Run, rift: Node, web: Path) -> None:
    (web / "app.ini").write_bytes(TEXT)
    assert run("push", "app.ini", "web", "--mode", "0604", "--chown", "1000:33").status == 0
    (pushed,) = rift.agent.pushed
    assert (pushed.header.mode, pushed.header.owner) == (0o604, "1000:33")


def test_as_json_a_push_is_one_document(run: Run, web: Path) -> None:
    (web / "app.ini").write_bytes(TEXT)
    (web / "app.ini").chmod(0o600)
    document = json.loads(run("push", "app.ini", "web", "conf/", *JSON).out)
    assert document.pop("seconds") >= 0
    assert document == {
        "node": "rift",
        "service": "web",
        "files": [{"local": "app.ini", "path": "conf/app.ini", "size": len(TEXT), "mode": "0600", "sha256": sha(TEXT)}],
        "folders": 0,
        "bytes": len(TEXT),
        "skipped": [],
    }


def test_a_folder_here_may_have_any_name(run: Run, rift: Node, web: Path) -> None:
    odd = web / os.fsdecode(b"od\xffd")
    odd.mkdir()
    (odd / "app.ini").write_bytes(TEXT)
    assert run("push", f"{odd}/app.ini", "web").status == 0
    (moved,) = json.loads(run("push", f"{odd}/app.ini", "web", *JSON).out)["files"]
    assert moved["local"].endswith("/od?d/app.ini")
    assert {each.header.path for each in rift.agent.pushed} == {"app.ini"}


def a_tree(top: Path) -> None:
    (top / "css/deep").mkdir(parents=True)
    (top / "css").chmod(0o750)
    (top / "index.html").write_bytes(TEXT)
    (top / "css/site.css").write_bytes(LARGE)
    (top / "css/site.css").chmod(0o604)
    (top / "link").symlink_to("/etc/passwd")
    (top / "css/folder-link").symlink_to("..")
    os.mkfifo(top / "pipe")


def test_a_folder_is_pushed_folders_first_and_what_is_no_file_is_skipped(run: Run, rift: Node, web: Path) -> None:
    a_tree(web / "site")
    status, out, err = run("push", "-r", "site", "web", "--mode", "0444")
    assert status == 0
    assert err == ("mcpctl: skipped 3, neither files nor folders: site/link, site/pipe, site/css/folder-link\n")
    assert out.startswith("site -> web:site on rift: 2 files, 3 folders, ")
    headers = [(each.header.path, each.header.is_folder) for each in rift.agent.pushed]
    assert headers == [
        ("site", True),
        ("site/css", True),
        ("site/css/deep", True),
        ("site/index.html", False),
        ("site/css/site.css", False),
    ]
    assert [each.header.mode for each in rift.agent.pushed[1:2]] == [0o750]
    assert {each.header.mode for each in rift.agent.pushed if not each.header.is_folder} == {0o444}
    assert bytes(rift.agent.pushed[-1].content) == LARGE


def test_a_folder_that_its_owner_may_not_write_into_can_be_filled_there(run: Run, rift: Node, web: Path) -> None:
    (web / "site").mkdir()
    (web / "site").chmod(0o555)
    run("push", "-r", "site", "web")
    assert [each.header.mode for each in rift.agent.pushed] == [0o755]


def test_a_folder_goes_over_one_connection(run: Run, rift: Node, web: Path) -> None:
    a_tree(web / "site")
    assert run("push", "-r", "site", "web").status == 0
    assert rift.connections == 1


def test_which_of_several_files_is_refused_is_said(run: Run, rift: Node, web: Path) -> None:
    a_tree(web / "site")
    served = rift.agent.push_file

    async def refusing(requests: Any) -> v1.PushFileResponse:
        answer = await served(requests)
        if answer.path.endswith(".css"):
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "the file is too large")
        return answer

    rift.agent.push_file = refusing  # type: ignore[method-assign]
    status, _, err = run("push", "-r", "site", "web")
    assert status == 1
    assert err.endswith("mcpctl: node rift: site/css/site.css: the file is too large\n")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("missing", "web"), "missing does not exist"),
        (("folder", "web"), "--recursive"),
        (("pipe", "web"), "not a regular file"),
        (("app.ini", "web", "/etc/passwd"), "starts with /"),
        (("app.ini", "web", "conf/../../x"), "must stay inside"),
        (("app.ini", "web/api"), "names a component"),
        (("app.ini", "Web!"), "Web!"),
        (("app.ini", "unknown"), "--node"),
        (("app.ini", "web", "--mode", "888"), "--mode"),
        (("app.ini", "web", "--mode", "4755"), "--mode"),
        (("app.ini", "web", "--chown", "root:root"), "--chown"),
        (("app.ini", "web", "--chown", "0:4294967295"), "--chown"),
        (("-r", "bad", "web"), "UTF-8"),
    ],
    ids=str,
)
def test_what_is_wrong_here_is_told_before_a_node_is_asked(
    run: Run, rift: Node, web: Path, words: tuple[str, ...], part: str
) -> None:
    (web / "app.ini").write_bytes(TEXT)
    (web / "folder").mkdir()
    (web / "bad").mkdir()
    (web / os.fsdecode(b"bad/\xff")).touch()
    os.mkfifo(web / "pipe")
    status, out, err = run("push", *words)
    assert (status, out) == (2, "")
    assert part in err
    assert rift.connections == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_told_before_a_node_is_asked(run: Run, rift: Node, web: Path) -> None:
    (web / "app.ini").touch(mode=0)
    status, _, err = run("push", "app.ini", "web")
    assert (status, rift.connections) == (2, 0)
    assert "app.ini cannot be read: Permission denied" in err


def test_a_service_without_a_definition_needs_its_node(run: Run, orion: Node, web: Path) -> None:
    (web / "app.ini").write_bytes(TEXT)
    assert run("push", "app.ini", "other", "--node", "orion").status == 0
    assert [each.header.service for each in orion.agent.pushed] == ["other"]


@pytest.mark.parametrize("wrong", [v1.PushFileResponse("app.ini", len(TEXT), bytes(32)), v1.PushFileResponse("x", 1)])
def test_a_node_that_has_something_else_is_an_error(
    run: Run, rift: Node, web: Path, wrong: v1.PushFileResponse
) -> None:
    (web / "app.ini").write_bytes(TEXT)
    rift.agent.wrong_answer = wrong
    status, out, err = run("push", "app.ini", "web")
    assert (status, out) == (1, "")
    assert sha(TEXT) in err
    assert "push it again" in err


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (GRPCError(Status.RESOURCE_EXHAUSTED, "no space left on /srv"), 1),
        (GRPCError(Status.INVALID_ARGUMENT, "the path leads out"), 2),
        (GRPCError(Status.PERMISSION_DENIED, "viewers change nothing"), 1),
    ],
    ids=lambda each: getattr(each, "message", ""),
)
def test_what_a_node_refuses_is_shown(run: Run, rift: Node, web: Path, refusal: GRPCError, status: int) -> None:
    # Large: refused while it is being sent.
    (web / "app.ini").write_bytes(LARGE * 10)
    rift.agent.prepared["FileHeader"] = refusal
    assert run("push", "app.ini", "web") == (status, "", f"mcpctl: node rift: {refusal.message}\n")


def test_a_refused_token_is_replaced_and_the_file_sent_from_its_beginning(
    run: Run, rift: Node, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = LARGE * 20
    (web / "app.ini").write_bytes(content)
    rift.agent.good_tokens = {"new"}
    rift.agent.refuses_late = True
    asked, cancellations = [], []

    def another(_: Any, token: str) -> str:
        asked.append(token)
        return "new"

    send = chunks.send

    async def counting(*given: Any) -> chunks.Moved:
        moved = await send(*given)
        task = asyncio.current_task()
        assert task
        cancellations.append(task.cancelling())
        return moved

    monkeypatch.setattr("mcpctl.auth.session.Session.another", another)
    monkeypatch.setattr(chunks, "send", counting)
    assert run("push", "app.ini", "web").status == 0
    assert asked == ["secret"]
    assert rift.agent.seen_tokens == ["secret", "new"]
    assert [bytes(each.content) for each in rift.agent.pushed] == [content]
    # grpclib cancels a task whose stream is reset; with one too many, Ctrl-C and deadlines would be miscounted.
    assert cancellations == [0]


async def test_what_cannot_be_sent_twice_is_refused() -> None:
    stub = client._Agent(None, None, None, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="twice"):
        await stub.push_file(iter([v1.PushFileRequest()]))


@pytest.mark.parametrize("change", [b"", LARGE * 2, LARGE], ids=["shorter", "longer", "rewritten"])
def test_a_file_that_changes_while_it_is_read_is_an_error(
    run: Run, rift: Node, web: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    path = web / "app.log"
    path.write_bytes(LARGE)
    chunk = local.Reading.chunk

    def changed(reading: local.Reading) -> bytes:
        found = chunk(reading)
        path.write_bytes(change)
        return found

    monkeypatch.setattr(local.Reading, "chunk", changed)
    status, out, err = run("push", "app.log", "web")
    assert (status, out) == (1, "")
    assert f"app.log changed while it was read ({len(LARGE)} bytes before, {len(change)} now)" in err
    until(lambda: rift.agent.calls_running == 0)


def test_a_file_that_vanishes_meanwhile_is_an_error_that_blames_no_node(
    run: Run, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (web / "app.ini").write_bytes(TEXT)
    found = local.sources(Path("app.ini"), recursive=False)
    (web / "app.ini").unlink()
    monkeypatch.setattr(local, "sources", lambda *_, **__: found)
    assert run("push", "app.ini", "web") == (1, "", "mcpctl: app.ini: No such file or directory\n")


def test_a_node_that_reads_nothing_any_more_is_given_up(
    run: Run, rift: Node, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SILENCE_S", 0.5)
    rift.agent.stuck_at = "chunk"
    (web / "app.ini").write_bytes(LARGE * 20)
    status, _, err = run("push", "app.ini", "web")
    assert status == 1
    assert "node rift: no data for 0.5 s" in err


def test_ctrl_c_says_that_nothing_was_left_on_the_node(launch: Callable[..., Program], rift: Node, web: Path) -> None:
    rift.agent.stuck_at = "chunk"
    (web / "app.ini").write_bytes(LARGE * 20)
    program = launch("push", "app.ini", "web")
    until(lambda: rift.agent.pushed)
    assert program.interrupt()[0] == 130
    assert program.err == "mcpctl: interrupted; nothing was copied on node rift\n"
    until(lambda: rift.agent.calls_running == 0)


def test_ctrl_c_when_all_is_sent_says_that_it_is_not_known(
    launch: Callable[..., Program], rift: Node, web: Path
) -> None:
    rift.agent.stuck_at = "end"
    (web / "app.ini").write_bytes(TEXT)
    program = launch("push", "app.ini", "web")
    until(lambda: rift.agent.is_stuck)
    assert program.interrupt()[0] == 130
    assert (
        program.err
        == "mcpctl: interrupted at the last moment; app.ini is either complete on node rift or not there at all\n"
    )


# -- pull


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


# -- pull -r


@pytest.fixture
def site(rift: Node) -> Node:
    rift.agent.folders = {
        "": [a_folder("site")],
        "site": [a_folder("css", 0o550), a_file("index.html"), a_link("link"), v1.FileInfo("pipe", "other")],
        "site/css": [a_file("a.css", LARGE), a_file("b.css")],
    }
    rift.agent.prepared["PullFileRequest"] = {
        "site/index.html": parts(),
        "site/css/a.css": parts(LARGE),
        "site/css/b.css": parts(mode=0o600),
    }
    return rift


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_folder_is_pulled_with_all_that_is_in_it(run: Run, site: Node, web: Path, page: int) -> None:
    site.agent.page = page
    status, out, err = run("pull", "-r", "web", "site")
    assert status == 0
    assert err == "mcpctl: skipped 2, neither files nor folders: site/link, site/pipe\n"
    assert out.startswith("web:site on rift -> site: 3 files, 2 folders, ")
    assert names(web) == ["site", "site/css", "site/css/a.css", "site/css/b.css", "site/index.html"]
    assert (web / "site/css/a.css").read_bytes() == LARGE
    assert stat.S_IMODE((web / "site/css").stat().st_mode) == 0o550
    assert stat.S_IMODE((web / "site/css/b.css").stat().st_mode) == 0o600
    (web / "site/css").chmod(0o750)


def test_the_services_folder_is_pulled_under_the_services_name(run: Run, site: Node, web: Path) -> None:  # noqa: ARG001
    assert run("pull", "-r", "web", ".").status == 0
    assert (web / "web/site/index.html").read_bytes() == TEXT


def test_a_file_is_pulled_with_r_as_well(run: Run, site: Node, web: Path) -> None:  # noqa: ARG001
    assert run("pull", "-r", "web", "site/index.html").status == 0
    assert names(web) == ["index.html"]


def test_existing_files_are_found_before_anything_is_written(run: Run, site: Node, web: Path) -> None:
    (web / "site/css").mkdir(parents=True)
    (web / "site/css/b.css").write_text("mine")
    status, out, err = run("pull", "-r", "web", "site", ".")
    assert (status, out) == (2, "")
    assert "site/css/b.css already exists; nothing was copied; --force overwrites" in err
    assert site.agent.asked(v1.PullFileRequest) == []
    assert run("pull", "-r", "web", "site", ".", "--force").status == 0
    assert (web / "site/css/b.css").read_bytes() == TEXT


@pytest.mark.parametrize("name", ["..", ".", "", "../../evil", "/tmp/evil", "a/b", "nul\0"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_names_that_lead_elsewhere_are_refused_before_anything_is_written(
    run: Run, site: Node, web: Path, name: str, kind: str
) -> None:
    before = names(web.parent)
    site.agent.folders["site/css"].append(v1.FileInfo(name, kind, 1, 0o644))
    status, out, err = run("pull", "-r", "web", "site")
    assert (status, out) == (1, "")
    assert "; nothing was written" in err
    assert site.agent.asked(v1.PullFileRequest) == []
    assert names(web.parent) == before


def test_a_link_here_that_has_a_folders_name_is_not_followed(run: Run, site: Node, web: Path) -> None:  # noqa: ARG001
    (web / "site").mkdir()
    (web / "elsewhere").mkdir()
    (web / "site/css").symlink_to(web / "elsewhere")
    status, _, err = run("pull", "-r", "web", "site", ".", "--force")
    assert status == 1
    assert "site/css is in the way" in err
    assert names(web / "elsewhere") == []


def test_a_listing_without_an_end_is_given_up(run: Run, rift: Node, web: Path) -> None:  # noqa: ARG001
    async def endless(_: v1.ListFilesRequest) -> v1.ListFilesResponse:
        return v1.ListFilesResponse([a_file("a"), a_file("b")], more=True)

    rift.agent.list_files = endless  # type: ignore[method-assign]
    status, _, err = run("ls", "web")
    assert status == 1
    assert "does not advance" in err


def test_a_listing_without_a_bottom_is_given_up(run: Run, rift: Node, web: Path) -> None:
    async def endless(_: v1.ListFilesRequest) -> v1.ListFilesResponse:
        return v1.ListFilesResponse([a_folder("a" * 200), a_file("b")])

    rift.agent.list_files = endless  # type: ignore[method-assign]
    status, _, err = run("pull", "-r", "web", "x")
    assert status == 1
    assert "is too deep" in err
    assert names(web) == []


def test_an_interrupted_folder_keeps_what_is_whole(launch: Callable[..., Program], site: Node, web: Path) -> None:
    site.agent.prepared["PullFileRequest"]["site/css/b.css"] = [*parts()[:2], ...]
    program = launch("pull", "-r", "web", "site")
    until(lambda: any(each.path == "site/css/b.css" for each in site.agent.asked(v1.PullFileRequest)))
    assert program.interrupt()[0] == 130
    assert program.err.endswith("interrupted; 2 of 3 files are complete on this machine, the others were not copied\n")
    assert [name for name in names(web) if ".mcpctl" in name or name.endswith("b.css")] == []


# -- ls


def test_files_are_listed_with_what_there_is_to_know(run: Run, rift: Node, web: Path) -> None:  # noqa: ARG001
    rift.agent.folders[""] = [
        a_file("app.ini", LARGE),
        a_folder("conf"),
        v1.FileInfo("link", "symlink", 7, 0o777, AT, "", "app.ini"),
        v1.FileInfo(HOSTILE, "file", 3, 0o100600, AT, "1000:33"),
    ]
    status, out, err = run("ls", "web")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert stripped(lines[0]) == ["NAME", "KIND", "SIZE", "MODE", "OWNER", "MODIFIED"]
    assert [stripped(line)[:5] for line in lines[1:4]] == [
        ["app.ini", "file", "625.0 KiB", "rw-r-----", "0:0"],
        ["conf", "folder", "-", "rwxr-x---", "0:0"],
        ["link -> app.ini", "symlink", "-", "rwxrwxrwx", "-"],
    ]
    assert len(lines) == 5
    assert "rw-------" in lines[4]
    assert all(char.isprintable() for char in lines[4])


def test_as_json_files_have_exact_numbers(run: Run, rift: Node, web: Path) -> None:  # noqa: ARG001
    rift.agent.folders["conf"] = [a_file("app.ini", LARGE)]
    assert json.loads(run("ls", "web", "conf/", *JSON).out) == [
        {
            "name": "app.ini",
            "kind": "file",
            "size": len(LARGE),
            "mode": "0640",
            "owner": "0:0",
            "modified_at": AT.isoformat().replace("+00:00", "Z"),
            "target": "",
        }
    ]


@pytest.mark.parametrize("page", [1, 7, 1000])
@pytest.mark.parametrize("limit", [None, 1, 7, 8, 20, 21])
def test_pages_are_asked_for_until_all_are_there_or_enough(
    run: Run,
    rift: Node,
    web: Path,  # noqa: ARG001
    page: int,
    limit: int | None,
) -> None:
    every = [f"file-{number:02}" for number in range(20)]
    rift.agent.folders[""] = list(map(a_file, every))
    rift.agent.page = page
    _, out, err = run("ls", "web", *JSON, *(["--limit", str(limit)] if limit else []))
    assert [each["name"] for each in json.loads(out)] == every[:limit]
    assert ("has more entries than" in err) == (limit is not None and limit < 20)


def test_what_is_not_there_is_told(run: Run, web: Path) -> None:  # noqa: ARG001
    assert run("ls", "web", "nowhere") == (2, "", "mcpctl: node rift: nowhere does not exist\n")
    assert run("ls", "web", "--limit", "0").status == 2


# -- diff-file


def a_digest(content: bytes = TEXT, mode: int = 0o640) -> v1.DigestFileResponse:
    return v1.DigestFileResponse(len(content), mode, AT, hashlib.sha256(content).digest())


@pytest.mark.parametrize(
    ("there", "differs"),
    [
        (a_digest(), []),
        (a_digest(mode=0o100640), []),
        (a_digest(mode=0o600), ["mode"]),
        (a_digest(TEXT.upper()), ["sha256"]),
        (a_digest(LARGE, 0o600), ["size", "sha256", "mode"]),
    ],
    ids=lambda each: str(each) if isinstance(each, list) else "",
)
def test_two_files_are_the_same_or_it_is_said_what_differs(
    run: Run, rift: Node, web: Path, there: v1.DigestFileResponse, differs: list[str]
) -> None:
    (web / "app.ini").write_bytes(TEXT)
    (web / "app.ini").chmod(0o640)
    rift.agent.prepared["DigestFileRequest"] = there
    status, out, err = run("diff-file", "app.ini", "web", "conf/")
    assert (status, err) == (1 if differs else 0, "")
    word = "different" if differs else "same"
    lines = out.splitlines()
    assert lines[0] == f"{word}: app.ini and web:conf/app.ini on rift"
    assert [stripped(line)[0] for line in lines[2:]] == differs
    document = json.loads(run("diff-file", "app.ini", "web", "conf/", *JSON).out)
    assert (document["same"], document["differs"]) == (not differs, differs)
    assert document["here"] == {"size": len(TEXT), "mode": "0640", "sha256": sha(TEXT)}
    assert document["there"]["sha256"] == there.sha256.hex()


@pytest.mark.parametrize(
    ("here", "there", "part"),
    [
        (False, True, "app.ini does not exist; `mcpctl pull web app.ini` copies it from there"),
        (True, False, "web:app.ini on rift does not exist; `mcpctl push app.ini web app.ini` copies it there"),
        (False, False, "app.ini does not exist, and neither does web:app.ini on rift"),
    ],
)
def test_a_file_that_is_on_one_side_only_is_an_error_that_says_which(
    run: Run, rift: Node, web: Path, here: bool, there: bool, part: str
) -> None:
    if here:
        (web / "app.ini").write_bytes(TEXT)
    missing = GRPCError(Status.NOT_FOUND, "app.ini does not exist")
    rift.agent.prepared["DigestFileRequest"] = a_digest() if there else missing
    assert run("diff-file", "app.ini", "web") == (2, "", f"mcpctl: {part}\n")


# -- memory, and what a terminal shows


class Measured:
    """Runs the program, and then says the most memory that it had, in bytes."""

    CODE = (
        "import re, runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "try:\n runpy.run_module('mcpctl', run_name='__main__', alter_sys=False)\n"
        "except SystemExit as done:\n assert done.code == 0, done.code\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)\n"
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *words: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", self.CODE, "mcpctl", *words],
            env=of_a_shell(self._folder),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S * 4,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stderr.split()[-1]) * 1024


MIB = 2**20
# What a large file may cost more than a small one: a few chunks under way, and what the network holds.
MARGIN = 8 * MIB


def test_a_large_file_takes_no_more_memory_than_a_small_one(rift: Node, web: Path) -> None:
    measured = Measured(web.parent)
    rift.agent.keeps_content = False
    block = os.urandom(MIB)
    (web / "small").write_bytes(block)
    with (web / "large").open("wb") as file:
        for _ in range(64):
            file.write(block)
    small = measured("push", "small", "web")
    assert measured("push", "large", "web") < small + MARGIN
    digest = hashlib.sha256()

    def large() -> Iterator[v1.PullFileResponse]:
        yield v1.PullFileResponse(header=v1.FileHeader("web", "large", 64 * MIB, 0o600))
        for _ in range(64 * 4):
            digest.update(block[: MIB // 4])
            yield v1.PullFileResponse(chunk=block[: MIB // 4])
        yield v1.PullFileResponse(sha256=digest.digest())

    rift.agent.prepared["PullFileRequest"] = {"small": parts(block), "large": large()}
    small = measured("pull", "web", "small", "pulled-small")
    assert measured("pull", "web", "large", "pulled-large") < small + MARGIN
    assert (web / "pulled-large").stat().st_size == 64 * MIB


def on_a_terminal(web: Path, *words: str, enough: Callable[[str], bool], then: Callable[[], None]) -> str:
    """What the program writes to a terminal; ``then`` is done once it was ``enough``."""
    ours, theirs = pty.openpty()
    environment = {**of_a_shell(web.parent), "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mcpctl", *words], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown, is_done = "", False
    try:
        while select.select([ours], [], [], DEADLINE_S)[0]:
            try:
                shown += os.read(ours, 65536).decode(errors="replace")
            except OSError:
                break
            if not is_done and enough(shown):
                is_done = True
                then()
        assert process.wait(DEADLINE_S) == 0, shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert is_done, shown
    return shown


def test_on_a_terminal_what_takes_longer_is_a_bar_that_goes_away(rift: Node, web: Path) -> None:
    released = threading.Event()

    def slow() -> Iterator[Any]:
        header, *chunks, sha256 = parts(LARGE, chunk=1000)
        yield header
        yield from chunks[:300]
        for chunk in chunks[300:]:
            released.wait(0.02)
            yield chunk
        yield sha256

    rift.agent.prepared["PullFileRequest"] = slow()
    shown = on_a_terminal(
        web, "pull", "web", "conf/app.ini", enough=lambda text: "KiB" in text and "/s" in text, then=released.set
    )
    assert "app.ini" in shown
    assert "625.0 KiB" in shown
    assert shown.rstrip().splitlines()[-1].endswith("s")
    assert (web / "app.ini").read_bytes() == LARGE
