"""`mcpd.toml`: the daemon's configuration, checked as a whole before anything starts."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from mcpd.config.rules import (
    FreeSpace,
    alert_argv,
    explicit_address,
    free_space,
    https_url,
    listening_address,
    metrics_address,
    port_range,
    program,
    proxy_argv,
    revisions,
    sessions,
    threshold,
)
from mcpd.errors import ConfigError
from protos import grammar, validation
from protos.fields import Duration, FilePath, Name, PositiveDuration, Size
from protos.parts import Heal
from protos.validation import Problem, Rule, checked

# A Unix socket's address holds 108 bytes with its closing NUL (unix(7)).
MAX_SOCKET_PATH = 107


class AuthMode(StrEnum):
    TOKENS = "tokens"
    MCIAS = "mcias"


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

    server_url: Annotated[str, checked(https_url)]
    ca_cert: FilePath | None = None


class Database(msgspec.Struct, frozen=True):
    """The registry: desired state, observed state and history.

    ``path``: an SQLite database, on a local filesystem; mcpd creates it if it is missing.
    ``revisions``: how many revisions of each service mcpd keeps for `mcpctl rollback`, 1 to 1000.
    """

    path: FilePath = Path("mcp.db")
    revisions: Annotated[int, Rule(revisions, (int,))] = 20


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

    alert_command: Annotated[tuple[str, ...], Rule(alert_argv, (list, str))] = ()
    alert_timeout: PositiveDuration = timedelta(seconds=30)
    cooldown: Duration = timedelta(minutes=15)
    drift_grace: Duration = timedelta(seconds=10)
    flap_threshold: Annotated[int, Rule(threshold, (int,))] = 3
    flap_window: PositiveDuration = timedelta(minutes=10)
    resync_interval: PositiveDuration = timedelta(seconds=60)
    retention: PositiveDuration = timedelta(days=90)
    heal: Heal = Heal.ALERT
    disk_free_warning: Annotated[FreeSpace, Rule(free_space)] = FreeSpace("10%", share=0.1)


class Sessions(msgspec.Struct, frozen=True):
    """Limits of `mcpctl exec` and `mcpctl run`.

    ``max``: how many may go on at once, 1 to 1000; 0: none, for a node where nobody may have a shell. So many runs may
        also go on detached.
    ``idle_timeout``: how long one may go on with neither input nor output; then mcpd ends it.
    ``max_duration``: how long one may go on in any case. It also limits runs that are detached.
    """

    max: Annotated[int, Rule(sessions, (int,))] = 16
    idle_timeout: PositiveDuration = timedelta(hours=1)
    max_duration: PositiveDuration = timedelta(hours=12)


class Metrics(msgspec.Struct, frozen=True):
    """Where Prometheus finds metrics. Without the section, mcpd serves none. Access needs no authentication.

    ``address``: one address, like ``grpc_addr``; everybody who reaches it may read the metrics.
    """

    address: Annotated[tuple[str, int], Rule(metrics_address)]


class ProxyKind(StrEnum):
    HAPROXY = "haproxy"
    TRAEFIK = "traefik"
    COMMAND = "command"


class ProxyListener(msgspec.Struct, frozen=True):
    """A port on which the proxy takes connections; routes name it with `listen`.

    ``address``: `IP:PORT`; 0.0.0.0 for every address: this is what the world reaches.
    ``tls``: whether the proxy ends TLS there; without it, routes of the mode `tls` cannot use it.
    """

    address: Annotated[tuple[str, int], Rule(listening_address)]
    tls: bool = True

    @property
    def port(self) -> int:
        return self.address[1]


class Proxy(msgspec.Struct, frozen=True):
    """The proxy that leads the world to components with routes (docs/routes.md). Without the section there are none.

    ``kind``: `haproxy`, `traefik`, or `command`: a program of yours that drives another one.
    ``file``: haproxy: its configuration; traefik: a file that its file provider watches. mcpd writes it whole.
    ``socket``: haproxy: the socket of its master (`-S`).
    ``program``: haproxy: the program with which mcpd checks a configuration before HAProxy reads it; empty: none.
    ``api``: traefik: the address of its API.
    ``resolver``: traefik: the certificate resolver (ACME) for hosts of routes; empty: certificates from files.
    ``command``: command: its argv; run without a shell, with the table as JSON on its standard input.
    ``timeout``: command: how long it may take.
    ``certificates``: a folder of certificates in PEM, each with its chain and its key; read again when it changes.
    ``ports``: the range of ports, on the loopback address, by which the proxy reaches components.
    ``listeners``: where the proxy listens.
    """

    kind: ProxyKind
    listeners: tuple[ProxyListener, ...]
    file: FilePath | None = None
    socket: FilePath | None = None
    program: Annotated[str, checked(program)] = "/usr/sbin/haproxy"
    api: Annotated[str, checked(grammar.http_url)] | None = None
    resolver: str = ""
    command: Annotated[tuple[str, ...], Rule(proxy_argv, (list, str))] = ()
    timeout: PositiveDuration = timedelta(seconds=10)
    certificates: FilePath | None = None
    ports: Annotated[range, Rule(port_range)] = range(20000, 30000)


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
    sessions: Sessions = Sessions()
    metrics: Metrics | None = None
    proxy: Proxy | None = None

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
        proxy=_anchored_proxy(config.proxy, folder),
    )


def _anchored_proxy(proxy: Proxy | None, folder: Path) -> Proxy | None:
    if proxy is None:
        return None
    paths = {key: getattr(proxy, key) for key in ("file", "socket", "certificates")}
    return msgspec.structs.replace(proxy, **{key: folder / path for key, path in paths.items() if path})


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
    problems += _unusable_proxy(config.proxy)
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


# What each kind of proxy needs to be told.
_OF_PROXY = {
    ProxyKind.HAPROXY: ("file", "socket"),
    ProxyKind.TRAEFIK: ("file", "api"),
    ProxyKind.COMMAND: ("command",),
}


def _unusable_proxy(proxy: Proxy | None) -> list[Problem]:
    if proxy is None:
        return []
    problems = [
        Problem(f"proxy.{key}", f'is missing, and kind = "{proxy.kind}" needs it')
        for key in _OF_PROXY[proxy.kind]
        if not getattr(proxy, key)
    ]
    if not proxy.listeners:
        problems.append(Problem("proxy.listeners", 'is empty; [[proxy.listeners]] address = "0.0.0.0:443"'))
    ports = [each.port for each in proxy.listeners]
    twice = sorted({each for each in ports if ports.count(each) > 1})
    problems += [Problem("proxy.listeners", f"names the port {port} twice") for port in twice]
    if proxy.certificates and not _is_folder(proxy.certificates):
        problems.append(Problem("proxy.certificates", f"{proxy.certificates} is not a folder; make it, even if empty"))
    return problems


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a folder that we may not look into
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, a folder that we may not look into
        return False
