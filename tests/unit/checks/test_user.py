"""What `mcpd check` says of the user: subordinate ids, linger, the runtime folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpd.checks import user
from mcpd.checks.finding import Status
from mcpd.checks.user import Range
from tests.support.findings import MCP, ROOT, status


def test_subordinate_ids_are_read_as_shadow_reads_them() -> None:
    text = "# a comment\nmcp:100000:65536\n\nbroken:x:1\nother:1:2:3\n1000:300000:10\n"
    assert user.parse(text) == (Range("mcp", 100000, 65536), Range("1000", 300000, 10))


@pytest.mark.parametrize("kind", ["uid", "gid"])
@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("mcp:100000:65536\nother:165536:65536\n", Status.OK),
        ("1000:100000:65536\n", Status.OK),
        ("mcp:100000:32768\nmcp:200000:32768\n", Status.OK),
        ("other:100000:65536\n", Status.FAILURE),
        ("", Status.FAILURE),
        ("mcp:100000:1000\n", Status.WARNING),
        ("mcp:100000:65536\nother:165535:65536\n", Status.WARNING),
    ],
)
def test_a_rootless_podman_needs_subordinate_ids_of_its_own(kind: str, text: str, verdict: Status) -> None:
    assert status(user.judge_subordinate(kind, text, "mcp", 1000)) is verdict


def test_the_ids_that_are_proposed_are_nobodys() -> None:
    found = user.judge_subordinate("uid", "other:100000:65536\nthird:300000:65536\n", "mcp", 1000)
    assert "--add-subuids 365536-431071 mcp" in found.remedy


@pytest.mark.parametrize(("inside", "outside"), [(0, 1000), (1, 100000), (1000, 100999), (65536, 165535)])
def test_container_ids_are_the_subordinate_ids_in_order(inside: int, outside: int) -> None:
    assert MCP.host_uid(inside) == outside


def test_an_id_beyond_the_subordinate_ids_is_nobody() -> None:
    assert MCP.host_uid(65537) is None
    assert user.host_id(11, 1000, (Range("mcp", 100, 10), Range("mcp", 500, 10))) == 500


def test_roots_containers_have_the_machines_ids() -> None:
    assert (ROOT.host_uid(1000), ROOT.host_gid(0)) == (1000, 0)


def test_the_programs_that_map_ids_need_power(tmp_path: Path) -> None:
    program = tmp_path / "newuidmap"
    program.touch()
    program.chmod(0o755)
    assert status(user.judge_mapper("newuidmap", str(program))) is Status.FAILURE
    program.chmod(0o4755)
    assert status(user.judge_mapper("newuidmap", str(program))) is Status.OK
    assert status(user.judge_mapper("newuidmap", None)) is Status.FAILURE


def test_without_linger_a_logout_ends_everything() -> None:
    assert status(user.judge_linger("mcp", lingers=True)) is Status.OK
    assert status(user.judge_linger("mcp", lingers=False)) is Status.FAILURE


def test_the_runtime_folder_must_be_there_and_ours(tmp_path: Path) -> None:
    mine = tmp_path.stat().st_uid
    assert status(user.judge_runtime_folder(str(tmp_path), mine)) is Status.OK
    assert status(user.judge_runtime_folder("", mine)) is Status.WARNING
    assert status(user.judge_runtime_folder(str(tmp_path / "none"), mine)) is Status.FAILURE
    assert status(user.judge_runtime_folder(str(tmp_path), mine + 1)) is Status.FAILURE


def test_root_is_told_of_rootless_and_nothing_else() -> None:
    assert status(user.look(ROOT)) is Status.WARNING


def test_a_rootless_user_is_looked_at_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kind in ("uid", "gid"):
        (tmp_path / kind).write_text("mcp:100000:65536\n")
        monkeypatch.setitem(user.MAPS, kind, tmp_path / kind)
    found = {each.name: each.status for each in user.look(MCP)}
    assert found["user"] is found["subuid"] is found["subgid"] is Status.OK
    assert {"newuidmap", "newgidmap"} <= found.keys()
