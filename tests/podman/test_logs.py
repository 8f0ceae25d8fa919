"""What components print: merged by time, followed over a killed daemon and a deploy, harmless to a terminal."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.podman.node import Node, until

COUNTING = 'i=0; while :; do echo \\"{word} $i\\"; i=$((i+1)); sleep 0.0{pause}; done'


def define(node: Node, name: str, **programs: str) -> None:
    components = "".join(
        f'[[components]]\nname = "{component}"\nimage = "localhost/mcp-demo:v1"\nstop_timeout = "1s"\n'
        f'cmd = ["/bin/sh", "-c", "{program}"]\n'
        for component, program in programs.items()
    )
    node.define(name, f'name = "{name}"\nnode = "NODE"\n{components}')


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in text.splitlines() if each.endswith("}")]


@contextmanager
def following(node: Node, *words: str, into: Path) -> Iterator[subprocess.Popen[bytes]]:
    with into.open("wb") as out:
        argv = ["mcpctl", "logs", *words, "--follow", "--output", "json"]
        process = subprocess.Popen(argv, env=node.environment, stdout=out, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            finally:
                process.kill()
                process.wait()


def numbers(lines: list[dict[str, Any]], component: str) -> list[int]:
    return [int(each["line"].split()[-1]) for each in lines if each["component"] == component]


def is_without_gaps(found: list[int]) -> bool:
    """Whether each number follows the one before it, or begins again at 0 as another container does."""
    return all(after in (before + 1, 0) for before, after in itertools.pairwise(found))


def test_lines_of_several_components_come_in_the_order_of_their_times(node: Node) -> None:
    define(node, "talk", a=COUNTING.format(word="a", pause=3), b=COUNTING.format(word="b", pause=5))
    node.mcpctl("deploy", "talk")
    until(lambda: len(rows(node.mcpctl("logs", "talk", "--output", "json").stdout)) > 50)
    found = rows(node.mcpctl("logs", "talk", "--output", "json").stdout)
    assert [each["at"] for each in found] == sorted(each["at"] for each in found)
    for component in ("a", "b"):
        assert numbers(found, component) == list(range(len(numbers(found, component))))
    assert {each["component"] for each in rows(node.mcpctl("logs", "talk/b", "--output", "json").stdout)} == {"b"}
    tail = rows(node.mcpctl("logs", "talk", "--tail", "2", "--output", "json").stdout)
    assert sorted(each["component"] for each in tail) == ["a", "a", "b", "b"]
    assert re.fullmatch(
        r"a \| a \d+\nb \| b \d+|b \| b \d+\na \| a \d+", node.mcpctl("logs", "talk", "-n1").stdout.strip()
    )


def test_no_line_is_lost_or_doubled_over_a_killed_daemon_and_a_deploy(node: Node, tmp_path: Path) -> None:
    define(node, "talk", a=COUNTING.format(word="a", pause=1), b=COUNTING.format(word="b", pause=2))
    node.mcpctl("deploy", "talk")
    out = tmp_path / "lines"

    def heard() -> list[dict[str, Any]]:
        return rows(out.read_text())

    with following(node, "talk", "--tail", "0", into=out):
        until(lambda: len(heard()) > 50)
        node.stop_daemon(signal.SIGKILL)
        before = len(heard())
        node.up()
        until(lambda: len(heard()) > before + 100)
        node.mcpctl("deploy", "talk", "--force")
        ends = {name: len(numbers(heard(), name)) for name in ("a", "b")}
        until(
            lambda: all(0 in numbers(heard(), name) and len(numbers(heard(), name)) > ends[name] + 20 for name in ends)
        )
    for component in ("a", "b"):
        assert is_without_gaps(numbers(heard(), component))


def test_what_a_log_holds_is_text_to_a_terminal_and_bytes_to_a_pipe(node: Node) -> None:
    define(
        node, "rude", rude="printf '\\\\033[2J\\\\033]0;title\\\\007\\\\033[31mred\\\\033[0m\\\\tend\\\\n'; sleep 600"
    )
    node.mcpctl("deploy", "rude")
    until(lambda: "red" in node.mcpctl("logs", "rude").stdout)
    assert "\x1b[2J" in node.mcpctl("logs", "rude").stdout
    shown = subprocess.run(
        ["script", "--quiet", "--return", "--command", "mcpctl logs rude", "/dev/null"],
        env=node.environment | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout
    assert b"\x1b[31mred" in shown
    assert b"\x1b[2J" not in shown
    assert b"\x1b]0" not in shown


def test_a_log_that_podman_keeps_elsewhere_is_asked_for(node: Node) -> None:
    """An adopted container may have another log driver; there the lines have whole seconds."""
    node.podman(
        "run",
        "--detach",
        "--name",
        "odd-x",
        "--log-driver",
        "json-file",
        "localhost/mcp-demo:v1",
        "/bin/sh",
        "-c",
        "echo hello; sleep 600",
    )
    node.mcpctl("adopt", "odd", "--node", node.name)
    until(lambda: "x | hello" in node.mcpctl("logs", "odd").stdout)


def test_unknown_and_silent(node: Node) -> None:
    define(node, "still", still="sleep 600")
    node.mcpctl("deploy", "still")
    assert node.mcpctl("logs", "still").stdout == ""
    assert "no service ghost" in node.mcpctl("logs", "ghost", status=2).stderr
    assert "still/ghost is not known" in node.mcpctl("logs", "still/ghost", status=2).stderr


def test_the_last_lines_of_tens_of_mebibytes_without_an_end_of_line(node: Node) -> None:
    """A line of more than 64 KiB is told in parts, each of which counts; the last one has no end yet."""
    printed = 32 * 1024 * 1024
    program = f"head -c {printed} /dev/zero | tr '\\0' x; printf end; sleep 600"
    argv = ["run", "--detach", "--name", "endless-x", "--log-driver", "k8s-file", "--log-opt", "max-size=100mb"]
    node.podman(*argv, "localhost/mcp-demo:v1", "/bin/sh", "-c", program)
    node.mcpctl("adopt", "endless", "--node", node.name)
    until(lambda: node.mcpctl("logs", "endless", "--tail", "1", "--quiet").stdout.endswith("xend\n"))
    found = rows(node.mcpctl("logs", "endless", "--tail", "3", "--output", "json").stdout)
    assert [len(each["line"]) <= 64 * 1024 for each in found] == [True] * 3
    whole = rows(node.mcpctl("logs", "endless", "--output", "json").stdout)
    assert sum(len(each["line"]) for each in whole) == printed + len("end")
    assert {each["line"].strip("x") for each in whole} == {"", "end"}
