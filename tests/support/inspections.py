"""Inspections of containers, as podman shows them, for what describes a container as a component."""

from typing import Any

import msgspec

from mcpd.runtime.describe import Description, describe
from mcpd.runtime.inspected import Details, ImageDefaults

ID = "0123456789abcdef" * 4
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def described(
    config: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    image: dict[str, Any] | None = None,
    names: dict[str, str] | None = None,
    **more: Any,
) -> Description:
    """A container of which only these things are not as podman makes them by itself."""
    plain = {
        "Id": ID,
        "Name": "web-x",
        "Image": "ab" * 32,
        "ImageName": "localhost/app:v1",
        "Path": "/bin/app",
        "Args": ["/bin/app"],
        "Config": {
            "Hostname": ID[:12],
            "Env": [PATH, "TERM=xterm", "container=podman", "HOME=/root", f"HOSTNAME={ID[:12]}"],
            "Cmd": ["/bin/app"],
            "Entrypoint": "",
            "CreateCommand": ["podman", "run", "-d", "localhost/app:v1"],
            **(config or {}),
        },
        "HostConfig": {"NetworkMode": "bridge", "PidsLimit": 2048, **(host or {})},
        "NetworkSettings": {"Networks": {"podman": {}}},
        **more,
    }
    details = msgspec.convert(plain, type=Details)
    defaults = msgspec.convert(image or {"Config": {"Cmd": ["/bin/app"]}}, type=ImageDefaults)
    return describe("x", details, defaults, names)


def made_by(*words: str) -> dict[str, Any]:
    return {"CreateCommand": ["podman", "run", *words, "localhost/app:v1"]}
