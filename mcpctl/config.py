"""`mcp.toml`: where the definitions are, which nodes there are, and how to be trusted by them."""

from __future__ import annotations

import difflib
import os
from enum import StrEnum
from pathlib import Path

import msgspec

from mcpctl.errors import CliError, UsageError
from protos import grammar, strict
from protos.fields import FilePath, Name, NetworkAddress, Url
from protos.strict import Problem

DEFAULT_PATH = Path("~/.config/mcp/mcp.toml")
_OTHERS = 0o077


class NodeState(StrEnum):
    """Commands skip what is not active, and say so (audit E1)."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DOWN = "down"


class Services(msgspec.Struct, frozen=True):
    """Relative paths, here and below, start at the configuration file's folder."""

    dir: FilePath = Path("services")


class Tls(msgspec.Struct, frozen=True):
    ca_cert: FilePath = Path("ca.pem")


class Mcias(msgspec.Struct, frozen=True):
    server_url: Url
    service_name: str = "mcp"


class Auth(msgspec.Struct, frozen=True):
    token_path: FilePath = Path("token")
    username: str | None = None
    password_file: FilePath | None = None


class Node(msgspec.Struct, frozen=True):
    """``ca_cert`` and ``token_path`` are for nodes with a CA and tokens of their own, as `mcpd init` makes them."""

    name: Name
    address: NetworkAddress
    state: NodeState = NodeState.ACTIVE
    ca_cert: FilePath | None = None
    token_path: FilePath | None = None

    @property
    def host_port(self) -> tuple[str, int]:
        return grammar.host_port(self.address)


class Config(msgspec.Struct, frozen=True):
    services: Services = Services()
    tls: Tls = Tls()
    mcias: Mcias | None = None
    auth: Auth = Auth()
    nodes: tuple[Node, ...] = ()


class Settings(msgspec.Struct, frozen=True):
    """The configuration with the file that it came from, and every path resolved."""

    path: Path
    config: Config

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.config.nodes

    @property
    def services_dir(self) -> Path:
        return self._at(self.config.services.dir)

    def node(self, name: str) -> Node:
        """Raises UsageError, with the nearest name."""
        for each in self.nodes:
            if each.name == name:
                return each
        raise UsageError(f"{name!r} is no node in {self.path}; {self.known_nodes(name)}")

    def usable_node(self, name: str) -> Node:
        """The node, to be told something. Raises UsageError; CliError when it is not active."""
        node = self.node(name)
        if node.state is not NodeState.ACTIVE:
            raise CliError(
                f"node {name} is {node.state}: nothing was sent; `mcpctl node set-state {name} active` changes that"
            )
        return node

    @property
    def active_nodes(self) -> list[Node]:
        return [each for each in self.nodes if each.state is NodeState.ACTIVE]

    def no_active_node(self) -> UsageError:
        return UsageError(f"{self.path} has no active node; `mcpctl node add NAME ADDRESS` adds one")

    def one_node(self, name: str, ledger: str) -> Node:
        """The node called ``name``, else the only active one. ``ledger``: what each node counts for itself.

        Raises UsageError; CliError when it is not active.
        """
        if name:
            return self.usable_node(name)
        active = self.active_nodes
        if not active:
            raise self.no_active_node()
        if len(active) > 1:
            names = ", ".join(each.name for each in active)
            raise UsageError(
                f"each node counts its own {ledger}, and there are {len(active)} ({names}): say --node NAME"
            )
        return active[0]

    def known_nodes(self, near: str) -> str:
        names = [each.name for each in self.nodes]
        if not names:
            return "it has none: `mcpctl node add NAME ADDRESS`"
        close = difflib.get_close_matches(near, names, n=1)
        return f"did you mean {close[0]}?" if close else f"it has {', '.join(names)}"

    def ca_cert(self, node: Node) -> Path:
        return self._at(node.ca_cert or self.config.tls.ca_cert)

    def token(self, node: Node) -> str:
        """``MCP_TOKEN``, else what the node's token file holds (audit S3). Raises UsageError."""
        if token := os.environ.get("MCP_TOKEN", "").strip():
            return _usable(token, "MCP_TOKEN")
        path = self._at(node.token_path or self.config.auth.token_path)
        try:
            mode = path.stat().st_mode
            token = path.read_text().strip()
        except FileNotFoundError:
            raise UsageError(
                f"no token for node {node.name}: {path} does not exist, and MCP_TOKEN is not set"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the token file {path} cannot be read: {error}") from None
        if mode & _OTHERS:
            raise UsageError(f"the token file {path} can be read by others, so it is not used: chmod 600 {path}")
        return _usable(token, f"the token file {path}")

    def _at(self, path: Path) -> Path:
        return self.path.parent / path


def _usable(token: str, source: str) -> str:
    """A token that an HTTP header can carry. Raises UsageError, which does not show it."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{source} does not hold a token")
    return token


def load(path: Path | None) -> Settings:
    """Reads ``path``, else what ``MCP_CONFIG`` names, else the default. Raises UsageError with every problem."""
    path = (path or Path(os.environ.get("MCP_CONFIG") or DEFAULT_PATH)).expanduser().absolute()
    try:
        data = strict.read_toml(path)
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist; `mcpd init` on a node prints the lines that make it, or give --config FILE"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except strict.Invalid as error:
        raise UsageError(str(error)) from None
    config, problems = strict.examine(data, Config)
    if config is not None:
        names = [node.name for node in config.nodes]
        problems = [
            Problem(f"nodes[{index}].name", f"duplicate node {name!r}")
            for index, name in enumerate(names)
            if name in names[:index]
        ]
    if config is None or problems:
        raise UsageError(str(strict.Invalid(str(path), problems)))
    return Settings(path, config)
