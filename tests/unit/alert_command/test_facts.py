"""What the alert command is told, in its environment and on stdin; and that no shell reads it."""

import ast
import hashlib
import json
import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trio

from monitor.alerts import command as module
from monitor.model import Execution
from tests.support.alert_command import DEADLINE_S, MIB, alert, names_in, python, run, sh

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
