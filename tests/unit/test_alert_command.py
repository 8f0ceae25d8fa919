"""The operator's command, run for one alert: with real processes, most of them ill-behaved."""

import ast
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from monitor.alerts import command as module
from monitor.alerts.command import execute
from monitor.model import Alert, AlertKind, Execution
from monitor.pidfd import wait_exit
from tests.support.waiting import until

# Far more than anything here needs; a test that gets there has failed.
DEADLINE_S = 30
# Longer than any test: it is never what ends a command, unless the clock is a mock.
LONG_S = 1000.0
MIB = 1 << 20

ALERT = Alert(
    id=7,
    node="rift",
    service="web",
    component="api",
    kind=AlertKind.DRIFT,
    desired="running",
    observed="exited",
    reason="exited 137 (out of memory)",
    since=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    transitions=3,
)
FACTS = {
    "alert_id": 7,
    "node": "rift",
    "service": "web",
    "component": "api",
    "kind": "drift",
    "desired": "running",
    "observed": "exited",
    "reason": "exited 137 (out of memory)",
    "since": "2026-03-04T05:06:07Z",
    "transitions": 3,
}

HOSTILE = {
    "substitution": "$(touch x)",
    "backticks": "`touch x`",
    "separators": "a; touch x & touch x | touch x && touch x",
    "quotes": "'\"; touch x; '\"",
    "newlines": "one\ntouch x\n\r\n",
    "variables": "$PATH ${IFS} %s %n ~ * ? [a-z] {a,b} !!",
    "redirections": "> x 2>&1 < /etc/passwd",
    "option": "--help",
    "backslashes": "\\ \\n \\0 \\",
    "escape sequences": "\x1b]0;title\x07 \x01\x7f",
    "assignment": "MCP_KIND=recovered",
    "not ASCII": "größer \N{SNOWMAN} \N{PILE OF POO}",
    "bytes": "caf\udce9 \udcff\udcfe",
    "empty": "",
}


def alert(**changes: Any) -> Alert:
    return msgspec.structs.replace(ALERT, **changes)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-ISE", "-c", code)


def sh(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


async def run(argv: tuple[str, ...], alert: Alert = ALERT) -> Execution:
    with trio.fail_after(DEADLINE_S):
        return await execute(argv, alert, LONG_S)


async def meanwhile(condition: Callable[[], object], what: str) -> None:
    """Waits in real time, which a mock clock does not have."""
    await trio.to_thread.run_sync(until, condition, what)


def open_descriptors() -> set[str]:
    """Each with what it is: ``3 pipe:[4711]``."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.add(f"{each.name} {each.readlink()}")
    return found


def names_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def exists(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    return Path(f"/proc/{pid}").exists()


def children() -> str:
    """Our child processes, zombies too."""
    return " ".join(each.read_text() for each in Path("/proc/self/task").glob("*/children")).strip()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test does, neither a descriptor nor a child process is left of it."""
    before = open_descriptors()
    assert children() == ""
    yield
    assert open_descriptors() <= before
    assert children() == ""


# What the command is told


async def test_the_environment_has_the_facts() -> None:
    ran = await run(("env",))
    told = dict(line.split("=", 1) for line in ran.output.splitlines())
    assert {name: told[f"MCP_{name.upper()}"] for name in FACTS} == {name: str(fact) for name, fact in FACTS.items()}
    assert ran.status == 0
    assert ran.succeeded
    assert ran.words == "exited 0"


async def test_the_environment_is_minimal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_TOKEN", "secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("PATH", "/elsewhere")
    monkeypatch.setenv("HOME", "/home/mcp")
    monkeypatch.setenv("LANG", "C.UTF-8")
    ran = await run(("env",))
    told = dict(line.split("=", 1) for line in ran.output.splitlines())
    assert set(told) == {"PATH", "HOME", "LANG"} | {f"MCP_{name.upper()}" for name in FACTS}
    assert told["HOME"] == "/home/mcp"
    assert told["LANG"] == "C.UTF-8"
    assert "/usr/bin" in told["PATH"].split(":")
    assert "/elsewhere" not in told["PATH"]


async def test_what_we_do_not_have_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("LANG", raising=False)
    ran = await run(("env",))
    assert not [line for line in ran.output.splitlines() if line.startswith(("HOME=", "LANG="))]


async def test_stdin_is_one_json_document_and_then_ends() -> None:
    ran = await run(("cat",))
    assert json.loads(ran.output) == FACTS


async def test_the_time_is_utc_whatever_zone_it_came_in() -> None:
    since = datetime(2026, 3, 4, 7, 6, 7, 250000, tzinfo=timezone(timedelta(hours=2)))
    ran = await run(("printenv", "MCP_SINCE"), alert(since=since))
    assert ran.output == "2026-03-04T05:06:07.250000Z\n"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_texts_arrive_as_they_are_and_nothing_is_executed(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = alert(service=text, component=text, reason=text, observed=text)
    names = ("SERVICE", "COMPONENT", "REASON", "OBSERVED", "KIND")
    report = f"import os; print(ascii([os.environb[b'MCP_' + name] for name in {[n.encode() for n in names]}]))"
    ran = await run(python(report), hostile)
    raw = text.encode("utf-8", "surrogateescape")
    assert ast.literal_eval(ran.output) == [raw, raw, raw, raw, b"drift"]
    document = json.loads((await run(("cat",), hostile)).output)
    assert document == FACTS | dict.fromkeys(
        ("service", "component", "reason", "observed"), raw.decode("utf-8", "replace")
    )
    assert not names_in(tmp_path)


@pytest.mark.parametrize(
    ("text", "variable", "member"),
    [
        pytest.param("a\0b\0", "a\ufffdb\ufffd", "a\0b\0", id="NUL"),
        pytest.param("\ud800 \udc00 \udfff", "\ufffd \ufffd \ufffd", "\ufffd \ufffd \ufffd", id="surrogates"),
    ],
)
async def test_what_cannot_be_passed_on_is_replaced(text: str, variable: str, member: str) -> None:
    hostile = alert(service=text, reason=text)
    assert (await run(("printenv", "MCP_SERVICE", "MCP_REASON"), hostile)).output == f"{variable}\n{variable}\n"
    assert json.loads((await run(("cat",), hostile)).output)["reason"] == member


async def test_a_large_reason_is_cut_in_the_environment_and_whole_on_stdin() -> None:
    reason = "\N{SNOWMAN}" * 200_000
    code = (
        "import os, sys, hashlib, json; "
        "reason = json.loads(sys.stdin.buffer.read())['reason'].encode(); "
        "print(len(os.environ['MCP_REASON']), hashlib.sha256(reason).hexdigest())"
    )
    ran = await run(python(code), alert(reason=reason, service=reason, component=reason, observed=reason, node=reason))
    assert ran.output.split() == ["4003", hashlib.sha256(reason.encode()).hexdigest()]


@pytest.mark.parametrize("script", ["exit 0", "exec <&-; exit 0"])
async def test_a_command_need_not_read(script: str) -> None:
    assert await run(sh(script), alert(reason="x" * 200_000)) == Execution(0, "exited 0")


async def test_nor_need_it_read_before_it_prints() -> None:
    ran = await run(sh(f"head -c {MIB} /dev/zero; cat"), alert(reason="x" * 200_000))
    assert ran.output.endswith('","since":"2026-03-04T05:06:07Z","transitions":3}')


async def test_it_has_a_session_and_process_group_of_its_own() -> None:
    ran = await run(python("import os; print(os.getpid(), os.getpgid(0), os.getsid(0))"))
    process, group, session = map(int, ran.output.split())
    assert process == group == session != os.getpgid(0)


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

    monkeypatch.setattr(module, "wait_exit", exhausted)
    with trio.fail_after(DEADLINE_S):
        ran = await execute(sh(script), ALERT, LONG_S if "exit" in script else 0.1)
    assert ran.status == (4 if "exit" in script else -signal.SIGTERM)


# Timeouts. The clock is a mock: it stands still until the command says that it is where we want it to be.


async def test_a_command_that_hangs_is_ended(mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery) -> None:
    ready = tmp_path / "ready"
    ran = await timed_out(f"echo working; touch {ready}; exec sleep 1000", ready, mock_clock, nursery)
    assert ran == Execution(-signal.SIGTERM, "did not end within 1000 s, ended by SIGTERM", "working\n")


async def test_so_is_one_that_never_reads_what_it_is_told(
    mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    ready = tmp_path / "ready"
    ran = await timed_out(f"touch {ready}; exec sleep 1000", ready, mock_clock, nursery, alert(reason="x" * 200_000))
    assert ran.status == -signal.SIGTERM


async def test_one_that_ignores_sigterm_is_killed(mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery) -> None:
    ready = tmp_path / "ready"
    ran = await timed_out(
        f"trap '' TERM; sleep 1000 & touch {ready}; wait", ready, mock_clock, nursery, after=module._TERM_GRACE_S
    )
    assert ran == Execution(-signal.SIGKILL, "did not end within 1000 s, ended by SIGKILL")


@pytest.mark.parametrize(("status", "reported"), [(0, -signal.SIGTERM), (9, 9)])
async def test_one_that_exits_on_sigterm_has_still_not_succeeded(
    status: int, reported: int, mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    ready = tmp_path / "ready"
    ran = await timed_out(
        f"trap 'echo bye; exit {status}' TERM; sleep 1000 & touch {ready}; wait", ready, mock_clock, nursery
    )
    assert ran == Execution(reported, "did not end within 1000 s, ended by SIGTERM", "bye\n")


async def test_sigterm_goes_to_the_whole_group(mock_clock: MockClock, tmp_path: Path, nursery: trio.Nursery) -> None:
    ready = tmp_path / "ready"
    child = f"(trap 'echo child; exit' TERM; touch {ready}; while :; do sleep 0.01; done) & wait"
    ran = await timed_out(f"trap 'wait; exit' TERM; {child}", ready, mock_clock, nursery)
    assert "child\n" in ran.output


async def timed_out(
    script: str, ready: Path, clock: MockClock, nursery: trio.Nursery, alert: Alert = ALERT, after: float | None = None
) -> Execution:
    """Runs ``script`` past its timeout, once it has made ``ready``; and then ``after`` seconds more."""
    results: list[Execution] = []

    async def body() -> None:
        results.append(await execute(sh(script), alert, LONG_S))

    nursery.start_soon(body)
    await meanwhile(ready.exists, "the command is ready")
    clock.jump(LONG_S - 1)
    await wait_all_tasks_blocked()
    assert not results
    clock.jump(1)
    if after is not None:
        await wait_all_tasks_blocked()
        assert not results
        clock.jump(after)
    await meanwhile(lambda: results, "the command is ended")
    return results[0]


def test_one_that_not_even_sigkill_ends_is_reported_as_such() -> None:
    ran = module._execution(None, signal.SIGKILL, 30.0, "")
    assert ran == Execution(-signal.SIGKILL, "did not end within 30 s, and not on SIGKILL either")


# What it leaves behind


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM HUP INT; "])
async def test_a_child_that_keeps_the_pipe_neither_holds_up_the_result_nor_outlives_it(stubborn: str) -> None:
    ran = await run(sh(f"{stubborn}sleep 1000 & echo $!; exit 5"))
    assert ran.status == 5
    await has_gone(int(ran.output))


async def test_nor_does_one_that_has_closed_the_pipe() -> None:
    ran = await run(sh("sleep 1000 >/dev/null 2>&1 & echo $!"))
    assert ran.status == 0
    await has_gone(int(ran.output))


async def test_nor_does_one_that_prints_for_ever() -> None:
    ran = await run(python("import os; os.fork() or os.execvp('yes', ['yes'])"))
    assert ran.status == 0


async def test_what_a_child_prints_soon_after_is_still_kept(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEFTOVER_GRACE_S", LONG_S)
    fifo, results = tmp_path / "fifo", list[Execution]()
    os.mkfifo(fifo)

    async def body() -> None:
        results.append(await execute(sh(f"(read line <{fifo}; echo $line) & exit 0"), ALERT, LONG_S))

    nursery.start_soon(body)
    await trio.to_thread.run_sync(fifo.write_text, "late\n")
    await meanwhile(lambda: results, "the command has ended")
    assert results == [Execution(0, "exited 0", "late\n")]


async def has_gone(pid: int) -> None:
    with trio.fail_after(DEADLINE_S):
        await wait_exit(pid)


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


# Cancellation


async def test_cancelled_it_kills_the_group_and_passes_the_cancellation_on(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    pids, scope, results = tmp_path / "pids", trio.CancelScope(), []

    async def body() -> None:
        with scope:
            results.append(
                await execute(
                    sh(f"trap '' TERM; sleep 1000 & echo $$ $! >{pids}.new; mv {pids}.new {pids}; wait"), ALERT, LONG_S
                )
            )

    nursery.start_soon(body)
    await meanwhile(pids.exists, "the command runs")
    scope.cancel()
    main, child = map(int, pids.read_text().split())
    with trio.fail_after(DEADLINE_S):
        while not scope.cancelled_caught:
            await trio.lowlevel.checkpoint()
    assert not results
    assert not exists(main)
    await has_gone(child)


async def test_cancelled_before_it_began_it_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **_: started.append(args))
    with trio.CancelScope() as scope:
        scope.cancel()
        await execute(("true",), ALERT, LONG_S)
    assert scope.cancelled_caught
    assert not started


async def test_many_at_once_do_not_mix() -> None:
    results: dict[int, Execution] = {}

    async def body(number: int) -> None:
        results[number] = await run(sh('cat >/dev/null; echo "$MCP_ALERT_ID"; exit "$MCP_ALERT_ID"'), alert(id=number))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(body, number)
    assert results == {number: Execution(number, f"exited {number}", f"{number}\n") for number in range(20)}


# No shell


AUDITED = """
import json, sys, trio
from datetime import UTC, datetime
from monitor.alerts.command import execute
from monitor.model import Alert, AlertKind

WATCHED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty")
seen = []
sys.addaudithook(lambda event, args: seen.append([event, repr(args[:2])]) if event in WATCHED else None)

async def main():
    for number, text in enumerate(json.loads(sys.stdin.read())):
        alert = Alert(number, text, text, text, AlertKind.DRIFT, text, text, text, datetime.now(UTC))
        for argv in (("/bin/true", text), ("/no/such/program", text), ("true",)):
            await execute(argv, alert, 1000.0)

trio.run(main)
print(json.dumps(seen))
"""


async def test_an_audit_hook_sees_the_argv_started_and_nothing_else(tmp_path: Path) -> None:
    texts = [text for text in HOSTILE.values() if text.isascii()]
    commands = [argv for text in texts for argv in (("/bin/true", text), ("/no/such/program", text), ("true",))]
    with trio.fail_after(DEADLINE_S):
        audited = await trio.run_process(
            [sys.executable, "-c", AUDITED],
            stdin=json.dumps(texts).encode(),
            capture_stdout=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(module.__file__).parents[2])},
        )
    assert json.loads(audited.stdout) == [["subprocess.Popen", repr((argv[0], list(argv)))] for argv in commands]
    assert not names_in(tmp_path)
