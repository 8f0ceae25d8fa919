"""A podman that keeps containers by name, and starts nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from mcpd.model import Container
from mcpd.runtime.api_types import Volume
from mcpd.runtime.inspected import Details, ImageDefaults
from monitor.model import Observed
from tests.support.builders import component, container


# What made a container that was adopted.
_CREATED_BY = (
    *("podman", "run", "--uts=host", "--cap-add=NET_ADMIN", "--label=a=b", "--sysctl=net.core.somaxconn=9"),
    "app:v0",
)


class PretendedPodman:
    """Keeps containers by name; what runs is what was started."""

    def __init__(self, *containers: Container, adopted: Collection[str] = ()) -> None:
        self.found = {each.name: each for each in containers}
        self.adopted = adopted

    async def containers(self, *, service: str = "", names: Collection[str] = ()) -> tuple[Container, ...]:
        return tuple(self.found.values())

    def is_adopted(self, container: str) -> bool:
        return container in self.adopted

    async def details(self, name: str) -> Details:
        config = {"Labels": {"a": "b"}, "CreateCommand": _CREATED_BY}
        host = {"CapAdd": ["CAP_NET_ADMIN"], "UTSMode": "host"}
        plain = {"Id": name, "Name": "web-api", "Image": "0", "ImageName": "app:v0", "Path": "/app", "Args": []}
        return msgspec.convert({**plain, "Config": config, "HostConfig": host}, type=Details)

    async def image_defaults(self, reference: str) -> ImageDefaults:
        return ImageDefaults()

    async def has_image(self, reference: str, platform: str = "") -> bool:
        return True

    async def network_labels(self, name: str) -> Mapping[str, str] | None:
        return {}

    async def remove_own_network(self, name: str, labels: Mapping[str, str]) -> bool:
        return False

    async def volume(self, name: str) -> Volume | None:
        return None

    async def create(self, spec: Mapping[str, Any]) -> str:
        made = container(component(image=spec["image"]), name=spec["name"], id="new", state=Observed.CREATED)
        self.found[made.name] = made
        return made.id

    async def stop(self, name: str, timeout: timedelta) -> None:
        self._becomes(name, Observed.EXITED)

    async def start(self, name: str) -> None:
        self._becomes(name, Observed.RUNNING)

    async def rename(self, name: str, to: str) -> None:
        old = self._named(name)
        del self.found[old.name]
        self.found[to] = _changed(old, name=to)

    async def remove(self, name: str) -> None:
        del self.found[self._named(name).name]

    def _becomes(self, name: str, state: Observed) -> None:
        found = self._named(name)
        self.found[found.name] = _changed(found, state=state)

    def _named(self, name: str) -> Container:
        return next(each for each in self.found.values() if name in (each.name, each.id))


def _changed(found: Container, **changes: Any) -> Container:
    return container(**{each: getattr(found, each) for each in found.__struct_fields__} | changes)
