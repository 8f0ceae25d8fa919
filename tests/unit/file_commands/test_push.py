"""`mcpctl push`, against agents that answer as the test prepared."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.nodes import client
from mcpctl.nodes.transfer import chunks, local
from protos.mcp import v1
from tests.support.agent import JSON, Node, Program, Run
from tests.support.files import LARGE, TEXT, a_file, a_folder, sha
from tests.support.waiting import until


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
