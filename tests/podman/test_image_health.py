"""An image's own HEALTHCHECK as the probe of a component that declares none, with a real image that has one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from tests.podman.node import Node, kinds, told, until, until_recorded

IMAGE = "localhost/checked:v1"
CONTAINERFILE = """\
FROM localhost/mcp-demo:v1
HEALTHCHECK --interval=1s --timeout=5s --retries=2 CMD test ! -e /tmp/ill || { echo no database; exit 3; }
"""
SOLO = f"""\
name = "checked"
node = "NODE"
[[components]]
name = "checked"
image = "{IMAGE}"
"""


@pytest.fixture
def checked(node: Node, tmp_path: Path) -> Iterator[Node]:
    """The shared node with an image that has a health check, and no alerts of before."""
    (node.folder / "alerts.jsonl").unlink(missing_ok=True)
    (tmp_path / "Containerfile").write_text(CONTAINERFILE)
    # The format of an image that has health checks at all.
    node.podman("build", "--format", "docker", "--tag", IMAGE, str(tmp_path))
    yield node
    node.up()
    node.clear()
    node.podman("rmi", IMAGE)


def observed(node: Node) -> set[str]:
    return {row["observed"] for row in node.json("ps", "checked")}


def test_what_an_images_health_check_finds_is_its_state_and_its_alert(checked: Node) -> None:
    checked.define("checked", SOLO)
    checked.mcpctl("deploy", "checked")
    until(lambda: observed(checked) == {"healthy"})
    checked.podman("exec", "checked", "touch", "/tmp/ill")
    until(lambda: observed(checked) == {"unhealthy"})
    assert "exited 3: no database" in checked.mcpctl("status", "checked").stdout
    checked.mcpctl("status", "checked", "--exit-code", status=3)
    until_recorded(checked, "checked", ["drift"])
    assert "no database" in told(checked, "checked")[0]["MCP_REASON"]
    # It is the same probe after a restart of mcpd, and nothing is told again.
    checked.stop_daemon(signal.SIGKILL)
    checked.up()
    until(lambda: observed(checked) == {"unhealthy"})
    checked.podman("exec", "checked", "rm", "/tmp/ill")
    until(lambda: kinds(checked, "checked") == ["drift", "recovered"])
    assert observed(checked) == {"healthy"}


def test_a_container_that_an_mcpd_of_before_has_made_gets_its_probe_and_no_alert(checked: Node) -> None:
    checked.define("checked", SOLO)
    checked.mcpctl("deploy", "checked")
    until(lambda: observed(checked) == {"healthy"})
    checked.stop_daemon(signal.SIGTERM)
    forget = (
        "UPDATE containers SET known = json_set(json_remove(known, '$.own_probe'), '$.state', 'running', "
        "'$.probed', null, '$.probe', '')"
    )
    with closing(connect(checked.folder / "mcp.db")) as database, database:
        database.execute(forget)
    checked.up()
    until(lambda: observed(checked) == {"healthy"})
    checked.mcpctl("status", "checked", "--exit-code")
    assert kinds(checked, "checked") == []


def test_a_declared_probe_counts_instead_and_none_where_it_is_disabled(checked: Node) -> None:
    checked.define("checked", SOLO + '[components.health]\ncmd = ["true"]\ninterval = "1s"\n')
    checked.mcpctl("deploy", "checked")
    checked.podman("exec", "checked", "touch", "/tmp/ill")
    until(lambda: observed(checked) == {"healthy"})
    checked.define("checked", SOLO + "[components.health]\ndisable = true\n")
    checked.mcpctl("sync")
    until(lambda: observed(checked) == {"running"})
    # Without the table, the image's own is asked again, and finds that it is ill.
    checked.define("checked", SOLO)
    checked.mcpctl("sync")
    until(lambda: observed(checked) == {"unhealthy"})


def test_what_runs_to_its_end_is_not_probed_and_told_only_when_it_fails(checked: Node) -> None:
    script = 'cmd = ["sh", "-c", "touch /tmp/ill; sleep 3; test ! -e /data/broken"]\n'
    more = f'oneshot = true\nheal = "restart"\nvolumes = ["batch-data:/data"]\n{script}'
    checked.define("batch", SOLO.replace('name = "checked"', 'name = "batch"') + more)
    checked.mcpctl("deploy", "batch")
    (row,) = checked.json("status", "batch")[0]["components"]
    assert (row["desired"], row["observed"], row["exit_code"], row["drift"]) == ("completed", "exited", 0, "")
    assert checked.mcpctl("status", "batch", "--exit-code").stdout.splitlines()[1].split()[4:6] == ["completed"] * 2
    in_volume = ("run", "--rm", "--volume", "batch-data:/data", IMAGE)
    checked.podman(*in_volume, "touch", "/data/broken")
    checked.mcpctl("restart", "batch/batch", status=1)
    until(lambda: kinds(checked, "batch") == ["drift"])
    (alert,) = told(checked, "batch")
    assert (alert["MCP_DESIRED"], alert["MCP_OBSERVED"]) == ("completed", "exited")
    assert alert["MCP_REASON"] == "did not complete: exited 1"
    checked.podman(*in_volume, "rm", "/data/broken")
    checked.mcpctl("start", "batch/batch")
    until(lambda: kinds(checked, "batch") == ["drift", "recovered"])
    rows = checked.json("events", "batch")
    assert not {"healthy", "unhealthy"} & {row["kind"] for row in rows}
    assert "healed" not in [row["message"] for row in rows]
    checked.podman("rm", "batch")
    until(lambda: "missing" in checked.mcpctl("status", "batch").stdout)
    checked.clear()
    checked.podman("volume", "rm", "batch-data")
