"""The files that operators write, as Markdown: read from the types that check them."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

import mcpctl.config
import mcpd.config.rules
import mcpd.config.settings
from protos import spec
from protos.validation import Rule, is_mixed
from tests.documents.markdown import WRITTEN

ROOT = Path(__file__).parents[2]
EVERY_KEY = ROOT / "docs/examples/every-key.toml"
# A field's line in its type's docstring, with lines behind it that are indented further.
_MEANING = re.compile(r"^``(?P<name>\w+)``: (?P<text>.+(?:\n +.+)*)", re.MULTILINE)


class Notation(NamedTuple):
    """How something is written in a file, under a short name."""

    name: str
    how: str


# By the function that reads or checks it.
NOTATIONS = {
    "_path": Notation("path", "A path; `~` is your home. A relative path starts at the configuration file's folder."),
    "name": Notation("name", "Lower-case letters, digits and inner hyphens, 63 characters at most."),
    "image": Notation("image", "`[REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]`"),
    "duration": Notation("duration", "Numbers with ms, s, m, h or d: `250ms`, `10s`, `1m30s`, `2h`, `90d`."),
    "positive_duration": Notation("duration", ""),
    "schedule": Notation(
        "schedule",
        "Minute, hour, day of month, month, day of week, as in crontab(5): `30 2 * * mon-fri`, `*/5 * * * *`.",
    ),
    "timezone": Notation("time zone", "A name of the IANA time zone database: `Europe/Berlin`, `UTC`."),
    "timeout": Notation("duration", ""),
    "size": Notation("size", "A number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB: `256MiB`; without a unit, bytes."),
    "argument": Notation("string", "Any text in quotes, without NUL."),
    "host_port": Notation("address", "`IP:PORT`, `HOST:PORT` or `[IPv6]:PORT`"),
    "explicit_address": Notation(
        "IP address", "`IP:PORT` or `[IPv6]:PORT`, of one interface: no host name, no wildcard."
    ),
    "metrics_address": Notation("IP address", ""),
    "http_url": Notation("URL", "`http://HOST[:PORT]/PATH`, or https."),
    "https_url": Notation("https URL", "`https://HOST[:PORT]`"),
    "_https_url": Notation("https URL", ""),
    "_words": Notation("string", ""),
    "proxy_argv": Notation("argv", ""),
    "alert_argv": Notation(
        "argv", 'The absolute path of a program, and its arguments: `["/usr/bin/logger", "-t", "mcp"]`.'
    ),
    "listening_address": Notation("IP address", ""),
    "program": Notation("program", "The absolute path of a program, or nothing."),
    "port_range": Notation("port range", "Two numbers, both included: `20000-29999`."),
    "route_host": Notation("host", "A name in small letters, `shop.example.net`, or `*.example.net`."),
    "route_path": Notation("URL path", "`/api`: without escapes, and without `/` at its end."),
    "threshold": Notation("integer", ""),
    "revisions": Notation("integer", ""),
    "sessions": Notation("integer", ""),
    "_count": Notation("integer", ""),
    "_retries": Notation("integer", ""),
    "_wait": Notation("duration", ""),
    "_cpus": Notation("number", ""),
    "free_space": Notation("free space", "A share of the filesystem, `10%` (at most 90%), or a size: `5GiB`."),
    "network_of_component": Notation(
        "network",
        "A podman network's name, `host`, `none`, `component:NAME`, or one of podman's modes: `bridge`, `private`, "
        "`slirp4netns`, `pasta`.",
    ),
    "user": Notation("user", "`USER[:GROUP]`, names or numbers."),
    "restart": Notation("restart policy", "`no`, `on-failure[:N]`, `unless-stopped` or `always`."),
    "port": Notation(
        "port",
        "`[[IP:][HOST]:]CONTAINER[/tcp|/udp|/sctp]`; without HOST, podman chooses one. Ranges are of one length: "
        "`8000-8009:9000-9009`.",
    ),
    "volume": Notation(
        "volume",
        "`SOURCE:TARGET[:OPTIONS]`: `/srv/web:/data:ro`; SOURCE is an absolute path or a volume's name. `TARGET` alone "
        "is an anonymous volume.",
    ),
    "volume_source": Notation("source", "An absolute path on the node, or a volume's name."),
    "volume_option": Notation(
        "volume option", "`ro`, `z`, `Z`, `U`, `nocopy`, `noexec` ... (podman-run(1), --volume)."
    ),
    "env_name": Notation("string", ""),
    "secret": Notation("secret", "A podman secret's name."),
    "path_or_name": Notation("path or name", "An absolute path in the container, or a file's name."),
    "word": Notation("string", ""),
    "within": Notation("integer", ""),
    "_memory_swap": Notation("size", ""),
    "absolute_path": Notation("path inside", "An absolute path in the container."),
    "resource": Notation("podman name", "Letters, digits, `_`, `.` and `-`: the name of a podman network or volume."),
    "label_name": Notation("string", ""),
    "file_mode": Notation("file mode", 'Three octal digits: `"0440"`, or `0o440`.'),
    "platform": Notation("platform", "`OS/ARCH[/VARIANT]`: `linux/arm64`."),
    "group": Notation("group", "A name, a number, or `keep-groups`."),
    "host_name": Notation("host name", "Letters, digits, hyphens and dots, 64 at most."),
    "alias": Notation("host name", ""),
    "added_host": Notation("added host", "`NAME:IP` or `NAME:host-gateway`."),
    "dns_server": Notation("IP address", ""),
    "dns_domain": Notation("domain", "A domain, or `.` for none."),
    "dns_option": Notation("resolver option", "As resolv.conf(5) has it: `ndots:1`."),
    "ip": Notation("IP address", ""),
    "ip4": Notation("IPv4 address", "`10.89.7.10`"),
    "ip6": Notation("IPv6 address", "`fd00:7::10`"),
    "subnet": Notation("subnet", "`10.89.7.0/24` or `fd00:7::/64`"),
    "tmpfs": Notation("tmpfs", "`TARGET[:OPTIONS]`: `/run:size=64m,mode=1777`."),
    "device": Notation("device", "`/dev/HOST[:/dev/CONTAINER][:rwm]`, or `VENDOR/CLASS=NAME`: `nvidia.com/gpu=all`."),
    "signal": Notation("signal", "A name or a number: `SIGINT`."),
    "user_namespace": Notation("user namespace", "`host`, `keep-id[:OPTIONS]`, `auto[:OPTIONS]` or `nomap`."),
    "process_namespace": Notation("PID namespace", "`host`, `private` or `component:NAME`."),
    "ipc_namespace": Notation("IPC namespace", "`host`, `none`, `private`, `shareable` or `component:NAME`."),
    "capability": Notation("capability", "As capabilities(7) has it, with or without CAP_: `NET_ADMIN`; or `ALL`."),
    "security_option": Notation(
        "security option", "`KIND[=VALUE]`: `no-new-privileges`, `seccomp=unconfined`, `label=disable`, `mask=/proc/x`."
    ),
    "cpuset": Notation("CPUs", "Numbers and ranges: `0-3,6`."),
    "pairs": Notation("table or list", 'A table, or a list of `"NAME=VALUE"`; a limit is `SOFT[:HARD]`, -1 unlimited.'),
}
_PLAIN = {str: "string", bool: "true or false", int: "integer", float: "number", timedelta: "duration"}


class Document(NamedTuple):
    """One kind of file. ``example``: a whole one, that its type takes."""

    title: str
    where: str
    type: type[msgspec.Struct]
    example: str


_SERVICE = """\
name = "web"
node = "rift"
active = true

[[components]]
name = "api"
image = "registry.example.net/web:v1.7.0"
user = "1000:1000"
restart = "unless-stopped"
ports = ["127.0.0.1:18443:8443"]
volumes = ["/srv/web:/data"]
cmd = ["server", "--config", "/data/web.toml"]
env = { LOG_LEVEL = "info" }
secrets = ["web-unseal", { name = "db-password", env = "DB_PASSWORD" }]
configs = [{ target = "/etc/web/motd", content = "Welcome." }]
depends_on = ["migrate"]
heal = "restart"
update = "stop-first"
[components.health]
http = "http://127.0.0.1:18443/healthz"
start_period = "20s"
[components.resources]
memory = "256MiB"
cpus = 0.5

[[components]]
name = "migrate"
image = "registry.example.net/web:v1.7.0"
oneshot = true
cmd = ["migrate", "--database", "db:5432"]
depends_on = ["db"]

[[components]]
name = "db"
image = "registry.example.net/db:v3"
volumes = ["data:/var/lib/db"]
shm_size = "256MiB"

[volumes.data]
labels = { backup = "daily" }
"""
_MCP = """\
[services]
dir = "services"

[[nodes]]
name = "rift"
address = "100.95.252.120:9444"
ca_cert = "nodes/rift/ca.pem"
token_path = "nodes/rift/token"
"""
_MCPD = """\
[node]
name = "rift"

[server]
grpc_addr = "100.95.252.120:9444"
tls_cert = "certs/cert.pem"
tls_key = "certs/key.pem"

[monitor]
alert_command = ["/usr/bin/logger", "-t", "mcp"]
heal = "restart"

[metrics]
address = "127.0.0.1:9445"

[proxy]
kind = "haproxy"
file = "/var/lib/mcp-proxy/haproxy.cfg"
socket = "/run/mcp-proxy/master.sock"
certificates = "/srv/mcp/site-certs"

[[proxy.listeners]]
address = "0.0.0.0:443"

[[proxy.listeners]]
address = "0.0.0.0:80"
tls = false
"""
DOCUMENTS = (
    Document("A service's definition", "`SERVICE.toml` in the folder that `mcp.toml` names", spec.Service, _SERVICE),
    Document(
        "`mcp.toml`", "mcpctl's: `--config`, `MCP_CONFIG`, or `~/.config/mcp/mcp.toml`", mcpctl.config.Config, _MCP
    ),
    Document("`mcpd.toml`", "mcpd's: `--config`, or `/srv/mcp/mcpd.toml`", mcpd.config.settings.Config, _MCPD),
)

_HEAD = """\
# The files that you write

All of them are TOML. An unknown key, or a value of the wrong type or out of range, is an error. The error names the
file, the key, the value found and the values allowed; all errors of a file are reported at once. Nothing changes until
the file is correct. `mcpctl service list` checks the definitions, `mcpd check` mcpd's configuration and the machine.
"""


def page() -> str:
    lines = [WRITTEN, "", *_HEAD.splitlines(), ""]
    for document in DOCUMENTS:
        lines += [f"## {document.title}", "", f"Where it is: {document.where}.", ""]
        lines += ["```toml", *document.example.splitlines(), "```", ""]
        lines += _tables(document.type, "")
        if document.type is spec.Service:
            lines += ["### Every key once", "", f"From `{EVERY_KEY.relative_to(ROOT)}`:", ""]
            lines += ["```toml", *EVERY_KEY.read_text().splitlines(), "```", ""]
    lines += ["## Notations", "", "| | |", "| --- | --- |"]
    lines += [f"| {each.name} | {_cell(each.how)} |" for each in NOTATIONS.values() if each.how]
    return "\n".join(lines) + "\n"


def _tables(struct: type[msgspec.Struct], path: str) -> Iterator[str]:
    """The struct's own fields, and below them the tables that it has."""
    meanings = documented(struct)
    rows, below = [], []
    for field in msgspec.structs.fields(struct):
        inner = table_of(field.type)
        if inner is None or meanings.get(field.name):
            rows.append(_row(field, meanings.get(field.name, "")))
        if inner is not None:
            of_names = ".NAME" if typing.get_origin(field.type) is Mapping else ""
            where = f"{path}.{field.encode_name}{of_names}".lstrip(".")
            below.append((inner, where, typing.get_origin(field.type) is tuple))
    if path:
        yield from (_about(struct), "")
    if rows:
        yield from ("| key | notation | default | meaning |", "| --- | --- | --- | --- |", *rows, "")
    for inner, where, is_list in below:
        yield from (f"### `[[{where}]]`" if is_list else f"### `[{where}]`", "")
        yield from _tables(inner, where)


def documented(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What the struct's docstring says of its fields."""
    text = inspect.getdoc(struct) or ""
    return {match["name"]: _plain_code(" ".join(match["text"].split())) for match in _MEANING.finditer(text)}


def _about(struct: type[msgspec.Struct]) -> str:
    paragraphs = _MEANING.sub("", inspect.getdoc(struct) or "").split("\n\n")
    return _plain_code(" ".join(" ".join(paragraphs).split()))


def _plain_code(text: str) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", re.sub(r" \(audit [A-Z]\d\)", "", text))


def _row(field: msgspec.structs.FieldInfo, meaning: str) -> str:
    cells = (f"`{field.encode_name}`", notation(field.type), _default(field), meaning[:1].upper() + meaning[1:])
    return f"| {' | '.join(map(_cell, cells))} |"


def table_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a field of ``kind`` holds, or a list or table of such."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    if typing.get_origin(kind) is Annotated:
        return None
    return next((found for each in typing.get_args(kind) if (found := table_of(each))), None)


def notation(kind: Any) -> str:
    """How a value of ``kind`` is written. Raises KeyError for a rule that NOTATIONS lacks."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and is_mixed(args[0]):
        return f"list: {notation(typing.get_args(args[0])[0])}, or table"
    if table_of(kind) is not None:
        return "list of tables" if origin is tuple else "table of tables" if origin is Mapping else "table"
    if origin is Annotated:
        rule = next(each for each in args if isinstance(each, Rule))
        return NOTATIONS["pairs" if dict in rule.takes else _function(rule).__name__].name
    if origin is tuple:
        return f"list: {notation(args[0])}"
    if origin is not None and issubclass(origin if isinstance(origin, type) else object, Mapping):
        return f"table: {notation(args[1])}"
    if args:  # a union with None
        return notation(next(each for each in args if each is not type(None)))
    if issubclass(kind, Enum):
        return " or ".join(f'`"{each.value}"`' for each in kind)
    return _PLAIN[kind]


def _function(rule: Rule) -> Callable[..., object]:
    """The function behind a rule, also behind one of `protos.validation.checked`."""
    found: Callable[..., object] = inspect.getclosurevars(rule.parse).nonlocals.get("parse", rule.parse)
    return found


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if value is None or isinstance(value, msgspec.Struct):
        return ""
    if notation(field.type) == "file mode":
        return f'`"{value:04o}"`'
    return f"`{_written(value)}`"


def _written(value: Any) -> str:
    """As a file says it."""
    if isinstance(value, mcpd.config.rules.FreeSpace):
        return json.dumps(value.text)
    if isinstance(value, range):
        return json.dumps(f"{value[0]}-{value[-1]}")
    if isinstance(value, timedelta):
        return json.dumps(_span(value))
    if isinstance(value, Path):
        return json.dumps(str(value))
    if isinstance(value, Enum):
        return json.dumps(value.value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**20 and value % 2**30 == 0:
        return json.dumps(f"{value // 2**30}GiB")
    return "{}" if value == {} else json.dumps(value)


def _span(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
