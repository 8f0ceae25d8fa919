"""An image of 300 MiB brought to a node: all of it, and then its last MiB, against `podman save | podman load`.

The image is of random data, which nothing compresses.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.harness import Figure, Row, compare, timed
from tests.podman.node import COMMAND_DEADLINE_S, Node, run
from tests.podman.workstation import Workstation, beside

MIB = 2**20
SIZE_MIB = int(os.environ.get("MCP_BENCH_IMAGE_MIB", "300"))
_NAME = "localhost/bench-image"
_SERVICE = "bench-image"
_LAYERS = 3
_FIRST_PAIRS, _DELTA_PAIRS = 5, 7
_KIB_PER_MIB = 1024
# Between looks at how much memory a process has had.
_LOOK_S = 0.02


def images(node: Node) -> list[Row | Figure]:
    with beside(node, driver="overlay") as here:
        base = {f"part{number}": os.urandom(SIZE_MIB * MIB // _LAYERS) for number in range(_LAYERS)}
        here.build(f"{_NAME}:first", {**base, "last": os.urandom(MIB)})
        here.build(f"{_NAME}:second", {**base, "last": os.urandom(MIB)})
        del base
        carrier = _Carrier(node, here)
        first = carrier.compared("first", f"push of an image of {SIZE_MIB} MiB", 1.3, _FIRST_PAIRS)
        carrier.remove("first")
        figures = [carrier.client_growth("first"), carrier.server_growth("first")]
        delta = carrier.compared("second", f"push of the last MiB of {SIZE_MIB}", 0.25, _DELTA_PAIRS)
        carrier.remove("second")
        figures.append(carrier.wire("second"))
        carrier.remove("second")
        carrier.remove("first")
    return [first, delta, *figures]


class _Carrier:
    """Brings images of the workstation to the node, by either way; without the wire that counts, but for `wire`."""

    def __init__(self, node: Node, here: Workstation) -> None:
        self._node = node
        self._here = here
        self._environment = here.environment | {"MCP_CONFIG": node.environment["MCP_CONFIG"]}
        self._mcpctl = str(Path(sys.executable).parent / "mcpctl")

    def compared(self, tag: str, what: str, target: float, pairs: int) -> Row:
        self._define(tag)
        return compare(
            what,
            "podman save | podman load",
            target,
            self._timed(tag, lambda: run(self._push, env=self._environment)),
            self._timed(tag, lambda: self._save_and_load(tag)),
            pairs=pairs,
        )

    def _timed(self, tag: str, action: Callable[[], object]) -> Callable[[], float]:
        def once() -> float:
            self.remove(tag)
            os.sync()
            return timed(action)

        return once

    @property
    def _push(self) -> list[str]:
        return [self._mcpctl, "image", "push", _SERVICE]

    def _define(self, tag: str) -> None:
        text = f'name = "{_SERVICE}"\nnode = "NODE"\n[[components]]\nname = "app"\nimage = "{_NAME}:{tag}"\n'
        self._node.define(_SERVICE, text)

    def _save_and_load(self, tag: str) -> None:
        # Without a hop through podman's service, as on one machine.
        environment = {key: value for key, value in self._node.environment.items() if key != "CONTAINER_HOST"}
        program = self._here.environment["PATH"].partition(":")[0]
        with subprocess.Popen(
            [f"{program}/podman", "save", "--quiet", f"{_NAME}:{tag}"],
            env=self._here.environment,
            stdout=subprocess.PIPE,
        ) as save:
            subprocess.run(
                ["podman", "load", "--quiet"],
                stdin=save.stdout,
                stdout=subprocess.DEVNULL,
                env=environment,
                check=True,
                timeout=COMMAND_DEADLINE_S,
            )
        assert save.returncode == 0

    def remove(self, tag: str) -> None:
        self._node.podman("rmi", "--force", "--ignore", f"{_NAME}:{tag}")

    def wire(self, tag: str) -> Figure:
        """What goes from mcpctl to the node, TLS and all."""
        self._here.define(_SERVICE, f"{_NAME}:{tag}")
        before = self._here.tap.sent
        self._here.push(_SERVICE)
        sent = (self._here.tap.sent - before) / MIB
        return Figure(f"wire for the last MiB of {SIZE_MIB}", sent, "MiB", 1.2)

    def client_growth(self, tag: str) -> Figure:
        """Of mcpctl's memory: against a push of which nothing is sent."""
        self._define(tag)
        all_of_it = self._client_peak()
        nothing = self._client_peak()
        return Figure(f"mcpctl's growth for {SIZE_MIB} MiB", max(0.0, all_of_it - nothing), "MiB", 16)

    def server_growth(self, tag: str) -> Figure:
        """Of mcpd's memory: its peak, against what it had before."""
        self.remove(tag)
        run(self._push, env=self._environment)
        self.remove(tag)
        pid = self._node.mcpd_pid
        # Forgets the peak so far (proc_pid_clear_refs(5)).
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        before = _memory(pid, "VmRSS")
        run(self._push, env=self._environment)
        return Figure(f"mcpd's growth for {SIZE_MIB} MiB", max(0.0, _memory(pid, "VmHWM") - before), "MiB", 16)

    def _client_peak(self) -> float:
        process = subprocess.Popen(self._push, env=self._environment)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _memory(process.pid, "VmHWM"))
            time.sleep(_LOOK_S)
        assert process.returncode == 0
        return peak


def _memory(pid: int, what: str) -> float:
    """In MiB; 0 when the process is no more."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in text.splitlines() if line.startswith(f"{what}:")]
    return int(found[0]) / _KIB_PER_MIB if found else 0.0
