"""How commands edit the nodes in `mcp.toml`."""

import re
import stat
import tomllib
from pathlib import Path

import pytest

from tests.support.agent import Run
from tests.support.offline import CONFIG


def nodes(folder: Path) -> dict[str, tuple[str, str]]:
    text = (folder / "mcp.toml").read_text()
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        pytest.fail(f"the configuration is no TOML any more: {error}\n{text}")
    return {each["name"]: (each["address"], each.get("state", "active")) for each in data.get("nodes", [])}


def comments(text: str) -> list[str]:
    return re.findall(r"#.*", text)


def test_nodes_are_listed(run: Run) -> None:
    assert run("node", "list", "--offline").out.splitlines() == [
        "NODE   ADDRESS      STATE",
        "rift   127.0.0.1:1  active",
        "orion  127.0.0.2:1  active",
    ]


def test_an_added_node_is_in_the_file_and_comments_are_kept(run: Run, folder: Path) -> None:
    said = f"mcpctl: added node new ([::1]:9444) to {folder / 'mcp.toml'}\n"
    assert run("node", "add", "new", "[::1]:9444", "--no-check") == (0, "", said)
    text = (folder / "mcp.toml").read_text()
    assert text == CONFIG.rstrip("\n") + '\n\n[[nodes]]\nname = "new"\naddress = "[::1]:9444"\n'
    assert nodes(folder)["new"] == ("[::1]:9444", "active")
    assert list(nodes(folder)) == ["rift", "orion", "new"]


@pytest.mark.parametrize("before", ["", "# nothing yet\n", '[services]\ndir = "services"', "nodes = []\n"])
def test_a_first_node_is_added_to_a_file_without_any(run: Run, folder: Path, before: str) -> None:
    (folder / "mcp.toml").write_text(before)
    assert run("node", "add", "rift", "127.0.0.1:1", "--no-check", "--quiet") == (0, "", "")
    assert run("node", "add", "orion", "127.0.0.2:1", "--no-check", "--quiet") == (0, "", "")
    assert nodes(folder) == {"rift": ("127.0.0.1:1", "active"), "orion": ("127.0.0.2:1", "active")}
    assert comments((folder / "mcp.toml").read_text()) == comments(before)


def test_a_removed_node_is_gone_and_the_others_are_as_they_were(run: Run, folder: Path) -> None:
    said = f"mcpctl: removed node rift from {folder / 'mcp.toml'}; its services keep running\n"
    assert run("node", "remove", "rift") == (0, "", said)
    text = (folder / "mcp.toml").read_text()
    assert nodes(folder) == {"orion": ("127.0.0.2:1", "active")}
    assert '# My nodes.\n[services]\ndir = "services" # beside this file\n' in text
    assert '# in the cellar\nname = "orion"\naddress = "127.0.0.2:1"\n# the end\n' in text


def test_the_last_node_can_be_removed_and_one_added_again(run: Run, folder: Path) -> None:
    for name in ("orion", "rift"):
        assert run("node", "remove", name).status == 0
    assert nodes(folder) == {}
    assert run("node", "add", "rift", "127.0.0.1:1", "--no-check").status == 0
    assert nodes(folder) == {"rift": ("127.0.0.1:1", "active")}


def test_a_state_is_changed_in_its_place(run: Run, folder: Path) -> None:
    said = f"mcpctl: node rift is now down in {folder / 'mcp.toml'}: commands skip it\n"
    assert run("node", "set-state", "rift", "down") == (0, "", said)
    expected = CONFIG.replace('state = "active" # since May', 'state = "down" # since May')
    assert (folder / "mcp.toml").read_text() == expected


def test_a_state_that_was_not_written_is_added_and_comments_are_kept(run: Run, folder: Path) -> None:
    assert run("node", "set-state", "orion", "inactive", "--quiet") == (0, "", "")
    assert nodes(folder) == {"rift": ("127.0.0.1:1", "active"), "orion": ("127.0.0.2:1", "inactive")}
    assert comments((folder / "mcp.toml").read_text()) == comments(CONFIG)


def test_an_edit_keeps_mode_and_link_and_leaves_nothing_beside(run: Run, folder: Path) -> None:
    target = folder / "repository.toml"
    (folder / "mcp.toml").rename(target)
    (folder / "mcp.toml").symlink_to(target)
    target.chmod(0o600)
    before = sorted(folder.iterdir())
    assert run("node", "set-state", "rift", "down").status == 0
    assert (folder / "mcp.toml").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(folder.iterdir()) == before
