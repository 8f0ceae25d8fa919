"""Images made by hand: manifests, configurations and layers, as bytes (OCI image-spec, and docker's schema 2)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

# This machine, as an image's configuration names it.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class Layer(NamedTuple):
    """``content``: as it travels; ``diff_id``: the digest of the tar itself; ``compression``: "", "gzip" or "zstd"."""

    content: bytes
    diff_id: str
    compression: str = ""

    @property
    def digest(self) -> str:
        return digest_of(self.content)


class Image(NamedTuple):
    """``manifests``: media types and contents, the outermost first; ``blobs``: the layers, by digest."""

    manifests: tuple[tuple[str, bytes], ...]
    config: bytes
    layers: tuple[Layer, ...]

    @property
    def id(self) -> str:
        return hashlib.sha256(self.config).hexdigest()

    @property
    def blobs(self) -> dict[str, bytes]:
        return {each.digest: each.content for each in self.layers}

    @property
    def diff_ids(self) -> list[str]:
        return [each.diff_id for each in self.layers]

    @property
    def digest(self) -> str:
        """Of the outermost manifest."""
        return digest_of(self.manifests[0][1])


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(files: Mapping[str, bytes], compression: str = "") -> Layer:
    """A layer with these files (none: an empty tar), compressed as said; zstd needs the program of that name."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    plain = written.getvalue()
    return Layer(_compressed(plain, compression), digest_of(plain), compression)


def image(
    *layers: Layer,
    docker: bool = False,
    listed: bool = False,
    labels: Mapping[str, str] | None = None,
    architecture: str = ARCHITECTURE,
) -> Image:
    """``docker``: schema 2 and not OCI; ``listed``: found by an index, which has a manifest of another platform too."""
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/run"], "Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "by hand"} for _ in layers],
            "created": "2026-01-01T00:00:00Z",
        }
    )
    kind, config_kind = (DOCKER_MANIFEST, DOCKER_CONFIG) if docker else (OCI_MANIFEST, OCI_CONFIG)
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": _descriptor(config_kind, config),
            "layers": [_descriptor(_layer_kind(each.compression, docker=docker), each.content) for each in layers],
        }
    )
    manifests = ((kind, manifest),)
    if listed:
        other = "arm64" if architecture != "arm64" else "amd64"
        index_kind = DOCKER_LIST if docker else OCI_INDEX
        index = _json(
            {
                "schemaVersion": 2,
                "mediaType": index_kind,
                "manifests": [
                    _descriptor(kind, b"{}") | {"platform": {"os": "linux", "architecture": other}},
                    _descriptor(kind, manifest) | {"platform": {"os": "linux", "architecture": architecture}},
                ],
            }
        )
        manifests = ((index_kind, index), *manifests)
    return Image(manifests, config, layers)


def write_layout(made: Image, folder: Path, name: str = "") -> None:
    """An OCI layout (image-spec, image-layout.md) with the image, whose outermost manifest has ``name``, if any."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for content in (*made.blobs.values(), made.config, *(each for _, each in made.manifests)):
        (blobs / hashlib.sha256(content).hexdigest()).write_bytes(content)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    kind, outermost = made.manifests[0]
    found = _descriptor(kind, outermost)
    if name:
        found["annotations"] = {"org.opencontainers.image.ref.name": name}
    (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [found]}))


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


def _layer_kind(compression: str, *, docker: bool) -> str:
    if docker:
        return DOCKER_LAYER + (f".{compression}" if compression else "")
    return OCI_LAYER + (f"+{compression}" if compression else "")


def _compressed(plain: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(plain, mtime=0)
    if compression == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=plain, stdout=subprocess.PIPE, check=True, timeout=60).stdout
    return plain


def _json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
