"""What a node of `contrib/demo` runs in, and processes in its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from contrib.demonstration import processes
from contrib.demonstration.node import Node

HERE = {"PATH": os.environ["PATH"]}

MCPD_TOML = """\
[server]
grpc_addr = "127.0.0.1:9444"

[auth]
mode = "tokens"                 # hashed
tokens_path = "tokens.json"

[database]
path = "mcp.db"

[files]
root = "/srv"

[monitor]
alert_command = ["/usr/local/bin/notify"]
disk_free_warning = "10%"
"""


@contextmanager
def started(node: Node, *argv: str, log: str = "x.log") -> Iterator[int]:
    node.folder.mkdir(exist_ok=True)
    pid = processes.start(list(argv), HERE, log=node.folder / log, pid_file=node.folder / "x.pid")
    try:
        yield pid
    finally:
        processes.end([pid], lambda _: True, 0)
