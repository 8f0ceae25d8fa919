"""The owner of a file: ids are the container's."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from mcpd.errors import (
    InvalidRequestError,
    McpdError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from mcpd.files import ids, upload
from mcpd.files.beneath import Tree
from mcpd.files.download import Download
from mcpd.files.ids import IdMap, IdRange, Ids, Owner
from mcpd.files.transfer import Transfers
from tests.support.transfers import Given, incoming, nothing_changes

SUBUID = "# a comment\nother:500000:100\nmcp:100000:65536\n1001:300000:10\nmcp:x:1\nmcp:1\nmcp:400000:5\n"


def test_a_rootless_container_has_the_users_id_and_then_the_ranges_in_order() -> None:
    uids = IdMap("uid", ids.rootless_ranges(1001, SUBUID, frozenset({"mcp", "1001"})))
    expected = {0: 1001, 1: 100000, 65536: 165535, 65537: 300000, 65546: 300009, 65547: 400000, 65551: 400004}
    assert {each: uids.to_node(each) for each in expected} == expected
    assert {number: uids.to_container(number) for number in expected.values()} == {b: a for a, b in expected.items()}
    assert uids.to_container(0) is None
    assert uids.to_container(500000) is None


def test_an_id_that_no_container_has_is_told_with_those_there_are() -> None:
    uids = IdMap("uid", ids.rootless_ranges(1001, SUBUID, frozenset({"mcp"})))
    with pytest.raises(InvalidRequestError, match="no container here has the uid 65542; there are 0 to 65541"):
        uids.to_node(65542)
    without = IdMap("gid", ids.rootless_ranges(1001, "", frozenset({"mcp"})))
    assert without.to_node(0) == 1001
    with pytest.raises(InvalidRequestError, match=r"there are 0 to 0; /etc/subgid gives this node's user no"):
        without.to_node(1)


@pytest.mark.parametrize(
    "text", ["1", "1:", ":1", "a:b", "1:2:3", "-1:0", "1 :2", "0x1:0", "4294967295:0", "\u0661:\u0662", "1:2\n"]
)
def test_an_owner_is_two_numbers(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="write UID:GID in numbers"):
        ids.owner_of(text)


def test_an_owner_is_read() -> None:
    assert ids.owner_of("") is None
    assert ids.owner_of("999:4294967294") == Owner(999, 2**32 - 2)
    assert str(Owner(1, 2)) == "1:2"


async def test_an_owner_out_of_range_changes_nothing(
    root: Path, transfers: Transfers, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Ids(IdMap("uid", (IdRange(0, 0, 10),)), IdMap("gid", (IdRange(0, 0, 10),)))
    monkeypatch.setattr(ids, "of_this_user", lambda: few)
    with nothing_changes(root), pytest.raises(InvalidRequestError, match="the gid 10; there are 0 to 9"):
        await transfers.receive(incoming("new/file", 3, owner=Owner(9, 10)), Given(b"abc"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
async def test_root_gives_a_file_to_its_owner(root: Path, transfers: Transfers) -> None:
    await transfers.receive(incoming("file", 3, owner=Owner(1234, 5678)), Given(b"abc"))
    found = (root / "web/file").stat()
    assert (found.st_uid, found.st_gid) == (1234, 5678)
    assert ids.of_this_user().to_container(found) == "1234:5678"


def test_a_rootless_daemon_has_podman_give_away_the_open_file(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], *, stdin: int, **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(argv)
        assert Path(f"/proc/self/fd/{stdin}").readlink() == tmp_path / "file"
        return subprocess.CompletedProcess(argv, 0, "", "")

    with (tmp_path / "file").open("wb") as file:
        upload.unshared_chown(file.fileno(), Owner(999, 998), run)
    assert asked == [["podman", "unshare", "chown", "999:998", "/proc/self/fd/0"]]


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (FileNotFoundError(), UnavailableError, "podman is not installed"),
        (subprocess.TimeoutExpired("podman", 20), UnavailableError, "within 20 s"),
        (None, RefusedError, "could not give the file to 1:2: no such id"),
    ],
)
def test_a_podman_that_does_not_give_it_away_says_why(
    error: Exception | None, kind: type[McpdError], says: str
) -> None:
    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if error:
            raise error
        return subprocess.CompletedProcess(argv, 1, "", "no such id\n")

    with pytest.raises(kind, match=says):
        upload.unshared_chown(0, Owner(1, 2), run)


def test_a_download_leaves_no_descriptor_open(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("file", "nothing"):
        with contextlib.suppress(NotFoundError):
            Download(Tree(root), "web", (path,)).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
