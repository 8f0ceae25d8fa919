"""The configuration files of a node's mcpd and mcpctl: made once, by `mcpd init` and here, and then a person's."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from contrib.demonstration.node import VENV, Node, has_pure_cgroup_v2, write_once
from contrib.demonstration.output import Failure

MCIAS_ACCOUNT = "operator"
_LOOPBACK = "127.0.0.1"
# In the order in which they are put in place: the last says that the others are there.
_MADE_BY_INIT = ("certs", "mcpd.toml", "tokens.json", "admin.token")

_ALERT_PROGRAM = '''\
#!/usr/bin/env python3
"""Keeps an alert: one line of JSON with what mcpd says about it in the environment."""

import json
import os
from pathlib import Path

alert = {name: value for name, value in sorted(os.environ.items()) if name.startswith("MCP_")}
ledger = os.open(Path(__file__).parent.parent / "alerts.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(ledger, f"{json.dumps(alert)}\\n".encode())  # one write, so that alerts at the same time do not mix
'''


@dataclass(frozen=True)
class Options:
    """What `up` was told; empty means not told."""

    name: str = ""
    address: str = ""
    mcias: bool = False
    proxy: str = ""


@dataclass(frozen=True)
class Settings:
    """What mcpd.toml says."""

    name: str
    address: str
    mcias_url: str = ""  # empty without MCIAS
    proxy: str = ""  # its kind; empty without one
    proxy_address: str = ""
    proxy_api: str = ""  # Traefik's

    @property
    def mcias_address(self) -> str:
        return self.mcias_url.removeprefix("https://")


def read_settings(node: Node) -> Settings:
    """Raises Failure when somebody has broken mcpd.toml."""
    path = node.folder / "mcpd.toml"
    try:
        tables = tomllib.loads(path.read_text())
        uses_mcias = tables["auth"]["mode"] == "mcias"
        proxy = tables.get("proxy")
        return Settings(
            tables["node"]["name"],
            tables["server"]["grpc_addr"],
            tables["mcias"]["server_url"] if uses_mcias else "",
            proxy["kind"] if proxy else "",
            proxy["listeners"][0]["address"] if proxy else "",
            proxy.get("api", "") if proxy else "",
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise Failure(f"{path} does not say {error}, which this node needs") from error


def toml(word: object) -> str:
    """One word, quoted; `node_at` has refused the folders whose names need escapes."""
    return f'"{word}"'


def free_port() -> int:
    """A port of loopback that nothing listens on at the moment."""
    with socket.create_server((_LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def set_up_mcpd(node: Node, options: Options) -> None:
    """Runs `mcpd init` in a folder aside, unless it was done, so that a half-done one is begun anew."""
    for name in ("bin", "srv", node.definitions.name):
        (node.folder / name).mkdir(parents=True, exist_ok=True)
    write_once(node.folder / "bin/alert", _ALERT_PROGRAM, mode=0o755)
    if (node.folder / "admin.token").exists():
        return
    new = node.folder / "init.new"
    for path in (new, node.folder / "mcias", *(node.folder / name for name in _MADE_BY_INIT)):
        _remove(path)
    if options.mcias:
        _set_up_mcias(node)
    address = options.address or f"{_LOOPBACK}:{free_port()}"
    argv = [f"{VENV}/bin/mcpd", "init", str(new), "--node", options.name or "demo", "--address", address]
    if status := subprocess.run(argv, env=node.environment, stdout=subprocess.DEVNULL, check=False).returncode:
        raise Failure("", max(status, 1))  # it has told why
    config = new / "mcpd.toml"
    mcias_url = f"https://{_LOOPBACK}:{free_port()}" if options.mcias else ""
    text = adapted(config.read_text(), node, mcias_url)
    if options.proxy:
        (node.folder / "proxy").mkdir(exist_ok=True)
        text += proxy_section(node, options.proxy, free_port(), free_port())
    config.write_text(text)
    for name in _MADE_BY_INIT:
        (new / name).rename(node.folder / name)
    new.rmdir()


def adapted(text: str, node: Node, mcias_url: str) -> str:
    """mcpd.toml with what `mcpd init` cannot know. Raises Failure when it has no alert command to replace."""
    alert = f"[{toml(VENV / 'bin/python')}, {toml(node.folder / 'bin/alert')}]"
    lines: dict[str, str | None] = {
        "alert_command": f"alert_command = {alert}   # an argv array, run without a shell",
        "root": f"root = {toml(node.folder / 'srv')}",  # so that pushed files stay below the folder as well
        "disk_free_warning": 'disk_free_warning = "0%"       # a demo is nobody\'s disk',
    }
    if mcias_url:
        lines["mode"] = 'mode = "mcias"                  # an MCIAS server says who holds a token'
        lines["tokens_path"] = None
        lines["[database]"] = (
            f"[mcias]\nserver_url = {toml(mcias_url)}\nca_cert = {toml(node.folder / 'mcias/ca.pem')}\n\n[database]"
        )
    made = [lines.get(line.partition(" =")[0], line) for line in text.splitlines()]
    if lines["alert_command"] not in made:
        raise Failure(f"{node.folder}/init.new/mcpd.toml has no alert_command line to replace")
    return "".join(f"{line}\n" for line in made if line is not None)


def proxy_section(node: Node, kind: str, port: int, api_port: int) -> str:
    """[proxy] of mcpd.toml, for a proxy of the demo's own that listens on ``port``, without TLS."""
    folder = node.folder / "proxy"
    lines = ["", "[proxy]", f"kind = {toml(kind)}"]
    if kind == "haproxy":
        lines += [f"file = {toml(folder / 'haproxy.cfg')}", f"socket = {toml(folder / 'master.sock')}"]
    else:
        lines += [f"file = {toml(folder / 'routes/mcp.yml')}", f"api = {toml(f'http://{_LOOPBACK}:{api_port}')}"]
        (folder / "routes").mkdir(exist_ok=True)
    lines += ["", "[[proxy.listeners]]", f"address = {toml(f'{_LOOPBACK}:{port}')}", "tls = false", ""]
    return "\n".join(lines)


def _set_up_mcias(node: Node) -> None:
    """The stand-in's folder, with one account in it; it makes the rest itself."""
    folder = node.folder / "mcias"
    folder.mkdir(mode=0o700)
    password = secrets.token_urlsafe(24)
    account = {"username": MCIAS_ACCOUNT, "password": password, "roles": ["admin"]}
    for name, text in (("password", password), ("accounts.json", json.dumps([account]))):
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{text}\n")


def set_up_mcpctl(node: Node, settings: Settings) -> None:
    """Writes mcp.toml, and the `env` that a person sources."""
    folder = node.folder
    lines = ["[services]", f"dir = {toml(node.definitions)}", ""]
    if settings.mcias_url:
        lines += ["[mcias]", f"server_url = {toml(settings.mcias_url)}"]
        lines += [f"ca_cert = {toml(folder / 'mcias/ca.pem')}", ""]
        lines += ["[auth]", f"token_path = {toml(folder / 'token')}", f"username = {toml(MCIAS_ACCOUNT)}"]
        lines += [f"password_file = {toml(folder / 'mcias/password')}", ""]
    lines += ["[[nodes]]", f"name = {toml(settings.name)}", f"address = {toml(settings.address)}"]
    lines += [f"ca_cert = {toml(folder / 'certs/ca.pem')}"]
    if not settings.mcias_url:
        lines += [f"token_path = {toml(folder / 'admin.token')}"]
    write_once(folder / "mcp.toml", "\n".join(lines) + "\n")
    exports = [f"# Source this: mcpctl and podman then speak to node {settings.name}."]
    exports += [f'export PATH={shlex.quote(str(VENV / "bin"))}:"$PATH"']  # PATH is the reader's
    exports += [f"export {name}={shlex.quote(value)}" for name, value in exported(node).items()]
    write_once(folder / "env", "\n".join(exports) + "\n")


def exported(node: Node) -> dict[str, str]:
    """What makes mcpctl and podman speak to this node, beside a PATH with the environment's programs."""
    names = ["CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF"]
    if not has_pure_cgroup_v2():
        names.append("PODMAN_IGNORE_CGROUPSV1_WARNING")
    if not node.is_root:
        names.append("XDG_RUNTIME_DIR")
    return {
        "MCP_CONFIG": str(node.folder / "mcp.toml"),
        "CONTAINER_HOST": f"unix://{node.podman_socket}",
        **{name: node.environment[name] for name in names},
    }


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
