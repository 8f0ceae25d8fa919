"""What an image is made of: checked before podman is asked for anything; and whether a disk has room for it."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcpd.changes.images import content, room
from mcpd.changes.images.blob import MAX_DATA_BYTES, unpacked
from mcpd.changes.images.content import Content, Manifest, Reference
from mcpd.errors import InvalidRequestError
from protos.images import MAX_DOCUMENT_BYTES, digest_of
from tests.support import oci_images
from tests.support.oci_images import Image, image, layer

APP = Reference("localhost/app", "v1")
ZEROS = f"sha256:{64 * '0'}"
TWO = image(layer({"a": b"1"}), layer({"b": b"2"}, "gzip"))


def examined(made: Image, wanted: Reference = APP) -> Content:
    return content.examine([Manifest(*each) for each in made.manifests], made.config, 0, wanted)


def changed(change: Callable[[Any], None], made: Image = TWO) -> Image:
    """``made`` with another (innermost) manifest."""
    kind, text = made.manifests[-1]
    manifest = json.loads(text)
    change(manifest)
    return made._replace(manifests=((kind, json.dumps(manifest).encode()),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost/app:v1", APP),
        ("app", Reference("app", "latest")),
        ("registry.example:5000/a/b", Reference("registry.example:5000/a/b", "latest")),
        ("registry.example:5000/a/b:1.0", Reference("registry.example:5000/a/b", "1.0")),
        (f"r.example/a:1@{ZEROS}", Reference("r.example/a", "1", ZEROS)),
    ],
)
def test_a_reference_is_a_repository_a_tag_and_perhaps_a_digest(text: str, expected: Reference) -> None:
    assert content.reference(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not an image reference"),
        ("UPPER", "is not an image reference"),
        ("a:b:c", "is not an image reference"),
        (f"r.example:5000/a@{ZEROS}", f"add a tag: r.example:5000/a:TAG@{ZEROS}"),
        (f"a:1@sha512:{128 * '0'}", "is not a digest: sha256:"),
    ],
)
def test_what_names_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        content.reference(text)


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_an_image_is_known_by_its_configuration(*, docker: bool, listed: bool) -> None:
    made = image(*TWO.layers, docker=docker, listed=listed)
    found = examined(made)
    assert found.id == made.id
    assert found.layers == {each.digest: len(each.content) for each in made.layers}
    assert next(iter(found.manifests)) == made.digest
    assert [each.content for each in found.manifests.values()] == [text for _, text in made.manifests]


def test_a_layer_may_be_there_twice_and_an_image_may_have_none() -> None:
    same = layer({"a": b"1"})
    assert examined(image(same, same)).layers == {same.digest: len(same.content)}
    assert examined(image()).layers == {}


def test_a_reference_with_a_digest_takes_the_image_of_that_name_only() -> None:
    made = image(*TWO.layers, listed=True)
    for _, text in made.manifests:
        assert examined(made, APP._replace(digest=digest_of(text))).id == made.id
    with pytest.raises(InvalidRequestError, match=f"asks for {ZEROS}, and the image is {made.digest}"):
        examined(made, APP._replace(digest=ZEROS))


INDEX, INNER = image(*TWO.layers, listed=True).manifests
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
WRONG = {
    "no manifest": (TWO._replace(manifests=()), "one manifest, or a list"),
    "only a list": (TWO._replace(manifests=(INDEX,)), "one manifest, or a list"),
    "two images": (TWO._replace(manifests=(INNER, INNER)), "one manifest, or a list"),
    "three": (TWO._replace(manifests=(INDEX, INNER, INNER)), "one manifest, or a list"),
    "the wrong way round": (TWO._replace(manifests=(INNER, INDEX)), "one manifest, or a list"),
    "a list of others": (
        image(layer({"x": b""}))._replace(manifests=(INDEX, *image(layer({"x": b""})).manifests)),
        "does not have the image's",
    ),
    "schema 1": (TWO._replace(manifests=((SCHEMA_1, INNER[1]),)), "is of the type .*; OCI images and indexes"),
    "no type": (TWO._replace(manifests=(("", INNER[1]),)), "is of the type"),
    "no JSON": (TWO._replace(manifests=((INNER[0], b"{"),)), "the manifest cannot be read"),
    "no text": (TWO._replace(manifests=((INNER[0], b"\xff\xfe"),)), "the manifest cannot be read"),
    "nested": (TWO._replace(manifests=((INNER[0], b"[" * 100_000),)), "the manifest cannot be read"),
    "a list that is none": (TWO._replace(manifests=((INDEX[0], b"{}"), INNER)), "the list of manifests cannot be read"),
    "another configuration": (TWO._replace(config=TWO.config + b" "), "is not that of the manifest"),
    "a configuration of another size": (changed(lambda it: it["config"].update(size=1)), "is not that of the manifest"),
    "no digest": (changed(lambda it: it["layers"][0].update(digest="sha256:abc")), "is not a digest"),
    "a path": (changed(lambda it: it["layers"][0].update(digest="sha256:../../etc")), "is not a digest"),
    "a size below 0": (changed(lambda it: it["layers"][0].update(size=-1)), "wrong size for the layer"),
    "a size that no file has": (changed(lambda it: it["layers"][0].update(size=2**63)), "wrong size for the layer"),
    "a size that is no number of bytes": (
        changed(lambda it: it["layers"][0].update(size=10**400)),
        "wrong size for the layer",
    ),
    "two sizes": (
        changed(lambda it: it["layers"].append(it["layers"][0] | {"size": 1})),
        "wrong size for the layer",
    ),
    "elsewhere": (changed(lambda it: it["layers"][0].update(urls=["http://x.example"])), "is kept elsewhere"),
    "too many": (
        changed(lambda it: it.update(layers=it["layers"] * 501)),
        "the image has 1002 layers; at most 1000",
    ),
    "a large configuration": (
        TWO._replace(config=bytes(MAX_DOCUMENT_BYTES + 1)),
        "the configuration has 4194305 bytes",
    ),
    "a large manifest": (
        TWO._replace(manifests=((INNER[0], bytes(MAX_DOCUMENT_BYTES + 1)),)),
        "a manifest has 4194305 bytes",
    ),
}


@pytest.mark.parametrize(("made", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_image_is_refused_in_words(made: Image, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        examined(made)


def test_data_is_unpacked_and_no_more_than_there_may_be() -> None:
    data = b"a" * 1000
    assert unpacked(zlib.compress(data), 1000) == data
    assert unpacked(zlib.compress(b""), 1000) == b""
    with pytest.raises(InvalidRequestError, match="more than the 999 bytes that may follow"):
        unpacked(zlib.compress(data), 999)
    # 4 GiB, of which nobody has room for more than a message's worth.
    with pytest.raises(InvalidRequestError, match=f"more than the {MAX_DATA_BYTES} bytes"):
        unpacked(zlib.compress(bytes(MAX_DATA_BYTES + 1)), 2**40)


@pytest.mark.parametrize("data", [b"", b"abc", zlib.compress(b"abc")[:-1], zlib.compress(b"abc") + b"x"])
def test_what_is_not_one_stream_of_zlibs_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="zlib's"):
        unpacked(data, 1000)


def test_an_image_that_does_not_fit_is_refused_with_what_helps(tmp_path: Path) -> None:
    there, other = tmp_path / "storage", tmp_path / "tmp"
    there.mkdir()
    other.mkdir()
    mib = 2**20
    assert room.shortage([room.Need(there, mib, "images"), room.Need(other, mib, "layers")], "n1") == ""
    needs = [room.Need(there, 2**60, "images", has_images=True), room.Need(other, mib, "layers")]
    words = room.shortage(needs, "n1")
    assert " are free where 1073741824.0 GiB are needed, for " in words
    assert f"{there} (1073741824.0 GiB, images) and {other} (1.0 MiB, layers); `mcpctl image prune --node n1`" in words


def test_pruning_is_no_advice_for_a_disk_without_images(tmp_path: Path) -> None:
    words = room.shortage([room.Need(tmp_path, 2**60, "layers")], "n1")
    assert "; make room there, or set TMPDIR" in words
    assert "prune" not in words


def test_room_is_added_up_on_one_filesystem(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    each = free * 2 // 3
    assert room.shortage([room.Need(tmp_path, each, "images")], "n1") == ""
    assert room.shortage([room.Need(tmp_path, each, "images"), room.Need(tmp_path, each, "layers")], "n1")


def test_what_cannot_be_looked_at_is_taken_to_have_room() -> None:
    assert room.shortage([room.Need(Path("/nowhere/at/all"), 2**60, "images")], "n1") == ""


def test_the_images_of_the_tests_are_what_they_say() -> None:
    made = image(layer({"a": b"1"}, "gzip"), listed=True)
    assert made.layers[0].diff_id == layer({"a": b"1"}).digest != made.layers[0].digest
    assert oci_images.digest_of(made.config) == f"sha256:{made.id}"
