"""Components of a service find each other by name: at once, after a replace, and after a reboot."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator

import pytest

from tests.podman.node import Node
from tests.podman.rootless import RootlessPodman, rootless_node
from tests.support.waiting import until

SHOP = """\
name = "shop"
node = "NODE"

[[components]]
name = "web"
image = "localhost/mcp-demo:v1"
cmd = ["sleep", "1000"]
depends_on = ["db"]

[[components]]
name = "db"
image = "localhost/mcp-demo:v1"
"""
# Right after a replace a name may lead to where the component was, which answers nothing. And whenever a container
# comes to a network or leaves it, podman's name server reads its files again: a question that comes meanwhile may be
# lost, and is asked again only after 5 seconds (resolv.conf(5), timeout): who gives up sooner never asks twice.
WITHIN_S = 90.0
ASK = ("timeout", "12", "wget", "-qO-", "http://db:8080/")


@pytest.fixture(scope="module")
def rootless(shared_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RootlessPodman]:
    with rootless_node(tmp_path_factory.mktemp("rootless"), shared_node) as node:
        yield node


def answers(node: Node, container: str = "shop-web") -> str:
    return node.podman("exec", container, *ASK, status=None).strip()


def networks(node: Node) -> set[str]:
    return set(node.podman("network", "ls", "--format", "{{.Name}}").split())


def of_both_kinds(node: Node) -> None:
    node.define("shop", SHOP)
    node.mcpctl("deploy", "shop")
    until(lambda: answers(node) == "v1", within=WITHIN_S)
    labels = json.loads(node.podman("network", "inspect", "shop"))[0]["labels"]
    assert labels["mcp.service"] == "shop"
    # The one that is replaced is found where it is now, by one that was not touched.
    before = node.pids()
    node.define("shop", SHOP + 'env = { CHANGED = "yes" }\n')
    node.mcpctl("deploy", "shop")
    after = node.pids()
    assert after["shop-web"] == before["shop-web"]
    assert after["shop-db"] != before["shop-db"]
    until(lambda: answers(node) == "v1", within=WITHIN_S)
    # As after a reboot: everything has ended, and the network with it.
    node.podman("stop", "--all", "--time", "0")
    node.mcpctl("start", "shop")
    until(lambda: answers(node) == "v1", within=WITHIN_S)
    node.mcpctl("undeploy", "shop")
    assert "shop" not in networks(node)


def test_components_find_each_other_by_name(node: Node) -> None:
    of_both_kinds(node)


def test_they_do_where_podman_is_an_ordinary_users(rootless: RootlessPodman) -> None:
    of_both_kinds(rootless)


def test_on_a_network_of_its_own_a_component_has_its_name_and_on_a_shared_one_it_has_not(node: Node) -> None:
    back = 'networks = ["back"]\n'
    node.define("shop", SHOP.replace('cmd = ["sleep"', f'{back}cmd = ["sleep"') + back)
    node.mcpctl("deploy", "shop")
    until(lambda: answers(node) == "v1", within=WITHIN_S)
    aliases = node.inspect("shop-db")["NetworkSettings"]["Networks"]["back"]["Aliases"]
    assert "db" in aliases
    node.define(
        "other",
        'name = "other"\nnode = "NODE"\n[[components]]\nname = "db"\nimage = "localhost/mcp-demo:v1"\n'
        'networks = [{ name = "back", aliases = ["asked"] }]\n',
    )
    node.mcpctl("deploy", "other")
    shared = node.inspect("other-db")["NetworkSettings"]["Networks"]["back"]["Aliases"]
    assert "asked" in shared
    assert "db" not in shared
    until(lambda: answers(node) == "v1", within=WITHIN_S)


def test_a_slip_in_the_name_of_a_network_is_told_by_the_plan(node: Node) -> None:
    node.define("shop", SHOP + 'network = "porxy"\n')
    told = node.mcpctl("plan", "shop").stderr
    assert 'network "porxy" does not exist and will be made' in told
    assert '"shop"' not in told


def test_a_component_that_shares_a_network_follows_the_one_that_has_it(node: Node) -> None:
    vpn = SHOP.replace('depends_on = ["db"]', 'network = "component:db"').replace("db:8080", "127.0.0.1:8080")
    node.define("shop", vpn)
    node.mcpctl("deploy", "shop")
    ask = ("exec", "shop-web", "wget", "-qO-", "http://127.0.0.1:8080/")
    assert node.podman(*ask).strip() == "v1"
    first, second = vpn.split('name = "db"')
    node.define("shop", f'{first}name = "db"{second.replace(":v1", ":v2")}')
    plan = node.mcpctl("plan", "shop").stdout
    assert "uses a namespace of db, which gets a new container" in plan
    node.mcpctl("deploy", "shop")
    assert node.podman(*ask).strip() == "v2"
    # One of the two alone would tear them apart.
    node.define("shop", vpn)
    assert "uses a namespace of db" in node.mcpctl("deploy", "shop/db", status=2).stderr
    node.mcpctl("restart", "shop/db")
    assert node.podman(*ask).strip() == "v2"
    # And back, when it fails: in the order that podman needs.
    broken = vpn.replace('cmd = ["sleep", "1000"]', 'cmd = ["false"]')
    node.define("shop", broken)
    node.mcpctl("deploy", "shop", "--force", status=1)
    assert node.podman(*ask).strip() == "v2"
    assert node.containers() == {"shop-web", "shop-db"}


def test_the_nodes_own_address_can_be_asked_for_by_a_name(node: Node) -> None:
    node.define("shop", SHOP + 'add_hosts = ["gateway.example.net:host-gateway"]\n')
    node.mcpctl("deploy", "shop")
    hosts = node.podman("exec", "shop-db", "cat", "/etc/hosts").splitlines()
    (line,) = [each for each in hosts if "gateway.example.net" in each]
    assert ipaddress.ip_address(line.split()[0])
