"""A proxy behind a command: what the command is told, and what comes of how it ends."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trio
import trio.lowlevel

from mcpd.errors import ConfigError
from mcpd.routing import command_proxy as module
from mcpd.routing.command_proxy import CommandProxy
from mcpd.routing.proxy import ProxyError
from mcpd.routing.table import Backend, Certificate, Entry, Listener, Server, Table
from protos.parts import Mode
from tests.documents.__main__ import REPOSITORY
from tests.support.waiting import DEADLINE_S, until

EXAMPLE = REPOSITORY / "docs/examples/mc-proxy-routes"
UNTIL = datetime(2027, 1, 1, tzinfo=UTC)
PEM = Path("/srv/shop.pem")

Script = Callable[[str], CommandProxy]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A proxy that is a shell script in a folder of its own."""

    def make(text: str, deadline: float = DEADLINE_S) -> CommandProxy:
        path = tmp_path / "script"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        path.chmod(0o700)
        return CommandProxy((str(path),), deadline)

    return make


def table(*servers: Server, mode: Mode = Mode.HTTP) -> Table:
    return Table(
        (Listener(443, "", tls=True),),
        (Entry(443, "shop.test", "/", "web.api.80"),),
        (Backend("web.api.80", mode, servers),),
        (Certificate(PEM, ("shop.test",), UNTIL, "00"),),
    )


async def test_the_command_gets_the_whole_table(script: Script, tmp_path: Path) -> None:
    proxy = script("cat >document")
    await proxy.apply(table(Server("c1", "127.0.0.1", 40001), Server("c2", "127.0.0.1", 40002, draining=True)))
    assert json.loads((tmp_path / "document").read_bytes()) == {
        "version": 1,
        "action": "apply",
        "listeners": [{"port": 443, "address": "", "tls": True}],
        "routes": [
            {
                "listen": 443,
                "host": "shop.test",
                "path": "/",
                "mode": "http",
                "backend": "web.api.80",
                "certificate": str(PEM),
                "servers": [
                    {"name": "c1", "host": "127.0.0.1", "port": 40001, "draining": False},
                    {"name": "c2", "host": "127.0.0.1", "port": 40002, "draining": True},
                ],
            }
        ],
    }
    assert await proxy.differences(table(mode=Mode.TLS)) == ()
    document = json.loads((tmp_path / "document").read_bytes())
    assert document["action"] == "check"
    assert document["routes"][0]["certificate"] is None


async def test_its_lines_are_the_differences_when_it_exits_with_1(script: Script) -> None:
    assert await script("echo one; echo; printf 'two\\033[31m\\n'; exit 1").differences(table()) == ("one", "two [31m")
    assert await script("exit 0").differences(table()) == ()
    (words,) = await script("exit 1").differences(table())
    assert "and not what" in words


async def test_it_may_print_without_end(script: Script) -> None:
    found = await script("yes difference | head -c 3000000; exit 1").differences(table())
    assert len(found) == 100
    (line,) = await script("head -c 3000000 /dev/zero | tr '\\0' x; exit 1").differences(table())
    assert len(line) == 500
    # After 64 KiB, which are enough for a hundred lines, it is read, and nothing of it is kept.
    (line,) = await script("head -c 70000 /dev/zero | tr '\\0' '\\n'; echo late; exit 1").differences(table())
    assert "late" not in line


@pytest.mark.parametrize("action", ["apply", "differences"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo no >&2; echo no such host >&2; exit 2", "exited 2: no such host"),
        ("exit 3", "exited 3: it printed nothing on stderr"),
        ("kill -9 $$", "was killed by signal 9"),
        ("yes noise | head -c 300000 >&2; echo the end >&2; exit 2", "exited 2: the end"),
    ],
)
async def test_any_other_end_is_an_error_in_its_own_words(script: Script, action: str, text: str, words: str) -> None:
    with pytest.raises(ProxyError, match=words):
        await getattr(script(text), action)(table())


async def test_differences_are_no_success_of_apply(script: Script) -> None:
    with pytest.raises(ProxyError, match="exited 1"):
        await script("exit 1").apply(table())


async def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    path = tmp_path / "hangs"
    path.write_text(f"#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho $$ $! >{tmp_path}/pids\nwait\nsleep 1000\n")
    path.chmod(0o700)
    begun = time.monotonic()
    with pytest.raises(ProxyError, match=r"did not end within 0\.5 s"):
        await CommandProxy((str(path),), 0.5).apply(table())
    assert time.monotonic() - begun < 10
    await trio.lowlevel.checkpoint()
    await all_end(tmp_path / "pids")


async def test_a_cancelled_command_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "hangs"
    path.write_text(f"#!/bin/sh\ncd {tmp_path}\nsleep 1000 &\necho $$ $! >new\nmv new pids\nsleep 1000\n")
    path.chmod(0o700)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(CommandProxy((str(path),)).apply, table())
        with trio.fail_after(DEADLINE_S):
            await trio.to_thread.run_sync(until, (tmp_path / "pids").exists)
        nursery.cancel_scope.cancel()
    await all_end(tmp_path / "pids")


async def test_what_it_leaves_behind_holds_nothing_up(script: Script, tmp_path: Path) -> None:
    with trio.fail_after(DEADLINE_S):
        await script("sleep 1000 & echo $! >pids").apply(table())
    await all_end(tmp_path / "pids")


async def test_a_command_that_does_not_read_is_free_to(script: Script) -> None:
    many = tuple(Entry(443, f"a{each}.test", "/", "web.api.80") for each in range(5000))
    await script("exec <&-; sleep 0.2").apply(Table((Listener(443, "", tls=True),), many, table().backends))


async def all_end(pids: Path) -> None:
    """What was killed a moment ago may need another one to end."""
    await trio.to_thread.run_sync(_all_end, pids)


def _all_end(pids: Path) -> None:
    numbers = pids.read_text().split()
    assert numbers
    until(lambda: not any(map(_runs, numbers)), "no process is left", 5.0)


def _runs(pid: str) -> bool:
    """Whether it does; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_only_an_absolute_program_that_can_be_started_is_run(tmp_path: Path) -> None:
    for argv in ((), ("mc-proxy-routes",), ("./x",)):
        with pytest.raises(ConfigError, match="absolute path"):
            CommandProxy(argv)
    with pytest.raises(ProxyError, match="could not be started: No such file"):
        await CommandProxy((str(tmp_path / "none"),)).apply(table())


async def test_a_start_that_hangs_is_told_and_leaves_nothing_when_it_comes_to_an_end(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, start, goes_on, begun, started = script("sleep 1000", 0.2), module._start, threading.Event(), [], []

    def hanging(argv: tuple[str, ...]) -> object:
        begun.append(argv)
        assert goes_on.wait(DEADLINE_S)
        started.append(start(argv))
        return started[-1]

    monkeypatch.setattr(module, "_start", hanging)
    try:
        # The second one waits for the first, and begins no thread of its own.
        for call in (proxy.apply, proxy.differences):
            with pytest.raises(ProxyError, match=r"could not be started within 0\.2 s: its filesystem hangs"):
                await call(table())
        assert len(begun) == 1
    finally:
        goes_on.set()
        await trio.to_thread.run_sync(until, lambda: not proxy._starting.borrowed_tokens)
        is_left = [each for each in started if _runs(str(each.process.pid))]
        for each in is_left:
            each.end()
    assert started
    assert not is_left


def test_a_host_has_the_certificate_that_lasts_longest_and_be_it_a_wildcard() -> None:
    def named(*days: int) -> str | None:
        made = [
            Certificate(Path(name), (host,), UNTIL + timedelta(days=each), name)
            for name, host, each in zip(("own", "wild"), ("shop.test", "*.test"), days, strict=True)
        ]
        told = msgspec.structs.replace(table(), certificates=tuple(made))
        (route,) = json.loads(module.document("apply", told))["routes"]
        found = route["certificate"]
        assert found is None or isinstance(found, str)
        return found

    assert named(0, 90) == "wild"
    assert named(90, 0) == "own"


async def test_a_path_that_is_not_utf_8_is_told(script: Script) -> None:
    strange = Certificate(Path(os.fsdecode(b"/srv/\xff.pem")), ("shop.test",), UNTIL, "00")
    with pytest.raises(ProxyError, match="is not UTF-8"):
        await script("exit 0").apply(msgspec.structs.replace(table(), certificates=(strange,)))


ADMIN = """
import json, sys
from pathlib import Path
folder, method = Path(sys.argv[1]), sys.argv[2].rpartition("/")[2]
message = json.load(sys.stdin)
routes = json.loads((folder / "routes").read_text()) if (folder / "routes").exists() else {}
if method == "AddRoute":
    routes[message["route"]["hostname"]] = message["route"]
elif method == "RemoveRoute":
    del routes[message["hostname"]]
else:
    print(json.dumps({"routes": list(routes.values())}))
(folder / "routes").write_text(json.dumps(routes))
"""


async def test_the_example_adds_what_is_in_the_table_and_removes_only_what_it_has_added(tmp_path: Path) -> None:
    admin = tmp_path / "admin.py"
    admin.write_text(ADMIN)
    own = {"hostname": "own.test", "backend": "127.0.0.1:1", "mode": "l4"}
    (tmp_path / "routes").write_text(json.dumps({"own.test": own}))
    proxy = CommandProxy((str(EXAMPLE), str(tmp_path / "state"), sys.executable, str(admin), str(tmp_path)))
    first, second = Server("c1", "127.0.0.1", 40001), Server("c2", "127.0.0.1", 40002)

    def routes() -> object:
        return json.loads((tmp_path / "routes").read_text())

    assert await proxy.differences(table(first)) == ("the proxy does not have shop.test on :443",)
    await proxy.apply(table(first))
    shop = {"hostname": "shop.test", "backend": "127.0.0.1:40001", "mode": "l7"}
    shop |= {"tls_cert": str(PEM), "tls_key": str(PEM)}
    assert routes() == {"own.test": own, "shop.test": shop}
    assert await proxy.differences(table(first)) == ()
    assert await proxy.differences(table(second)) == ("the proxy sends shop.test on :443 elsewhere, or otherwise",)
    await proxy.apply(table(second, mode=Mode.TLS))
    assert routes() == {
        "own.test": own,
        "shop.test": {"hostname": "shop.test", "backend": "127.0.0.1:40002", "mode": "l4"},
    }
    assert await proxy.differences(table()) == ("the proxy has shop.test on :443, which is not in the table",)
    await proxy.apply(table())
    assert routes() == {"own.test": own}


async def test_the_example_refuses_what_the_proxy_cannot_do_and_changes_nothing(tmp_path: Path) -> None:
    proxy = CommandProxy((str(EXAMPLE), str(tmp_path / "state"), "/bin/false"))
    server = Server("c1", "127.0.0.1", 40001)
    entries = (Entry(443, "shop.test", "/api", "web.api.80"),)
    with pytest.raises(ProxyError, match="no paths and no wildcards"):
        await proxy.apply(Table(table().listeners, entries, table(server).backends))
    assert os.listdir(tmp_path) == []  # noqa: PTH208
