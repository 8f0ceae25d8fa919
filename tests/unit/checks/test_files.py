"""What `mcpd check` says of folders: the files root, what components mount, free space."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from mcpd.checks import files
from mcpd.checks.database import Declared
from mcpd.checks.files import Access, Mount
from mcpd.checks.finding import Finding, Status
from mcpd.checks.user import Owner
from protos.spec import Component
from tests.support.findings import GIB, MCP, ROOT, status


def test_the_files_root_must_be_there_and_ours(tmp_path: Path) -> None:
    assert status(files.look_root(tmp_path)) is Status.OK
    assert status(files.look_root(tmp_path / "none")) is Status.FAILURE


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_files_root_that_is_anothers_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        os.seteuid(65534)
        try:
            found = files.look_root(Path(folder))
        finally:
            os.seteuid(0)
    assert status(found) is Status.FAILURE


def judged(access: Access, ids: tuple[int, int] | None, who: Owner, *, writes: bool = True) -> Finding:
    found = files.judge_path("/srv/web", access, [Mount("/srv/web", "web/app", ids, writes)], who)
    status(found)
    return found


def a_folder(uid: int, gid: int, mode: int) -> Access:
    return Access(uid, gid, stat.S_IFDIR | mode)


@pytest.mark.parametrize(
    ("access", "ids", "verdict"),
    [
        (a_folder(1000, 1000, 0o700), (0, 0), Status.OK),  # a container's root is podman's user
        (a_folder(100999, 200999, 0o700), (1000, 1000), Status.OK),
        (a_folder(100999, 200999, 0o700), (0, 0), Status.OK),  # root has power over all ids of its namespace
        (a_folder(1000, 1000, 0o700), (1000, 1000), Status.FAILURE),
        (a_folder(1000, 1000, 0o755), (1000, 1000), Status.WARNING),
        (a_folder(1000, 200999, 0o770), (1000, 1000), Status.OK),  # by its group
        (a_folder(0, 0, 0o700), (0, 0), Status.FAILURE),  # the machine's root is nobody there
        (a_folder(0, 0, 0o755), (0, 0), Status.WARNING),
        (a_folder(1000, 1000, 0o700), (70000, 0), Status.FAILURE),
        (a_folder(1000, 1000, 0o700), None, Status.OK),  # only the image knows who that is
    ],
)
def test_a_rootless_containers_ids_are_mapped(access: Access, ids: tuple[int, int] | None, verdict: Status) -> None:
    assert judged(access, ids, MCP).status is verdict


@pytest.mark.parametrize(
    ("ids", "verdict"), [((0, 0), Status.OK), ((33, 33), Status.OK), ((1000, 1000), Status.FAILURE)]
)
def test_roots_containers_have_the_machines_permissions(ids: tuple[int, int], verdict: Status) -> None:
    assert judged(a_folder(33, 33, 0o700), ids, ROOT).status is verdict


def test_what_is_only_read_need_not_be_writable() -> None:
    assert judged(a_folder(0, 0, 0o755), (1000, 1000), MCP, writes=False).status is Status.OK
    assert judged(Access(0, 0, stat.S_IFREG | 0o644), (1000, 1000), MCP, writes=False).status is Status.OK
    assert judged(a_folder(0, 0, 0o644), (1000, 1000), MCP, writes=False).status is Status.FAILURE


@pytest.mark.parametrize(
    ("access", "who", "command"),
    [
        (a_folder(1000, 1000, 0o700), MCP, "podman unshare chown -R 33:44 /srv/web"),
        # podman's user has no power over root's files, whatever it calls them.
        (a_folder(0, 0, 0o700), MCP, "chown -R 100032:200043 /srv/web"),
        (a_folder(0, 0, 0o700), ROOT, "chown -R 33:44 /srv/web"),
    ],
)
def test_the_remedy_is_a_command_that_may_do_it(access: Access, who: Owner, command: str) -> None:
    found = judged(access, (33, 44), who)
    assert found.remedy.startswith(command)


@pytest.mark.parametrize(
    ("text", "ids"),
    [("0:0", (0, 0)), ("1000", (1000, 0)), ("5:6", (5, 6)), ("www-data", None), ("5:users", None), (None, None)],
)
def test_only_numbers_say_who_a_user_is(text: str | None, ids: tuple[int, int] | None) -> None:
    assert files.numeric_ids(text) == ids


def test_what_components_mount_below_the_root_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "web/data").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    volumes = (f"{tmp_path}/web/data:/data:ro", f"{tmp_path}/web/none:/none", "/etc:/etc:ro", "named:/volume")
    app = Component("app", "localhost/app:v1", volumes=volumes)
    found = files.look_folders(tmp_path, (Declared("web", app),), ROOT)
    assert {each.name: status(each) for each in found} == {
        str(tmp_path / "web"): Status.OK,
        str(tmp_path / "web/data"): Status.OK,
        str(tmp_path / "web/none"): Status.FAILURE,
    }


def test_how_a_component_mounts_is_in_its_volumes() -> None:
    volumes = ("/srv/web/a:/a", "/srv/web/b/../c:/c:ro,Z", "/srv2/d:/d", "/srv/../etc:/e", "named:/f")
    each = Declared("web", Component("app", "localhost/app:v1", user="5:6", volumes=volumes))
    assert files.mounts_of(each, Path("/srv")) == [
        Mount("/srv/web/a", "web/app", (5, 6), True),
        Mount("/srv/web/c", "web/app", (5, 6), False),
    ]


@pytest.mark.parametrize(
    ("available", "total", "verdict"),
    [
        (50 * GIB, 100 * GIB, Status.OK),
        (14 * GIB, 100 * GIB, Status.WARNING),
        (4 * GIB, 100 * GIB, Status.FAILURE),
        (200 * 2**20, 2**30 // 4, Status.FAILURE),
        (0, 0, Status.FAILURE),
    ],
)
def test_free_space_is_judged_by_its_share_and_by_itself(available: int, total: int, verdict: Status) -> None:
    assert status(files.judge_space("space", "/", available, total)) is verdict


def test_space_is_looked_for_where_the_folder_will_be(tmp_path: Path) -> None:
    (found,) = files.look_space("space", tmp_path / "not/yet")
    assert f"at {tmp_path}" in found.words
