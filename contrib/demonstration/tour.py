"""The whole demonstration: a node in a temporary folder, a service, its upgrade, its end; and nothing is left."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from contrib.demonstration.down import down
from contrib.demonstration.images import IMAGE
from contrib.demonstration.node import VENV, Node, node_at
from contrib.demonstration.output import FAILED, Failure, answer, run, show, tell, title
from contrib.demonstration.settings import Options, exported, free_port
from contrib.demonstration.up import describe, up

# What ends it from outside, and the exit status then.
_ENDED_BY = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}

_DEFINITION = """\
name = "demo"
node = "demo"
active = true

[[components]]
name = "web"
image = "IMAGE:v1"
restart = "unless-stopped"
ports = ["127.0.0.1:PORT:8080"]
stop_timeout = "5s"

[components.health]
http = "http://127.0.0.1:PORT/"
interval = "1s"

[[components]]
name = "worker"
image = "IMAGE:v1"
restart = "unless-stopped"
depends_on = ["web"]
stop_timeout = "5s"
"""
_FETCH = 'import urllib.request; print(urllib.request.urlopen("{}", timeout=5).read().decode().strip())'


def tour() -> None:
    """Raises Failure with the first step that failed, after everything has been removed."""
    started = time.monotonic()
    temporary = Path(tempfile.mkdtemp(prefix="mcp-demo."))
    with _removed_in_any_case(temporary):
        node = node_at(str(temporary / "node"))
        _set_up(node)
        environment = dict(node.environment, **exported(node))
        environment["PATH"] = f"{VENV}/bin:{environment['PATH']}"
        environment["no_proxy"] = environment["NO_PROXY"] = "127.0.0.1"  # a proxy would ask itself
        _deploy_upgrade_and_stop(node, environment)
        title(f"Done in {time.monotonic() - started:.0f} s; cleaning up")


def _set_up(node: Node) -> None:
    title("A node: mcpd and a podman of its own")
    show("contrib/demo", "up", str(node.folder))
    up(node, Options())
    describe(node)
    show("source", str(node.folder / "env"))


def _deploy_upgrade_and_stop(node: Node, environment: dict[str, str]) -> None:
    title("A service with two components")
    port = free_port()
    definition = node.definitions / "demo.toml"
    definition.write_text(_DEFINITION.replace("IMAGE", IMAGE).replace("PORT", str(port)))
    run("cat", str(definition), environment=environment)
    run("mcpctl", "deploy", "demo", environment=environment)
    run("mcpctl", "ps", environment=environment)
    run("mcpctl", "status", environment=environment)
    _expect_version(port, "v1", environment)

    title("An upgrade: the definition says what should run")
    run("sed", "-i", f"s|{IMAGE}:v1|{IMAGE}:v2|", str(definition), environment=environment)
    run("mcpctl", "deploy", "demo", environment=environment)
    run("mcpctl", "ps", environment=environment)
    _expect_version(port, "v2", environment)

    title("Stop")
    run("mcpctl", "stop", "demo", environment=environment)
    run("mcpctl", "ps", environment=environment)
    run("podman", "ps", "--all", environment=environment)


def _expect_version(port: int, version: str, environment: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{port}/"
    if shutil.which("curl"):
        said = answer("curl", "-sSf", "--max-time", "5", url, environment=environment)
    else:
        said = answer("python3", "-c", _FETCH.format(url), environment=environment)
    if said != version:
        raise Failure(f"the component should have answered {version}")


@contextmanager
def _removed_in_any_case(temporary: Path) -> Iterator[None]:
    """Whatever happens within, nothing of the node in ``temporary`` is left. Raises Failure when something is."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(_ENDED_BY[signal.Signals(number)])

    before = {number: signal.signal(number, leave) for number in _ENDED_BY}
    try:
        yield
    except Failure as failure:
        tell(failure)  # now: removing takes a while, and may fail itself
        raise Failure("", failure.status) from failure
    finally:
        for number in _ENDED_BY:
            signal.signal(number, signal.SIG_IGN)
        try:
            remove(temporary)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def remove(temporary: Path) -> None:
    """Raises Failure when something of it could not be removed."""
    (temporary / "node/services/demo.toml").unlink(missing_ok=True)
    try:
        down(node_at(str(temporary / "node")))
        temporary.rmdir()
    except OSError as error:
        raise Failure(f"{temporary} is still there: {error}", FAILED) from error
