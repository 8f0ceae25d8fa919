"""Deploys that nobody notices: what clients of a real proxy lose while containers are swapped behind it.

MCP_SWAPS deploys in a row for each kind of proxy and of podman (2; 100 by hand, with more than 200,000 requests).
MCP_PROXIES: which kinds, by their names (two of four; "all" by hand).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.podman.node import Node
from tests.podman.proxied import HOST, Shop, proxied_node, proxied_rootless_node, shop_on
from tests.support.traffic import Clients, Kind, Result, traffic
from tests.support.waiting import until

SWAPS = int(os.environ.get("MCP_SWAPS", "2"))
# Every kind that section 15 of the design names, sixteen at a time.
CLIENTS = Clients(keep_alive=4, fresh=4, slow=3, upload=2, websocket=3)
ALL = ("haproxy-root", "traefik-root", "haproxy-rootless", "traefik-rootless")
_NAMED = os.environ.get("MCP_PROXIES", "haproxy-root traefik-rootless").split()
KINDS = ALL if _NAMED == ["all"] else [each for each in ALL if each in _NAMED]


@pytest.fixture(scope="module", params=KINDS)
def proxied(request: pytest.FixtureRequest, shared_node: Node, open_folder: Path) -> Iterator[Node]:
    kind, _, podman = request.param.partition("-")
    if podman == "root":
        with proxied_node(kind, open_folder) as node:
            yield node
    else:
        with proxied_rootless_node(kind, open_folder, shared_node) as node:
            yield node


@pytest.fixture
def shop(proxied: Node, open_folder: Path) -> Iterator[Shop]:
    folder = Path(tempfile.mkdtemp(prefix="seen", dir=open_folder))
    with shop_on(proxied, folder) as found:
        yield found


def lost(result: Result) -> str:
    return f"\n{result}"


async def in_thread(call: partial[object]) -> object:
    return await trio.to_thread.run_sync(call)


async def test_deploys_in_a_row_lose_nothing(shop: Shop) -> None:
    shop.deploy()
    swapped = []
    async with traffic(shop.url, HOST, CLIENTS) as load:
        for _ in range(SWAPS):
            old = shop.instance
            load.drain(old)
            await in_thread(partial(shop.deploy))
            swapped.append((old, drain_began(shop.node)))
            assert shop.instance != old
    result = load.result
    print(f"{SWAPS} deploys{lost(result)}")
    assert not result.failed, lost(result)
    assert all(result.counts[kind].ok for kind in Kind), lost(result)
    # By what the containers themselves have seen: nothing new once they were told to finish.
    for old, at in swapped:
        assert max(line.at for line in shop.lines() if line.instance == old) <= at


def drain_began(node: Node) -> float:
    """When mcpd last began to drain a container, in seconds since 1970, as its journal says."""
    with contextlib.closing(sqlite3.connect(f"file:{node.folder / 'mcp.db'}?mode=ro", uri=True)) as database:
        (at,) = database.execute("SELECT max(at) FROM steps WHERE step = 'drain'").fetchone()
    return int(at) / 1e6


async def test_a_deploy_that_fails_is_put_back_and_nobody_notices(shop: Shop) -> None:
    shop.deploy()
    first = shop.instance
    async with traffic(shop.url, HOST, CLIENTS) as load:
        told = await in_thread(partial(shop.deploy, ', HEALTHY = "never"', status=1))
    assert "not healthy" in str(told)
    assert not load.result.failed, lost(load.result)
    assert shop.instance == first
    # A container that was never healthy was never asked, by what it has seen itself.
    assert {line.instance for line in shop.lines()} == {first}


def test_a_container_gets_nothing_before_it_is_healthy(shop: Shop) -> None:
    shop.deploy()
    first = shop.instance

    async def run() -> Result:
        async with traffic(shop.url, HOST, Clients(keep_alive=2, fresh=2, slow=0, upload=0, websocket=0)) as load:
            await in_thread(partial(shop.deploy, ', HEALTHY_AFTER = "2"'))
        return load.result

    result = trio.run(run)
    assert not result.failed, lost(result)
    assert set(result.instances) == {first, shop.instance}
    seen = shop.node.podman("exec", "shop-web", "/usr/bin/python3", "-c", SEEN)
    assert json.loads(seen)["before_healthy"] == 0


SEEN = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8080/seen').read().decode())"


def test_maintenance_answers_503_until_it_is_over_and_a_deploy_changes_nothing_of_that(shop: Shop) -> None:
    shop.deploy()
    assert shop.routes()[0]["state"] == "up"
    shop.node.mcpctl("maintenance", "shop", "on")
    assert status_of(shop) == 503
    assert shop.routes()[0]["state"] == "maintenance"
    shop.deploy()
    assert status_of(shop) == 503
    shop.node.mcpctl("maintenance", "shop", "off")
    assert status_of(shop) == 200


def test_a_service_that_is_stopped_answers_503_and_one_that_is_undeployed_404(shop: Shop) -> None:
    shop.deploy()
    shop.node.mcpctl("stop", "shop")
    assert status_of(shop) == 503
    assert shop.routes()[0]["state"] == "down"
    shop.node.mcpctl("start", "shop")
    until(lambda: status_of(shop) == 200)
    shop.node.mcpctl("undeploy", "shop")
    assert status_of(shop) == 404
    assert shop.routes() == []


def status_of(shop: Shop) -> int:
    """Of the answer to a client; 0: there is none."""
    request = urllib.request.Request(f"{shop.url}/", headers={"Host": HOST})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0
