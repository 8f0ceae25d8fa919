"""Whether registries have something newer than what nodes run: what is asked, and what follows from the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from mcpctl.errors import CliError
from mcpctl.images.registries import versions
from mcpctl.images.registries.reference import Reference
from mcpctl.images.registries.registry import MAX_TAGS, Manifest, Registries, Tags
from mcpctl.images.registries.versions import Newer

T = TypeVar("T")

# References that are asked about at the same time, of all registries together.
_AT_ONCE = 16
# As many digits of a digest as `podman images` shows, behind its algorithm.
_SHORT = len("sha256:") + 12


class State(StrEnum):
    """``REBUILT``: the tag names another image in the registry. ``LOCAL``: in no registry. ``PINNED``: by digest."""

    CURRENT = "current"
    REBUILT = "rebuilt"
    NEWER = "newer"
    LOCAL = "local"
    PINNED = "pinned"
    UNKNOWN = "unknown"


class Held(msgspec.Struct, frozen=True):
    """An image of a node: podman's id, and the digests by which registries know it, without names."""

    id: str
    digests: frozenset[str]


class Found(msgspec.Struct, frozen=True):
    """What a registry says of a reference; each ``problem`` is a sentence. ``notes`` are no reason for doubt.

    ``digest`` None: it has no such tag, or was not asked. ``manifest`` None: nobody needed it.
    """

    digest: str | None = None
    manifest: Manifest | None = None
    newer: Newer = Newer()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    state: State
    message: str = ""


async def ask(wanted: Mapping[Reference, Collection[Held]]) -> dict[Reference, Found]:
    """Each reference once, and each repository's tags once; ``wanted`` has the images that nodes have of it.

    Raises nothing of a registry's: it is what is found. Raises UsageError for a registries.conf that is damaged.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    async with Registries() as registries:
        listings: dict[str, asyncio.Task[Tags | CliError]] = {}
        async with asyncio.TaskGroup() as group:

            async def tags(reference: Reference) -> Tags | CliError:
                async with gate:
                    return await _or_error(registries.tags(reference))

            async def one(reference: Reference, held: Collection[Held]) -> Found:
                async with gate:
                    found = await _compared(registries, reference, held)
                if versions.parse(reference.tag) is None:
                    return found
                if reference.name not in listings:
                    listings[reference.name] = group.create_task(tags(reference))
                return _with_tags(found, reference, await listings[reference.name])

            asked = {each: held for each, held in wanted.items() if _can_be_asked(each)}
            tasks = {each: group.create_task(one(each, held)) for each, held in asked.items()}
    return {each: tasks[each].result() if each in tasks else Found() for each in wanted}


def verdict(reference: Reference, held: Held | None, found: Found) -> Verdict:
    """What is to be said of a component that runs ``held``, None: its node has no such image."""
    message = "; ".join([*found.problems, *found.notes])
    is_newer = bool(found.newer.tags)
    # 1. Nobody can say anything, and nobody needs to.
    if reference.is_local:
        return Verdict(State.LOCAL, "it is in no registry")
    # 2. It can only get another version.
    if reference.is_pinned:
        if is_newer:
            return Verdict(State.NEWER, message)
        return Verdict(State.UNKNOWN if found.problems else State.PINNED, message)
    # 3. The tag leads to another image by now.
    if held and found.digest and not _is_same(held, found):
        here = f"the registry has {found.digest[:_SHORT]} under this tag"
        return Verdict(State.REBUILT, "; ".join(filter(None, (here, message))))
    is_gone = found.digest is None and not found.problems
    said = "; ".join(filter(None, (f"the registry has no {reference}" if is_gone else "", message)))
    # 4. There is a newer version, whatever else is not known.
    if is_newer:
        return Verdict(State.NEWER, said)
    # 5. Something is not known.
    if found.problems or is_gone:
        return Verdict(State.UNKNOWN, said)
    if held is None:
        return Verdict(State.UNKNOWN, "the node has no such image")
    return Verdict(State.CURRENT, message)


def _can_be_asked(reference: Reference) -> bool:
    return not reference.is_local and (not reference.is_pinned or versions.parse(reference.tag) is not None)


async def _compared(registries: Registries, reference: Reference, held: Collection[Held]) -> Found:
    if reference.is_pinned:
        return Found()
    digest = await _or_error(registries.digest(reference))
    if isinstance(digest, CliError):
        return Found(problems=(str(digest),))
    if digest is None or all(digest in each.digests for each in held):
        return Found(digest)
    # The same image may have other digests here: it came without a registry, or others of the list are new.
    manifest = await _or_error(_manifest(registries, reference, digest))
    if isinstance(manifest, CliError):
        return Found(problems=(str(manifest),))
    return Found(digest, manifest)


async def _manifest(registries: Registries, reference: Reference, digest: str) -> Manifest | None:
    """Of ``digest``, with the configuration of a list's only image. Raises CliError."""
    pinned = msgspec.structs.replace(reference, digest=digest)
    found = await registries.manifest(pinned)
    if found and len(found.images) == 1:
        only = await registries.manifest(msgspec.structs.replace(pinned, digest=found.images[0]))
        return msgspec.structs.replace(found, config=only.config) if only else found
    return found


def _is_same(held: Held, found: Found) -> bool:
    if found.digest in held.digests:
        return True
    if found.manifest is None:
        return False
    has_its_own = any(each in held.digests for each in found.manifest.images)
    return has_its_own or found.manifest.config == f"sha256:{held.id.removeprefix('sha256:')}"


def _with_tags(found: Found, reference: Reference, listed: Tags | CliError) -> Found:
    if isinstance(listed, CliError):
        # What is wrong with a registry is said once.
        problems = tuple(dict.fromkeys((*found.problems, str(listed))))
        return msgspec.structs.replace(found, problems=problems)
    cut = () if listed.complete else (f"only {MAX_TAGS} tags were read, there are more",)
    return msgspec.structs.replace(found, newer=versions.newer(reference.tag, listed.tags), notes=cut)


async def _or_error(question: Awaitable[T]) -> T | CliError:
    try:
        return await question
    except CliError as error:
        return error
