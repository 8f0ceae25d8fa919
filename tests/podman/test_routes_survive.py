"""What befalls mcpd and the proxy while clients are at it: kills at every boundary, restarts, and hands in the table.

MCP_CRASH_STRIDE: at one in so many boundaries mcpd is killed, 1 for all.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from tests.podman.node import Node
from tests.podman.proxied import HOST, Shop, proxied_node, shop_on
from tests.podman.test_crash_matrix import STRIDE, Mortal
from tests.podman.test_routes import lost, status_of
from tests.support.traffic import Clients, Result, traffic
from tests.support.waiting import until

# Enough to notice a gap, and nothing that lasts longer than a drain: a WebSocket would make each take its full time.
FEW = Clients(keep_alive=2, fresh=2, slow=1, upload=1, websocket=0)


@pytest.fixture(scope="module", params=["haproxy", "traefik"])
def proxied(request: pytest.FixtureRequest, open_folder: Path) -> Iterator[Node]:
    with proxied_node(request.param, open_folder) as node:
        yield node


@pytest.fixture
def shop(proxied: Node, open_folder: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    folder = open_folder / f"seen-{request.node.name}"
    folder.mkdir()
    proxied.up()  # a test before has failed with something down
    with shop_on(proxied, folder) as found:
        yield found


def played(shop: Shop, play: Callable[[], object]) -> Result:
    """What clients saw while ``play`` went on."""

    async def run() -> Result:
        async with traffic(shop.url, HOST, FEW) as load:
            await trio.to_thread.run_sync(play)
        return load.result

    return trio.run(run)


def test_mcpd_may_be_killed_at_any_boundary_of_a_deploy(shop: Shop) -> None:
    shop.deploy()
    shop.node.stop_daemon(signal.SIGTERM)
    mortal = Mortal(shop.node)
    mortal.start()
    killed: list[str] = []

    def play() -> None:
        mortal.passed()
        shop.deploy()
        boundaries = mortal.passed()
        for point in range(0, len(boundaries), STRIDE):
            mortal.arm(point)
            shop.deploy(status=None)
            mortal.await_death()
            mortal.start()
            killed.append(boundaries[point])
            assert set(shop.node.pids()) == {"shop-web"}, boundaries[point]
        # mcpd may as well be told to go, with nothing to do.
        mortal.end()
        mortal.start()

    try:
        result = played(shop, play)
        until(lambda: status_of(shop) == 200)
    finally:
        mortal.end()
        shop.node.up()
    print(f"killed {len(killed)} times{lost(result)}")
    assert killed
    assert not result.failed, lost(result)


def test_a_deploy_that_fails_survives_a_kill_while_it_is_put_back(shop: Shop) -> None:
    shop.deploy()
    first = shop.instance
    shop.node.stop_daemon(signal.SIGTERM)
    mortal = Mortal(shop.node)
    mortal.start()

    def play() -> None:
        mortal.passed()
        shop.deploy(', HEALTHY = "never"', status=1)
        boundaries = mortal.passed()
        for point in range(STRIDE // 2, len(boundaries), STRIDE):
            mortal.arm(point)
            shop.deploy(', HEALTHY = "never"', status=None)
            mortal.await_death()
            mortal.start()
            assert shop.instance == first

    try:
        result = played(shop, play)
    finally:
        mortal.end()
        shop.node.up()
    assert not result.failed, lost(result)
    assert {line.instance for line in shop.lines()} == {first}


# -- the proxy


def proxy_pid(node: Node) -> int:
    return int(next(iter((node.folder / "proxy").glob("*.pid"))).read_text())


def told(node: Node) -> list[str]:
    return [each["reason"] for each in node.json("alerts", "list", "--all")["alerts"] if each["kind"] == "route"]


def test_a_proxy_that_is_killed_and_started_again_has_everything(shop: Shop) -> None:
    shop.deploy()
    shop.deploy()
    os.kill(proxy_pid(shop.node), signal.SIGKILL)
    until(lambda: shop.routes()[0]["problem"], "mcpd sees that the proxy is gone", 60)
    # Services run on; what is deployed meanwhile is put back, since nobody could be led to it.
    before = shop.instance
    assert "failed at switch" in shop.deploy(status=1)
    assert shop.instance == before
    until(lambda: told(shop.node), "it is told", 60)
    assert "does not have the routes that it should have" in told(shop.node)[-1]
    shop.node.up()
    until(lambda: status_of(shop) == 200)
    until(lambda: not shop.routes()[0]["problem"], "mcpd sees that it is back", 60)
    assert "failed" not in shop.deploy()


def test_a_table_that_was_changed_by_hand_is_mended_and_told(shop: Shop) -> None:
    shop.deploy()
    folder = shop.node.folder / "proxy"
    count = len(told(shop.node))
    if (folder / "haproxy.cfg").exists():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "master.sock"))
            client.sendall(f"@1 set server shop.web.port/{shop.instance} state maint\n".encode())
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                client.recv(1000)
    else:
        file = folder / "routes/mcp.yml"
        file.write_text(re.sub(r"127\.0\.0\.1:2\d{4}", "127.0.0.1:9", file.read_text()))
    # mcpd may be quicker than a look at what the hand has done.
    until(lambda: len(told(shop.node)) > count, "it is told")
    until(lambda: status_of(shop) == 200, "it is mended")
    assert "something else than mcpd had told it, which was mended" in told(shop.node)[-1]


def test_a_proxy_that_hangs_delays_nobody_for_long(shop: Shop) -> None:
    shop.deploy()
    pid = proxy_pid(shop.node)
    os.kill(pid, signal.SIGSTOP)
    try:
        # A stop goes on without it, and a deploy is put back.
        assert "failed at switch" in shop.deploy(status=1)
        shop.node.mcpctl("stop", "shop")
    finally:
        os.kill(pid, signal.SIGCONT)
    shop.node.mcpctl("start", "shop")
    until(lambda: status_of(shop) == 200)


def test_the_ports_of_a_container_are_its_own_and_on_loopback_only(shop: Shop) -> None:
    shop.deploy()
    (route,) = shop.routes()
    (server,) = route["servers"]
    host, _, port = server["address"].rpartition(":")
    assert (host, int(port) in range(20000, 30000)) == ("127.0.0.1", True)
    assert shop.node.json("ps", "shop")[0]["drift"] == ""
    assert "1 unchanged" in shop.node.mcpctl("plan", "shop").stdout
