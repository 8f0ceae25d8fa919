"""Images in layouts and archives: what is read of them, and what is refused."""

import gzip
import json
import os
import subprocess
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mcpctl.errors import CliError, UsageError
from mcpctl.images.archive import Archive, open_archive
from mcpctl.images.content import Package
from mcpctl.images.platforms import Platform
from tests.support import oci_images
from tests.support.image_archives import (
    blob_name,
    docker_archive,
    foreign,
    layout,
    several_platforms,
    with_manifest,
    write_tar,
)
from tests.support.oci_images import ARCHITECTURE, Image, digest_of, image, layer

HERE = Platform("linux", ARCHITECTURE)
NAME = "localhost/web:v1"
BASE, APP, EMPTY = layer({"base": b"b" * 3000}), layer({"app": b"a" * 2000}), layer({})


def packed(path: Path, name: str = NAME, machine: Platform = HERE) -> Package:
    archive = open_archive(path, name)
    try:
        package = archive.package(machine, alone=False)
        for each in package.layers:
            assert digest_of(contents(archive, each.digest)) == each.digest
        return package
    finally:
        archive.close()


def contents(archive: Archive, digest: str) -> bytes:
    reading = archive.open(digest)
    try:
        return reading.at(0, reading.size)
    finally:
        reading.close()


def in_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def is_image(package: Package, made: Image) -> bool:
    return (
        package.id == made.id
        and [(each.media_type, each.content) for each in package.manifests] == list(made.manifests)
        and {each.digest for each in package.layers} == set(made.blobs)
        and {each.diff_id for each in package.layers} == set(made.diff_ids)
    )


@pytest.mark.parametrize(
    ("docker", "compression"), [(False, ""), (False, "gzip"), (False, "zstd"), (True, ""), (True, "gzip")]
)
def test_a_layout_is_read_as_it_is(tmp_path: Path, docker: bool, compression: str) -> None:
    made = image(layer({"a": b"a" * 9000}, compression), layer({}, compression), docker=docker)
    assert is_image(packed(write_tar(tmp_path / "x.tar", layout({NAME: made}))), made)
    assert is_image(packed(in_folder(tmp_path / "folder", layout({NAME: made}))), made)


def test_a_layer_that_is_there_twice_is_one_blob(tmp_path: Path) -> None:
    made = image(BASE, EMPTY, APP, EMPTY)
    package = packed(write_tar(tmp_path / "x.tar", layout({NAME: made})))
    assert [each.digest for each in package.layers] == [BASE.digest, EMPTY.digest, APP.digest]


def test_an_image_without_layers_is_one(tmp_path: Path) -> None:
    made = image()
    assert is_image(packed(write_tar(tmp_path / "x.tar", layout({"": made}))), made)
    nothing = with_manifest(made, lambda fields: fields.update(layers=None))
    assert packed(write_tar(tmp_path / "y.tar", layout({"": nothing}))).layers == ()


# -- several images, and several platforms


def test_of_several_images_the_one_with_the_name_is_taken(tmp_path: Path) -> None:
    one, other = image(BASE), image(APP)
    path = write_tar(tmp_path / "x.tar", layout({"localhost/db:v1": other, NAME: one}))
    assert packed(path).id == one.id
    with pytest.raises(UsageError, match=r"several images \(localhost/db:v1, localhost/web:v1\), and none of them is"):
        packed(path, "localhost/nothing:v1")


def test_the_only_image_is_taken_whatever_its_name(tmp_path: Path) -> None:
    made = image(BASE)
    assert packed(write_tar(tmp_path / "x.tar", layout({"localhost/db:v1": made}))).id == made.id


def test_a_name_may_be_the_tag_alone(tmp_path: Path) -> None:
    one, other = image(BASE), image(APP)
    assert packed(write_tar(tmp_path / "x.tar", layout({"v2": other, "v1": one}))).id == one.id


def test_the_nodes_platform_is_chosen_and_goes_with_its_list(tmp_path: Path) -> None:
    there = {
        ("arm", "v6"): image(BASE, architecture="arm"),
        ("arm", "v7"): image(APP, architecture="arm"),
        ("amd64", ""): image(BASE, APP, architecture="amd64"),
    }
    configs = {blob_name(each.config): each.config for each in there.values()}
    path = write_tar(tmp_path / "x.tar", layout({NAME: several_platforms(there)}) | configs)
    for machine, key in (("arm", "v7"), ("arm", "v6"), ("amd64", "")):
        package = packed(path, machine=Platform("linux", machine, key))
        assert package.id == there[machine, key].id
        assert [each.media_type for each in package.manifests] == [oci_images.OCI_INDEX, oci_images.OCI_MANIFEST]
    # A newer processor runs what is for an older one, not the other way round.
    assert packed(path, machine=Platform("linux", "arm", "v8")).id == there["arm", "v7"].id
    with pytest.raises(CliError, match="is for linux/arm/v6, linux/arm/v7, linux/amd64, but linux/arm/v5 is needed"):
        packed(path, machine=Platform("linux", "arm", "v5"))


def test_a_list_of_which_the_archive_has_one_platform(tmp_path: Path) -> None:
    made = image(BASE, listed=True)
    package = packed(write_tar(tmp_path / "x.tar", layout({NAME: made})))
    assert is_image(package, made)
    archive = open_archive(tmp_path / "x.tar", NAME)
    assert archive.diff_ids == {BASE.diff_id}
    assert len(archive.package(HERE, alone=True).manifests) == 1
    archive.close()


def test_what_is_not_what_podman_would_choose_goes_without_its_list(tmp_path: Path) -> None:
    old, new = image(BASE, architecture="arm"), image(APP, architecture="arm")
    files = layout({NAME: several_platforms({("arm", "v7"): new, ("arm", "v6"): old})})
    del files[blob_name(new.manifests[0][1])]
    path = write_tar(tmp_path / "x.tar", files | {blob_name(old.config): old.config})
    package = packed(path, machine=Platform("linux", "arm", "v7"))
    assert (package.id, len(package.manifests)) == (old.id, 1)
    assert len(packed(path, machine=Platform("linux", "arm", "v6")).manifests) == 2


def test_a_layout_of_several_platforms_without_a_list(tmp_path: Path) -> None:
    files = layout({"": image(BASE, architecture="amd64")})
    other = layout({"": image(APP, architecture="arm64")})
    listed = [json.loads(each["index.json"])["manifests"][0] for each in (files, other)]
    files |= other | {"index.json": json.dumps({"schemaVersion": 2, "manifests": listed}).encode()}
    path = write_tar(tmp_path / "x.tar", files)
    assert packed(path, machine=Platform("linux", "arm64", "v8")).layers[0].digest == APP.digest
    assert packed(path, machine=Platform("linux", "amd64")).layers[0].digest == BASE.digest


@pytest.mark.parametrize("form", [layout, docker_archive])
def test_an_image_for_another_platform_is_refused(tmp_path: Path, form: Any) -> None:
    made = image(BASE, architecture="s390x")
    path = write_tar(tmp_path / "x.tar", form({NAME: made}))
    with pytest.raises(CliError) as refused:
        packed(path)
    assert f"is for linux/s390x, but {HERE} is needed" in str(refused.value)
    assert f"`podman build --platform {HERE}` builds for it" in str(refused.value)


# -- what Docker writes


def test_an_old_archive_of_docker_gets_a_manifest(tmp_path: Path) -> None:
    made = image(BASE, APP, EMPTY, docker=True)
    package = packed(write_tar(tmp_path / "x.tar", docker_archive({NAME: made})))
    assert package.id == made.id
    assert [each.media_type for each in package.manifests] == [oci_images.DOCKER_MANIFEST]
    assert json.loads(package.manifests[0].content) == json.loads(made.manifests[0][1])


def test_layers_of_an_archive_of_docker_may_be_compressed(tmp_path: Path) -> None:
    made = image(layer({"a": b"a" * 9000}, "gzip"), docker=True)
    package = packed(write_tar(tmp_path / "x.tar", docker_archive({NAME: made})))
    assert json.loads(package.manifests[0].content) == json.loads(made.manifests[0][1])
    assert package.layers[0].unpacked == len(gzip.decompress(made.layers[0].content))


def test_links_of_an_archive_lead_to_its_own_files(tmp_path: Path) -> None:
    made = image(BASE, BASE, docker=True)
    files = docker_archive({NAME: made})
    (entry,) = json.loads(files["manifest.json"])
    first, second = entry["Layers"]
    del files[second]
    path = write_tar(tmp_path / "x.tar", files, {second: f"../{first}"})
    assert packed(path).id == made.id


def test_of_several_images_of_docker_the_one_with_the_name_is_taken(tmp_path: Path) -> None:
    one, other = image(BASE, docker=True), image(APP, docker=True)
    path = write_tar(tmp_path / "x.tar", docker_archive({"web:v1": one, "db:v1": other}))
    assert packed(path).id == one.id
    with pytest.raises(UsageError, match="none of them is localhost/none:v1"):
        packed(path, "localhost/none:v1")


def test_a_new_archive_of_docker_is_a_layout(tmp_path: Path) -> None:
    made = image(BASE, docker=True)
    path = write_tar(tmp_path / "x.tar", docker_archive({NAME: made}) | layout({NAME: made}))
    assert is_image(packed(path), made)


# -- foreign layers


def test_a_foreign_layer_that_is_there_is_sent_as_an_ordinary_one(tmp_path: Path) -> None:
    made = foreign(image(BASE, APP), 0)
    package = packed(write_tar(tmp_path / "x.tar", layout({NAME: made})))
    (manifest,) = package.manifests
    assert [each["mediaType"] for each in json.loads(manifest.content)["layers"]] == [oci_images.OCI_LAYER] * 2
    assert b"urls" not in manifest.content
    assert package.id == made.id


def test_a_foreign_layer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    made = foreign(image(BASE, APP), 0)
    files = layout({NAME: made})
    del files[blob_name(BASE.content)]
    with pytest.raises(CliError, match=r"layer 1, sha256:.* may only be fetched from https://maker\.example\.net"):
        packed(write_tar(tmp_path / "x.tar", files))


# -- lies and damage


@pytest.mark.parametrize("what", ["manifest", "config"])
def test_a_document_that_is_not_what_it_is_called_is_damaged(tmp_path: Path, what: str) -> None:
    made = image(BASE)
    files = layout({NAME: made})
    content = made.config if what == "config" else made.manifests[0][1]
    files[blob_name(content)] = content.replace(b"1", b"2", 1)
    with pytest.raises(CliError, match=rf"is damaged: it should be {digest_of(content)}, but is sha256:"):
        packed(write_tar(tmp_path / "x.tar", files))


def test_the_configuration_of_an_archive_of_docker_is_checked(tmp_path: Path) -> None:
    files = docker_archive({NAME: image(BASE, docker=True)})
    (config,) = [name for name in files if name.endswith(".json") and name != "manifest.json"]
    files[config] += b" "
    with pytest.raises(CliError, match="is damaged: its SHA-256 is"):
        packed(write_tar(tmp_path / "x.tar", files))


def test_a_layer_of_another_size_is_damaged(tmp_path: Path) -> None:
    files = layout({NAME: image(BASE)})
    files[blob_name(BASE.content)] += b"x"
    with pytest.raises(CliError, match=rf"layer 1, .* has {len(BASE.content) + 1} bytes and should have"):
        packed(write_tar(tmp_path / "x.tar", files))


def test_a_layer_that_is_missing_is_told(tmp_path: Path) -> None:
    files = layout({NAME: image(BASE, APP)})
    del files[blob_name(APP.content)]
    with pytest.raises(CliError, match=f"does not have layer 2, {APP.digest}: it is not whole"):
        packed(write_tar(tmp_path / "x.tar", files))


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "sha256:abc", "../x", "sha512:" + "0" * 128, ""])
def test_a_digest_is_never_a_path(tmp_path: Path, digest: str) -> None:
    made = with_manifest(image(BASE), lambda fields: fields["layers"][0].update(digest=digest))
    with pytest.raises(CliError, match="is not a digest that can be used"):
        packed(in_folder(tmp_path / "x", layout({NAME: made})))


def test_more_layers_than_the_configuration_names(tmp_path: Path) -> None:
    made = with_manifest(image(BASE), lambda fields: fields["layers"].append(fields["layers"][0]))
    with pytest.raises(CliError, match="has 2 layers, but its configuration names 1"):
        packed(write_tar(tmp_path / "x.tar", layout({NAME: made})))


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    made = with_manifest(image(BASE), lambda fields: fields.update(mediaType="application/vnd.cncf.helm.chart"))
    with pytest.raises(CliError, match="which is no image of a container"):
        packed(write_tar(tmp_path / "x.tar", layout({NAME: made})))
    with pytest.raises(UsageError, match="neither an OCI layout"):
        packed(write_tar(tmp_path / "y.tar", {"README": b"hello"}))
    (tmp_path / "z.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(CliError, match="is no tar"):
        packed(tmp_path / "z.tar")
    with pytest.raises(UsageError, match="does not exist"):
        packed(tmp_path / "nothing.tar")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"manifests": 1}', b"\xff\xfe", b"[" * 100_000])
def test_an_index_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CliError):
        packed(write_tar(tmp_path / "x.tar", {"oci-layout": b"{}", "index.json": content}))


def test_a_document_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"index\.json has 4194305 bytes"):
        packed(write_tar(tmp_path / "x.tar", {"index.json": b" " * (4 * 2**20 + 1)}))


def test_a_tar_that_was_cut_off_is_told(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", layout({NAME: image(layer({"a": b"a" * 100_000}))})).read_bytes()
    told = set()
    for length in range(512, len(whole) - 10_000, 4096):
        (tmp_path / "y.tar").write_bytes(whole[:length])
        with pytest.raises(CliError) as refused:
            packed(tmp_path / "y.tar")
        told.add(str(refused.value).partition("y.tar: ")[2][:20])
    assert "ends in the middle o" in told or "ends too early: it i" in told


@pytest.mark.parametrize("tool", ["gzip", "bzip2", "xz", "zstd"])
def test_a_compressed_tar_is_refused_with_what_unpacks_it(tmp_path: Path, tool: str) -> None:
    path = write_tar(tmp_path / "my image.tar", layout({NAME: image(BASE)}))
    packed_ = tmp_path / "my image.tar.z"
    with packed_.open("wb") as file:
        subprocess.run([tool, "-c", str(path)], stdout=file, check=True, timeout=60)
    with pytest.raises(UsageError, match=rf"is compressed with {tool}, .*`\w+.* '.*/my image\.tar\.z'` unpacks it"):
        packed(packed_)


def test_names_that_lead_out_of_an_archive_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{}")
    inside = tmp_path / "a/b/x.tar"
    inside.parent.mkdir(parents=True)
    write_tar(inside, {"../index.json": b"{}", "/index.json": b"{}"}, {"manifest.json": "../../index.json"})
    with pytest.raises(UsageError, match="neither an OCI layout"):
        packed(inside)


@pytest.mark.parametrize("name", ["../secret.gz", "/{}/secret.gz", "layers/../../secret.gz", "layer\0.tar"])
@pytest.mark.parametrize("key", ["Config", "Layers"])
def test_names_that_lead_out_of_a_folder_are_nobodys(tmp_path: Path, name: str, key: str) -> None:
    (tmp_path / "secret.gz").write_bytes(gzip.compress(b"a key of somebody's"))
    folder = in_folder(tmp_path / "image", docker_archive({NAME: image(BASE)}))
    (entry,) = json.loads((folder / "manifest.json").read_text())
    outside = name.format(str(tmp_path)[1:])
    entry[key] = outside if key == "Config" else [outside]
    (folder / "manifest.json").write_text(json.dumps([entry]))
    with pytest.raises(CliError, match=r"has no '.*': that would be outside of it"):
        open_archive(folder, NAME)


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither an OCI layout"):
        packed(write_tar(tmp_path / "x.tar", {}, {"index.json": "manifest.json", "manifest.json": "index.json"}))


def test_a_tar_of_everything_is_no_image(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for number in range(10_001):
            tar.addfile(tarfile.TarInfo(str(number)))
    with pytest.raises(CliError, match="has more than 10000 files"):
        packed(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [-512, 2**20 + 1, 2**62, 2**80])
def test_a_tar_with_a_size_that_lies_is_damaged(tmp_path: Path, kind: bytes, size: int) -> None:
    path = write_tar(tmp_path / "x.tar", layout({NAME: image(BASE)}))
    with tarfile.open(path) as tar:
        place = tar.getmembers()[1].offset
    content = bytearray(path.read_bytes())
    # Base 256, as GNU has it for what octal digits cannot say.
    content[place + 124 : place + 136] = (size + (1 << 95 if size >= 0 else 0)).to_bytes(12, "big", signed=size < 0)
    content[place + 156 : place + 157] = kind
    content[place + 148 : place + 156] = b" " * 8
    total = sum(content[place : place + 512])
    content[place + 148 : place + 156] = b"%06o\0 " % total
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CliError, match=r"damaged|not whole|cannot be read|too long"):
            packed(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_file_that_has_become_shorter_is_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", layout({NAME: image(BASE)}))
    archive = open_archive(path, NAME)
    reading = archive.open(BASE.digest)
    path.write_bytes(b"")
    with pytest.raises(CliError, match="has become shorter while it was read"):
        reading.at(0, 10)
    archive.close()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not a file that can be read anywhere"):
        packed(tmp_path / "pipe")
