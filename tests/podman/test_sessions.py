"""exec and run on real podman: a terminal, bytes, statuses, limits, and nothing left when somebody goes away."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.podman.node import Node, is_alive, run, running, until
from tests.podman.rootless import RootlessPodman, rootless_node
from tests.terminal.screen import terminal

DEFINITION = """\
name = "talk"
node = "NODE"
[[components]]
name = "api"
image = "localhost/mcp-demo:v1"
hostname = "talk-api"
ports = ["127.0.0.1:PORT:8080"]
restart = "always"
stop_timeout = "1s"
env = { GREETING = "hello" }
volumes = ["talk-data:/data"]
[[components]]
name = "idle"
image = "localhost/mcp-demo:v1"
cmd = ["/bin/sleep", "100000"]
stop_timeout = "1s"
"""
MIB = 2**20
# Long enough that only what ends it can end it, and a number that nobody else sleeps for.
LONG = "98765"


@pytest.fixture
def talk(node: Node) -> Node:
    return deployed(node, 18743)


@pytest.fixture(scope="module")
def rootless(shared_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RootlessPodman]:
    with rootless_node(tmp_path_factory.mktemp("rootless"), shared_node) as node:
        yield node


def deployed(node: Node, port: int) -> Node:
    node.define("talk", DEFINITION.replace("PORT", str(port)))
    node.mcpctl("deploy", "talk")
    return node


def piped(node: Node, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["mcpctl", *words], env=node.environment, input=data, capture_output=True, timeout=240, check=False
    )


@contextmanager
def going_on(node: Node, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """mcpctl with a pipe as its standard input, which stays open; past its first line of output."""
    process = subprocess.Popen(
        ["mcpctl", *words],
        env=node.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def sleepers() -> list[str]:
    """The command lines of what the tests here leave running, on the whole machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if LONG.encode() in words and words[0].endswith(b"sleep"):
            found.append(b" ".join(words).decode())
    return found


def ran(node: Node) -> str:
    """What runs in the component's container."""
    return node.podman("top", "talk-api", "args")


def runs(node: Node) -> set[str]:
    return {each for each in node.containers() if ".run-" in each}


def of_both_kinds(node: Node) -> None:
    """What holds whoever owns podman."""
    for status in (0, 1, 137):
        assert piped(node, "exec", "talk/api", "--", "sh", "-c", f"exit {status}").returncode == status
        assert piped(node, "run", "talk/api", "--", "sh", "-c", f"exit {status}").returncode == status
    done = piped(node, "exec", "talk/api", "--", "sh", "-c", "echo out; echo err >&2; kill -9 $$")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 137)
    assert piped(node, "exec", "talk/api", "--", "cat", data=b"a\0b\r\n\xff").stdout == b"a\0b\r\n\xff"
    assert piped(node, "run", "talk/api", "--", "cat", data=b"a\0b\r\n\xff").stdout == b"a\0b\r\n\xff"
    lost = piped(node, "exec", "talk/api", "--", "no-such-program")
    assert lost.returncode == 127
    assert b"no-such-program" in lost.stderr
    assert b"OCI" not in lost.stderr
    with going_on(node, "exec", "talk/api", "-i", "--", "sh", "-c", f"echo on; sleep {LONG}; echo") as process:
        until(lambda: len(sleepers()) == 1, "it sleeps")
        process.kill()
    until(lambda: not sleepers(), "what was left is ended")
    with going_on(node, "exec", "talk/api", "-i", "--", "sh", "-c", f"trap 'exit 9' INT; echo on; sleep {LONG}") as it:
        it.send_signal(signal.SIGINT)
        assert (it.wait(60), it.stderr and it.stderr.read()) == (9, b"")
    until(lambda: not sleepers())
    with going_on(node, "run", "talk/api", "-i", "--", "sh", "-c", f"echo on; sleep {LONG}; echo") as process:
        assert len(runs(node)) == 1
        process.kill()
    until(lambda: not runs(node), "the run is gone")
    assert not sleepers()


def test_programs_run_and_end_as_they_do_here(talk: Node) -> None:
    of_both_kinds(talk)


def test_they_do_where_podman_is_an_ordinary_users(rootless: RootlessPodman) -> None:
    of_both_kinds(deployed(rootless, 18744))


def test_a_full_screen_program_at_a_real_terminal(talk: Node) -> None:
    with terminal(talk.folder, "exec", "talk/api", "--", "vi", "/tmp/note", columns=90, lines=20) as screen:
        screen.shows("~")
        screen.type("iwritten here\x1b")
        screen.shows("written here")
        screen.resize(60, 12)
        screen.type(":!stty size\r")
        screen.shows("12 60")
        screen.type("\r")
        screen.type(":wq\r")
        assert screen.end() == 0
        screen.is_clean()
    assert piped(talk, "exec", "talk/api", "--", "cat", "/tmp/note").stdout == b"written here\n"


def test_a_shell_takes_ctrl_c_ctrl_d_and_a_paste(talk: Node) -> None:
    with terminal(talk.folder, "exec", "talk/api", columns=100, lines=30) as screen:
        screen.shows("/ #")
        screen.type("sleep 1000\r")
        until(lambda: "sleep 1000" in ran(talk), "it has begun")
        screen.type("\x03")
        screen.type("echo status $?\r")
        screen.shows("status 130")
        # Lines, since a terminal's line has 4095 bytes (termios(3)).
        screen.shows("status 130\n/ #")
        screen.type("stty -echo; head -c 1048576 | sha256sum; stty echo\r")
        line = b"x" * 63 + b"\n"
        paste = line * (MIB // len(line))
        until(lambda: screen.text.count("stty echo") >= 1)
        position = 0
        while position < len(paste):
            position += os.write(screen._ours, paste[position : position + 4096])
        # When the shell is back: what is typed before its line discipline is restored, is not for it.
        screen.shows(f"{hashlib.sha256(paste).hexdigest()}  -\n/ #")
        screen.type("\x04")
        screen.end()
        screen.is_clean()


def test_64_mebibytes_go_in_and_come_out(talk: Node, tmp_path: Path) -> None:
    data = os.urandom(64 * MIB)
    (tmp_path / "in").write_bytes(data)
    before = memory(talk.mcpd_pid)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as out:
        argv = ["mcpctl", "exec", "talk/api", "--", "cat"]
        subprocess.run(argv, env=talk.environment, stdin=source, stdout=out, timeout=240, check=True)
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(data).digest()
    assert memory(talk.mcpd_pid) - before < 24 * MIB


def memory(pid: int) -> int:
    """The most that a process has had of it, in bytes (proc_pid_status(5))."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_tar_goes_through_it(talk: Node, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_bytes(os.urandom(100_000))
    packed = subprocess.run(["tar", "-c", "-C", str(tmp_path), "a"], capture_output=True, check=True).stdout
    assert piped(talk, "exec", "talk/api", "--", "tar", "-x", "-C", "/tmp", data=packed).returncode == 0
    back = piped(talk, "exec", "talk/api", "--", "cat", "/tmp/a/b").stdout
    assert back == (tmp_path / "a/b").read_bytes()


def test_a_run_is_the_components_and_nobodys_component(talk: Node) -> None:
    script = "echo $GREETING $MORE; touch /data/run; hostname; id -u; pwd"
    words = ("run", "talk/api", "-e", "MORE=more", "-u", "65534", "-w", "/tmp")
    done = piped(talk, *words, "--", "sh", "-c", script.replace("touch /data/run; ", ""))
    greeting, name, user, folder = done.stdout.decode().split("\n")[:4]
    assert (greeting, user, folder) == ("hello more", "65534", "/tmp")
    assert name != "talk-api"
    piped(talk, "run", "talk/api", "--", "touch", "/data/run")
    assert piped(talk, "exec", "talk/api", "--", "ls", "/data").stdout == b"run\n"
    with going_on(talk, "run", "talk/api", "-i", "--", "sh", "-c", "echo on; cat") as process:
        (name,) = runs(talk)
        for words in (("ps",), ("status",), ("list",)):
            assert name not in talk.mcpctl(*words, "--output", "json").stdout
        # The component is found by its name, and the run is not.
        addresses = piped(talk, "exec", "talk/idle", "--", "nslookup", "api").stdout
        assert addresses.count(b"Address") <= 3
        inspected = talk.inspect(name)
        assert not inspected["HostConfig"]["PortBindings"]
        assert "mcp.service" not in inspected["Config"]["Labels"]
        adoption = talk.mcpctl("adopt", "talk", "--node", talk.name, "--dry-run", status=None)
        assert name not in adoption.stdout + adoption.stderr
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert not runs(talk)


def test_a_detached_run_goes_on_and_is_seen_and_stopped(talk: Node) -> None:
    name = talk.mcpctl("run", "talk/api", "--detach", "--", "sleep", LONG).stdout.strip()
    assert {each.rpartition(".run-")[2] for each in runs(talk)} == {name}
    assert name in talk.mcpctl("top", "talk").stdout
    talk.mcpctl("run", "talk/api", "--stop", name)
    until(lambda: not runs(talk))
    assert f"stopping run {name}" in talk.mcpctl("events", "talk").stdout
    quick = talk.mcpctl("run", "talk/api", "--detach", "--", "sh", "-c", "echo why; exit 3").stdout.strip()
    until(lambda: f"run {quick} ended: exited 3" in talk.mcpctl("events", "talk").stdout)
    until(lambda: not runs(talk))
    for words in ((), ("--follow",)):
        assert talk.mcpctl("logs", "talk/api", "--run", quick, "--quiet", *words).stdout == "why\n"
    assert f"run {quick} on {talk.name}: it does not run: exited (3)" in talk.mcpctl("top", "talk/api").stderr
    assert f"mcpctl logs talk/api --run {quick}" in talk.mcpctl("run", "talk/api", "--stop", quick, status=None).stderr
    assert "no run" in talk.mcpctl("run", "talk/api", "--stop", "nosuch", status=None).stderr


def test_undeploying_a_service_ends_its_runs(talk: Node) -> None:
    talk.mcpctl("run", "talk/api", "--detach", "--", "sleep", LONG)
    talk.mcpctl("undeploy", "talk")
    assert not runs(talk)
    assert "talk" not in talk.podman("network", "ls", "--format", "{{.Name}}").split()


def test_a_killed_mcpd_leaves_nothing_but_what_was_detached(talk: Node) -> None:
    stubborn = f"trap '' HUP TERM; echo on; sleep {LONG}; echo"
    with (
        going_on(talk, "exec", "talk/api", "-i", "--", "sh", "-c", stubborn),
        going_on(talk, "exec", "talk/api", "-i", "--", "sh", "-c", f"echo on; sleep {LONG}; echo"),
        going_on(talk, "run", "talk/api", "-i", "--", "sh", "-c", f"echo on; sleep {LONG}; echo"),
    ):
        detached = talk.mcpctl("run", "talk/api", "--detach", "--", "sleep", LONG).stdout.strip()
        until(lambda: len(sleepers()) == 4, "all of them sleep")
        talk.stop_daemon(signal.SIGKILL)
        assert len(sleepers()) == 4, "containers live on"
    talk.up()
    until(lambda: len(sleepers()) == 1, "only what was detached goes on")
    until(lambda: {each.rpartition(".run-")[2] for each in runs(talk)} == {detached})
    talk.mcpctl("run", "talk/api", "--stop", detached)
    until(lambda: f"run {detached} ended" in talk.mcpctl("events", "talk").stdout)
    assert not sleepers()


def test_a_mcpd_that_shuts_down_ends_what_somebody_watches(talk: Node) -> None:
    with going_on(talk, "exec", "talk/api", "-i", "--", "sh", "-c", f"echo on; sleep {LONG}; echo") as process:
        talk.stop_daemon(signal.SIGTERM)
        assert process.wait(60) == 125
        assert process.stderr
        assert b"shutting down" in process.stderr.read()
    assert not sleepers()
    talk.up()


def test_what_does_not_run_cannot_be_entered_but_can_be_run_like(talk: Node) -> None:
    talk.mcpctl("stop", "talk/api")
    refused = piped(talk, "exec", "talk/api", "--", "true")
    assert refused.returncode == 125
    assert b"mcpctl run talk/api" in refused.stderr
    assert piped(talk, "run", "talk/api", "--", "echo", "on").stdout == b"on\n"
    assert piped(talk, "exec", "talk", "--", "true").returncode == 125


def test_nobody_but_an_admin_and_who_did_what_is_known(talk: Node) -> None:
    config = str(talk.folder / "mcpd.toml")
    viewer = run(["mcpd", "token", "add", "looks", "--config", config], env=talk.environment).stdout.strip()
    plain = talk.environment
    talk.environment = plain | {"MCP_TOKEN": viewer}
    try:
        for words in (("exec", "talk/api", "--", "true"), ("run", "talk/api", "--", "true"), ("top", "talk")):
            done = piped(talk, *words)
            assert done.returncode not in (0, 127)
            assert b"viewer" in done.stderr
    finally:
        talk.environment = plain
    secret = "planted-argument"
    piped(talk, "exec", "talk/api", "-e", f"P={secret}", "--", "sh", "-c", f": {secret}; cat", data=secret.encode())
    piped(talk, "run", "talk/api", "-e", f"P={secret}", "--", "sh", "-c", f": {secret}; cat", data=secret.encode())
    slip = piped(talk, "exec", "talk/api", "--", f"P={secret}", "sh")
    assert b"-e P=VALUE" in slip.stderr
    audit = talk.mcpctl("audit", "--output", "json").stdout
    assert '"talk/api sh"' in audit
    for where in (audit, talk.log, talk.mcpctl("events", "--output", "json").stdout):
        assert secret not in where
    for path in talk.folder.glob("mcp.db*"):
        assert secret.encode() not in path.read_bytes()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that allows one session, for a moment of silence."""
    with running(Node(tmp_path_factory.mktemp("strict") / "node", "n2")) as node:
        node.stop_daemon(signal.SIGTERM)
        config = node.folder / "mcpd.toml"
        config.write_text(config.read_text() + '\n[sessions]\nmax = 1\nidle_timeout = "3s"\nmax_duration = "30s"\n')
        node.up()
        node.define("strict", DEFINITION.replace("PORT", "18745").replace('"talk"', '"strict"'))
        node.mcpctl("deploy", "strict")
        yield node


def test_so_many_at_once_and_none_that_is_forgotten(strict: Node) -> None:
    with going_on(strict, "exec", "strict/api", "-i", "--", "sh", "-c", f"echo on; sleep {LONG}; echo") as process:
        more = piped(strict, "exec", "strict/api", "--", "true")
        assert more.returncode == 125
        assert b"[sessions] max" in more.stderr
        assert process.wait(60) == 129
        assert process.stderr
        assert b"idle_timeout" in process.stderr.read()
    until(lambda: not sleepers())
    assert piped(strict, "exec", "strict/api", "--", "true").returncode == 0


def test_mcpd_lives_on(talk: Node) -> None:
    """Whatever its clients did above."""
    assert is_alive(talk.mcpd_pid)
    assert "crashed" not in talk.log
