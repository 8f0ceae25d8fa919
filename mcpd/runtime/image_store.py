"""podman's images, as bringing one needs them: which layers are there, a pull without TLS, names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Collection, Mapping
from pathlib import Path

import httpx
import msgspec
import trio

from mcpd.errors import McpdError
from mcpd.runtime import api_types
from mcpd.runtime.api import Api, NoSuchError, PodmanError, decoded

# An image has one of some hundred layers, and its inspection takes podman 10 ms.
_INSPECTED_AT_ONCE = 8
# Of images, newest first: what is in none of these is brought again.
_MOST_IMAGES = 2000
_LAYERS_S = 30.0
# podman has conmon's and the runtime's version looked up, with the package manager.
_INFO_S = 30.0
# Removing an image waits for storage, on a busy disk for a while.
_SLOW_S = 60.0
# uname(2)'s machine, and an image's variant, where podman's info has none (before 4.4).
_VARIANTS = {"armv6l": "v6", "armv7l": "v7", "armv8l": "v7"}


class Host(msgspec.Struct, frozen=True):
    """``os``, ``architecture``, ``variant``: as an image's configuration has them.

    ``temporary``: where podman puts what it pulls, until it is in ``graph_root``.
    """

    os: str
    architecture: str
    variant: str
    graph_root: Path
    temporary: Path


class _Platform(msgspec.Struct, frozen=True):
    arch: str = ""
    os: str = ""
    variant: str = ""


class _Store(msgspec.Struct, frozen=True, rename="camel"):
    graph_root: str = ""
    image_copy_tmp_dir: str = ""


class _Info(msgspec.Struct, frozen=True):
    host: _Platform
    store: _Store


class _RootFs(msgspec.Struct, frozen=True, rename="pascal"):
    layers: tuple[str, ...] | None = None


class _Inspected(msgspec.Struct, frozen=True):
    root_fs: _RootFs | None = msgspec.field(name="RootFS", default=None)


async def pull_lines(
    api: Api, params: Mapping[str, str], timeout: float | None
) -> AsyncGenerator[api_types.PullLine, None]:
    """What podman says while it pulls. The error of a failed pull is in its last line, and is raised: PodmanError.

    ``timeout``: for how long it may say nothing, in seconds; None: without limit.
    """
    async with api.stream("POST", "/images/pull", params=params, timeout=timeout) as response:
        async for text in response.aiter_lines():
            if not text.strip():
                continue
            line = decoded(text, api_types.PullLine, "answered a pull")
            if line.error:
                raise PodmanError(line.error.strip(), httpx.codes.INTERNAL_SERVER_ERROR)
            yield line


class ImageStore:
    """The images of one podman. Raises PodmanError, or UnavailableError when podman does not answer."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._host: Host | None = None
        # By the id of an image, which is the hash of what says so.
        self._layers: Mapping[str, frozenset[str]] = {}

    async def host(self) -> Host:
        """Asked once: it does not change, and podman takes half a second to say it."""
        if self._host is None:
            info = await self._api.ask("GET", "/info", _Info, timeout=_INFO_S)
            machine = info.host
            self._host = Host(
                machine.os or "linux",
                machine.arch,
                machine.variant or (_VARIANTS.get(os.uname().machine, "") if machine.arch == "arm" else ""),
                Path(info.store.graph_root),
                Path(info.store.image_copy_tmp_dir or "/var/tmp"),  # noqa: S108  (podman's own default)
            )
        return self._host

    async def layers(self) -> frozenset[str]:
        """The digests of the uncompressed layers of all images here; of some, if podman takes too long to say so."""
        listed = await self._api.ask("GET", "/images/json", tuple[api_types.ListedImage, ...], params={"all": "true"})
        newest = sorted(listed, key=lambda each: each.created, reverse=True)[:_MOST_IMAGES]
        known = {each.id: self._layers[each.id] for each in newest if each.id in self._layers}
        missing = iter(each.id for each in newest if each.id not in known)

        async def inspect() -> None:
            for image in missing:
                # One that has gone meanwhile, or is damaged, has none that are better not brought again.
                with contextlib.suppress(McpdError):
                    found = await self._api.ask("GET", f"/images/{image}/json", _Inspected)
                    known[image] = frozenset(found.root_fs.layers or () if found.root_fs else ())

        with trio.move_on_after(_LAYERS_S):
            async with trio.open_nursery() as nursery:
                for _ in range(_INSPECTED_AT_ONCE):
                    nursery.start_soon(inspect)
        self._layers = known
        return frozenset().union(*known.values())

    async def names(self) -> Collection[str]:
        listed = await self._api.ask("GET", "/images/json", tuple[api_types.ListedImage, ...])
        return [name for each in listed for name in each.names or ()]

    async def pull_without_tls(self, name: str) -> AsyncGenerator[str, None]:
        """Pulls from a registry without TLS; yields at each of podman's lines, at last with the image's id.

        It has no time limit. Raises PodmanError when it fails.
        """
        params = {"reference": name, "policy": "always", "tlsVerify": "false"}
        async with contextlib.aclosing(pull_lines(self._api, params, None)) as lines:
            async for line in lines:
                yield line.id

    async def tag(self, image: str, repository: str, tag: str) -> None:
        """Gives an image one more name, which another may have had. Raises NoSuchError."""
        await self._api.do("POST", f"/images/{image}/tag", params={"repo": repository, "tag": tag})

    async def remove_name(self, name: str) -> None:
        """Takes a name from an image, and removes the image with its last one. Nothing when it is not there."""
        try:
            await self._api.do("DELETE", f"/images/{name}", params={"force": "false"}, timeout=_SLOW_S)
        except NoSuchError:
            return
