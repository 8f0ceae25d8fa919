"""Makes docs/images: what a terminal shows of real commands on a demo node. `python -m tests.documents.pictures`.

Needs root, as contrib/demo does. Not compared by a test: times and sizes differ with every run.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.documents.__main__ import REPOSITORY
from tests.podman.node import Node, running
from tests.support.waiting import until

IMAGES = REPOSITORY / "docs/images"
WIDTH = 108
MAX_SIZE = 60_000
_WEB = """\
name = "web"
node = "NODE"
[[components]]
name = "api"
image = "localhost/mcp-demo:v1"
depends_on = ["db"]
[components.health]
cmd = ["/bin/busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"]
interval = "1s"
[[components]]
name = "db"
image = "localhost/mcp-demo:v1"
cmd = ["/bin/sh", "-c", "echo opening the database; echo ready for connections; exec sleep 100000"]
"""
# rich's own, without fonts from elsewhere: a picture in a repository should ask nobody.
_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" xml:space="preserve">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running(Node(Path(folder) / "node", "demo")) as node:
        node.define("web", _WEB)
        draw(node, "deploy", ["mcpctl plan web", "mcpctl deploy web", "mcpctl status"])
        draw(
            node,
            "drift",
            [
                "podman kill web-db",
                "mcpctl status web",
                "mcpctl deploy web/api --image localhost/mcp-demo:broken",
                "mcpctl timeline web --since 20s",
            ],
        )
        until(lambda: node.json("alerts", "list"), "the death is told")
        draw(node, "alerts", ["mcpctl logs web/db", "mcpctl alerts list", "mcpctl alerts ack 1 --note 'on it'"])
        node.clear()


def draw(node: Node, name: str, commands: Sequence[str]) -> None:
    """docs/images/NAME.svg, with the commands and what they print."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for command in commands:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text.from_ansi(_anonymous(node, shown(node, command))))
    svg = console.export_svg(title="mcp", theme=MONOKAI, code_format=_FORMAT, unique_id=f"mcp-{name}")
    svg = "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
    assert len(svg) < MAX_SIZE, f"{name}: {len(svg)} bytes"
    (IMAGES / f"{name}.svg").write_text(svg)
    print(f"docs/images/{name}.svg: {len(svg)} bytes")


def shown(node: Node, command: str) -> str:
    """What the command prints on a terminal; of what is drawn over, the last."""
    ours, theirs = pty.openpty()
    environment = node.environment | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": "50"}
    process = subprocess.Popen(
        shlex.split(command), env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # EIO: nobody has the terminal open any more
        pass
    finally:
        os.close(ours)
        process.wait()
    return _settled(b"".join(parts).decode())


def _settled(text: str) -> str:
    """Lines as they stand in the end: those that a cursor movement led back over are dropped."""
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if up := re.match(r"(?:\x1b\[\??[0-9]*[hlJ]|\r)*\x1b\[(\d*)A", line):
            del lines[len(lines) - int(up[1] or 1) :]
        lines.append(re.sub(r"\x1b\[[0-9;?]*[A-HJKhlsu]", "", line.rpartition("\r")[2]))
    return "\n".join(lines).rstrip("\n")


def _anonymous(node: Node, text: str) -> str:
    """The text without the name of a temporary folder."""
    return text.replace(str(node.folder), "~/demo")


if __name__ == "__main__":
    main()
