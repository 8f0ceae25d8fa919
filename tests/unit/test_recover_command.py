"""`mcpctl recover`: all nodes at once, and each line says where."""

import json

from protos.mcp import v1
from tests.support.agent import JSON, Launch, Node, Run, stripped
from tests.support.changes import HEADERS, outcome, recovered, step
from tests.support.waiting import until

CREATED = outcome(result=v1.Result.CREATED, message="from x:v1")


def test_all_nodes_recover_and_each_line_says_where(run: Run, rift: Node, orion: Node) -> None:
    recovered(rift, CREATED)
    recovered(orion, outcome(result=v1.Result.UNCHANGED, message=""))
    status, out, err = run("recover", "web", "--dry-run")
    assert status == 0
    assert sorted(err.splitlines()) == [
        "orion: web/api   create   creating web-api",
        "rift: web/api    create   creating web-api",
    ]
    header, *rows = map(stripped, out.splitlines())
    assert header == HEADERS
    assert sorted(rows) == [["orion", "web", "api", "unchanged"], ["rift", "web", "api", "created", "from x:v1"]]
    assert rift.agent.requests == orion.agent.requests == [v1.RecoverRequest(True, "web")]


def test_one_node_needs_no_name_in_each_line(run: Run, rift: Node, orion: Node) -> None:
    recovered(rift, CREATED)
    assert run("recover", "--node", "rift").err == "web/api          create   creating web-api\n"
    assert orion.agent.requests == []


def test_as_json_each_report_of_a_recovery_is_a_line(run: Run, rift: Node) -> None:
    recovered(rift, CREATED)
    lines = [json.loads(line) for line in run("recover", "--node", "rift", *JSON).out.splitlines()]
    assert [sorted(line) for line in lines] == [
        ["node", "operation", "progress", "service"],
        ["node", "operation", "outcome", "service"],
    ]
    assert {(line["node"], line["service"], line["operation"]) for line in lines} == {("rift", "web", "7")}


def test_a_component_that_is_not_recovered_is_a_failure(run: Run, rift: Node) -> None:
    recovered(rift, CREATED, outcome("db", v1.Result.FAILED, "no image"))
    status, out, _ = run("recover", "--node", "rift")
    assert status == 1
    assert "no image" in out


def test_a_recovery_that_is_cut_off_is_said_beside_what_is_known(run: Run, rift: Node, orion: Node) -> None:
    recovered(rift, CREATED, completed=False)
    recovered(orion)
    status, out, err = run("recover")
    assert status == 4
    assert "created" in out
    assert "mcpctl: node rift: the connection closed before the recovery ended (waited " in err


def test_ctrl_c_leaves_a_recovery_and_says_where_to_look(launch: Launch, rift: Node, orion: Node) -> None:
    rift.agent.prepared["RecoverRequest"] = [v1.RecoverResponse("7", "web", progress=step()), ...]
    recovered(orion)
    program = launch("recover")
    until(lambda: "rift: web/api" in program.err, "it recovers")
    assert program.interrupt() == (130, [])
    assert "`mcpctl operations --running` lists them" in program.err
