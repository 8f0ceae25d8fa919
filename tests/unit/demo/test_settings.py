"""What `contrib/demo` writes: the configuration of mcpd, mcpctl and podman, and its image."""

from __future__ import annotations

import io
import ipaddress
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest

from contrib.demonstration import podman, settings
from contrib.demonstration.images import root_file_system
from contrib.demonstration.node import VENV, Node, claim, node_at
from contrib.demonstration.output import Failure
from contrib.demonstration.settings import Settings
from tests.support.demo_node import HERE, MCPD_TOML

FOUND = Settings("n1", "127.0.0.1:9444")


def test_mcpds_configuration_keeps_alerts_and_files_below_the_folder(node: Node) -> None:
    tables = tomllib.loads(settings.adapted(MCPD_TOML, node, ""))
    assert tables["monitor"]["alert_command"][1] == f"{node.folder}/bin/alert"
    assert tables["files"]["root"] == f"{node.folder}/srv"
    assert tables["auth"] == {"mode": "tokens", "tokens_path": "tokens.json"}
    assert "mcias" not in tables


def test_mcpds_configuration_with_mcias_has_no_tokens(node: Node) -> None:
    tables = tomllib.loads(settings.adapted(MCPD_TOML, node, "https://127.0.0.1:1"))
    assert tables["auth"] == {"mode": "mcias"}
    assert tables["mcias"] == {"server_url": "https://127.0.0.1:1", "ca_cert": f"{node.folder}/mcias/ca.pem"}
    assert tables["database"] == {"path": "mcp.db"}


def test_a_configuration_without_an_alert_command_is_not_passed_over(node: Node) -> None:
    with pytest.raises(Failure, match="no alert_command line"):
        settings.adapted("[node]\n", node, "")


def test_a_broken_configuration_is_named(node: Node) -> None:
    node.folder.mkdir()
    for text in ("[node", "[node]\nname = 'n'\n"):
        (node.folder / "mcpd.toml").write_text(text)
        with pytest.raises(Failure, match=r"mcpd\.toml"):
            settings.read_settings(node)


def test_mcpctl_finds_the_node_and_a_shell_what_it_needs(tmp_path: Path) -> None:
    node = node_at(str(tmp_path / "a node"), HERE, is_root=True)
    node.folder.mkdir()
    settings.set_up_mcpctl(node, FOUND)
    (entry,) = tomllib.loads((node.folder / "mcp.toml").read_text())["nodes"]
    assert (entry["name"], entry["address"]) == ("n1", "127.0.0.1:9444")
    assert entry["token_path"] == f"{node.folder}/admin.token"
    script = f'source "{node.folder}/env"; printf "%s\\n" "$MCP_CONFIG" "$CONTAINER_HOST" "$PATH"'
    said = subprocess.run(["bash", "-c", script], env=HERE, capture_output=True, text=True, check=True).stdout
    config, host, path = said.splitlines()
    assert config == f"{node.folder}/mcp.toml"
    assert host == f"unix://{node.folder}/run/podman.sock"
    assert path == f"{VENV}/bin:{HERE['PATH']}"


def test_mcpctl_asks_mcias_with_the_password_file(node: Node) -> None:
    node.folder.mkdir()
    settings.set_up_mcpctl(node, Settings("n1", "127.0.0.1:1", "https://127.0.0.1:2"))
    tables = tomllib.loads((node.folder / "mcp.toml").read_text())
    assert tables["auth"]["password_file"] == f"{node.folder}/mcias/password"
    assert "token_path" not in tables["nodes"][0]


def test_podman_is_given_limits_that_it_may_set_and_a_network_of_its_own(node: Node) -> None:
    subnet = podman.choose_subnet(node, "default via 10.1.0.1 dev eth0")
    engine = tomllib.loads(podman.containers_conf(node, subnet))
    for limit in engine["containers"]["default_ulimits"]:
        soft, _, hard = limit.partition("=")[2].partition(":")
        assert soft == hard
        assert int(soft) > 0
    assert engine["engine"]["tmp_dir"] == f"{node.folder}/podman/tmp"
    network = podman.network(node, subnet)
    assert network["name"] == engine["network"]["default_network"] == node.network
    assert len(node.bridge) <= 15
    assert network["subnets"] == [{"subnet": str(subnet).replace("/20", "/24"), "gateway": str(subnet[1])}]


def test_a_subnet_is_one_that_the_machine_has_no_route_into(node: Node) -> None:
    first = podman.choose_subnet(node, "")
    assert first.prefixlen == 20
    assert podman.choose_subnet(node, f"{first[77]} dev eth0 scope link") != first
    assert podman.choose_subnet(node, "unreachable 110.0.0.0/8") == first
    last = ipaddress.IPv4Network("10.7.16.0/20")
    others = ipaddress.IPv4Network("10.0.0.0/8").address_exclude(last)
    assert podman.choose_subnet(node, "\n".join(map(str, others))) == last
    with pytest.raises(Failure, match="no /20"):
        podman.choose_subnet(node, "10.0.0.0/8 dev tun0")


def test_what_podman_kept_for_another_boot_is_forgotten(node: Node) -> None:
    claim(node)
    (node.folder / "podman/tmp").mkdir(parents=True)
    podman.forget_other_boots(node)
    assert (node.folder / "podman/tmp").exists()
    node.marker.write_text("another boot\n")
    podman.forget_other_boots(node)
    assert not (node.folder / "podman/tmp").exists()
    podman.forget_other_boots(node)


def test_an_image_is_busybox_and_answers_with_its_version() -> None:
    with tarfile.open(fileobj=io.BytesIO(root_file_system("v7", b"\x7fELF", ["busybox", "sh"]))) as tar:
        members = {member.name: member for member in tar}
        page = tar.extractfile("www/index.html")
        assert page is not None
        assert page.read() == b"v7\n"
    assert members["bin/sh"].linkname == "busybox"
    assert members["bin/serve"].mode & 0o111
    assert members["tmp"].mode == 0o1777
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
