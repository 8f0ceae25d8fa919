"""`mcpd init`: everything that a new node needs, for people without a CA or MCIAS. Never overwrites."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from mcpd.config.rules import explicit_address
from mcpd.errors import ConfigError, RefusedError
from mcpd.identity import tokens
from mcpd.model import Role
from mcpd.setup import pki
from protos import atomic, naming

ADMIN = "admin"

_CONFIG = """\
# The configuration of mcpd on this node. Relative paths start at this file's folder.

[node]
name = "{node}"

[server]
grpc_addr = "{address}"         # the one address that operators reach; never a wildcard
tls_cert = "certs/cert.pem"
tls_key = "certs/key.pem"

[auth]
mode = "tokens"                 # hashed tokens in a local file: `mcpd token add|list|revoke`
tokens_path = "tokens.json"

[database]
path = "mcp.db"

[files]
root = "/srv"
max_size = "1GiB"

[podman]
socket = ""                     # empty: mcpd runs podman's API service itself

[monitor]
alert_command = ["/usr/local/bin/notify", "--channel", "mcp"]   # an argv array, run without a shell
alert_timeout = "30s"
cooldown = "15m"
drift_grace = "10s"
flap_threshold = 3
flap_window = "10m"
resync_interval = "60s"
retention = "90d"
heal = "alert"                  # alert | restart
disk_free_warning = "10%"       # or a size, "5GiB"; "0%" for never

# [metrics]                     # for Prometheus, on one explicit address; neither TLS nor a token: docs/metrics.md
# address = "127.0.0.1:9445"
"""

_INSTRUCTIONS = """\
Node {node} is set up in {folder}. Check the machine, and start it:

    mcpd check --config {folder}/mcpd.toml
    mcpd serve --config {folder}/mcpd.toml

On each workstation, paste these lines; they make mcpctl trust and reach it:

    mkdir -p ~/.config/mcp/services && (umask 077; mkdir -p ~/.config/mcp/nodes/{node})
    cat > ~/.config/mcp/nodes/{node}/ca.pem <<'PEM'
{ca}PEM
    cat >> ~/.config/mcp/mcp.toml <<'TOML'

    [[nodes]]
    name = "{node}"
    address = "{address}"
    ca_cert = "~/.config/mcp/nodes/{node}/ca.pem"
    token_path = "~/.config/mcp/nodes/{node}/token"
    TOML
    (umask 077; ssh root@{host} cat {folder}/admin.token > ~/.config/mcp/nodes/{node}/token)

The admin token is in {folder}/admin.token (readable by you alone, and printed nowhere).
The CA's key, {folder}/certs/ca-key.pem, is needed only to renew the certificate: keep it off the node if you can.
"""


def initialize(folder: Path, node: str, address: str) -> str:
    """Makes configuration, private CA, server certificate and an admin token below ``folder``.

    Returns what to tell the operator. Raises ConfigError for a bad name or address, RefusedError when anything that
    it would write is there already; then it has written nothing.
    """
    if not naming.is_name(node):
        raise ConfigError(f"{node!r} is not a valid node name: {naming.NAME_RULE}")
    try:
        host, _ = explicit_address(address)
    except ValueError as error:
        raise ConfigError(f"--address: {error}") from None
    folder = folder.absolute()
    certs = folder / "certs"
    tokens_path = folder / "tokens.json"
    authority = pki.make_authority(node)
    server = pki.make_server(authority, node, host)
    contents = {
        certs / "ca.pem": (authority.pem.certificate, atomic.PUBLIC),
        certs / "ca-key.pem": (authority.pem.key, atomic.PRIVATE),
        certs / "cert.pem": (server.certificate, atomic.PUBLIC),
        certs / "key.pem": (server.key, atomic.PRIVATE),
        folder / "mcpd.toml": (_CONFIG.format(node=node, address=address).encode(), atomic.PUBLIC),
    }
    present = [str(path) for path in (*contents, tokens_path, folder / "admin.token") if os.path.lexists(path)]
    if present:
        raise RefusedError(f"nothing was written: {', '.join(present)} exist already; `init` never overwrites")
    certs.mkdir(parents=True, exist_ok=True)
    for path, (content, mode) in contents.items():
        atomic.create(path, content, mode=mode)
    token = tokens.add(tokens_path, ADMIN, Role.ADMIN, datetime.now(UTC))
    atomic.create(folder / "admin.token", f"{token}\n".encode(), mode=atomic.PRIVATE)
    certificate = authority.pem.certificate.decode()
    return _instructions(node, address, host, folder, certificate)


def _instructions(node: str, address: str, host: str, folder: Path, ca: str) -> str:
    # The here-documents' lines must start at the margin, or a pasted PEM would be indented.
    text = _INSTRUCTIONS.format(node=node, address=address, host=host, folder=folder, ca=ca)
    return "\n".join(line.removeprefix("    ") for line in text.splitlines()) + "\n"
