"""Definitions in a folder of their own, and what is said of them."""

from pathlib import Path

import pytest

from mcpctl import config
from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.errors import UsageError

NODES = '[[nodes]]\nname = "rift"\naddress = "127.0.0.1:9444"\n[[nodes]]\nname = "orion"\naddress = "127.0.0.2:9444"\n'
WEB = """\
name = "web"
node = "rift"

[[components]]
name = "api"
image = "registry.example.net:5000/web/api:v1"
ports = ["127.0.0.1:8080:80"]
volumes = ["/srv/web:/data"]

[[components]]
name = "db"
image = "postgres"
"""


def settings_in(folder: Path) -> Settings:
    (folder / "services").mkdir(exist_ok=True)
    (folder / "mcp.toml").write_text(NODES)
    return config.load(folder / "mcp.toml")


def write(settings: Settings, text: str | bytes, name: str = "web") -> Path:
    path = settings.services_dir / f"{name}.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(settings: Settings, name: str = "web") -> list[str]:
    """What is said of a definition, a line a problem, each of which must name the file."""
    path = settings.services_dir / f"{name}.toml"
    with pytest.raises(UsageError) as raised:
        definition.load(settings, name)
    lines = str(raised.value).splitlines()
    assert [line for line in lines if not line.startswith(f"{path}: ")] == []
    return [line.removeprefix(f"{path}: ") for line in lines]
