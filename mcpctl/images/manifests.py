"""Manifests and configurations (OCI image-spec, and Docker's image manifest version 2, schema 2): read and made.

Nothing that a file says about itself is believed; a node and its podman check all of it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from mcpctl.errors import CliError
from mcpctl.images.content import Document, Layer
from mcpctl.images.platforms import Platform
from protos.images import DOCKER_MANIFEST, LISTS, MAX_LAYERS, OCI_INDEX, OCI_MANIFEST, digest_of, is_digest

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
# Layers that are to be fetched from where their maker allows it, and what they are when they are here.
_FOREIGN = {
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "application/vnd.oci.image.layer.v1.tar",
}

T = TypeVar("T")


class PlatformText(msgspec.Struct, frozen=True):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """What a manifest or an index says of another document or a layer. ``size`` in bytes."""

    digest: str
    size: int = -1
    media_type: str = ""
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: PlatformText | None = None

    @property
    def is_foreign(self) -> bool:
        return bool(self.urls) or self.media_type.startswith(tuple(_FOREIGN))

    @property
    def for_platform(self) -> Platform:
        said = self.platform or PlatformText()
        return Platform(said.os, said.architecture, said.variant)


class Index(msgspec.Struct, frozen=True, rename="camel"):
    manifests: list[Descriptor] | None = None
    media_type: str = ""


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    config: Descriptor
    layers: list[Descriptor] | None = None
    media_type: str = ""


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: list[str] | None = None


class Config(msgspec.Struct, frozen=True):
    """What of an image's configuration matters here."""

    rootfs: _RootFs
    os: str = ""
    architecture: str = ""
    variant: str = ""

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)

    @property
    def diff_ids(self) -> list[str]:
        return self.rootfs.diff_ids or []


def decoded(content: bytes, kind: type[T], what: str) -> T:
    """Raises CliError: ``what`` is not as it must be."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CliError(f"{what} is not valid: {error}") from None


def check(content: bytes, said: Descriptor, what: str) -> None:
    """Raises CliError when ``content`` is not what a descriptor says."""
    if digest_of(content) != said.digest:
        raise CliError(f"{what} is damaged: it should be {said.digest}, but is {digest_of(content)}")


def check_config(content: bytes, manifest: Manifest, what: str) -> Config:
    """The configuration that ``manifest`` is of. Raises CliError."""
    check(content, manifest.config, f"{what}: the image's configuration")
    config = decoded(content, Config, f"{what}: the image's configuration")
    layers = manifest.layers or []
    if len(layers) != len(config.diff_ids):
        raise CliError(
            f"{what}: the image has {len(layers)} layers, but its configuration names {len(config.diff_ids)}: "
            "it is damaged, or no container image"
        )
    if len(layers) > MAX_LAYERS:
        raise CliError(f"{what}: the image has {len(layers)} layers; more than {MAX_LAYERS} cannot be used")
    for each in (*config.diff_ids, *(layer.digest for layer in layers)):
        if not is_digest(each):
            raise CliError(f"{what}: {each!r} is not a digest that can be used: sha256:HEX")
    return config


def media_type(content: bytes, said: str, what: str) -> str:
    """Of a manifest or an index; what it says itself counts more than what is ``said``. Raises CliError."""
    fields = decoded(content, dict[str, Any], what)
    kind = fields.get("mediaType") or said
    if not kind:
        kind = OCI_INDEX if "manifests" in fields else OCI_MANIFEST
    if kind not in (*LISTS, OCI_MANIFEST, DOCKER_MANIFEST):
        raise CliError(f"{what} is of the type {kind!r}, which is no image of a container, or one of the oldest form")
    return str(kind)


def layers(
    manifest: Manifest,
    config: Config,
    size_of: Callable[[str], int | None],
    unpacked: Callable[[str, int], int],
    what: str,
) -> tuple[list[Layer], bool]:
    """Each blob once, in order; and whether one of them is foreign.

    ``size_of``: of the blobs that are here. ``unpacked``: what one of that size takes when it is.

    Raises CliError for what is missing, or of another size.
    """
    found: dict[str, Layer] = {}
    is_foreign = False
    for number, (said, diff_id) in enumerate(zip(manifest.layers or [], config.diff_ids, strict=True), 1):
        size = size_of(said.digest)
        if size is None and said.is_foreign:
            raise CliError(
                f"{what} does not have layer {number}, {said.digest}: the image says that it may only be fetched from "
                f"{', '.join(said.urls or ['elsewhere'])}; the node's own podman must pull this image"
            )
        if size is None:
            raise CliError(f"{what} does not have layer {number}, {said.digest}: it is not whole")
        if said.size not in (-1, size):
            raise CliError(
                f"{what} is damaged: layer {number}, {said.digest}, has {size} bytes and should have {said.size}"
            )
        is_foreign = is_foreign or said.is_foreign
        found.setdefault(said.digest, Layer(said.digest, size, diff_id, unpacked(said.digest, size)))
    return list(found.values()), is_foreign


def with_ordinary_layers(document: Document) -> Document:
    """The manifest with its foreign layers as what they are when somebody has them."""
    fields = msgspec.json.decode(document.content)
    for each in fields.get("layers") or []:
        each.pop("urls", None)
        kind = each.get("mediaType", "")
        for foreign, ordinary in _FOREIGN.items():
            if kind.startswith(foreign):
                each["mediaType"] = ordinary + kind.removeprefix(foreign)
    return Document(document.media_type, msgspec.json.encode(fields))


def made_of(config: bytes, blobs: Sequence[tuple[Layer, bool]]) -> Document:
    """A schema 2 manifest for what Docker archives have, whose configurations are Docker's own.

    ``blobs``: every layer in order, also when it is there twice; and whether it is compressed with gzip.
    """
    fields = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": _DOCKER_CONFIG, "size": len(config), "digest": digest_of(config)},
        "layers": [
            {
                "mediaType": _DOCKER_LAYER + (".gzip" if is_compressed else ""),
                "size": layer.size,
                "digest": layer.digest,
            }
            for layer, is_compressed in blobs
        ],
    }
    return Document(DOCKER_MANIFEST, msgspec.json.encode(fields))
