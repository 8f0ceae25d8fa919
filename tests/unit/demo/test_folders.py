"""The folder of `contrib/demo`: which ones it takes, and what it keeps in them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from contrib.demonstration.node import Node, claim, node_at, require_unclaimed, write_once
from contrib.demonstration.output import Failure
from tests.support.demo_node import HERE


@pytest.mark.parametrize("folder", ["/a:b", "/a,b", '/a"b', "/a\\b", "/a$b", "/a\nb", "/"])
def test_a_folder_that_podman_takes_amiss_is_refused(folder: str) -> None:
    with pytest.raises(Failure, match="use letters, digits") as refused:
        node_at(folder, HERE)
    assert refused.value.status == 2


def test_a_folder_is_too_long_when_a_socket_in_it_would_be() -> None:
    longest = "/" + "x" * (107 - len("/run/podman.sock") - 1)
    assert node_at(longest, HERE, is_root=True)
    with pytest.raises(Failure, match="108 bytes, and such a path holds 107"):
        node_at(f"{longest}x", HERE, is_root=True)
    with pytest.raises(Failure, match="too long"):
        node_at(longest, HERE, is_root=False)


def test_a_folder_is_named_as_it_is_whatever_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["n", "./n/", f"/{tmp_path}/x/../n"]
    assert {node_at(name, HERE, is_root=True).folder for name in names} == {tmp_path / "n"}


def test_a_sourced_environment_of_another_node_leads_nowhere() -> None:
    others = {"MCP_CONFIG": "/other", "CONTAINER_HOST": "unix:///other", "MCP_TOKEN": "other", "KEPT": "yes"}
    environment = node_at("/srv/n", others, is_root=True).environment
    assert environment["KEPT"] == "yes"
    assert environment["CONTAINERS_CONF"] == "/srv/n/podman/containers.conf"
    assert not {"MCP_CONFIG", "CONTAINER_HOST", "MCP_TOKEN", "XDG_RUNTIME_DIR"} & set(environment)


def test_an_ordinary_users_podman_keeps_its_runtime_files_in_the_folder() -> None:
    environment = node_at("/home/me/n", HERE, is_root=False).environment
    assert environment["XDG_RUNTIME_DIR"] == "/home/me/n/run/user"
    assert environment["XDG_DATA_HOME"] == "/home/me/n/podman/data"


def test_up_takes_a_folder_that_is_missing_empty_or_holds_definitions_only(node: Node) -> None:
    require_unclaimed(node)
    node.definitions.mkdir(parents=True)
    (node.definitions / "web.toml").touch()
    require_unclaimed(node)
    (node.folder / "precious").touch()
    with pytest.raises(Failure, match="was not made by `up`"):
        require_unclaimed(node)
    claim(node)
    require_unclaimed(node)


def test_a_link_and_a_file_are_not_vacant(node: Node, tmp_path: Path) -> None:
    node.folder.write_text("a file")
    assert not node.is_vacant
    node.folder.unlink()
    node.folder.mkdir()
    node.definitions.symlink_to(tmp_path)
    assert not node.is_vacant


def test_an_ordinary_user_without_subordinate_ids_is_told_the_command(tmp_path: Path) -> None:
    user = node_at("/tmp/n", HERE, is_root=False)
    with pytest.raises(Failure, match="usermod --add-subuids"):
        claim(user, tmp_path / "subuid")


def test_what_somebody_has_changed_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_once(path, "first", mode=0o755)
    write_once(path, "second")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("first", 0o755)
    assert list(tmp_path.iterdir()) == [path]
