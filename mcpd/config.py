"""`mcpd.toml`: the daemon's configuration, checked as a whole before anything starts."""

from __future__ import annotations

import ipaddress
import re
import shlex
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from mcpd.errors import ConfigError
from protos import grammar, validation
from protos.fields import Duration, FilePath, Name, PositiveDuration, Size
from protos.parts import Heal
from protos.validation import Problem, Rule, checked

# A Unix socket's address holds 108 bytes with its closing NUL (unix(7)).
MAX_SOCKET_PATH = 107
_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?%")
# A filesystem of which more than this must be free is nearly always one that is misjudged.
_MOST_PERCENT = 90


class AuthMode(StrEnum):
    TOKENS = "tokens"
    MCIAS = "mcias"


def explicit_address(
    text: str, instead: str = 'write the one address that operators reach, say grpc_addr = "100.95.252.120:9444"'
) -> tuple[str, int]:
    """One address of one interface and a port (audit S2). Raises ValueError for a wildcard or a host name."""
    if text.startswith(":"):
        raise ValueError(f"{text!r} names no address and would listen on every interface; {instead}")
    host, port = grammar.host_port(text)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{text!r} names a host, not an IP address; {instead}") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if address.is_unspecified or (mapped and mapped.is_unspecified):
        raise ValueError(f"{text!r} would listen on every interface; {instead}")
    return str(address), port


def _metrics_address(text: str) -> tuple[str, int]:
    return explicit_address(text, 'write the one address that Prometheus reaches, say address = "127.0.0.1:9445"')


class FreeSpace(NamedTuple):
    """How much of a filesystem should be free: ``share`` of it (0 to 1), or ``size`` bytes. ``text``: as written."""

    text: str
    share: float = 0.0
    size: int = 0

    def of(self, total: int) -> float:
        """In bytes, of a filesystem of ``total`` bytes."""
        return max(self.share * total, float(self.size))


def free_space(text: str) -> FreeSpace:
    """``10%``, or a size: ``5GiB``. Raises ValueError."""
    if not text.endswith("%"):
        try:
            return FreeSpace(text, size=grammar.size(text))
        except ValueError:
            raise ValueError(f'{text!r} is neither a share of the filesystem ("10%") nor a size ("5GiB")') from None
    if not _PERCENT.fullmatch(text) or not 0 <= float(text[:-1]) <= _MOST_PERCENT:
        raise ValueError(f'{text!r} is not a share of the filesystem from 0% (never warn) to {_MOST_PERCENT}%: "10%"')
    return FreeSpace(text, share=float(text[:-1]) / 100)


def _argv(value: str | list[Any]) -> tuple[str, ...]:
    """An argv array, run without a shell (audit S1)."""
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError:
            words = value.split()
        array = ", ".join(f'"{word}"' for word in words)
        raise ValueError(f"is a string, which only a shell could run; write an array: alert_command = [{array}]")
    if not value or not all(isinstance(word, str) and word and "\0" not in word for word in value):
        raise ValueError("is not an argv array: a list of strings, the program first")
    if not Path(value[0]).is_absolute():
        raise ValueError(f"starts with {value[0]!r}; write the program's absolute path")
    return tuple(value)


def _threshold(value: int) -> int:
    return _at_most_1000(value, "transitions")


def _revisions(value: int) -> int:
    return _at_most_1000(value, "revisions")


def _at_most_1000(value: int, what: str) -> int:
    if not 1 <= value <= 1000:
        raise ValueError(f"{value} is out of range: 1 to 1000 {what}")
    return value


def _https_url(text: str) -> str:
    if not text.startswith("https://"):
        raise ValueError(f"{text!r} is not https, and tokens would be sent in the clear; write https://HOST[:PORT]")
    return grammar.http_url(text)


class Node(msgspec.Struct, frozen=True):
    """Which node this is.

    ``name``: the name that definitions and `mcp.toml` use.
    """

    name: Name


class Server(msgspec.Struct, frozen=True):
    """Where mcpd listens, and with which certificate.

    ``grpc_addr``: the one address that operators reach; never a wildcard or a host name.
    ``tls_cert``: the server's certificate and the intermediate certificates, in PEM. mcpd reloads it when it changes.
    ``tls_key``: its key, in PEM; no other user may read it.
    """

    grpc_addr: Annotated[tuple[str, int], Rule(explicit_address)]
    tls_cert: FilePath
    tls_key: FilePath


class Auth(msgspec.Struct, frozen=True):
    """Where mcpd looks up the owner and the role of a token.

    ``mode``: a local file of hashed tokens, or the MCIAS server that [mcias] names.
    ``tokens_path``: the file for ``mode = "tokens"``; `mcpd token` writes it.
    """

    mode: AuthMode = AuthMode.TOKENS
    tokens_path: FilePath = Path("tokens.json")


class Mcias(msgspec.Struct, frozen=True):
    """The server that knows the owners of tokens, for ``mode = "mcias"``.

    ``server_url``: `https://HOST[:PORT]`.
    ``ca_cert``: the CA that signed the server's certificate. Default: the CAs that the system trusts.
    """

    server_url: Annotated[str, checked(_https_url)]
    ca_cert: FilePath | None = None


class Database(msgspec.Struct, frozen=True):
    """The registry: desired state, observed state and history.

    ``path``: an SQLite database, on a local filesystem; mcpd creates it if it is missing.
    ``revisions``: how many revisions of each service mcpd keeps for `mcpctl rollback`, 1 to 1000.
    """

    path: FilePath = Path("mcp.db")
    revisions: Annotated[int, Rule(_revisions, (int,))] = 20


class Files(msgspec.Struct, frozen=True):
    """The only place that `mcpctl push` and `pull` reach.

    ``root``: the folder that has one folder per service.
    ``max_size``: the largest file that can be pushed.
    """

    root: FilePath = Path("/srv")
    max_size: Size = 2**30


class Podman(msgspec.Struct, frozen=True):
    """How mcpd reaches podman.

    ``socket``: the socket of an API service that somebody else runs. Empty: mcpd runs its own.
    ``run_dir``: the folder for the socket of mcpd's own API service.
    """

    socket: str = ""
    run_dir: FilePath = Path("run")


class Monitor(msgspec.Struct, frozen=True):
    """Observation, alerts and healing.

    ``alert_command``: the program that notifies you, its absolute path first; run without a shell. Empty: alerts are
        only in `mcpctl alerts list`.
    ``alert_timeout``: how long the command may take; then mcpd kills it and tries again.
    ``cooldown``: how long mcpd does not repeat an alert for the same component.
    ``drift_grace``: how long a component that something will repair may be down before mcpd raises an alert.
    ``flap_threshold``: how many failures within ``flap_window`` are a flap, 1 to 1000.
    ``flap_window``: see ``flap_threshold``.
    ``resync_interval``: how often mcpd lists all of podman's containers, in addition to podman's events.
    ``retention``: how long events, closed alerts, operations and the audit log are kept.
    ``heal``: what mcpd does when a component should run but has ended or is unhealthy; a definition can override it.
    ``disk_free_warning``: the free space below which mcpd raises an alert; 0%: never.
    """

    alert_command: Annotated[tuple[str, ...], Rule(_argv, (list, str))] = ()
    alert_timeout: PositiveDuration = timedelta(seconds=30)
    cooldown: Duration = timedelta(minutes=15)
    drift_grace: Duration = timedelta(seconds=10)
    flap_threshold: Annotated[int, Rule(_threshold, (int,))] = 3
    flap_window: PositiveDuration = timedelta(minutes=10)
    resync_interval: PositiveDuration = timedelta(seconds=60)
    retention: PositiveDuration = timedelta(days=90)
    heal: Heal = Heal.ALERT
    disk_free_warning: Annotated[FreeSpace, Rule(free_space)] = FreeSpace("10%", share=0.1)


class Metrics(msgspec.Struct, frozen=True):
    """Where Prometheus finds metrics. Without the section, mcpd serves none. Access needs no authentication.

    ``address``: one address, like ``grpc_addr``; everybody who reaches it may read the metrics.
    """

    address: Annotated[tuple[str, int], Rule(_metrics_address)]


class Config(msgspec.Struct, frozen=True):
    """The daemon's configuration. Relative paths start at the file's folder."""

    node: Node
    server: Server
    auth: Auth = Auth()
    mcias: Mcias | None = None
    database: Database = Database()
    files: Files = Files()
    podman: Podman = Podman()
    monitor: Monitor = Monitor()
    metrics: Metrics | None = None

    @property
    def podman_socket(self) -> Path:
        return Path(self.podman.socket) if self.podman.socket else self.podman.run_dir / "podman.sock"


def load(path: Path) -> Config:
    """The configuration in ``path``; its relative paths start at its folder. Raises ConfigError with every problem."""
    try:
        data = validation.read_toml(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; `mcpd init {path.parent}` writes one") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except validation.Invalid as error:
        raise ConfigError(str(error)) from None
    config, problems = validation.examine(data, Config)
    if config is not None:
        config = _anchored(config, path.absolute().parent)
        problems = _unusable(config)
    if config is None or problems:
        raise ConfigError(str(validation.Invalid(str(path), problems)))
    return config


# What SIGHUP reads again, by section. The certificate and its key are read again too, from where they were.
READ_AGAIN = {
    "monitor": frozenset(
        {
            "alert_command",
            "alert_timeout",
            "cooldown",
            "drift_grace",
            "flap_threshold",
            "flap_window",
            "retention",
            "disk_free_warning",
        }
    ),
    "mcias": frozenset({"ca_cert"}),
}


def needs_restart(before: Config, after: Config) -> list[str]:
    """The keys that are not the same any more, and that a daemon reads only at its start."""
    changed = []
    for section in Config.__struct_fields__:
        old, new = getattr(before, section), getattr(after, section)
        if old is None or new is None:
            changed += [section] if old is not new else []
            continue
        names = [name for name in old.__struct_fields__ if name not in READ_AGAIN.get(section, frozenset())]
        changed += [f"{section}.{name}" for name in names if getattr(old, name) != getattr(new, name)]
    return changed


def _anchored(config: Config, folder: Path) -> Config:
    """``config`` with every path absolute."""
    replace = msgspec.structs.replace
    mcias = config.mcias
    if mcias and mcias.ca_cert:
        mcias = replace(mcias, ca_cert=folder / mcias.ca_cert)
    return replace(
        config,
        server=replace(config.server, tls_cert=folder / config.server.tls_cert, tls_key=folder / config.server.tls_key),
        auth=replace(config.auth, tokens_path=folder / config.auth.tokens_path),
        database=replace(config.database, path=folder / config.database.path),
        files=replace(config.files, root=folder / config.files.root),
        podman=replace(
            config.podman,
            socket=str(folder / config.podman.socket) if config.podman.socket else "",
            run_dir=folder / config.podman.run_dir,
        ),
        mcias=mcias,
    )


def _unusable(config: Config) -> list[Problem]:
    """What the file says well but the machine does not have."""
    problems = []
    for key, file in (("tls_cert", config.server.tls_cert), ("tls_key", config.server.tls_key)):
        if not _is_file(file):
            problems.append(
                Problem(
                    f"server.{key}",
                    f'{file} does not exist; write {key} = "/path/to/your.pem", or let `mcpd init DIR` make one',
                )
            )
    problems += _unusable_mcias(config)
    if len(bytes(config.podman_socket)) > MAX_SOCKET_PATH:
        problems.append(
            Problem(
                "podman.run_dir",
                f"{config.podman_socket} is too long for a socket ({MAX_SOCKET_PATH} bytes); write a shorter run_dir",
            )
        )
    return problems


def _unusable_mcias(config: Config) -> list[Problem]:
    if config.auth.mode is not AuthMode.MCIAS:
        return []
    if config.mcias is None:
        return [Problem("mcias", 'is missing, and auth.mode = "mcias" needs it: [mcias] server_url = "https://..."')]
    ca_cert = config.mcias.ca_cert
    if ca_cert is None or _is_file(ca_cert):
        return []
    return [Problem("mcias.ca_cert", f"{ca_cert} does not exist; it is the CA that signed MCIAS' certificate, in PEM")]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, a folder that we may not look into
        return False
