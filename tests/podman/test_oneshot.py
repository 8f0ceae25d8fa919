"""A migration before the web server: waited for, run again when something changes, and never by itself."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.podman.node import Node
from tests.podman.test_lifecycle import outcomes
from tests.support.waiting import until

SHOP = """\
name = "shop"
node = "NODE"

[[components]]
name = "migrate"
image = "localhost/mcp-demo:v1"
oneshot = true
cmd = ["sh", "-c", "SCRIPT"]
volumes = ["FOLDER:/data"]

[[components]]
name = "web"
image = "localhost/mcp-demo:v1"
depends_on = ["migrate"]
"""
COUNT = "echo run >> /data/runs; sleep 0.3; echo done >> /data/runs"


def define(node: Node, folder: Path, script: str = COUNT, **changes: str) -> None:
    text = SHOP.replace("SCRIPT", script).replace("FOLDER", str(folder))
    for old, new in changes.items():
        text = text.replace(old, new)
    node.define("shop", text)


def runs(folder: Path) -> list[str]:
    return (folder / "runs").read_text().split() if (folder / "runs").exists() else []


def test_what_depends_on_it_waits_until_it_has_completed(node: Node, tmp_path: Path) -> None:
    define(node, tmp_path)
    node.mcpctl("deploy", "shop")
    assert runs(tmp_path) == ["run", "done"]
    ended = node.inspect("shop-migrate")["State"]["FinishedAt"]
    assert ended <= node.inspect("shop-web")["State"]["StartedAt"]
    # It is as it should be, and a deploy that changes nothing leaves it so.
    (status,) = node.json("status")
    assert [each["drift"] for each in status["components"]] == ["", ""]
    node.mcpctl("status", "--exit-code")
    assert outcomes(node, "deploy", "shop") == {"migrate": "unchanged", "web": "unchanged"}
    assert outcomes(node, "start", "shop") == {"migrate": "unchanged", "web": "unchanged"}
    assert outcomes(node, "restart", "shop") == {"migrate": "unchanged", "web": "restarted"}
    assert runs(tmp_path) == ["run", "done"]


def test_it_runs_again_in_a_deploy_that_changes_something_of_its_service(node: Node, tmp_path: Path) -> None:
    define(node, tmp_path)
    node.mcpctl("deploy", "shop")
    define(node, tmp_path, **{'v1"\ndepends_on': 'v2"\ndepends_on'})
    assert "runs again" in node.mcpctl("plan", "shop").stdout
    assert outcomes(node, "deploy", "shop") == {"migrate": "replaced", "web": "replaced"}
    assert runs(tmp_path) == ["run", "done"] * 2
    # Somebody may ask for it by its name.
    assert outcomes(node, "restart", "shop/migrate") == {"migrate": "restarted"}
    assert runs(tmp_path) == ["run", "done"] * 3


def test_one_that_fails_fails_the_deploy_and_says_what_it_printed(node: Node, tmp_path: Path) -> None:
    define(node, tmp_path)
    node.mcpctl("deploy", "shop")
    before = node.pids()
    define(node, tmp_path, "echo no table; exit 3", **{'v1"\ndepends_on': 'v2"\ndepends_on'})
    failed = node.mcpctl("deploy", "shop", status=1).stderr
    assert "exited 3" in failed
    assert "no table" in failed
    assert node.pids() == before
    assert node.containers() == {"shop-migrate", "shop-web"}
    # The run of before counts.
    node.mcpctl("status", "--exit-code")


def test_one_that_has_failed_is_drift_and_nothing_starts_it(node: Node, tmp_path: Path) -> None:
    script = "echo run >> /data/runs; test ! -e /data/broken"
    define(node, tmp_path, script)
    node.mcpctl("deploy", "shop")
    (tmp_path / "broken").touch()
    node.mcpctl("restart", "shop/migrate", status=1)
    node.mcpctl("status", "--exit-code", status=3)
    assert "exited 1" in node.mcpctl("status", "shop", status=None).stdout
    count = len(runs(tmp_path))
    node.mcpctl("sync")
    assert len(runs(tmp_path)) == count
    # The next deploy runs it, though the definition has not changed.
    (tmp_path / "broken").unlink()
    assert outcomes(node, "deploy", "shop")["migrate"] == "replaced"
    node.mcpctl("status", "--exit-code")


def test_a_daemon_that_is_killed_while_it_runs_takes_the_deploy_back(node: Node, tmp_path: Path) -> None:
    define(node, tmp_path)
    node.mcpctl("deploy", "shop")
    before = node.pids()
    define(node, tmp_path, "echo begun >> /data/runs; sleep 1000", **{'v1"\ndepends_on': 'v2"\ndepends_on'})
    with subprocess.Popen(["mcpctl", "deploy", "shop"], env=node.environment, stderr=subprocess.DEVNULL) as deploy:
        until(lambda: "begun" in runs(tmp_path))
        node.stop_daemon(signal.SIGKILL)
        node.up()
        deploy.wait(60)
    until(lambda: not node.json("operations", "--running"))
    assert node.pids() == before
    assert node.containers() == {"shop-migrate", "shop-web"}
    node.mcpctl("status", "--exit-code")
