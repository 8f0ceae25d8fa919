"""`mcpctl node prune`: what is asked of the node, and how its answer is shown."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, Node, Run, stripped


def an_image(**values: Any) -> v1.ImageInfo:
    created = datetime.now(UTC) - timedelta(days=3, minutes=1)
    defaults = {"id": "46a0564c61e6fdf6", "names": ["localhost/app:v1"], "size": 3 * 2**20, "created_at": created}
    return v1.ImageInfo(**{**defaults, "removed": True, "reason": "nothing uses it, and 3 are newer", **values})


KEPT = {"removed": False, "reason": "used by web/api"}


@pytest.fixture
def pruning(alone: Node) -> Node:
    images = [an_image(), an_image(id="7b6e42199b708813", names=[], **KEPT)]
    alone.agent.prepared["PruneImagesRequest"] = v1.PruneImagesResponse(images, 3 * 2**20)
    return alone


def test_every_image_is_a_row_and_the_end_is_a_total(run: Run, pruning: Node) -> None:
    status, out, _ = run("node", "prune", "rift")
    assert status == 0
    header, first, second, total = out.splitlines()
    assert header.split() == ["IMAGE", "ID", "SIZE", "AGE", "RESULT", "REASON"]
    gone = ["localhost/app:v1", "46a0564c61e6", "3.0 MiB", "3d", "removed", "nothing uses it, and 3 are newer"]
    assert stripped(first) == gone
    assert stripped(second) == ["-", "7b6e42199b70", "3.0 MiB", "3d", "kept", "used by web/api"]
    assert total == "1 image removed, 3.0 MiB; 1 kept"
    assert pruning.agent.requests == [v1.PruneImagesRequest()]


def test_a_dry_run_says_what_would_be(run: Run, pruning: Node) -> None:
    out = run("node", "prune", "rift", "--dry-run", "--keep", "0").out.splitlines()
    assert stripped(out[1])[4] == "would be removed"
    assert out[-1] == "1 image would be removed, 3.0 MiB; 1 kept"
    (asked,) = pruning.agent.requests
    assert (asked.keep, asked.dry_run) == (0, True)


def test_as_json_it_is_one_object(run: Run, pruning: Node) -> None:
    pruning.agent.prepared["PruneImagesRequest"] = v1.PruneImagesResponse([an_image(created_at=AT)], 3 * 2**20)
    assert json.loads(run("node", "prune", "rift", "--output", "json").out) == {
        "node": "rift",
        "dry_run": False,
        "images": [
            {
                "names": ["localhost/app:v1"],
                "id": "46a0564c61e6fdf6",
                "size": 3 * 2**20,
                "created_at": "2026-03-01T12:00:00Z",
                "removed": True,
                "reason": "nothing uses it, and 3 are newer",
            }
        ],
        "bytes": 3 * 2**20,
    }


def test_what_a_node_says_is_harmless(run: Run, pruning: Node) -> None:
    hostile = an_image(names=[HOSTILE], reason=HOSTILE, removed=False)
    pruning.agent.prepared["PruneImagesRequest"] = v1.PruneImagesResponse([hostile])
    out = run("node", "prune", "rift").out
    assert len(out.splitlines()) == 3
    assert "\x1b" not in out


@pytest.mark.parametrize("keep", ["-1", "4294967296"])
def test_a_number_that_is_none_is_refused_before_anybody_is_asked(run: Run, pruning: Node, keep: str) -> None:
    status, _, err = run("node", "prune", "rift", "--keep", keep)
    assert (status, pruning.agent.requests) == (2, [])
    assert f"--keep must be 0 to 4294967295, not {keep}" in err


def test_a_node_that_is_at_work_says_who_works(run: Run, alone: Node) -> None:
    words = "the node is being changed by operation 7: deploy web by kyle"
    alone.agent.prepared["PruneImagesRequest"] = GRPCError(Status.ABORTED, words)
    status, out, err = run("node", "prune", "rift")
    assert status != 0
    assert words in err
    assert out == ""


def test_a_node_that_is_down_is_not_asked(run: Run, alone: Node) -> None:
    status, _, err = run("node", "prune", "orion")
    assert (status, alone.agent.requests) == (1, [])
    assert "node orion is down, so nothing was sent" in err
