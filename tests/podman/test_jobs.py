"""Jobs on a real podman: run, failed, timed out, stopped; and known afterwards when mcpd was killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.bench.client import Client
from tests.podman.node import Node, told, until
from tests.podman.rootless import rootless_node

# Never due while the test runs.
_FAR = "0 0 29 2 *"
JOB = """\
name = "NAME"
node = "NODE"

[[components]]
name = "work"
image = "localhost/mcp-demo:v1"
schedule = "SCHEDULE"
cmd = ["sh", "-c", "SCRIPT"]
volumes = ["FOLDER:/data"]
MORE

[[components]]
name = "rest"
image = "localhost/mcp-demo:v1"
"""


@pytest.fixture(scope="module")
def rootless(shared_node: Node) -> Iterator[Node]:
    with tempfile.TemporaryDirectory(prefix="mcp-jobs-") as folder:
        Path(folder).chmod(0o755)
        with rootless_node(Path(folder) / "node", shared_node) as node:
            yield node


@pytest.fixture(params=["root", "rootless"])
def place(request: pytest.FixtureRequest) -> Iterator[Node]:
    if request.param == "root":
        yield request.getfixturevalue("node")
        return
    node: Node = request.getfixturevalue("rootless")
    yield node
    node.clear()


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mcp-jobs-") as folder:
        path = Path(folder)
        path.chmod(0o777)
        yield path


def define(node: Node, name: str, folder: Path, script: str, *, schedule: str = _FAR, more: str = "") -> None:
    text = JOB.replace("NAME", name).replace("SCRIPT", script).replace("FOLDER", str(folder))
    node.define(name, text.replace("SCHEDULE", schedule).replace("MORE", more))


def deploy(node: Node, name: str, folder: Path, script: str, *, schedule: str = _FAR, more: str = "") -> None:
    define(node, name, folder, script, schedule=schedule, more=more)
    node.mcpctl("deploy", name)


def ask(node: Node, call: Callable[[Client], Awaitable[None]]) -> None:
    async def asked(client: Client) -> None:
        try:
            await call(client)
        finally:
            protocol = client._channel._protocol
            assert protocol is not None
            socket = protocol.connection._transport.get_extra_info("socket")
            client._channel.close()
            # It is closed when the other end has been told, and the loop must run until then.
            while socket.fileno() >= 0:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.01)

    with contextlib.closing(Client(node)) as client:
        client.run(asyncio.wait_for(asked(client), 120))


def run_job(node: Node, name: str, *, wait: bool = True) -> v1.JobRun:
    """The last of what the node says of the run."""
    found: list[v1.JobRun] = []

    async def call(client: Client) -> None:
        request = v1.RunJobRequest(service=name, component="work", wait=wait)
        found.extend([each.run async for each in client.stub.run_job(request, timeout=120)])

    ask(node, call)
    return found[-1]


def job(node: Node, name: str, runs: int = 20) -> v1.JobInfo:
    found: list[v1.JobInfo] = []

    async def call(client: Client) -> None:
        answer = await client.stub.list_jobs(v1.ListJobsRequest(service=name, runs=runs), timeout=20)
        found.extend(answer.jobs)

    ask(node, call)
    (only,) = found
    return only


def states(node: Node, name: str) -> list[str]:
    """Of its runs, the newest first."""
    return [each.state for each in job(node, name).runs]


def state_of(node: Node, container: str) -> str:
    return str(node.inspect(container)["State"]["Status"])


def drift(node: Node, name: str) -> str:
    (status,) = [each for each in node.json("status") if each["name"] == name]
    return {each["component"]: each["drift"] for each in status["components"]}["work"]


def test_a_deploy_makes_it_and_it_runs_when_asked_for(place: Node, data: Path) -> None:
    deploy(place, "jobrun", data, "echo run >> /data/runs")
    assert state_of(place, "jobrun-work") in ("created", "configured")
    place.mcpctl("status", "--exit-code")
    run = run_job(place, "jobrun")
    assert (run.state, run.exit_status, run.caller) == ("succeeded", 0, "admin")
    assert run_job(place, "jobrun").state == "succeeded"
    assert (data / "runs").read_text() == "run\nrun\n"
    found = job(place, "jobrun")
    assert (found.schedule, found.timezone, found.active) == (_FAR, "UTC", True)
    assert [each.state for each in found.runs] == ["succeeded"] * 2
    assert found.next_at > datetime.now(UTC)
    assert drift(place, "jobrun") == ""
    # Whatever is asked for beside that starts nothing.
    for words in (("start", "jobrun"), ("restart", "jobrun"), ("deploy", "jobrun"), ("sync",), ("recover", "jobrun")):
        place.mcpctl(*words, status=None)
    assert (data / "runs").read_text() == "run\nrun\n"
    assert kinds(place, "jobrun") == []


def test_one_that_fails_is_told_once_with_what_it_printed_and_again_when_it_is_well(place: Node, data: Path) -> None:
    deploy(place, "jobfail", data, "echo said $(cat /data/word); test -e /data/well || exit 3")
    (data / "word").write_text("first")
    run = run_job(place, "jobfail")
    assert (run.state, run.exit_status) == ("failed", 3)
    assert "exited 3" in run.message
    until(lambda: kinds(place, "jobfail") == ["job"])
    (alert,) = alerts(place, "jobfail")
    assert "said first" in alert["reason"]
    assert "exited 3" in drift(place, "jobfail")
    (data / "word").write_text("second")
    run = run_job(place, "jobfail")
    # Of its own run, and of no earlier one.
    assert "said second" in run.message
    assert "first" not in run.message
    (data / "well").touch()
    assert run_job(place, "jobfail").state == "succeeded"
    until(lambda: kinds(place, "jobfail") == ["job", "recovered"])
    assert drift(place, "jobfail") == ""


def test_one_that_takes_too_long_is_killed(place: Node, data: Path) -> None:
    deploy(place, "joblong", data, "sleep 1000", more='timeout = "2s"')
    run = run_job(place, "joblong")
    assert run.state == "timed-out", run.message
    assert "ran for 2 s" in run.message
    until(lambda: kinds(place, "joblong") == ["job"])


def test_while_a_run_goes_on_none_begins_and_a_deploy_stops_it(place: Node, data: Path) -> None:
    deploy(place, "jobbusy", data, "sleep 1000", more='stop_timeout = "0s"')
    assert run_job(place, "jobbusy", wait=False).state == "running"
    with pytest.raises(GRPCError, match="runs already, since"):
        run_job(place, "jobbusy")
    define(place, "jobbusy", data, "sleep 999", more='stop_timeout = "0s"')
    assert "it runs now, and is stopped" in place.mcpctl("plan", "jobbusy").stdout
    place.mcpctl("deploy", "jobbusy")
    until(lambda: states(place, "jobbusy") == ["stopped"])
    assert state_of(place, "jobbusy-work") in ("created", "configured")
    assert run_job(place, "jobbusy", wait=False).state == "running"
    place.mcpctl("stop", "jobbusy/work")
    until(lambda: states(place, "jobbusy") == ["stopped"] * 2)
    with pytest.raises(GRPCError, match="is stopped"):
        run_job(place, "jobbusy")
    assert kinds(place, "jobbusy") == []
    assert drift(place, "jobbusy") == ""


def test_a_run_that_ends_while_mcpd_is_dead_is_known_afterwards(node: Node, data: Path) -> None:
    deploy(node, "jobkill", data, "touch /data/begun; while ! test -e /data/go; do sleep 0.1; done; echo done; exit 4")
    assert run_job(node, "jobkill", wait=False).state == "running"
    until((data / "begun").exists)
    node.stop_daemon(signal.SIGKILL)
    with node.podman_alone():
        os.kill(node.inspect("jobkill-work")["State"]["Pid"], 0)
        (data / "go").touch()
        until(lambda: state_of(node, "jobkill-work") == "exited")
    node.up()
    until(lambda: states(node, "jobkill") == ["failed"])
    (run,) = job(node, "jobkill").runs
    assert run.exit_status == 4
    assert "done" in run.message
    until(lambda: [each["MCP_KIND"] for each in told(node, "jobkill")] == ["job"])
    assert node.containers() == {"jobkill-work", "jobkill-rest"}


def test_a_run_that_outlives_mcpd_is_followed_by_the_next(node: Node, data: Path) -> None:
    deploy(node, "joblive", data, "while ! test -e /data/go; do sleep 0.1; done")
    assert run_job(node, "joblive", wait=False).state == "running"
    node.stop_daemon(signal.SIGKILL)
    node.up()
    until(lambda: states(node, "joblive") == ["running"])
    with pytest.raises(GRPCError, match="runs already"):
        run_job(node, "joblive")
    (data / "go").touch()
    until(lambda: states(node, "joblive") == ["succeeded"])
    assert kinds(node, "joblive") == []


def test_what_was_missed_is_made_up_for_once_and_told(node: Node, data: Path) -> None:
    deploy(node, "jobmiss", data, "echo run >> /data/runs", schedule="0 * * * *")
    until(lambda: accounted_until(node, "jobmiss") is not None)
    node.stop_daemon(signal.SIGTERM)
    back = datetime.now(UTC).replace(minute=30) - timedelta(hours=5)
    with contextlib.closing(sqlite3.connect(registry_of(node))) as db, db:
        db.execute("UPDATE jobs SET accounted_until = ?", (int(back.timestamp() * 1e6),))
    node.up()
    until(lambda: states(node, "jobmiss") == ["succeeded"])
    (run,) = job(node, "jobmiss").runs
    assert run.missed in (3, 4)
    assert run.caller == "mcpd"
    assert (data / "runs").read_text() == "run\n"
    until(lambda: kinds(node, "jobmiss") == ["job"])
    assert f"{run.missed + 1} runs were missed" in alerts(node, "jobmiss")[0]["reason"]
    assert not [each for each in node.json("alerts", "list", "jobmiss")["alerts"] if not each["closed_at"]]


def test_it_runs_by_itself_when_it_is_due(node: Node, data: Path) -> None:
    deploy(node, "jobdue", data, "echo run >> /data/runs", schedule="* * * * *")
    until(lambda: states(node, "jobdue") == ["succeeded"], within=100)
    (run,) = job(node, "jobdue").runs
    assert timedelta(0) <= run.started_at - run.due_at < timedelta(seconds=10)
    assert run.due_at.second == 0


def alerts(node: Node, name: str) -> list[dict[str, Any]]:
    """Of all times, the oldest first."""
    found: list[dict[str, Any]] = node.json("alerts", "list", name, "--all")["alerts"]
    return sorted(found, key=lambda each: int(each["id"]))


def kinds(node: Node, name: str) -> list[str]:
    return [each["kind"] for each in alerts(node, name)]


def registry_of(node: Node) -> Path:
    return next(node.folder.rglob("mcp.db"))


def accounted_until(node: Node, service: str) -> int | None:
    with contextlib.closing(sqlite3.connect(f"file:{registry_of(node)}?mode=ro", uri=True)) as db:
        row = db.execute("SELECT accounted_until FROM jobs WHERE service = ?", (service,)).fetchone()
    return row[0] if row else None
