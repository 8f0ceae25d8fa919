"""`mcpctl purge`: what is asked of the nodes, and what is a failure."""

import json
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import JSON, WEB, Node, Run, stripped
from tests.support.changes import HEADERS, define, outcome, purged, service


def test_purge_names_every_service_that_has_a_definition(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail", "orion")
    define(tmp_path, "broken").write_text("nonsense")
    define(tmp_path, "renamed").write_text(WEB.replace("web", "former"))
    assert run("purge", "old/api", "--dry-run").status == 0
    expected = v1.PurgeRequest("old", "api", True, ["broken", "former", "mail", "renamed", "web"])
    assert rift.agent.requests == orion.agent.requests == [expected]


REMOVED = outcome("old", v1.Result.REMOVED, "forgotten")
LEFT = outcome("api", v1.Result.SKIPPED, "it runs")


def test_purge_lists_what_became_of_each(run: Run, rift: Node) -> None:
    purged(rift, service("web", REMOVED, LEFT))
    status, out, _ = run("purge")
    assert status == 0
    assert [stripped(line) for line in out.splitlines()] == [
        HEADERS,
        ["rift", "web", "old", "removed", "forgotten"],
        ["rift", "web", "api", "skipped", "it runs"],
    ]
    (shown,) = json.loads(run("purge", *JSON).out)
    assert (shown["node"], shown["service"]) == ("rift", "web")
    assert [each["result"] for each in shown["outcomes"]] == ["removed", "skipped"]


@pytest.mark.parametrize(
    ("words", "found", "status"),
    [
        ((), service("web", LEFT), 0),
        (("web",), service("web", LEFT), 1),
        (("web",), service("web", REMOVED), 0),
        (("web",), service("web", outcome(result=v1.Result.FAILED)), 1),
        ((), service("web", error="held"), 1),
        (("web/api",), service("web", error="held"), 1),
    ],
)
def test_purge_fails_when_what_was_named_is_left(
    run: Run, rift: Node, words: tuple[str, ...], found: v1.ServiceOutcome, status: int
) -> None:
    purged(rift, found)
    assert run("purge", *words).status == status


def test_a_service_that_only_one_node_knows_is_purged_there(run: Run, rift: Node, orion: Node) -> None:
    unknown = GRPCError(Status.NOT_FOUND, "old is not known")
    purged(rift, service("old", REMOVED))
    orion.agent.prepared["PurgeRequest"] = unknown
    assert run("purge", "old").status == 0
    rift.agent.prepared["PurgeRequest"] = unknown
    assert run("purge", "old").status == 2
