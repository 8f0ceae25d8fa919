"""What an image is made of, as whoever pushes it says: manifests and a configuration, checked against each other.

Sources: OCI image-spec (manifest.md, image-index.md), and docker's "Image Manifest V 2, Schema 2".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from mcpd.errors import InvalidRequestError
from protos import grammar
from protos.images import LISTS, MANIFESTS, MAX_DOCUMENT_BYTES, MAX_LAYERS, digest_of, is_digest

T = TypeVar("T")

# What a file can have (ssize_t), and podman can count (int64).
_LARGEST_LAYER = 2**63 - 1


class Manifest(NamedTuple):
    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.content)


class Reference(NamedTuple):
    """The name that an image gets; ``digest``: one that its manifest must have, or ""."""

    repository: str
    tag: str
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


class Content(msgspec.Struct, frozen=True):
    """All of an image but its layers. ``manifests`` by digest, the outermost first; ``layers``: sizes, by digest.

    ``unpacked``: bytes that the layers which the node lacks take there, as far as is known.
    """

    manifests: Mapping[str, Manifest]
    config: bytes
    config_digest: str
    layers: Mapping[str, int]
    unpacked: int = 0

    @property
    def id(self) -> str:
        return self.config_digest.partition(":")[2]


class _Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    digest: str
    size: int
    urls: tuple[str, ...] | None = None


class _Image(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int
    config: _Descriptor
    layers: tuple[_Descriptor, ...] | None = None


class _Listed(msgspec.Struct, frozen=True):
    digest: str


class _List(msgspec.Struct, frozen=True):
    manifests: tuple[_Listed, ...]


def check_digest(text: str) -> str:
    """Raises InvalidRequestError."""
    if not is_digest(text):
        raise InvalidRequestError(f"{grammar.quoted(text)} is not a digest: sha256: and 64 hexadecimal digits")
    return text


def reference(text: str) -> Reference:
    """Raises InvalidRequestError for what is no image reference, and for one that leaves no name to give."""
    try:
        grammar.image(text)
    except ValueError as error:
        raise InvalidRequestError(f"reference: {error}") from None
    name, _, digest = text.partition("@")
    folder, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    if digest and not colon:
        raise InvalidRequestError(
            f"reference: {text} has a digest and no tag, so it gives an image no name to keep it by; add a tag: "
            f"{name}:TAG@{digest}"
        )
    return Reference(folder + slash + last, tag or "latest", check_digest(digest) if digest else "")


def examine(manifests: Sequence[Manifest], config: bytes, unpacked: int, wanted: Reference) -> Content:
    """Raises InvalidRequestError for what no image is made of, and for one that is not the wanted one."""
    for what, document in (("the configuration", config), *(("a manifest", each.content) for each in manifests)):
        if len(document) > MAX_DOCUMENT_BYTES:
            raise InvalidRequestError(f"{what} has {len(document)} bytes; at most {MAX_DOCUMENT_BYTES} are accepted")
    for each in manifests:
        if each.media_type not in MANIFESTS | LISTS:
            raise InvalidRequestError(
                f"a manifest is of the type {grammar.quoted(each.media_type)}; OCI images and indexes can be pushed, "
                "and docker's manifests and lists of schema 2"
            )
    found = {each.digest: each for each in manifests}
    image = _decoded(_innermost(manifests).content, _Image, "the manifest")
    if image.config.digest != digest_of(config) or image.config.size != len(config):
        raise InvalidRequestError(f"the configuration is not that of the manifest, {image.config.digest[:80]}")
    if wanted.digest and wanted.digest not in found:
        raise InvalidRequestError(
            f"the reference asks for {wanted.digest}, and the image is {', '.join(found)}; name it in the definition "
            "without the digest, or with its own"
        )
    return Content(found, config, image.config.digest, _layers(image.layers or ()), unpacked)


def _innermost(manifests: Sequence[Manifest]) -> Manifest:
    """The image's own manifest. Raises InvalidRequestError."""
    kinds = [each.media_type in LISTS for each in manifests]
    if kinds == [False]:
        return manifests[0]
    if kinds != [True, False]:
        raise InvalidRequestError("an image has one manifest, or a list of manifests and one of those")
    outer, inner = manifests
    if inner.digest not in {each.digest for each in _decoded(outer.content, _List, "the list of manifests").manifests}:
        raise InvalidRequestError(f"the list of manifests does not have the image's, {inner.digest}")
    return inner


def _layers(described: Sequence[_Descriptor]) -> Mapping[str, int]:
    if len(described) > MAX_LAYERS:
        raise InvalidRequestError(f"the image has {len(described)} layers; at most {MAX_LAYERS} are accepted")
    sizes: dict[str, int] = {}
    for each in described:
        check_digest(each.digest)
        if each.urls:
            raise InvalidRequestError(f"the layer {each.digest} is kept elsewhere (urls), which cannot be pushed")
        if not 0 <= each.size <= _LARGEST_LAYER or sizes.setdefault(each.digest, each.size) != each.size:
            raise InvalidRequestError(f"the manifest has a wrong size for the layer {each.digest}")
    return sizes


def _decoded(content: bytes, of: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(content, type=of)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"{what} cannot be read: {error}") from None
