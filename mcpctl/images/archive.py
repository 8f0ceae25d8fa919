"""An image in a file or folder: an OCI layout (OCI image-spec, image-layout.md), or what `docker save` writes."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mcpctl.errors import CliError, UsageError
from mcpctl.images import manifests, platforms
from mcpctl.images.content import Document, Layer, Package, Reading
from mcpctl.images.files import Files, open_files
from mcpctl.images.manifests import Descriptor, Index, Manifest
from mcpctl.images.names import is_same
from mcpctl.images.platforms import Platform
from protos.images import LISTS, MAX_DOCUMENT_BYTES, digest_of, is_digest

_INDEX, _LAYOUT, _DOCKER = "index.json", "oci-layout", "manifest.json"
_NAME = "org.opencontainers.image.ref.name"
# containerd's: the whole name; the other one is the tag alone then.
_WHOLE_NAME = "io.containerd.image.name"
# BuildKit's attestations are no images.
_ATTESTATION = "vnd.docker.reference.type"
_GZIP = b"\x1f\x8b"
_HASHED_AT_ONCE = 1 << 20
# Names that an error lists.
_NAMED = 5
_HEX = 64
_ISIZE = 4


class Archive(ABC):
    """One image of the archive, for one platform or for several."""

    def __init__(self, files: Files) -> None:
        self._files = files

    @property
    @abstractmethod
    def diff_ids(self) -> frozenset[str]:
        """Of all platforms that it has."""

    @abstractmethod
    def package(self, machine: Platform, *, alone: bool) -> Package:
        """The image for ``machine``; ``alone``: without the list that it was chosen from. Blocks.

        Raises CliError, also when it is for others only.
        """

    @abstractmethod
    def open(self, digest: str) -> Reading:
        """A blob. Raises CliError."""

    def close(self) -> None:
        self._files.close()


def open_archive(path: Path, reference: str) -> Archive:
    """The image in ``path`` that is called ``reference``, or the only one. Blocks. Raises UsageError, CliError."""
    files = open_files(path)
    try:
        if files.size(_INDEX) is not None:
            return _Layout(files, reference)
        if files.size(_DOCKER) is not None:
            return _DockerArchive(files, reference)
        raise UsageError(f"{path} is neither an OCI layout ({_INDEX}) nor an archive of docker save ({_DOCKER})")
    except BaseException:
        files.close()
        raise


def other_platform(what: str, offered: Iterable[Platform], machine: Platform) -> CliError:
    """Nothing of the image runs on ``machine``: the node, or what the component's key `platform` says instead."""
    names = ", ".join(map(str, dict.fromkeys(offered)))
    return CliError(
        f"{what} is for {names}, but {machine} is needed, by the node or the component's key `platform`; nothing was "
        f"sent. `podman build --platform {machine}` builds for it; if the node can run it all the same, say so with "
        "that key"
    )


class _Layout(Archive):
    def __init__(self, files: Files, reference: str) -> None:
        super().__init__(files)
        content = files.document(_INDEX, MAX_DOCUMENT_BYTES)
        index = manifests.decoded(content, Index, f"{files.path}: {_INDEX}")
        offered = _images(index.manifests or [])
        self._top, self._listed = self._chosen(offered, reference)
        # A list may name platforms that the archive does not have.
        self._images = [each for each in self._listed if self._size(each.digest) is not None]
        if not self._images:
            raise files.damaged("it does not have the manifest of the image")

    def _chosen(self, offered: list[Descriptor], reference: str) -> tuple[Document | None, list[Descriptor]]:
        """The list of the image, if it has one, and its manifests."""
        named = [(each, _names(each)) for each in offered]
        found = [each for each, names in named if any(is_same(name, reference) for name in names)]
        distinct = {each.digest: each for each in (found or offered)}
        if len(distinct) > 1 and (found or not any(names for _, names in named)) and self._differ(distinct.values()):
            # What the layout has is one image, for several platforms.
            return None, list(distinct.values())
        if len(distinct) != 1:
            raise _which(self._files, [name for _, names in named for name in names], reference)
        (one,) = distinct.values()
        document = self._read(one)
        if document.media_type not in LISTS:
            return None, [one]
        inner = manifests.decoded(document.content, Index, f"{self._files.path}: {one.digest}")
        images = _images(inner.manifests or [])
        if not images:
            raise self._files.damaged(f"the image index {one.digest} names no image")
        return document, images

    @property
    def diff_ids(self) -> frozenset[str]:
        found: set[str] = set()
        for each in self._images:
            found.update(self._configured(self._read(each))[2].diff_ids)
        return frozenset(found)

    def package(self, machine: Platform, *, alone: bool) -> Package:
        said = self._for(machine, self._images)
        document = self._read(said)
        manifest, content, config = self._configured(document)
        what = str(self._files.path)
        if not platforms.runs(config.platform, machine):
            raise other_platform(what, [config.platform], machine)
        found, is_foreign = manifests.layers(manifest, config, self._size, self._unpacked, what)
        if is_foreign:
            document, alone = manifests.with_ordinary_layers(document), True
        # podman chooses from the list by itself, and could miss what it finds there.
        alone = alone or self._top is None or self._for(machine, self._listed) != said
        outermost = () if self._top is None or alone else (self._top,)
        return Package((*outermost, document), content, config.platform, tuple(found))

    def _for(self, machine: Platform, images: list[Descriptor]) -> Descriptor:
        """Raises CliError when none of ``images`` is for it."""
        if len(images) == 1 and self._top is None:
            return images[0]
        offered = [self._platform(each) for each in images]
        position = platforms.best(offered, machine)
        if position is None:
            raise other_platform(str(self._files.path), offered, machine)
        return images[position]

    def _platform(self, said: Descriptor) -> Platform:
        return said.for_platform if said.platform else self._configured(self._read(said))[2].platform

    def _differ(self, images: Iterable[Descriptor]) -> bool:
        """Whether no two of them are for the same platform."""
        found = [self._platform(each) for each in images]
        return len(set(found)) == len(found)

    def _configured(self, document: Document) -> tuple[Manifest, bytes, manifests.Config]:
        what = str(self._files.path)
        manifest = manifests.decoded(document.content, Manifest, f"{what}: the manifest {document.digest}")
        content = self._files.document(self._blob(manifest.config.digest), MAX_DOCUMENT_BYTES)
        return manifest, content, manifests.check_config(content, manifest, what)

    def _read(self, said: Descriptor) -> Document:
        name = self._blob(said.digest)
        content = self._files.document(name, MAX_DOCUMENT_BYTES)
        what = f"{self._files.path}: {name}"
        manifests.check(content, said, what)
        return Document(manifests.media_type(content, said.media_type, what), content)

    def _size(self, digest: str) -> int | None:
        return self._files.size(self._blob(digest))

    def _unpacked(self, digest: str, size: int) -> int:
        reading = self.open(digest)
        try:
            return _unpacked(reading) if size else 0
        finally:
            reading.close()

    def _blob(self, digest: str) -> str:
        if not is_digest(digest):
            raise self._files.damaged(f"{digest!r} is not a digest that can be used: sha256:HEX")
        return f"blobs/{digest.replace(':', '/')}"

    def open(self, digest: str) -> Reading:
        return self._files.open(self._blob(digest))


class _Entry(msgspec.Struct, frozen=True, rename="pascal"):
    """One image, as Docker's ``manifest.json`` has it."""

    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None


class _DockerArchive(Archive):
    """Layers have no digests there: those of the configuration are theirs, as long as they are not compressed."""

    def __init__(self, files: Files, reference: str) -> None:
        super().__init__(files)
        content = files.document(_DOCKER, MAX_DOCUMENT_BYTES)
        entries = manifests.decoded(content, list[_Entry], f"{files.path}: {_DOCKER}")
        found = [each for each in entries if any(is_same(name, reference) for name in each.repo_tags or [])]
        if len(found or entries) != 1:
            raise _which(files, [name for each in entries for name in each.repo_tags or []], reference)
        (entry,) = found or entries
        self._entry = entry
        self._content = files.document(entry.config, MAX_DOCUMENT_BYTES)
        self._check_name(entry.config)
        self._config = manifests.decoded(self._content, manifests.Config, f"{files.path}: {entry.config}")
        if len(entry.layers or []) != len(self._config.diff_ids):
            raise files.damaged(f"it has {len(entry.layers or [])} layers, but {entry.config} names others")
        self._names: dict[str, str] = {}
        self._document = self._made()

    def _check_name(self, name: str) -> None:
        """A configuration is called after its digest."""
        stem = name.rpartition("/")[2].removesuffix(".json")
        is_named = len(stem) == _HEX and is_digest(f"sha256:{stem}")
        if is_named and digest_of(self._content) != f"sha256:{stem}":
            raise self._files.damaged(f"{name} is damaged: its SHA-256 is {digest_of(self._content)[7:]}")

    def _made(self) -> Document:
        blobs = []
        for name, diff_id in zip(self._entry.layers or [], self._config.diff_ids, strict=True):
            if not is_digest(diff_id):
                raise self._files.damaged(f"{diff_id!r} is not a digest that can be used: sha256:HEX")
            reading = self._files.open(name)
            try:
                is_compressed = reading.at(0, len(_GZIP)) == _GZIP
                digest = _hashed(reading) if is_compressed else diff_id
                layer = Layer(digest, reading.size, diff_id, _unpacked(reading))
            finally:
                reading.close()
            self._names.setdefault(digest, name)
            blobs.append((layer, is_compressed))
        self._layers = tuple({layer.digest: layer for layer, _ in blobs}.values())
        return manifests.made_of(self._content, blobs)

    @property
    def diff_ids(self) -> frozenset[str]:
        return frozenset(self._config.diff_ids)

    def package(self, machine: Platform, *, alone: bool) -> Package:
        if not platforms.runs(self._config.platform, machine):
            raise other_platform(str(self._files.path), [self._config.platform], machine)
        return Package((self._document,), self._content, self._config.platform, self._layers)

    def open(self, digest: str) -> Reading:
        if digest not in self._names:
            raise self._files.damaged(f"has no {digest}")
        return self._files.open(self._names[digest])


def _images(offered: Iterable[Descriptor]) -> list[Descriptor]:
    return [each for each in offered if _ATTESTATION not in (each.annotations or {})]


def _names(said: Descriptor) -> list[str]:
    """What the image is called there, the whole name alone if there is one."""
    annotations = said.annotations or {}
    name = annotations.get(_WHOLE_NAME) or annotations.get(_NAME)
    return [name] if name else []


def _which(files: Files, names: list[str], reference: str) -> CliError:
    if not names:
        return files.damaged("it has no image, or several without a name")
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return UsageError(
        f"{files.path} has several images ({', '.join(names[:_NAMED])}{more}), and none of them is {reference}"
    )


def _unpacked(reading: Reading) -> int:
    """What gzip says at its end (RFC 1952, ISIZE: modulo 2^32), if that can be; else the size as it is."""
    if reading.at(0, len(_GZIP)) != _GZIP or reading.size < _ISIZE:
        return reading.size
    return max(reading.size, int.from_bytes(reading.at(reading.size - _ISIZE, _ISIZE), "little"))


def _hashed(reading: Reading) -> str:
    digest = hashlib.sha256()
    offset = 0
    while chunk := reading.at(offset, _HASHED_AT_ONCE):
        digest.update(chunk)
        offset += len(chunk)
    return f"sha256:{digest.hexdigest()}"
