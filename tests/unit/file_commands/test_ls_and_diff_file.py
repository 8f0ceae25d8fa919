"""`mcpctl ls` and `mcpctl diff-file`."""

import hashlib
import json
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, JSON, Node, Run, stripped
from tests.support.files import LARGE, TEXT, a_file, a_folder, sha


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
