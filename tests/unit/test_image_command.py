"""`mcpctl image list` and `mcpctl image prune`: what is asked of the nodes, and how their answers are shown."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.errors import PARTIAL
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, Node, Run, stripped


def an_image(**values: Any) -> v1.ImageInfo:
    created = datetime.now(UTC) - timedelta(days=3, minutes=1)
    defaults = {"id": "46a0564c61e6fdf6", "names": ["localhost/app:v1"], "size": 3 * 2**20, "created_at": created}
    return v1.ImageInfo(**{**defaults, "removed": True, "reason": "nothing uses it, and 3 are newer", **values})


USERS = [
    v1.ImageUser("web", "api", "web-api", running=True),
    v1.ImageUser("web", "worker", "web-worker"),
    v1.ImageUser("web", "next"),
    v1.ImageUser(container="keeper"),
    v1.ImageUser(container="by-hand", running=True),
]
KEPT = {"removed": False, "reason": "used by web/api"}


@pytest.fixture
def pruning(alone: Node) -> Node:
    images = [an_image(), an_image(id="7b6e42199b708813", names=[], **KEPT)]
    alone.agent.prepared["PruneImagesRequest"] = v1.PruneImagesResponse(images, 3 * 2**20)
    return alone


# -- prune


def test_every_image_is_a_row_and_the_end_is_a_total(run: Run, pruning: Node) -> None:
    status, out, _ = run("image", "prune")
    assert status == 0
    header, first, second, total = out.splitlines()
    assert header.split() == ["IMAGE", "ID", "SIZE", "AGE", "RESULT", "REASON"]
    gone = ["localhost/app:v1", "46a0564c61e6", "3.0 MiB", "3d", "removed", "nothing uses it, and 3 are newer"]
    assert stripped(first) == gone
    assert stripped(second) == ["-", "7b6e42199b70", "3.0 MiB", "3d", "kept", "used by web/api"]
    assert total == "1 image removed, 3.0 MiB; 1 kept"
    assert pruning.agent.requests == [v1.PruneImagesRequest()]


def test_a_dry_run_says_what_would_be(run: Run, pruning: Node) -> None:
    out = run("image", "prune", "--dry-run", "--keep", "0").out.splitlines()
    assert stripped(out[1])[4] == "would be removed"
    assert out[-1] == "1 image would be removed, 3.0 MiB; 1 kept"
    (asked,) = pruning.agent.requests
    assert (asked.keep, asked.dry_run) == (0, True)


def test_as_json_it_is_one_object(run: Run, pruning: Node) -> None:
    pruning.agent.prepared["PruneImagesRequest"] = v1.PruneImagesResponse([an_image(created_at=AT)], 3 * 2**20)
    assert json.loads(run("image", "prune", "--output", "json").out) == {
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
    out = run("image", "prune").out
    assert len(out.splitlines()) == 3
    assert "\x1b" not in out


@pytest.mark.parametrize("keep", ["-1", "4294967296"])
def test_a_number_that_is_none_is_refused_before_anybody_is_asked(run: Run, pruning: Node, keep: str) -> None:
    status, _, err = run("image", "prune", "--keep", keep)
    assert (status, pruning.agent.requests) == (2, [])
    assert f"--keep must be 0 to 4294967295, not {keep}" in err


def test_a_node_that_is_at_work_says_who_works(run: Run, alone: Node) -> None:
    words = "the node is being changed by operation 7: deploy web by kyle"
    alone.agent.prepared["PruneImagesRequest"] = GRPCError(Status.ABORTED, words)
    status, out, err = run("image", "prune", "--node", "rift")
    assert status != 0
    assert words in err
    assert out == ""


def test_a_node_that_is_down_is_not_asked(run: Run, alone: Node) -> None:
    status, _, err = run("image", "prune", "--node", "orion")
    assert (status, alone.agent.requests) == (1, [])
    assert "node orion is down, so nothing was sent" in err


@pytest.mark.usefixtures("orion")
def test_of_several_nodes_one_must_be_named(run: Run, rift: Node) -> None:
    status, out, err = run("image", "prune")
    assert (status, out) == (2, "")
    assert "each node has its own images, and 2 nodes are active (rift, orion); give --node NAME" in err
    assert rift.agent.requests == []


# -- list


def listed(*images: v1.ImageInfo) -> v1.ListImagesResponse:
    return v1.ListImagesResponse(list(images))


def test_every_node_is_asked_and_every_image_is_a_row_with_who_uses_it(run: Run, rift: Node, orion: Node) -> None:
    rift.agent.prepared["ListImagesRequest"] = listed(
        an_image(id="7b6e42199b708813", names=[]), an_image(names=["localhost/b:v1", "localhost/c:v1"], users=USERS)
    )
    orion.agent.prepared["ListImagesRequest"] = listed(an_image())
    status, out, err = run("image", "list")
    assert (status, err) == (0, "")
    header, first, second, third = out.splitlines()
    assert stripped(header) == ["NODE", "IMAGE", "ID", "SIZE", "AGE", "USED BY"]
    users = "web/api, web/worker (stopped), web/next (no container), container keeper (stopped), container by-hand"
    assert stripped(first) == ["rift", "localhost/b:v1, localhost/c:v1", "46a0564c61e6", "3.0 MiB", "3d", users]
    assert stripped(second) == ["rift", "-", "7b6e42199b70", "3.0 MiB", "3d", "-"]
    assert stripped(third) == ["orion", "localhost/app:v1", "46a0564c61e6", "3.0 MiB", "3d", "-"]
    assert rift.agent.requests == orion.agent.requests == [v1.ListImagesRequest()]


def test_the_newest_of_each_repository_comes_first(run: Run, alone: Node) -> None:
    tags = ("b:v9", "b:v10", "a:v1", "b:v11")
    images = [an_image(names=[f"localhost/{tag}"], created_at=AT + timedelta(days=day)) for day, tag in enumerate(tags)]
    alone.agent.prepared["ListImagesRequest"] = listed(an_image(names=[]), *images)
    lines = run("image", "list").out.splitlines()[1:]
    assert [stripped(line)[1].removeprefix("localhost/") for line in lines] == ["a:v1", "b:v11", "b:v10", "b:v9", "-"]


def test_only_the_nodes_that_are_named_are_asked(run: Run, rift: Node, orion: Node) -> None:
    orion.agent.prepared["ListImagesRequest"] = listed(an_image())
    assert run("image", "list", "--node", "orion").out.count("localhost/app:v1") == 1
    assert rift.agent.requests == []


def test_a_node_that_does_not_answer_costs_its_images_and_says_so(run: Run, rift: Node, orion: Node) -> None:
    rift.agent.prepared["ListImagesRequest"] = GRPCError(Status.UNAVAILABLE, "podman did not answer in time")
    orion.agent.prepared["ListImagesRequest"] = listed(an_image())
    status, out, err = run("image", "list", "--output", "json")
    assert [each["node"] for each in json.loads(out)] == ["orion"]
    assert status == PARTIAL
    assert "rift" in err
    assert "podman did not answer in time" in err


def test_a_node_without_images_says_so(run: Run, alone: Node) -> None:
    status, out, err = run("image", "list")
    assert (status, out) == (0, "")
    assert err.endswith("mcpctl: there are no images on rift\n")
    assert alone.agent.requests == [v1.ListImagesRequest()]


def test_wide_has_the_digests_and_quiet_only_what_podman_knows_an_image_by(run: Run, alone: Node) -> None:
    digest = f"localhost/app@sha256:{'d' * 64}"
    alone.agent.prepared["ListImagesRequest"] = listed(
        an_image(digests=[digest], created_at=AT), an_image(id="7b6e42199b708813", names=[])
    )
    wide = run("image", "list", "--output", "wide").out.splitlines()
    assert stripped(wide[0])[-2:] == ["CREATED", "DIGESTS"]
    assert stripped(wide[1])[-1] == digest
    assert run("image", "list", "--quiet").out == "localhost/app:v1\n7b6e42199b70\n"


def test_as_json_an_image_has_all_that_is_known_of_it(run: Run, alone: Node) -> None:
    alone.agent.prepared["ListImagesRequest"] = listed(
        an_image(digests=["localhost/app@sha256:0"], created_at=AT, users=USERS[:1])
    )
    assert json.loads(run("image", "list", "--output", "json").out) == [
        {
            "node": "rift",
            "names": ["localhost/app:v1"],
            "id": "46a0564c61e6fdf6",
            "size": 3 * 2**20,
            "created_at": "2026-03-01T12:00:00Z",
            "digests": ["localhost/app@sha256:0"],
            "users": [{"service": "web", "component": "api", "container": "web-api", "running": True}],
        }
    ]


def test_the_list_of_a_node_is_harmless_too(run: Run, alone: Node) -> None:
    user = v1.ImageUser(HOSTILE, HOSTILE, HOSTILE)
    alone.agent.prepared["ListImagesRequest"] = listed(an_image(names=[HOSTILE], digests=[HOSTILE], users=[user]))
    out = run("image", "list", "--output", "wide").out
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out
