"""How the alert command ends, and what is kept of its output."""

import errno
import os
import signal
from pathlib import Path

import pytest
import trio

from monitor import child
from monitor.alerts.command import execute
from monitor.model import Execution
from tests.support.alert_command import ALERT, DEADLINE_S, LONG_S, MIB, names_in, python, run, sh

# How it ends


async def test_an_exit_status_is_reported_with_the_output() -> None:
    assert await run(sh("echo out; echo err >&2; exit 3")) == Execution(3, "exited 3", "out\nerr\n")


async def test_a_signal_is_reported_by_its_name() -> None:
    assert await run(sh("kill -SEGV $$")) == Execution(-signal.SIGSEGV, "killed by SIGSEGV")


async def test_a_signal_without_a_name_is_reported_by_its_number() -> None:
    assert await run(sh("kill -40 $$")) == Execution(-40, "killed by signal 40")


async def test_output_that_is_not_text_is_kept_as_well_as_it_goes() -> None:
    assert (await run(("printf", "caf\\351\\n"))).output == "caf\ufffd\n"


BROKEN = [
    pytest.param("{folder}/missing", "No such file or directory", id="missing"),
    pytest.param("no-such-program-anywhere", "No such file or directory", id="not in PATH"),
    pytest.param("{folder}/plain", "Permission denied", id="not executable"),
    pytest.param("{folder}", "Permission denied", id="a directory"),
    pytest.param("{folder}/plain/x", "Not a directory", id="below a file"),
    pytest.param(
        "{folder}/bad-interpreter", "the interpreter that its first line names does not exist", id="bad interpreter"
    ),
    # A shell, or execvp(3), would run this one with /bin/sh.
    pytest.param("{folder}/no-interpreter", "Exec format error", id="no interpreter"),
    pytest.param("/bin/true\0", "embedded null byte", id="NUL"),
    pytest.param("/bin/\ud800", "'utf-8' codec can't encode character '\\ud800'", id="surrogate"),
    pytest.param("", "Permission denied", id="empty"),
    pytest.param("x" * 200_000, "File name too long", id="too long"),
]


@pytest.mark.parametrize(("name", "why"), BROKEN)
async def test_a_command_that_cannot_be_run_is_a_result(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"plain": "exit 0\n", "bad-interpreter": "#!/no/such/interpreter\n", "no-interpreter": "touch x\n"}
    for each, text in texts.items():
        (tmp_path / each).write_text(text)
        (tmp_path / each).chmod(0o644 if each == "plain" else 0o755)
    monkeypatch.chdir(tmp_path)
    program = name.format(folder=tmp_path)
    ran = await run((program,))
    assert ran.words.startswith(f"{program} could not be started: {why}")
    assert ran.words.endswith("; see alert_command")
    assert (ran.status, ran.output) == (None, "")
    assert names_in(tmp_path) == set(texts)


async def test_so_is_an_argument_list_that_is_too_long() -> None:
    ran = await run(("/bin/true", "x" * 200_000))
    assert ran == Execution(None, "/bin/true could not be started: Argument list too long; see alert_command")


@pytest.mark.parametrize("where", ["os.pipe", "subprocess.Popen"])
async def test_so_is_a_machine_that_has_no_more_to_give(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipes: list[tuple[int, int]] = []

    def exhausted(*_: object, **__: object) -> object:
        if where == "os.pipe" and not pipes:
            pipes.append(pipe())
            return pipes[0]
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    pipe = os.pipe
    monkeypatch.setattr(where, exhausted)
    ran = await execute(("true",), ALERT, LONG_S)
    assert ran == Execution(None, "true could not be started: Resource temporarily unavailable; see alert_command")


@pytest.mark.parametrize("script", ["exit 4", "exec sleep 1000"])
async def test_without_a_pidfd_the_end_is_still_seen(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def exhausted(_: int) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(child, "wait_exit", exhausted)
    with trio.fail_after(DEADLINE_S):
        ran = await execute(sh(script), ALERT, LONG_S if "exit" in script else 0.1)
    assert ran.status == (4 if "exit" in script else -signal.SIGTERM)


# Output


@pytest.mark.parametrize("line", [b"x" * 99 + b"\n", b"x"], ids=["lines", "no newline"])
async def test_200_mb_are_read_and_the_end_of_them_is_kept(line: bytes) -> None:
    block = line * (MIB // len(line))
    code = (
        f"import os\nblock = {line!r} * {len(block) // len(line)}\n"
        "def write(data):\n while data: data = data[os.write(1, data):]\n"
        "for _ in range(200): write(block)\n"
        "write(b'the end')"
    )
    before = new_peak()
    ran = await run(python(code))
    assert ran == Execution(0, "exited 0", (block + b"the end")[-4096:].decode())
    assert peak() - before < 20 * MIB


def new_peak() -> int:
    """Forgets the peak so far: proc_pid_clear_refs(5)."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most that has been resident, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
