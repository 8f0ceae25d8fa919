"""A hundred nodes, and some of them dead: every answer is shown, and the dead cost their deadline."""

import contextlib
import json
import time
from collections.abc import Iterator

import pytest

from tests.fleet.running import Fleet, black_hole, closed, mcpctl, running, silent
from tests.fleet.serving import COMPONENTS, name

NODES = 100
DEAD = {"closed": closed, "silent": silent, "black hole": black_hole}
# What MCP_TIMEOUT gives each node. Long enough for a hundred handshakes on a machine that does other things, too.
DEADLINE_S = 6.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running(tmp_path_factory.mktemp("fleet"), NODES) as found:
        yield found


def test_all_nodes_answer_in_the_order_of_the_configuration(fleet: Fleet) -> None:
    environment = fleet.configure("all.toml", NODES)
    done = mcpctl(environment, "ps", "--output", "json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    assert len(rows) == NODES * COMPONENTS
    assert {row["node"] for row in rows} == set(map(name, fleet.ports))


def test_the_dead_are_told_beside_every_answer_and_cost_their_deadline_once(fleet: Fleet) -> None:
    with contextlib.ExitStack() as stack:
        dead = {}
        for number, (kind, die) in enumerate(list(DEAD.items()) * 3 + [("closed", closed)]):
            address = f"127.0.9.{10 * number + 1}"
            dead[address] = (kind, stack.enter_context(die(address)))
        environment = fleet.configure("dead.toml", NODES - len(dead), {host: port for host, (_, port) in dead.items()})
        start = time.monotonic()
        done = mcpctl(environment | {"MCP_TIMEOUT": f"{DEADLINE_S:g}s"}, "ps", "--output", "json")
        took = time.monotonic() - start
    assert done.returncode == 4
    live = list(fleet.ports)[: NODES - len(dead)]
    rows = json.loads(done.stdout)
    assert len(rows) == len(live) * COMPONENTS
    assert {row["node"] for row in rows} == set(map(name, live))
    lines = {line.split()[2].rstrip(":"): line for line in done.stderr.splitlines()}
    assert set(lines) == set(map(name, dead))
    for host, (kind, _) in dead.items():
        line = lines[name(host)]
        expected = "cannot be reached: Connection refused" if kind == "closed" else "did not answer within 6 s"
        assert expected in line
        assert kind != "closed" or "(waited " in line
    # Seven hang: one after the other they would take seven deadlines.
    assert DEADLINE_S <= took < 3 * DEADLINE_S


def test_a_listing_of_nodes_has_a_row_for_each_also_for_the_dead(fleet: Fleet) -> None:
    with closed("127.0.9.1") as port:
        environment = fleet.configure("nodes.toml", 5, {"127.0.9.1": port})
        done = mcpctl(environment, "node", "list", "--output", "json")
    assert (done.returncode, done.stderr) == (4, "")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert len(rows) == 6
    gone = rows.pop(name("127.0.9.1"))
    assert (gone["reachable"], gone["status"]) == (False, None)
    assert "Connection refused" in gone["problem"]
    assert all(row["reachable"] and row["status"]["podman_version"] == "5.4.2" for row in rows.values())
