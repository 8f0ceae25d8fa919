"""`mcpctl outdated`: what the fleet runs, compared with what a registry has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import JSON, Node, Run, columns
from tests.support.image_registry import Asked, ImageRegistry, Reply, a_list, a_manifest, digest, serving
from tests.support.waiting import free_port

ID, OTHER_ID = "ab" * 32, "cd" * 32
IMAGE, OTHER = a_manifest(ID), a_manifest(OTHER_ID)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageRegistry]:
    """A registry with team/web:1.2.3, and a home without anything that concerns registries."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    with serving() as registry:
        registry.put("team/web", "1.2.3", IMAGE)
        yield registry


def component(name: str, image: str, service: str = "web") -> v1.ComponentInfo:
    return v1.ComponentInfo(service=service, component=name, container=f"{service}-{name}", image=image)


def image(name: str, *users: v1.ImageUser, id: str = ID, digests: tuple[str, ...] = ()) -> v1.ImageInfo:  # noqa: A002
    return v1.ImageInfo(
        id=id, names=[name] if name else [], digests=[f"{name}@{each}" for each in digests], users=list(users)
    )


def made(name: str, service: str = "web") -> v1.ImageUser:
    return v1.ImageUser(service, name, f"{service}-{name}", True)


def prepare(node: Node, components: list[v1.ComponentInfo], *images: v1.ImageInfo) -> None:
    by_service: dict[str, list[v1.ComponentInfo]] = {}
    for each in components:
        by_service.setdefault(each.service, []).append(each)
    services = [v1.ServiceInfo(name, node.agent.node, True, found) for name, found in by_service.items()]
    node.agent.prepared["GetStatusRequest"] = v1.GetStatusResponse(node.agent.node, services)
    node.agent.prepared["ListImagesRequest"] = v1.ListImagesResponse(list(images))


def runs_web(node: Node, registry: ImageRegistry, *digests: str, tag: str = "1.2.3", id: str = ID) -> str:  # noqa: A002
    """The node runs team/web; returns the reference."""
    name = f"{registry.address}/team/web:{tag}"
    prepare(node, [component("api", name)], image(name, made("api"), id=id, digests=digests))
    return name


def test_what_the_registry_has_too_is_current(run: Run, alone: Node, registry: ImageRegistry) -> None:
    name = runs_web(alone, registry, digest(OTHER), digest(IMAGE))
    status, out, _ = run("outdated", "--exit-code")
    assert status == 0
    assert columns(out.splitlines()[1])[:6] == ["web", "api", "rift", name, "current", "-"]
    assert not [each for each in registry.asked if each.method == "GET" and "/manifests/" in each.path]


def test_another_digest_under_the_same_tag_is_told(run: Run, alone: Node, registry: ImageRegistry) -> None:
    runs_web(alone, registry, digest(IMAGE))
    made_now = registry.put("team/web", "1.2.3", OTHER)
    status, out, _ = run("outdated", "--exit-code", *JSON)
    (row,) = json.loads(out)
    assert (status, row["state"], row["newer"]) == (3, "rebuilt", [])
    assert row["message"] == f"the registry has {made_now[:19]} under this tag"
    assert run("outdated").status == 0


def test_newer_versions_are_told(run: Run, alone: Node, registry: ImageRegistry) -> None:
    runs_web(alone, registry, digest(IMAGE))
    for tag in ("1.2.4", "1.10.0", "2.0.1", "2.1.0-rc.1", "1.2", "latest"):
        registry.put("team/web", tag, OTHER)
    status, out, _ = run("outdated", "web/api", "--exit-code", *JSON)
    (row,) = json.loads(out)
    assert (status, row["state"], row["newest_of_major"], row["newest"]) == (3, "newer", "1.10.0", "2.0.1")
    assert row["newer"] == ["2.0.1", "1.10.0", "1.2.4"]
    assert run("outdated", "--quiet").out == "web/api\n"


def test_both_are_told(run: Run, alone: Node, registry: ImageRegistry) -> None:
    runs_web(alone, registry, digest(IMAGE))
    registry.put("team/web", "1.2.3", OTHER)
    registry.put("team/web", "1.2.4", OTHER)
    (row,) = json.loads(run("outdated", *JSON).out)
    assert (row["state"], row["newest"]) == ("rebuilt", "1.2.4")


def test_a_list_that_still_has_the_nodes_manifest_is_current(run: Run, alone: Node, registry: ImageRegistry) -> None:
    runs_web(alone, registry, digest(IMAGE), digest(b"an older list"))
    registry.put("team/web", "1.2.3", a_list(IMAGE, OTHER))
    (row,) = json.loads(run("outdated", *JSON).out)
    assert (row["state"], row["message"]) == ("current", "")


@pytest.mark.parametrize("content", [IMAGE, a_list(IMAGE)])
def test_an_image_that_came_without_the_registry_is_known_by_its_id(
    run: Run, alone: Node, registry: ImageRegistry, content: bytes
) -> None:
    runs_web(alone, registry, digest(b"as it was pushed"))
    registry.put("team/web", digest(IMAGE), IMAGE)
    registry.put("team/web", "1.2.3", content)
    assert json.loads(run("outdated", *JSON).out)[0]["state"] == "current"
    runs_web(alone, registry, digest(b"as it was pushed"), id=OTHER_ID)
    assert json.loads(run("outdated", *JSON).out)[0]["state"] == "rebuilt"


def test_what_counts_is_what_the_container_was_made_from(run: Run, alone: Node, registry: ImageRegistry) -> None:
    """Somebody has pulled the newer image, and the component runs the older one, which has lost its name."""
    name = f"{registry.address}/team/web:1.2.3"
    new = registry.put("team/web", "1.2.3", OTHER)
    named = v1.ImageUser("web", "api", "", False)
    prepare(
        alone, [component("api", name)], image(name, named, id=OTHER_ID, digests=(new,)), image("", made("api"), id=ID)
    )
    assert json.loads(run("outdated", *JSON).out)[0]["state"] == "rebuilt"


def test_local_and_pinned_images_are_said_as_such_and_nobody_is_asked(
    run: Run, alone: Node, registry: ImageRegistry
) -> None:
    pinned = f"{registry.address}/team/web@{digest(IMAGE)}"
    prepare(alone, [component("api", "localhost/web:1.0"), component("db", pinned)])
    status, out, _ = run("outdated", "--exit-code", *JSON)
    assert (status, [each["state"] for each in json.loads(out)]) == (0, ["local", "pinned"])
    assert registry.asked == []


def test_a_pinned_image_with_a_tag_is_told_newer_versions(run: Run, alone: Node, registry: ImageRegistry) -> None:
    registry.put("team/web", "1.2.4", OTHER)
    prepare(alone, [component("api", f"{registry.address}/team/web:1.2.3@{digest(IMAGE)}")])
    (row,) = json.loads(run("outdated", *JSON).out)
    assert (row["state"], row["newest"]) == ("newer", "1.2.4")


def test_what_is_not_known_is_not_current(run: Run, alone: Node, registry: ImageRegistry) -> None:
    here = f"{registry.address}/team/web:latest"
    registry.put("team/web", "latest", IMAGE)
    away = f"127.0.0.1:{free_port()}/team/db:1.0"
    prepare(
        alone,
        [component("api", here), component("db", away), component("gone", f"{registry.address}/team/web:0.9.0")],
        image(here, made("api"), digests=(digest(IMAGE),)),
        image(away, made("db"), digests=(digest(IMAGE),)),
    )
    status, out, _ = run("outdated", "--exit-code", *JSON)
    api, db, gone = json.loads(out)
    assert status == 4
    assert (api["state"], db["state"]) == ("current", "unknown")
    assert "cannot be reached" in db["message"]
    # A tag that the registry does not have any more, and what it has in its place.
    assert (gone["state"], gone["newest"]) == ("newer", "1.2.3")
    assert gone["message"] == f"the registry has no {registry.address}/team/web:0.9.0"
    assert run("outdated", "web/api", "--exit-code").status == 0
    assert run("outdated", "web/db").status == 4


def test_a_component_without_an_image_on_its_node_is_unknown(run: Run, alone: Node, registry: ImageRegistry) -> None:
    prepare(alone, [component("job", f"{registry.address}/team/web:1.2.3")])
    status, out, _ = run("outdated", *JSON)
    assert (status, json.loads(out)[0]["message"]) == (4, "the node has no such image")


def test_tags_that_cannot_be_listed_leave_a_doubt(run: Run, alone: Node, registry: ImageRegistry) -> None:
    runs_web(alone, registry, digest(IMAGE))
    registry.first = lambda asked: Reply(403) if "tags" in asked.path else None
    status, out, _ = run("outdated", "--exit-code", *JSON)
    assert (status, json.loads(out)[0]["state"]) == (4, "unknown")


def test_a_registry_is_asked_once_for_the_whole_fleet(
    run: Run, both: tuple[Node, Node], registry: ImageRegistry
) -> None:
    for node in both:
        name = f"{registry.address}/team/web:1.2.3"
        parts = [component(f"c{number}", name) for number in range(5)]
        prepare(node, parts, image(name, *(made(each.component) for each in parts), digests=(digest(IMAGE),)))
    status, out, _ = run("outdated", "--exit-code", *JSON)
    assert (status, len(json.loads(out))) == (0, 10)
    asked = [(each.method, each.path) for each in registry.asked if each.path != "/v2/"]
    assert sorted(asked) == [("GET", "/v2/team/web/tags/list"), ("HEAD", "/v2/team/web/manifests/1.2.3")]


def test_a_node_that_does_not_answer_makes_it_incomplete(
    run: Run, both: tuple[Node, Node], registry: ImageRegistry
) -> None:
    rift, orion = both
    runs_web(rift, registry, digest(OTHER))
    orion.agent.prepared["GetStatusRequest"] = GRPCError(Status.UNAVAILABLE, "podman does not answer")
    status, out, err = run("outdated", "--exit-code", *JSON)
    assert (status, [each["node"] for each in json.loads(out)]) == (4, ["rift"])
    assert "orion" in err


def test_an_unknown_component_is_wrong_usage(run: Run, alone: Node, registry: ImageRegistry) -> None:
    runs_web(alone, registry)
    status, _, err = run("outdated", "web/apo")
    assert status == 2
    assert err.endswith("mcpctl: web has no component 'apo'; it has api; did you mean web/api?\n")


def test_a_login_that_is_refused_shows_no_password(
    run: Run, alone: Node, registry: ImageRegistry, tmp_path: Path
) -> None:
    runs_web(alone, registry, digest(IMAGE))
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry.address: {"auth": "bWU6cGxhbnRlZA=="}}}))

    def first(_: Asked) -> Reply:
        return Reply(401, headers={"WWW-Authenticate": "Basic realm=x"})

    registry.first = first
    status, out, err = run("outdated", "--debug", *JSON)
    (row,) = json.loads(out)
    assert (status, row["state"]) == (4, "unknown")
    assert "wrong user name or password" in row["message"]
    assert all(secret not in out + err for secret in ("planted", "bWU6cGxhbnRlZA"))


def test_nothing_deployed_is_said(run: Run, alone: Node, registry: ImageRegistry) -> None:  # noqa: ARG001
    status, out, err = run("outdated")
    assert (status, out) == (0, "")
    assert err.endswith("mcpctl: no services are deployed on rift\n")
