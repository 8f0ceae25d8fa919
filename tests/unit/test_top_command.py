"""top: processes as a table, and what it says of components that have none."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import WEB, Node, Run, stripped

API = v1.ProcessInfo(1, "root", 0.54, 12 << 20, timedelta(hours=3, minutes=2, seconds=1), "/bin/api --listen :80", 4711)
RUN = v1.ProcessInfo(1, "app", 99.96, 1 << 30, timedelta(seconds=4), "migrate\x1b[2J", 4712)


@pytest.fixture
def answering(alone: Node) -> Node:
    alone.agent.prepared["ListProcessesRequest"] = v1.ListProcessesResponse(
        "rift",
        [
            v1.ComponentProcesses("web", "api", "web-api", "", [API], "1 of its 2 processes are listed"),
            v1.ComponentProcesses("web", "api", "web-api-run", "k3f9a2", [RUN], ""),
            v1.ComponentProcesses("web", "db", "web-db", "", [], "it does not run: exited (137)"),
        ],
    )
    return alone


def test_a_table_has_each_process_of_components_and_runs(answering: Node, run: Run) -> None:
    ran = run("top", "web")
    heads, api, one_off = map(stripped, ran.out.splitlines())
    assert heads == ["NODE", "COMPONENT", "RUN", "PID", "USER", "CPU", "MEMORY", "ELAPSED", "COMMAND"]
    assert api == ["rift", "web/api", "1", "root", "0.5%", "12.0 MiB", "3h2m", "/bin/api --listen :80"]
    assert one_off[2:7] == ["k3f9a2", "1", "app", "100.0%", "1.0 GiB"]
    assert "\x1b" not in ran.out
    assert ran.err.splitlines()[1:] == [
        "mcpctl: web/api on rift: 1 of its 2 processes are listed",
        "mcpctl: web/db on rift: it does not run: exited (137)",
    ]
    assert answering.agent.asked(v1.ListProcessesRequest) == [v1.ListProcessesRequest("web")]


def test_programs_get_all_of_it(answering: Node, run: Run) -> None:
    assert answering.agent.node == "rift"
    api, one_off, db = json.loads(run("top", "web", "--output", "json").out)
    assert api["processes"][0] == {
        "pid": 1,
        "host_pid": 4711,
        "user": "root",
        "cpu_percent": 0.54,
        "resident_bytes": 12 << 20,
        "elapsed": 10921.0,
        "command": "/bin/api --listen :80",
    }
    assert (one_off["run"], db["processes"], db["message"]) == ("k3f9a2", [], "it does not run: exited (137)")
    assert run("top", "-q").out == "web/api\n"


def test_one_component_is_asked_for_by_name(answering: Node, run: Run) -> None:
    assert run("top", "web/api").status == 0
    assert answering.agent.asked(v1.ListProcessesRequest) == [v1.ListProcessesRequest("web", "api")]


def test_a_component_that_is_not_known_is_told_from_a_service(alone: Node, run: Run, tmp_path: Path) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    alone.agent.prepared["ListProcessesRequest"] = GRPCError(Status.NOT_FOUND, "web/apu is not known on rift")
    ran = run("top", "web/apu")
    assert ran.status == 2
    assert "did you mean web/api?" in ran.err


def test_nothing_runs(alone: Node, run: Run) -> None:
    assert alone.agent.node == "rift"
    ran = run("top")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err.endswith("mcpctl: no processes found on rift\n")
