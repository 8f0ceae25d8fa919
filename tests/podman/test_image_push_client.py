"""`mcpctl image push` from one podman to another: what travels, what it survives, and that nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.podman.node import Node
from tests.podman.workstation import Workstation, beside
from tests.support import oci_images
from tests.support.image_archives import foreign, layout, write_tar
from tests.support.oci_images import Image, layer
from tests.support.waiting import until

MIB = 2**20
NAME = "localhost/carried"


@pytest.fixture
def here(node: Node) -> Iterator[Workstation]:
    with beside(node) as found:
        yield found
        assert found.left == []
        assert not {each for each in images(node) if each.startswith("127.0.0.1")}
    for each in images(node):
        if each.startswith(NAME):
            node.podman("rmi", "--force", each)


def images(node: Node) -> set[str]:
    return set(node.podman("images", "--format", "{{.Repository}}:{{.Tag}}").split())


def image_id(node: Node, reference: str) -> str:
    return node.podman("image", "inspect", "--format", "{{.Id}}", reference).strip()


def test_of_an_image_whose_last_layer_changed_only_that_is_sent(here: Workstation, node: Node) -> None:
    base = {name: os.urandom(8 * MIB) for name in ("one", "two", "three")}
    first = here.build(f"{NAME}:1", {**base, "app": os.urandom(MIB)})
    here.define("carried", f"{NAME}:1")
    row = here.push("carried")
    assert row["id"] == first == image_id(node, f"{NAME}:1")
    assert 25 * MIB < row["sent_bytes"] < here.tap.sent < 26 * MIB
    assert row["present_bytes"] == 0

    second = here.build(f"{NAME}:2", {**base, "app": os.urandom(MIB)})
    here.define("carried", f"{NAME}:2")
    before = here.tap.sent
    row = here.push("carried")
    assert row["id"] == second == image_id(node, f"{NAME}:2")
    assert MIB < row["sent_bytes"] < here.tap.sent - before < 1.2 * MIB
    assert row["present_bytes"] > 24 * MIB

    before = here.tap.sent
    assert here.push("carried")["sent_bytes"] == 0
    assert here.tap.sent - before < 64 * 1024


def test_an_image_of_dockers_format_stays_what_it_is(here: Workstation, node: Node) -> None:
    made = here.build(f"{NAME}:docker", {"app": os.urandom(MIB)}, "--format", "docker")
    here.define("carried", f"{NAME}:docker")
    assert here.push("carried")["id"] == made == image_id(node, f"{NAME}:docker")


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive", "oci-dir"])
def test_what_podman_has_saved_is_brought_from_there(here: Workstation, node: Node, tmp_path: Path, form: str) -> None:
    made = here.build(f"{NAME}:saved", {"one": os.urandom(MIB), "two": bytes(MIB)})
    path = tmp_path / "saved"
    here.podman("save", "--quiet", "--format", form, "--output", str(path), f"{NAME}:saved")
    here.podman("rmi", "--all", "--force")
    here.define("carried", f"{NAME}:saved")
    assert here.push("carried", "--from", str(path))["id"] == made == image_id(node, f"{NAME}:saved")


BASE = layer({"base": os.urandom(1000)})
MADE = {
    "gzip": oci_images.image(layer({"a": b"a" * 90_000}, "gzip")),
    "zstd": oci_images.image(layer({"b": b"b" * 90_000}, "zstd")),
    "empty": oci_images.image(layer({}), BASE, layer({})),
    "twice": oci_images.image(BASE, BASE),
    "schema-2": oci_images.image(layer({"c": b"c"}, "gzip"), BASE, docker=True),
    "listed": oci_images.image(BASE, layer({"d": b"d"}), listed=True),
    "listed-schema-2": oci_images.image(BASE, layer({"e": b"e"}), listed=True, docker=True),
    "foreign": foreign(oci_images.image(layer({"f": b"f"}), BASE), 0),
}


@pytest.mark.parametrize("kind", MADE)
def test_every_kind_of_image_arrives(here: Workstation, node: Node, tmp_path: Path, kind: str) -> None:
    made = MADE[kind]
    here.define("carried", f"{NAME}:{kind}")
    path = write_tar(tmp_path / "image.tar", layout({"": made}))
    assert here.push("carried", "--from", str(path))["id"] == made.id == image_id(node, f"{NAME}:{kind}")


def test_an_image_that_lies_is_refused_and_not_there(here: Workstation, node: Node, tmp_path: Path) -> None:
    made: Image = oci_images.image(layer({"lie": os.urandom(MIB)}))
    files = layout({"": made})
    name = f"blobs/{made.layers[0].digest.replace(':', '/')}"
    files[name] = files[name][:-1] + b"x"
    here.define("carried", f"{NAME}:lie")
    path = write_tar(tmp_path / "image.tar", files)
    done = here.mcpctl("image", "push", "carried", "--from", str(path), status=2)
    assert "push the image again" in done.stderr
    assert f"{NAME}:lie" not in images(node)


def test_lost_connections_cost_little(here: Workstation, node: Node) -> None:
    made = here.build(f"{NAME}:lost", {"one": os.urandom(8 * MIB), "two": os.urandom(8 * MIB)})
    here.define("carried", f"{NAME}:lost")
    here.tap.breaks_at = [3 * MIB, 6 * MIB, 12 * MIB]
    row = here.push("carried")
    assert row["id"] == made == image_id(node, f"{NAME}:lost")
    assert here.tap.connections == 4
    # What was on its way, in the buffers of a TLS connection and of the kernel.
    assert here.tap.sent < 16 * MIB + 3 * 5 * MIB


def test_the_next_push_goes_on_where_a_killed_one_was(here: Workstation, node: Node) -> None:
    made = here.build(f"{NAME}:killed", {"one": os.urandom(MIB), "two": os.urandom(32 * MIB)})
    here.define("carried", f"{NAME}:killed")
    here.tap.holds_at = 20 * MIB
    program = subprocess.Popen(
        [sys.executable, "-m", "mcpctl", "image", "push", "carried"],
        env=here.environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: here.tap.sent >= 20 * MIB)
        assert len(here.left) == 1
    finally:
        program.kill()
        program.wait()
    assert f"{NAME}:killed" not in images(node)
    here.tap.holds_at = 0
    with beside(node) as fresh:
        fresh.environment["PATH"] = here.environment["PATH"]
        fresh.environment["XDG_CACHE_HOME"] = here.environment["XDG_CACHE_HOME"]
        fresh.define("carried", f"{NAME}:killed")
        assert fresh.push("carried")["id"] == made == image_id(node, f"{NAME}:killed")


def test_what_was_pushed_is_deployed_without_a_registry(here: Workstation, node: Node, tmp_path: Path) -> None:
    path = tmp_path / "demo.tar"
    with node.podman_alone():
        node.podman("save", "--quiet", "--output", str(path), "localhost/mcp-demo:v1")
    here.define("carried", f"{NAME}:demo")
    here.mcpctl("deploy", "carried", status=1)
    here.push("carried", "--from", str(path))
    here.mcpctl("deploy", "carried")
    assert "carried-app" in node.containers()
    event = [each for each in node.json("events", "carried") if each["kind"] == "pushed"][-1]
    assert (event["component"], f"{NAME}:demo" in event["message"]) == ("app", True)
