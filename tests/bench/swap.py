"""A new version behind a proxy, while clients are at it: what they lose, and how long the slowest of them wait.

In turn: a deploy that starts first, one that stops first, and what a person types: `podman stop`, `rm` and `run`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import trio

from tests.bench.harness import Figure, figure
from tests.podman.proxied import HOST, IMAGE, Shop, proxied_node, shop_on
from tests.support.haproxy import HAProxyProcess
from tests.support.traffic import Clients, Result, traffic
from tests.support.waiting import free_port

SWAPS = 5
# Requests that are short, so that a gap of milliseconds meets some.
CLIENTS = Clients(keep_alive=4, fresh=4, slow=0, upload=0, websocket=0)
# Before and after it, so that connections are there and come back.
_AROUND_S = 0.5
_BY_HAND = """
global
    description mcp is not asked here
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend front
    bind 127.0.0.1:{listen}
    default_backend back
backend back
    server one 127.0.0.1:{port}
"""


def swaps() -> list[Figure]:
    """The 99th of a hundred requests is of those during the swap, and of the half seconds around it."""
    with tempfile.TemporaryDirectory(prefix="mcp-swap-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        seen = folder / "seen"
        seen.mkdir()
        with proxied_node("haproxy", folder) as node, shop_on(node, seen) as shop:
            hand = _ByHand(shop, folder)
            try:
                return _measured(shop, hand)
            finally:
                hand.proxy.stop()


def _measured(shop: Shop, hand: _ByHand) -> list[Figure]:
    shop.deploy()
    hand.run()
    ways: dict[str, tuple[str, Callable[[], object]]] = {
        "a deploy, start-first": (shop.url, shop.deploy),
        "a deploy, stop-first": (shop.url, lambda: shop.deploy(keys='update = "stop-first"')),
        "podman stop; rm; run": (hand.url, hand.swap),
    }
    seen: dict[str, list[Result]] = {way: [] for way in ways}
    for _ in range(SWAPS):
        for way, (url, act) in ways.items():
            seen[way].append(trio.run(_during, url, act))
    found = []
    for way, results in seen.items():
        sent = sum(each.sent for each in results)
        lost = sum(each.failed for each in results)
        slowest = [max(counts.p99 for counts in each.counts.values() if counts.ok) * 1000 for each in results]
        found.append(Figure(f"{way}: requests lost in {SWAPS}", lost, "", None, note=f"of {sent}"))
        found.append(figure(f"{way}: p99 of the requests meanwhile", slowest, "ms", None))
    return found


async def _during(url: str, act: Callable[[], object]) -> Result:
    async with traffic(url, HOST, CLIENTS) as load:
        await trio.sleep(_AROUND_S)
        await trio.to_thread.run_sync(act)
        await trio.sleep(_AROUND_S)
    return load.result


class _ByHand:
    """A container as a person runs it, and a HAProxy as a person configures it."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self._node = shop.node
        self._port, listen = free_port(), free_port()
        self.url = f"http://127.0.0.1:{listen}"
        place = folder / "by-hand"
        place.mkdir()
        self.proxy = HAProxyProcess(place)
        self.proxy.config.write_text(_BY_HAND.format(listen=listen, port=self._port))
        self.proxy.start()

    def run(self) -> None:
        self._node.podman("run", "--detach", "--name", "by-hand", "--publish", f"127.0.0.1:{self._port}:8080", IMAGE)

    def swap(self) -> None:
        self._node.podman("stop", "by-hand")
        self._node.podman("rm", "by-hand")
        self.run()
