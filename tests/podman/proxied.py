"""A node with a real proxy in front of it, and a service behind that which remembers what it was asked."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.podman.node import Node, running
from tests.podman.rootless import rootless_node
from tests.support.haproxy import HAProxyProcess
from tests.support.python_image import import_python_image
from tests.support.traefik import RealTraefik
from tests.support.visible_app import Line, lines_of
from tests.support.waiting import free_port, until

IMAGE = "localhost/mcp-visible:v1"
HOST = "shop.example.net"
# drain_timeout is longer than the longest request of the load; WebSockets are told to go after it.
SHOP = f"""
name = "shop"
node = "NODE"
[[components]]
name = "web"
image = "{IMAGE}"
volumes = ["FOLDER:/seen"]
env = {{ SEEN_LOG = "/seen/log", VERSION = "1"MORE }}
drain_timeout = "6s"
KEYS
[[components.routes]]
host = "{HOST}"
listen = LISTEN
[components.health]
http = "http://127.0.0.1:8080/healthz"
interval = "1s"
start_period = "PATIENCE"
start_interval = "1s"
"""


class Shop:
    """A service with a route on ``node``. ``folder`` is where its containers keep what they have seen."""

    def __init__(self, node: Node, folder: Path, listen: int) -> None:
        self.node = node
        self.folder = folder
        self.listen = listen
        self.url = f"http://127.0.0.1:{listen}"
        self._version = 0

    def define(self, more: str = "", keys: str = "") -> None:
        """Another version each time. ``more``: of its environment; ``keys``: of its component.

        A busy machine takes its time to start a Python; what is never healthy is found out soon.
        """
        self._version += 1
        text = SHOP.replace("FOLDER", str(self.folder)).replace("LISTEN", str(self.listen))
        text = text.replace("PATIENCE", "1s" if "never" in more else "60s")
        text = text.replace('"1"MORE', f'"{self._version}"{more}').replace("KEYS", keys)
        self.node.define("shop", text)

    def deploy(self, more: str = "", keys: str = "", status: int | None = 0) -> str:
        """Another version; returns what mcpctl told as it went."""
        self.define(more, keys)
        return self.node.mcpctl("deploy", "shop", status=status).stderr

    @property
    def instance(self) -> str:
        """Who answers: the beginning of its container's id."""
        return str(self.node.inspect("shop-web")["Id"][:12])

    def lines(self) -> list[Line]:
        return lines_of(self.folder / "log")

    def routes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.node.json("routes", "shop")
        return found


def listen_of(node: Node) -> int:
    settings = tomllib.loads((node.folder / "mcpd.toml").read_text())
    return int(settings["proxy"]["listeners"][0]["address"].rpartition(":")[2])


@contextlib.contextmanager
def proxied_node(kind: str, folder: Path) -> Iterator[Node]:
    """root's podman, and the proxy that the demonstration starts."""
    with running(Node(folder / kind, f"{kind}-root", proxy=kind)) as node:
        import_python_image(node, IMAGE)
        yield node


@contextlib.contextmanager
def proxied_rootless_node(kind: str, folder: Path, template: Node) -> Iterator[Node]:
    """An ordinary user's podman, with a proxy beside it."""
    folder = folder / f"{kind}-rootless"
    proxy = folder / "proxy"
    proxy.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        lines = ["", "[proxy]", f'kind = "{kind}"']
        if kind == "haproxy":
            haproxy = HAProxyProcess(proxy)
            stack.callback(haproxy.stop)
            listen = free_port()
            lines += [f'file = "{haproxy.config}"', f'socket = "{haproxy.socket}"']
        else:
            traefik = stack.enter_context(RealTraefik(proxy))
            listen = traefik.plain
            lines += [f'file = "{traefik.file}"', f'api = "{traefik.url}"']
        lines += ["[[proxy.listeners]]", f'address = "127.0.0.1:{listen}"', "tls = false", ""]
        node = stack.enter_context(rootless_node(folder / "rootless", template, "\n".join(lines)))
        if kind == "haproxy":
            until(haproxy.config.exists, "mcpd has written what HAProxy reads")
            haproxy.start()
        import_python_image(node, IMAGE)
        yield node


@contextlib.contextmanager
def shop_on(node: Node, folder: Path) -> Iterator[Shop]:
    folder.chmod(0o777)
    try:
        yield Shop(node, folder, listen_of(node))
    finally:
        node.clear()
