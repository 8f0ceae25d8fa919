"""What a program in a container costs by way of mcpd: its start, and the bytes that go through it, against podman."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from protos.mcp import v1
from tests.bench.client import Client
from tests.bench.harness import Row, compare, timed
from tests.podman.node import Node, run

MIB = 64
_DEFINITION = """\
name = "talk"
node = "NODE"
[[components]]
name = "api"
image = "localhost/mcp-demo:v1"
"""


def programs(node: Node) -> list[Row]:
    """podman is asked as the operator asks it there: by its own program, without its API service."""
    node.define("talk", _DEFINITION)
    node.mcpctl("deploy", "talk")
    local = {key: value for key, value in node.environment.items() if key != "CONTAINER_HOST"}
    try:
        return [*_starts(node, local), *_bytes(node, local)]
    finally:
        node.clear()


def _starts(node: Node, local: dict[str, str]) -> list[Row]:
    theirs = ["podman", "exec", "talk-api", "true"]
    with contextlib.closing(Client(node)) as client:

        async def said() -> AsyncIterator[v1.ExecRequest]:
            yield v1.ExecRequest(start=v1.ExecStart("talk", "api", command=["true"]))
            yield v1.ExecRequest(end_of_input=v1.EndOfInput())

        async def execute() -> None:
            async for _ in client.stub.exec(said()):
                pass

        inside = compare(
            "exec of a program, inside the RPC",
            "podman exec",
            1.3,
            lambda: timed(lambda: client.run(execute())),
            lambda: timed(lambda: run(theirs, env=local)),
            pairs=25,
        )
    whole = compare(
        "mcpctl exec, whole process",
        "podman exec",
        1.3,
        lambda: timed(lambda: node.mcpctl("exec", "talk/api", "--", "true")),
        lambda: timed(lambda: run(theirs, env=local)),
        pairs=15,
    )
    return [inside, whole]


def _bytes(node: Node, local: dict[str, str]) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "in")
        source.write_bytes(os.urandom(MIB * 2**20))

        def through(argv: list[str], env: dict[str, str]) -> float:
            with source.open("rb") as given, Path(name, "out").open("wb") as out:
                return timed(lambda: subprocess.run(argv, env=env, stdin=given, stdout=out, timeout=600, check=True))

        return [
            compare(
                f"{MIB} MiB through mcpctl exec, both ways",
                "podman exec",
                None,
                lambda: through(["mcpctl", "exec", "talk/api", "--", "cat"], node.environment),
                lambda: through(["podman", "exec", "-i", "talk-api", "cat"], local),
                pairs=5,
            )
        ]
