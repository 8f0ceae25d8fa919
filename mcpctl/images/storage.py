"""An image that an engine on this machine has: what it is made of, and its layers, saved as they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mcpctl.errors import CliError
from mcpctl.images import manifests, programs
from mcpctl.images.archive import Archive, open_archive
from mcpctl.images.content import Package, Reading
from mcpctl.images.engine import Engine, Kind
from mcpctl.images.files import Folder
from mcpctl.images.platforms import Platform
from mcpctl.images.scratch import scratch
from protos.images import DOCKER_MANIFEST, is_digest

# It reads a database.
_LOOK_DEADLINE_S = 60.0
# Gigabytes, on a slow disk.
_SAVE_DEADLINE_S = 3600.0
# How podman, buildah and Docker say that they have no such image.
_NOT_KNOWN = ("image not known", "no such image", "does not exist", "unable to find")
# podman gives a layer its name when it is whole; nobody tells when that is.
_LOOK_AGAIN_S = 0.02
# Of layers that are saved before the first one is sent: podman takes longer to start.
_SMALL_BYTES = 16 << 20
_OUTLINE, _LAYERS, _TEMPORARY = "outline", "layers", "temporary"

T = TypeVar("T")


class NotHereError(CliError):
    """The engine has no such image."""


class Facts(msgspec.Struct, frozen=True):
    """What an engine says of an image. ``names``: whole ones, if it has any. ``size``: bytes, of all layers.

    ``diff_ids``: of its layers, in order. ``is_empty``: of each step of its history, the oldest first, whether it has
    no layer; none: not known. ``of_docker``: its manifest is Docker's, which an OCI layout cannot keep as it is.
    """

    id: str
    names: tuple[str, ...]
    platform: Platform
    diff_ids: tuple[str, ...]
    size: int
    is_empty: tuple[bool, ...] = ()
    of_docker: bool = False


async def facts(engine: Engine, image: str) -> Facts:
    """Raises NotHereError, CliError."""
    look = ["inspect", "--type", "image", "--", image]
    if engine.kind is not Kind.BUILDAH:
        look = ["image", "inspect", "--", image]
    try:
        output = await programs.run([engine.path, *look], _LOOK_DEADLINE_S)
    except programs.FailedError as error:
        if any(words in error.said.lower() for words in _NOT_KNOWN):
            raise NotHereError(f"{engine.name} on this machine has no image {image}") from None
        raise
    if engine.kind is Kind.BUILDAH:
        return _of_buildah(_read(output, _Buildah, engine))
    found = _read(output, list[Inspected], engine)
    if len(found) != 1:
        raise CliError(f"{engine.name} has {len(found)} images that are called {image}")
    if engine.kind is Kind.DOCKER:
        return _told(found[0], of_docker=True)
    return _told(found[0], of_docker=found[0].manifest_type == DOCKER_MANIFEST)


async def _history(engine: Engine, found: Facts) -> dict[str, int]:
    """The sizes of layers, by diff id, uncompressed; empty where it does not tell. Raises CliError."""
    words = ["history", "--no-trunc", "--format", "json", "--", found.id]
    output = await programs.run([engine.path, *words], _LOOK_DEADLINE_S)
    return layer_sizes(found.diff_ids, found.is_empty, _read(output, list[Step], engine))


class Stored:
    """Saves an image into a folder of its own; an async context manager, behind which nothing of it is left.

    podman does not write layers that it finds in the folder, nor does it read them. So it is run twice: with files of
    the right sizes for all of them, which takes a moment and says what the image is made of; and then, while the first
    ones are on their way already, for those that a node lacks. Where those are small, once is enough.
    """

    def __init__(self, engine: Engine, found: Facts) -> None:
        self._engine = engine
        self._facts = found
        self._is_layout = engine.kind is Kind.PODMAN and not found.of_docker
        # Of layers that podman can be kept from saving.
        self._sizes: dict[str, int] = {}
        self._history: asyncio.Task[dict[str, int]] | None = None
        self._stack = ExitStack()
        self._lock = asyncio.Lock()
        self._folder: Path | None = None
        self._archive: Archive | None = None
        # Layers that came with the outline; and those that are saved, or will be when the task ends.
        self._outlined: frozenset[str] = frozenset()
        self._saved: frozenset[str] = frozenset()
        self._saving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Stored:
        if self._is_layout:
            # It is not needed before a node has answered.
            self._history = asyncio.create_task(_history(self._engine, self._facts))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in filter(None, (self._history, self._saving)):
            task.cancel()
            await asyncio.wait([task])
            task.cancelled() or task.exception()
        if self._archive is not None:
            self._archive.close()
        self._stack.close()

    async def fetch(self, lacking: frozenset[str]) -> None:
        """Has the engine say what the image is made of, and begin to save those of its layers that are ``lacking``.

        Raises CliError.
        """
        async with self._lock:
            if self._archive is None:
                with _saving_told():
                    await self._outline(lacking)
            fresh = lacking - self._saved - self._outlined
            if not fresh or not self._sizes:
                return
            if self._saving is not None:
                # Not cancelled with one that waits for it.
                await asyncio.wait([self._saving])
                self._saving.result()
            self._saved |= fresh
            assert self._folder is not None
            absent = {each: size for each, size in self._sizes.items() if each not in self._saved}
            with _saving_told():
                # Before anybody looks whether one of the fresh ones is there.
                await asyncio.to_thread(_make_placeholders, self._folder / _LAYERS, absent, fresh)
            self._saving = asyncio.create_task(self._save(self._folder / _LAYERS))

    def package(self, machine: Platform, *, alone: bool) -> Package:
        """As `Archive.package`; behind `fetch`."""
        assert self._archive is not None
        return self._archive.package(machine, alone=alone)

    async def open(self, digest: str) -> Reading:
        """A blob, when it is saved; a layer is fetched if a node needs it after all. Raises CliError."""
        assert self._archive is not None
        if not self._sizes or digest in self._outlined:
            return await asyncio.to_thread(self._archive.open, digest)
        await self.fetch(frozenset({digest}) & self._sizes.keys())
        assert self._saving is not None
        assert self._folder is not None
        files = Folder(self._folder / _LAYERS)
        name = _blob(digest)
        while files.size(name) is None and not self._saving.done():
            await asyncio.wait([self._saving], timeout=_LOOK_AGAIN_S)
        if self._saving.done():
            self._saving.result()
        return await asyncio.to_thread(files.open, name)

    async def _outline(self, lacking: frozenset[str]) -> None:
        self._sizes = await self._history if self._history else {}
        need = sum(size for each, size in self._sizes.items() if each in lacking)
        # The engine puts each layer into a file of its own before it writes it where it belongs.
        self._folder = self._stack.enter_context(scratch(2 * (need if self._sizes else self._facts.size)))
        await asyncio.to_thread((self._folder / _TEMPORARY).mkdir)
        to = self._folder / (_OUTLINE if self._is_layout else "image.tar")
        if self._sizes:
            self._outlined = lacking if need <= _SMALL_BYTES else frozenset()
            absent = {each: size for each, size in self._sizes.items() if each not in self._outlined}
            await asyncio.to_thread(_make_placeholders, to, absent)
        await self._save(to)
        self._archive = await asyncio.to_thread(open_archive, to, "")

    async def _save(self, to: Path) -> None:
        """The layers that are not there. Raises CliError."""
        assert self._folder is not None
        # One that is killed leaves what it has there, which goes with the folder.
        words = [self._engine.path, *self._words(to)]
        await programs.run(words, _SAVE_DEADLINE_S, temporary=self._folder / _TEMPORARY)

    def _words(self, to: Path) -> list[str]:
        number = self._facts.id
        match self._engine.kind:
            case Kind.BUILDAH:
                # In a layout it compresses layers whatever it is told (1.28), so that a node would not know its own.
                return ["push", "--quiet", number, f"docker-archive:{to}"]
            case Kind.DOCKER:
                return ["save", "--output", str(to), number]
            case Kind.PODMAN:
                form = ["oci-dir", "--uncompressed"] if self._is_layout else ["docker-archive"]
                return ["save", "--quiet", "--format", *form, "--output", str(to), number]


def _make_placeholders(to: Path, sizes: Mapping[str, int], fresh: Collection[str] = ()) -> None:
    """Files of these sizes for layers; those that are ``fresh`` lose theirs. Blocks."""
    (to / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    for each in fresh:
        (to / _blob(each)).unlink(missing_ok=True)
    for each, size in sizes.items():
        with (to / _blob(each)).open("wb") as file:
            file.truncate(size)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


@contextmanager
def _saving_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or "the folder for what is saved"
        raise CliError(f"the image cannot be saved on its way: {where}: {error.strerror}") from None


# -- what engines say


class _RootFs(msgspec.Struct, frozen=True, rename="pascal"):
    layers: list[str] | None = None


class _Entry(msgspec.Struct, frozen=True):
    empty_layer: bool = False


class Inspected(msgspec.Struct, frozen=True, rename="pascal"):
    """Of podman and of Docker."""

    id: str
    root_f_s: _RootFs = msgspec.field(name="RootFS", default=_RootFs())
    repo_tags: list[str] | None = None
    os: str = ""
    architecture: str = ""
    variant: str = ""
    size: int = 0
    manifest_type: str = ""
    history: list[_Entry] | None = None


class Step(msgspec.Struct, frozen=True):
    """One line of `podman history`."""

    size: int = 0


class _OfOci(msgspec.Struct, frozen=True):
    rootfs: dict[str, Any]
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Buildah(msgspec.Struct, frozen=True):
    """A part of `buildah inspect`."""

    id: str = msgspec.field(name="FromImageID")
    image: _OfOci = msgspec.field(name="OCIv1")
    name: str = msgspec.field(name="FromImage", default="")
    manifest: str = msgspec.field(name="Manifest", default="{}")


def _read(output: bytes, kind: type[T], engine: Engine) -> T:
    return manifests.decoded(output, kind, f"what {engine.name} says of the image")


def _told(found: Inspected, *, of_docker: bool) -> Facts:
    platform = Platform(found.os, found.architecture, found.variant)
    diff_ids = _checked(found.root_f_s.layers or [])
    names = tuple(each for each in found.repo_tags or [] if not each.startswith("<none>"))
    is_empty = tuple(each.empty_layer for each in found.history or [])
    return Facts(found.id, names, platform, diff_ids, found.size, is_empty, of_docker)


def _of_buildah(found: _Buildah) -> Facts:
    image = found.image
    platform = Platform(image.os, image.architecture, image.variant)
    manifest = manifests.decoded(found.manifest.encode(), manifests.Manifest, "the manifest that buildah has")
    size = sum(max(0, each.size) for each in manifest.layers or [])
    diff_ids = _checked(image.rootfs.get("diff_ids") or [])
    return Facts(found.id, tuple(filter(None, [found.name])), platform, diff_ids, size)


def _checked(digests: list[str]) -> tuple[str, ...]:
    for each in digests:
        if not is_digest(each):
            raise CliError(f"the image has a layer {each!r}, which is no digest that can be used: sha256:HEX")
    return tuple(digests)


def layer_sizes(layers: Sequence[str], is_empty: Sequence[bool], steps: Sequence[Step]) -> dict[str, int]:
    """By diff id, in bytes; empty when the history does not tell them. ``steps``: from the newest to the oldest.

    ``is_empty``: as `Facts` has it.
    """
    if len(is_empty) != len(steps):
        return {}
    sizes = [step.size for empty, step in zip(is_empty, reversed(steps), strict=True) if not empty]
    if len(sizes) != len(layers):
        return {}
    known: dict[str, int] = {}
    for layer, size in zip(layers, sizes, strict=True):
        if known.setdefault(layer, size) != size:
            return {}
    return known
