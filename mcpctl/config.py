"""`mcp.toml`: where the definitions are, which nodes there are, and how to be trusted by them."""

from __future__ import annotations

import difflib
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from mcpctl.auth import credentials
from mcpctl.auth.credentials import Account, Server
from mcpctl.auth.session import Session
from mcpctl.errors import CliError, UsageError
from protos import grammar, validation
from protos.fields import FilePath, Name, NetworkAddress
from protos.validation import Problem, checked

DEFAULT_PATH = Path("~/.config/mcp/mcp.toml")


def _https_url(text: str) -> None:
    """Raises ValueError for what a password cannot be sent to."""
    grammar.http_url(text)
    url = urlsplit(text)
    if url.scheme != "https":
        raise ValueError(f"{text!r} must begin with https://, because passwords are sent there")
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError("must be https://HOST[:PORT][/PATH], without a user, a query or a fragment")
    try:
        grammar.host_port(url.netloc if url.netloc.rpartition("]")[2].count(":") else f"{url.netloc}:443")
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None


def _words(text: str) -> None:
    if not text.strip() or not text.isprintable():
        raise ValueError(f"{text!r} is not a name: it must be printable and not empty")


_HttpsUrl = Annotated[str, checked(_https_url)]
_Words = Annotated[str, checked(_words)]


class NodeState(StrEnum):
    """Commands skip what is not active, and say so (audit E1)."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DOWN = "down"


class Services(msgspec.Struct, frozen=True):
    """Your services.

    ``dir``: the folder with their definitions.
    """

    dir: FilePath = Path("services")


class Tls(msgspec.Struct, frozen=True):
    """The certificates that mcpctl trusts.

    ``ca_cert``: the CA that signed the nodes' certificates, in PEM; a node may have its own.
    """

    ca_cert: FilePath = Path("ca.pem")


class Mcias(msgspec.Struct, frozen=True):
    """The server that `mcpctl login` asks for a token.

    ``server_url``: `https://HOST[:PORT][/PATH]`.
    ``service_name``: the name of mcp on that server.
    ``ca_cert``: the CA that signed its certificate. Default: the nodes' CA.
    """

    server_url: _HttpsUrl
    service_name: _Words = "mcp"
    ca_cert: FilePath | None = None


class Auth(msgspec.Struct, frozen=True):
    """How you authenticate to the nodes.

    ``token_path``: the file with the token, which only you may read. ``MCP_TOKEN`` in the environment overrides it.
    ``username``: the user that `mcpctl login` logs in.
    ``password_file``: the file with the password, for unattended use (audit S3): any command then logs in by itself.
        Needs ``username`` and [mcias].
    """

    token_path: FilePath = Path("token")
    username: _Words | None = None
    password_file: FilePath | None = None


class Node(msgspec.Struct, frozen=True):
    """One node.

    ``name``: the name that definitions use.
    ``address``: the address where its mcpd listens.
    ``state``: commands skip a node that is not active, and say so.
    ``ca_cert``: for a node with a CA of its own, as `mcpd init` makes it.
    ``token_path``: for a node with tokens of its own, as `mcpd init` makes them.
    """

    name: Name
    address: NetworkAddress
    state: NodeState = NodeState.ACTIVE
    ca_cert: FilePath | None = None
    token_path: FilePath | None = None

    @property
    def host_port(self) -> tuple[str, int]:
        return grammar.host_port(self.address)


class Config(msgspec.Struct, frozen=True):
    """mcpctl's configuration. Relative paths start at the file's folder."""

    services: Services = Services()
    tls: Tls = Tls()
    mcias: Mcias | None = None
    auth: Auth = Auth()
    nodes: tuple[Node, ...] = ()


class Settings(msgspec.Struct, frozen=True):
    """The configuration with the file that it came from, every path resolved; and who is logged in with it."""

    path: Path
    config: Config
    session: Session

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
        raise UsageError(f"no node {name!r} in {self.path}; {self.known_nodes(name)}")

    def usable_node(self, name: str) -> Node:
        """The node, to be told something. Raises UsageError; CliError when it is not active."""
        node = self.node(name)
        if node.state is not NodeState.ACTIVE:
            raise CliError(
                f"node {name} is {node.state}, so nothing was sent; `mcpctl node set-state {name} active` activates it"
            )
        return node

    @property
    def active_nodes(self) -> list[Node]:
        return [each for each in self.nodes if each.state is NodeState.ACTIVE]

    def no_active_node(self) -> UsageError:
        return UsageError(f"{self.path} has no active node; `mcpctl node add NAME ADDRESS` adds one")

    def one_node(self, name: str, why: str) -> Node:
        """The node called ``name``, else the only active one. ``why`` it must be one: "each node has its own images".

        Raises UsageError; CliError when it is not active.
        """
        if name:
            return self.usable_node(name)
        active = self.active_nodes
        if not active:
            raise self.no_active_node()
        if len(active) > 1:
            names = ", ".join(each.name for each in active)
            raise UsageError(f"{why}, and {len(active)} nodes are active ({names}); give --node NAME")
        return active[0]

    def known_nodes(self, near: str) -> str:
        names = [each.name for each in self.nodes]
        if not names:
            return "it has no nodes; `mcpctl node add NAME ADDRESS` adds one"
        close = difflib.get_close_matches(near, names, n=1)
        return f"did you mean {close[0]}?" if close else f"it has {', '.join(names)}"

    def ca_cert(self, node: Node) -> Path:
        return self._at(node.ca_cert or self.config.tls.ca_cert)

    def fixed_token(self, node: Node) -> str | None:
        """A token that no login replaces: ``MCP_TOKEN``, else that of the node's own token file. Raises UsageError."""
        if token := os.environ.get("MCP_TOKEN", "").strip():
            return credentials.usable(token, "MCP_TOKEN")
        if node.token_path is None:
            return None
        path = self._at(node.token_path)
        token = credentials.token(path) or ""
        if not token:
            raise credentials.no_token(node.name, path)
        return token

    def token_at_hand(self, node: Node) -> str | None:
        """The node's token (audit S3); None when there is something to do for it first. Raises UsageError."""
        return self.fixed_token(node) or self.session.at_hand()

    def token(self, node: Node) -> str:
        """As `token_at_hand`, and does what is to be done: blocks.

        Raises UsageError, MciasError, MciasUnreachableError.
        """
        return self.fixed_token(node) or self.session.token(node.name)

    def _at(self, path: Path) -> Path:
        return self.path.parent / path


def load(path: Path | None) -> Settings:
    """Reads ``path``, else what ``MCP_CONFIG`` names, else the default. Raises UsageError with every problem."""
    path = (path or Path(os.environ.get("MCP_CONFIG") or DEFAULT_PATH)).expanduser().absolute()
    try:
        data = validation.read_toml(path)
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist; `mcpd init` on a node prints what to put into it, or give --config FILE"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except validation.Invalid as error:
        raise UsageError(str(error)) from None
    config, problems = validation.examine(data, Config)
    if config is not None:
        problems = [*_duplicates(config), *_unattended(config)]
    if config is None or problems:
        raise UsageError(str(validation.Invalid(str(path), problems)))
    return Settings(path, config, Session(_account(path.parent, config)))


def _duplicates(config: Config) -> list[Problem]:
    names = [node.name for node in config.nodes]
    return [
        Problem(f"nodes[{index}].name", f"duplicate node {name!r}")
        for index, name in enumerate(names)
        if name in names[:index]
    ]


def _unattended(config: Config) -> list[Problem]:
    """What a password file is no use without."""
    if config.auth.password_file is None:
        return []
    problems = []
    if config.auth.username is None:
        problems.append(Problem("auth.username", "is missing, but auth.password_file needs it"))
    if config.mcias is None:
        problems.append(
            Problem("mcias", 'is missing, but auth.password_file needs it: [mcias] server_url = "https://..."')
        )
    return problems


def _account(folder: Path, config: Config) -> Account:
    mcias, auth = config.mcias, config.auth
    server = None
    if mcias:
        server = Server(mcias.server_url, mcias.service_name, folder / (mcias.ca_cert or config.tls.ca_cert))
    password_file = auth.password_file and folder / auth.password_file
    return Account(folder / auth.token_path, server, auth.username, password_file)
