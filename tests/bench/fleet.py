"""What many nodes cost: the whole process of `mcpctl ps` over a hundred of them, against one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.harness import Row, compare, timed
from tests.fleet.running import running

NODES = 100


def hundred() -> Row:
    """Real servers with TLS, each with an address and a certificate of its own, in as many processes as CPUs."""
    with (
        tempfile.TemporaryDirectory(prefix="mcp-fleet-") as folder,
        running(Path(folder), NODES, processes=os.cpu_count() or 1) as fleet,
    ):
        one, all_of_them = fleet.configure("one.toml", 1), fleet.configure("all.toml", NODES)
        return compare(
            f"mcpctl ps, {NODES} nodes",
            "one node",
            5.0,
            lambda: timed(lambda: _ps(all_of_them)),
            lambda: timed(lambda: _ps(one)),
            pairs=15,
        )


def _ps(environment: dict[str, str]) -> None:
    program = str(Path(sys.executable).parent / "mcpctl")
    subprocess.run([program, "ps"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)


if __name__ == "__main__":
    from tests.bench.harness import show

    show([hundred()], [])
