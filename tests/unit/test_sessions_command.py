"""exec and run without a terminal: what goes in and comes out, exit statuses, signals, and every way to end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import WEB, Node, of_a_shell
from tests.support.session_agent import CHUNK, SessionAgent, running_programs
from tests.support.waiting import DEADLINE_S, until

TWO = WEB + '[[components]]\nname = "db"\nimage = "x:v1"\n'
# Says how much memory mcpctl took at most, in KiB (getrusage(2)).
MEASURED = """\
import resource, subprocess, sys
process = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(process.returncode)
"""
BIG = 64 << 20


@pytest.fixture
def agent(alone: Node, tmp_path: Path) -> SessionAgent:
    (tmp_path / "services" / "web.toml").write_text(WEB)
    return running_programs(alone)


class Client:
    """Runs mcpctl as a shell does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()

    def start(self, *words: str, environment: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        streams = {"stdin": pipe, "stdout": pipe, "stderr": pipe} | options
        process = subprocess.Popen(
            [sys.executable, "-m", "mcpctl", *words], env=of_a_shell(self._folder) | (environment or {}), **streams
        )
        self._stack.callback(_end, process)
        return process

    def __call__(self, *words: str, given: bytes = b"", **options: Any) -> subprocess.CompletedProcess[bytes]:
        process = self.start(*words, **options)
        out, err = process.communicate(given if "stdin" not in options else None, timeout=DEADLINE_S * 3)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def close(self) -> None:
        self._stack.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for each in (process.stdin, process.stdout, process.stderr):
        if each:
            with contextlib.suppress(BrokenPipeError):
                each.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    # A shell's background jobs ignore Ctrl-C, and so would what the tests start when they are one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with contextlib.closing(Client(tmp_path)) as made:
            yield made
    finally:
        signal.signal(signal.SIGINT, before)


def has_begun(agent: SessionAgent) -> None:
    until(lambda: agent.sessions and agent.last.process)


def has_ended(agent: SessionAgent) -> None:
    """The node ended the program when the caller was gone."""
    until(lambda: agent.last.was_left and agent.last.process and agent.last.process.poll() is not None)


# -- what goes in and comes out


@pytest.mark.parametrize("status", [0, 1, 137, 255])
@pytest.mark.parametrize("command", ["exec", "run"])
def test_the_exit_status_is_the_programs(agent: SessionAgent, client: Client, command: str, status: int) -> None:
    ran = client(command, "web/api", "--", "sh", "-c", f"echo out; echo err >&2; exit {status}")
    assert (ran.returncode, ran.stdout, ran.stderr) == (status, b"out\n", b"err\n")
    assert agent.last.start.command == ["sh", "-c", f"echo out; echo err >&2; exit {status}"]
    assert (agent.last.start.service, agent.last.start.component) == ("web", "api")


def test_a_program_that_a_signal_ended_has_128_and_its_number(agent: SessionAgent, client: Client) -> None:
    assert client("exec", "web/api", "--", "sh", "-c", "kill -9 $$").returncode == 137
    assert not agent.last.was_left


def test_bytes_travel_whole_both_ways_in_chunks_and_in_little_memory(agent: SessionAgent, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(1 << 20) * (BIG >> 20))
    argv = [sys.executable, "-c", MEASURED, sys.executable, "-m", "mcpctl"]

    def peak(*words: str, stdin: Path) -> int:
        with stdin.open("rb") as source, (tmp_path / "received").open("wb") as sink:
            ran = subprocess.run(
                [*argv, *words], env=of_a_shell(tmp_path), stdin=source, stdout=sink, stderr=subprocess.PIPE
            )
        assert ran.returncode == 0, ran.stderr
        return int(ran.stderr.split()[-1]) << 10

    little = tmp_path / "little"
    little.write_bytes(b"x")
    least = peak("exec", "web/api", "--", "cat", stdin=little)
    most = peak("exec", "web/api", "--", "cat", stdin=sent)
    assert digest(tmp_path / "received") == digest(sent)
    assert agent.last.received == BIG
    assert agent.last.largest <= CHUNK
    assert agent.last.has_end
    # The window of a call, twice, and what Python takes for them; not what was sent.
    assert most - least < BIG / 4


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_nothing_is_read_ahead_of_a_program_that_does_not_read(agent: SessionAgent, client: Client) -> None:
    agent.is_deaf = True
    process = client.start("exec", "web/api", "--", "sleep", "600")
    has_begun(agent)
    assert process.stdin
    os.set_blocking(process.stdin.fileno(), False)
    written = 0

    def is_full() -> bool:
        nonlocal written
        try:
            written += os.write(process.stdin.fileno(), b"x" * CHUNK)  # type: ignore[union-attr]
        except BlockingIOError:
            return True
        return False

    until(is_full)
    # Full, and it stays so: the pipe, a chunk or two, and what HTTP/2 lets us send.
    until(lambda: is_full() and is_full())
    assert written < 6 << 20


def test_output_waits_for_a_slow_reader_and_is_whole_then(agent: SessionAgent, client: Client) -> None:
    agent.resets = True
    process = client.start("exec", "web/api", "--", "head", "-c", "3000000", "/dev/zero", stdin=subprocess.DEVNULL)
    # The node has said everything before anything is read, and resets the call: more than a pipe holds is on its way.
    until(lambda: agent.sessions and agent.last.process and agent.last.process.poll() == 0)
    until(lambda: agent.calls_running == 0)
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, len(out), set(out)) == (0, 3000000, {0})


def test_without_input_stdin_is_empty(agent: SessionAgent, client: Client) -> None:
    ran = client("exec", "web/api", "--no-interactive", "--", "cat", given=b"not for it")
    assert (ran.returncode, ran.stdout, agent.last.start.has_input) == (0, b"", False)


@pytest.mark.parametrize("source", ["file", "null", "closed"])
def test_stdin_may_be_anything(agent: SessionAgent, tmp_path: Path, source: str) -> None:
    (tmp_path / "file").write_bytes(b"content")
    redirection = {"file": f"< {tmp_path}/file", "null": "< /dev/null", "closed": "<&-"}
    ran = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m mcpctl exec web/api -- cat {redirection[source]}"],
        env=of_a_shell(tmp_path),
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert (ran.returncode, ran.stdout) == (0, b"content" if source == "file" else b""), ran.stderr
    assert agent.last.start.has_input is (source != "closed")
    assert agent.last.has_end is (source != "closed")


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("sink", "status", "error"),
    [
        (">&-", 3, b""),
        ("2>&-", 3, b""),
        ("> /dev/full", 125, b"mcpctl: stdout cannot be written: No space left on device\n"),
    ],
)
def test_stdout_may_be_closed_or_full(tmp_path: Path, sink: str, status: int, error: bytes) -> None:
    ran = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m mcpctl exec web/api -- sh -c 'echo out; exit 3' < /dev/null {sink}"],
        env=of_a_shell(tmp_path),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        timeout=DEADLINE_S,
    )
    assert (ran.returncode, ran.stderr) == (status, error)


def test_a_reader_who_has_enough_ends_it_as_it_ends_other_commands(agent: SessionAgent, client: Client) -> None:
    process = client.start("exec", "web/api", "--", "yes", stdin=subprocess.DEVNULL)
    assert process.stdout
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    assert process.wait(DEADLINE_S) == 0
    has_ended(agent)
    assert process.stderr
    assert process.stderr.read() == b""


def test_stdout_and_stdin_are_left_blocking(agent: SessionAgent, client: Client) -> None:
    ours, theirs = os.pipe()
    try:
        assert client("exec", "web/api", "--", "true", stdout=theirs).returncode == 0
        assert os.get_blocking(theirs)
        assert agent.sessions
    finally:
        os.close(ours)
        os.close(theirs)


# -- what the program is told


def test_variables_user_and_folder_are_sent(agent: SessionAgent, client: Client) -> None:
    words = ("-e", "A=1=2", "-e", "B", "-e", "MISSING", "-e", "C=", "-u", "1000:1000", "-w", "/srv")
    ran = client("exec", "web/api", *words, "--", "env", environment={"B": "from here"})
    assert ran.returncode == 0
    start = agent.last.start
    assert (start.env, start.user, start.workdir) == ({"A": "1=2", "B": "from here", "C": ""}, "1000:1000", "/srv")
    assert "terminal" not in start.to_dict()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("web", "ls", "-l", "--debug"), ["ls", "-l", "--debug"]),
        (("-e", "A=1", "web", "-w", "/srv", "ls", "-t", "--", "x"), ["ls", "-t", "--", "x"]),
        (("web", "-u", "root", "-i", "--", "ls", "--user"), ["ls", "--user"]),
        (("-iu", "root", "web", "true"), ["true"]),
        (("web",), []),
    ],
)
def test_the_options_of_the_program_are_not_ours(
    agent: SessionAgent, client: Client, words: tuple[str, ...], command: list[str]
) -> None:
    client("exec", *words, given=b"exit 0\n")
    assert agent.last.start.command == command


def test_what_is_not_text_is_refused_without_being_shown(agent: SessionAgent, client: Client) -> None:
    ran = client("exec", "web/api", "-e", "KEY=\udcff-secret", "--", "true")
    assert (ran.returncode, agent.sessions) == (125, [])
    assert b"the value of KEY is not UTF-8" in ran.stderr
    assert b"secret" not in ran.stderr


def test_a_shell_needs_somebody_who_talks_to_it(agent: SessionAgent, client: Client) -> None:
    ran = client("exec", "web/api", "--no-interactive")
    assert (ran.returncode, agent.sessions) == (125, [])
    assert b"a shell needs a terminal or input" in ran.stderr
    assert client("exec", "web/api", given=b"exit 7\n").returncode == 7


# -- which component, on which node


def test_a_service_with_several_components_needs_one_named(agent: SessionAgent, client: Client, tmp_path: Path) -> None:
    (tmp_path / "services/web.toml").write_text(TWO)
    ran = client("exec", "web", "--", "true")
    assert ran.returncode == 125
    assert b"web has several components (api, db); give one: `mcpctl exec web/api`" in ran.stderr
    assert client("exec", "web/db", "--", "true").returncode == 0
    assert agent.last.start.component == "db"


@pytest.mark.parametrize("broken", [True, False])
def test_without_a_definition_the_node_knows_its_components(
    agent: SessionAgent, client: Client, tmp_path: Path, broken: bool
) -> None:
    path = tmp_path / "services/web.toml"
    path.write_text("broken") if broken else path.unlink()
    info = v1.ServiceInfo("web", "rift", True, [v1.ComponentInfo(service="web", component="api")])
    agent.prepared["ListServicesRequest"] = v1.ListServicesResponse("rift", [info])
    assert client("exec", "web", "--", "true").returncode == 0
    assert agent.last.start.component == "api"


@pytest.mark.parametrize(
    "status", [Status.NOT_FOUND, Status.FAILED_PRECONDITION, Status.RESOURCE_EXHAUSTED, Status.PERMISSION_DENIED]
)
def test_a_refusal_is_125_and_says_why(agent: SessionAgent, client: Client, status: Status) -> None:
    agent.prepared["ExecStart"] = GRPCError(status, "it does not run")
    ran = client("exec", "web/api", "--", "true")
    assert ran.returncode == 125
    assert ran.stdout == b""
    assert b"mcpctl: " in ran.stderr
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("no service web is deployed on rift", "; `mcpctl deploy web/api` deploys it"),
        ("web/api has no run k3f9a2; `mcpctl top web/api` shows them", ""),
    ],
)
def test_what_is_defined_and_not_deployed_is_to_be_deployed(
    agent: SessionAgent, client: Client, words: str, hint: str
) -> None:
    agent.prepared["ExecStart"] = GRPCError(Status.NOT_FOUND, words)
    ran = client("exec", "web/api", "--", "true")
    assert (ran.returncode, ran.stderr.decode()) == (125, f"mcpctl: node rift: {words}{hint}\n")


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("words", [("exec", "web/api", "--bad"), ("run",), ("exec", "no_name"), ("run", "web", "-dit")])
def test_a_wrong_command_line_is_125_too(client: Client, words: tuple[str, ...]) -> None:
    ran = client(*words)
    assert (ran.returncode, ran.stdout) == (125, b"")
    assert ran.stderr.startswith(b"mcpctl: ")


def test_why_a_limit_ended_it_is_said(agent: SessionAgent, client: Client) -> None:
    agent.ending = "it was ended after 12h"
    ran = client("exec", "web/api", "--", "sh", "-c", "exit 129")
    assert (ran.returncode, ran.stderr) == (129, b"mcpctl: node rift: it was ended after 12h\n")


def test_a_program_that_is_not_there_has_podmans_status_and_words(agent: SessionAgent, client: Client) -> None:
    ended = v1.SessionEnded(127, "podman could not start it: no such file")
    agent.prepared["ExecStart"] = [
        v1.ExecResponse(started=v1.SessionStarted("nope", "web-api")),
        v1.ExecResponse(ended=ended),
    ]
    ran = client("exec", "web/api", "--", "nope")
    assert (ran.returncode, ran.stderr) == (127, b"mcpctl: node rift: podman could not start it: no such file\n")


# -- tokens


def test_a_refused_token_sends_no_input(agent: SessionAgent, client: Client) -> None:
    agent.good_tokens = {"another"}
    ran = client("exec", "web/api", "--", "cat", given=b"secret" * 100_000)
    assert (ran.returncode, agent.sessions) == (125, [])
    assert b"the token is not known here" in ran.stderr


# -- signals, and ends


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_is_the_programs(agent: SessionAgent, client: Client, name: str) -> None:
    program = f"trap 'echo {name}; exit 9' {name.removeprefix('SIG')}; echo ready; while :; do sleep 0.1; done"
    process = client.start("exec", "web/api", "--", "sh", "-c", program, stdin=subprocess.DEVNULL)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.Signals[name])
    assert process.wait(DEADLINE_S) == 9
    assert agent.last.signals == [name]
    assert process.stdout.read() == f"{name}\n".encode()


def test_ctrl_c_twice_ends_mcpctl_where_the_program_says_nothing(agent: SessionAgent, client: Client) -> None:
    program = "trap '' INT; echo ready; while :; do sleep 0.1; done"
    process = client.start("exec", "web/api", "--", "sh", "-c", program, stdin=subprocess.DEVNULL)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    until(lambda: agent.last.signals == ["SIGINT"])
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 130
    assert process.stderr
    assert b"ended by SIGINT; node rift ends sh in web-api" in process.stderr.read()
    has_ended(agent)


def test_a_signal_that_cannot_be_sent_ends_mcpctl(agent: SessionAgent, client: Client, tmp_path: Path) -> None:
    agent.is_deaf = True
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(BIG)
    with big.open("rb") as source:
        process = client.start("exec", "web/api", "--", "sh", "-c", "echo ready; sleep 600", stdin=source)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        # As much as may be sent is.
        until(lambda: os.lseek(source.fileno(), 0, os.SEEK_CUR) > 4 << 20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 143
    has_ended(agent)


def test_a_lost_connection_is_125_and_says_what_becomes_of_the_program(
    agent: SessionAgent, alone: Node, client: Client
) -> None:
    process = client.start("exec", "web/api", "--", "sh", "-c", "echo ready; sleep 600", stdin=subprocess.DEVNULL)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    alone.cut()
    assert process.wait(DEADLINE_S) == 125
    assert process.stderr
    said = process.stderr.read().decode()
    assert "the connection to node rift was lost while sh in web-api was running" in said
    assert "the node ends it as soon as it notices" in said
    assert said.count("\n") == 1
    has_ended(agent)


# -- run


def test_a_detached_run_prints_its_name_and_goes_on(agent: SessionAgent, client: Client) -> None:
    ran = client("run", "web", "--detach", "--", "reindex", "--all", given=b"no input")
    assert (ran.returncode, ran.stdout) == (0, b"k3f9a2\n")
    assert (
        b"`mcpctl logs web/api --run k3f9a2 --follow` follows it, `mcpctl run web/api --stop k3f9a2` stops it"
        in ran.stderr
    )
    start = agent.last.start
    assert (start.detach, start.has_input, start.command) == (True, False, ["reindex", "--all"])
    assert "terminal" not in start.to_dict()
    assert client("run", "web", "--detach", "-q").stderr == b""


def test_a_run_may_have_another_program_and_none(agent: SessionAgent, client: Client) -> None:
    assert client("run", "web", "--entrypoint", "", "--", "true").returncode == 0
    assert agent.last.start.entrypoint == ""
    assert client("run", "web", given=b"exit 5\n").returncode == 5
    assert agent.last.start.entrypoint is None


def test_a_run_is_stopped_by_its_name(agent: SessionAgent, client: Client) -> None:
    assert client("run", "web", "--stop", "k3f9a2").returncode == 0
    assert agent.asked(v1.StopRunRequest) == [v1.StopRunRequest("web", "api", "k3f9a2")]
    assert client("run", "web", "--stop", "k3f9a2", "--", "true").returncode == 125
    agent.prepared["StopRunRequest"] = GRPCError(Status.NOT_FOUND, "no run k of web/api")
    assert client("run", "web", "--stop", "k").returncode == 125
