"""A real HAProxy has the table, loses nothing while it changes, and tells what differs."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import trio

from mcpd.routing.haproxy import HAProxy
from mcpd.routing.haproxy_master import Master, Process, Processes
from mcpd.routing.haproxy_ports import is_near
from mcpd.routing.proxy import ProxyError
from mcpd.routing.table import Backend, Certificate, Entry, Listener, Server, Table
from mcpd.runtime import sockets
from protos.parts import Mode
from tests.support.haproxy import PROGRAM, HAProxyProcess, Upstream, certificate, upstreams
from tests.support.waiting import free_port, until

pytestmark = pytest.mark.podman

_HOST = "shop.example.net"
_WEB = "shop.web.8080"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[HAProxyProcess]:
    process = HAProxyProcess(tmp_path)
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture
def containers() -> Iterator[list[Upstream]]:
    with upstreams("a", "b", "c") as started:
        yield started


@pytest.fixture
def port() -> int:
    return free_port()


def _adapter(process: HAProxyProcess) -> HAProxy:
    return HAProxy(process.config, process.socket, PROGRAM)


def _table(port: int, *servers: Server, hosts: tuple[str, ...] = (_HOST,)) -> Table:
    return Table(
        listeners=(Listener(port, "127.0.0.1", False),),
        entries=tuple(Entry(port, host, "/", _WEB) for host in hosts),
        backends=(Backend(_WEB, Mode.HTTP, servers),),
    )


async def _started(process: HAProxyProcess, table: Table) -> HAProxy:
    """As on a new node: the first apply writes the file, with which HAProxy is started."""
    adapter = _adapter(process)
    with pytest.raises(ProxyError, match="no socket"):
        await adapter.apply(table)
    process.start()
    await adapter.apply(table)
    return adapter


def _get(port: int, path: str = "/", host: str = _HOST) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        return _get_over(connection, path, host)
    finally:
        connection.close()


def _get_over(connection: http.client.HTTPConnection, path: str = "/", host: str = _HOST) -> tuple[int, str]:
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


class _Load:
    """Requests without end: over kept connections, over fresh ones, and slow ones."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._end = threading.Event()
        self.answered = 0
        self.lost: list[str] = []
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._kept, self._fresh, self._slow)]

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        until(lambda: self.answered > 10, "requests are answered")
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _kept(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._end.is_set():
            self._count(lambda: _get_over(connection, "/kept"))
        connection.close()

    def _fresh(self) -> None:
        while not self._end.is_set():
            self._count(lambda: _get(self._port, "/fresh"))

    def _slow(self) -> None:
        while not self._end.is_set():
            self._count(lambda: _get(self._port, "/slow"))

    def _count(self, request: object) -> None:
        try:
            status, body = request()  # type: ignore[operator]
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(repr(error))
            return
        if status == 200:
            self.answered += 1
        else:
            self.lost.append(f"{status} {body}")


async def test_a_request_reaches_the_container(process: HAProxyProcess, containers: list[Upstream], port: int) -> None:
    adapter = await _started(process, _table(port, containers[0].server()))
    assert await adapter.differences(_table(port, containers[0].server())) == ()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/", headers={"Host": f"SHOP.example.net:{port}", "X-Forwarded-For": "6.6.6.6"})
    assert connection.getresponse().read() == b"a"
    connection.close()
    headers = containers[0].seen[-1].headers
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-host"] == f"SHOP.example.net:{port}"
    assert _get(port, host="other.example.net")[0] == 404


async def test_swaps_under_load_lose_nothing_and_the_drained_one_gets_nothing_new(
    process: HAProxyProcess, containers: list[Upstream], port: int
) -> None:
    old, new = containers[0], containers[1]
    adapter = await _started(process, _table(port, old.server()))
    workers = process.workers()
    late: list[str] = []
    with _Load(port) as load:
        for _ in range(20):
            await adapter.apply(_table(port, old.server(), new.server()))
            await adapter.apply(_table(port, new.server(), old.server(draining=True)))
            drained = time.monotonic()
            await trio.sleep(0.05)
            late += [seen.path for seen in old.seen if seen.at > drained]
            await adapter.apply(_table(port, new.server()))
            old, new = new, old
    assert load.lost == []
    assert late == []
    assert load.answered > 200
    assert process.workers() == workers


async def test_connections_to_a_drained_server_end_when_its_requests_have(
    process: HAProxyProcess, containers: list[Upstream], port: int
) -> None:
    old, new, _ = containers
    adapter = await _started(process, _table(port, old.server()))
    clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(20)]
    for client in clients:
        client.request("GET", "/slow", headers={"Host": _HOST})
    assert [client.getresponse().read() for client in clients] == [b"a"] * 20
    assert old.connections() > 10
    slow = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    seen = len(old.seen)
    slow.request("GET", "/slow", headers={"Host": _HOST})
    await trio.to_thread.run_sync(until, lambda: len(old.seen) > seen)
    await adapter.apply(_table(port, new.server(), old.server(draining=True)))
    assert slow.getresponse().read() == b"a"
    await trio.to_thread.run_sync(until, lambda: old.connections() == 0, "no connection is left", 2.0)
    for client in (*clients, slow):
        client.close()


async def test_haproxy_that_starts_again_has_the_present_servers(
    process: HAProxyProcess, containers: list[Upstream], port: int
) -> None:
    adapter = await _started(process, _table(port, containers[0].server()))
    table = _table(port, containers[1].server(), containers[0].server(draining=True))
    await adapter.apply(table)
    process.kill()
    with pytest.raises(ProxyError, match="nothing listens on HAProxy's socket"):
        await adapter.differences(table)
    process.start()
    assert await adapter.differences(table) == ()
    assert _get(port) == (200, "b")


@pytest.mark.parametrize(
    ("by_hand", "told"),
    [
        ("set server shop.web.8080/a state maint", "shop.web.8080 sends nothing to its server a"),
        ("set server shop.web.8080/a state drain", "shop.web.8080 sends nothing to its server a"),
        ("set server shop.web.8080/a weight 0%", "shop.web.8080 sends nothing to its server a"),
        ("set server shop.web.8080/a addr 127.0.0.1 port 9", "shop.web.8080 has the server a at 127.0.0.1:9 in place"),
        ("set server shop.web.8080/a state maint|del server shop.web.8080/a", "shop.web.8080 has no server a"),
        (
            "add server shop.web.8080/x 127.0.0.1:9|set server shop.web.8080/x state ready",
            "shop.web.8080 has a server x too many",
        ),
        ("disable frontend mcp.PORT", "is closed"),
        ("shutdown frontend mcp.PORT", "is closed"),
    ],
)
async def test_what_was_changed_by_hand_is_told_and_mended(
    process: HAProxyProcess, containers: list[Upstream], port: int, by_hand: str, told: str
) -> None:
    table = _table(port, containers[0].server())
    adapter = await _started(process, table)
    for command in by_hand.split("|"):
        process.tell(command.replace("PORT", str(port)))
    (difference,) = await adapter.differences(table)
    assert told in difference
    await adapter.apply(table)
    assert await adapter.differences(table) == ()
    assert _get(port) == (200, "a")


async def test_a_file_that_was_changed_by_hand_is_told_and_loaded_as_it_was(
    process: HAProxyProcess, containers: list[Upstream], port: int
) -> None:
    table = _table(port, containers[0].server())
    adapter = await _started(process, table)
    written = process.config.read_text()
    process.config.write_text(written.replace("retries 3", "retries 0"))
    process.config.chmod(0o600)
    assert await adapter.differences(table) == (f"the configuration {process.config} is another",)
    before = process.workers()
    await adapter.apply(table)
    assert process.config.read_text() == written
    assert process.config.stat().st_mode & 0o777 == 0o600
    assert process.workers()[0] not in before
    assert await adapter.differences(table) == ()


async def test_another_configuration_that_is_loaded_is_told_and_replaced(
    process: HAProxyProcess, containers: list[Upstream], port: int
) -> None:
    one, two = _table(port, containers[0].server()), _table(port, containers[0].server(), hosts=("x.example.net",))
    adapter = await _started(process, one)
    with pytest.raises(ProxyError, match="no socket"):
        await HAProxy(process.config, process.socket.with_name("none.sock")).apply(two)
    assert await adapter.differences(two) == ("another configuration is loaded",)
    await adapter.apply(two)
    assert await adapter.differences(two) == ()
    assert _get(port, host="x.example.net") == (200, "a")


async def test_a_socket_that_never_answers_ends_within_the_deadline(tmp_path: Path) -> None:
    path = tmp_path / "hung.sock"
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen(1)
        began = time.monotonic()
        with pytest.raises(ProxyError, match=r"did not answer within 0.5 s"):
            await HAProxy(tmp_path / "haproxy.cfg", path, command_deadline=0.5).differences(Table())
        assert time.monotonic() - began < 5


async def test_a_configuration_that_is_rejected_leaves_what_serves_and_still_changes_servers(
    process: HAProxyProcess, containers: list[Upstream], port: int, tmp_path: Path
) -> None:
    old, new, _ = containers
    adapter = await _started(process, _table(port, old.server()))
    broken = Certificate(tmp_path / "broken.pem", (_HOST,), certificate(tmp_path / "x.pem", [_HOST]).until, "")
    broken.path.write_text("no certificate")
    plain = _table(port, new.server())
    wanted = Table(
        (*plain.listeners, Listener(free_port(), "127.0.0.1", True)), plain.entries, plain.backends, (broken,)
    )
    workers = process.workers()
    with pytest.raises(ProxyError, match=r"rejects the configuration.*broken\.pem"):
        await adapter.apply(wanted)
    assert _get(port) == (200, "b")
    assert process.workers() == workers
    assert await adapter.differences(plain) == ()
    process.kill()
    process.start()
    assert _get(port) == (200, "b")


async def test_a_port_that_is_taken_is_told_and_what_serves_goes_on(
    process: HAProxyProcess, containers: list[Upstream], port: int
) -> None:
    adapter = await _started(process, _table(port, containers[0].server()))
    plain = _table(port, containers[1].server())
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        listener = Listener(taken.getsockname()[1], "127.0.0.1", False)
        with pytest.raises(ProxyError, match="another program listens on port"):
            await adapter.apply(Table((*plain.listeners, listener), plain.entries, plain.backends))
        assert _get(port) == (200, "b")
    await adapter.apply(Table((*plain.listeners, listener), plain.entries, plain.backends))
    assert _get(listener.port)[0] == 404
    assert _get(port) == (200, "b")


async def test_a_reload_that_fails_is_told_and_what_serves_goes_on(
    process: HAProxyProcess, containers: list[Upstream], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpd.routing.haproxy.is_near", lambda _: False)
    adapter = await _started(process, _table(port, containers[0].server()))
    plain = _table(port, containers[1].server())
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        listener = Listener(taken.getsockname()[1], "127.0.0.1", False)
        with pytest.raises(ProxyError, match="could not load the configuration, and runs on with the one before"):
            await adapter.apply(Table((*plain.listeners, listener), plain.entries, plain.backends))
        assert _get(port) == (200, "b")
        assert await adapter.differences(plain) == ()


async def test_reloads_under_load_lose_nothing(process: HAProxyProcess, containers: list[Upstream], port: int) -> None:
    old, new, _ = containers
    adapter = await _started(process, _table(port, old.server()))
    with _Load(port) as load:
        for number in range(5):
            hosts = (_HOST, f"x{number}.example.net")
            await adapter.apply(_table(port, old.server(), new.server(), hosts=hosts))
            await adapter.apply(_table(port, new.server(), old.server(draining=True), hosts=hosts))
            old, new = new, old
    assert load.lost == []


async def test_grpc_reaches_the_container_also_over_a_worker_that_is_replaced(
    process: HAProxyProcess, port: int
) -> None:
    def answer(request: bytes, _: grpc.ServicerContext) -> bytes:
        return request + b"!"

    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {"Say": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    inside = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        backend = Backend("e.e.1", Mode.GRPC, (Server("g", "127.0.0.1", inside),))
        listener = (Listener(port, "127.0.0.1", False),)
        adapter = await _started(process, Table(listener, (Entry(port, _HOST, "/", "e.e.1"),), (backend,)))
        options = (("grpc.default_authority", _HOST), ("grpc.enable_http_proxy", 0))
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            say = channel.unary_unary("/test.Echo/Say")
            assert await trio.to_thread.run_sync(lambda: say(b"a", timeout=10)) == b"a!"
            entries = (Entry(port, _HOST, "/", "e.e.1"), Entry(port, "x.net", "/", "e.e.1"))
            await adapter.apply(Table(listener, entries, (backend,)))
            assert await trio.to_thread.run_sync(lambda: say(b"b", timeout=10)) == b"b!"
    finally:
        server.stop(None).wait()


def _hello(port: int, name: str) -> tuple[bytes, str, str]:
    """The certificate that a client sees who asks for ``name``, the protocol chosen, and the answer to a request."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            seen = secure.getpeercert(binary_form=True)
            assert seen is not None
            secure.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: secure.recv(65536), b"")).decode()
            return seen, secure.selected_alpn_protocol() or "", answer.rpartition("\r\n\r\n")[2]


def _of(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text().partition("-----BEGIN PRIVATE")[0])


async def test_one_port_passes_some_names_through_and_ends_tls_for_the_others(
    process: HAProxyProcess, containers: list[Upstream], port: int, tmp_path: Path
) -> None:
    web, own, _ = containers
    ours, theirs = certificate(tmp_path / "ours.pem", [_HOST]), certificate(tmp_path / "theirs.pem", ["own.net"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.path)
    own.socket = context.wrap_socket(own.socket, server_side=True)
    table = Table(
        listeners=(Listener(port, "127.0.0.1", True),),
        entries=(
            Entry(port, "*.example.net", "/", "own.tls.443"),
            Entry(port, "own.net", "/", "own.tls.443"),
            Entry(port, _HOST, "/", _WEB),
        ),
        backends=(
            Backend("own.tls.443", Mode.TLS, (own.server(),)),
            Backend(_WEB, Mode.HTTP, (web.server(),)),
        ),
        certificates=(ours,),
    )
    await _started(process, table)
    assert await trio.to_thread.run_sync(_hello, port, "own.net") == (_of(theirs.path), "", "b")
    assert await trio.to_thread.run_sync(_hello, port, "any.example.net") == (_of(theirs.path), "", "b")
    assert await trio.to_thread.run_sync(_hello, port, _HOST) == (_of(ours.path), "http/1.1", "a")
    headers = web.seen[-1].headers
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-port"] == str(port)


async def test_a_renewed_certificate_is_loaded_without_a_reload(
    process: HAProxyProcess, containers: list[Upstream], port: int, tmp_path: Path
) -> None:
    plain = _table(port, containers[0].server())
    first = certificate(tmp_path / "shop.pem", [_HOST])
    table = Table((Listener(port, "127.0.0.1", True),), plain.entries, plain.backends, (first,))
    adapter = await _started(process, table)
    assert (await trio.to_thread.run_sync(_hello, port, _HOST))[0] == _of(first.path)
    workers = process.workers()
    renewed = Table(table.listeners, table.entries, table.backends, (certificate(first.path, [_HOST]),))
    assert await adapter.differences(renewed) == (f"another certificate is loaded than is in {first.path}",)
    await adapter.apply(renewed)
    assert await adapter.differences(renewed) == ()
    assert (await trio.to_thread.run_sync(_hello, port, _HOST))[0] == _of(first.path)
    assert process.workers() == workers


def _with_tls(port: int, server: Server, *certificates: Certificate, hosts: tuple[str, ...] = (_HOST,)) -> Table:
    plain = _table(port, server, hosts=hosts)
    return Table((Listener(port, "127.0.0.1", True),), plain.entries, plain.backends, certificates)


@contextlib.contextmanager
def _held_open(port: int) -> Iterator[None]:
    """A client that keeps the present worker alive after a reload."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=_HOST) as secure:
            secure.sendall(f"POST / HTTP/1.1\r\nHost: {_HOST}\r\nContent-Length: 9\r\n\r\n1234".encode())
            yield


async def test_a_certificate_is_added_and_renewed_while_an_old_worker_lives(
    process: HAProxyProcess, containers: list[Upstream], port: int, tmp_path: Path
) -> None:
    server = containers[0].server()
    first = certificate(tmp_path / "first.pem", [_HOST])
    adapter = await _started(process, _with_tls(port, server, first))
    with _held_open(port):
        (old,) = process.workers()
        second = certificate(tmp_path / "second.pem", ["second.net"])
        table = _with_tls(port, server, first, second)
        await adapter.apply(table)
        workers = process.workers()
        assert len(workers) == 2, process.log()
        assert old in workers
        await adapter.apply(table)
        certificate(first.path, [_HOST])
        certificate(second.path, ["second.net"])
        await adapter.apply(table)
        assert process.workers() == workers
        assert (await trio.to_thread.run_sync(_hello, port, "second.net"))[0] == _of(second.path)
        fingerprint = hashlib.sha1(_of(first.path), usedforsecurity=False).hexdigest().upper()
        assert fingerprint in process.say(f"@!{old} show ssl cert {first.path}")


async def test_a_certificate_that_cannot_be_loaded_while_running_is_loaded_by_a_new_worker(
    process: HAProxyProcess, containers: list[Upstream], port: int, tmp_path: Path
) -> None:
    shop = certificate(tmp_path / "shop.pem", [_HOST])
    table = _with_tls(port, containers[0].server(), shop)
    adapter = await _started(process, table)
    with _held_open(port):
        (before,) = process.workers()
        # Somebody else's change that is not finished keeps mcpd from making its own.
        other = certificate(tmp_path / "other.pem", ["other.net"])
        process.tell(f"new ssl cert {other.path}")
        process.tell(f"set ssl cert {other.path} <<\n{other.path.read_text()}")
        certificate(shop.path, [_HOST])
        await adapter.apply(table)
        assert await adapter.differences(table) == ()
        assert process.workers()[0] != before
        assert process.reloads() == 1
        assert (await trio.to_thread.run_sync(_hello, port, _HOST))[0] == _of(shop.path)


async def test_an_old_worker_that_ends_meanwhile_is_no_failure(
    process: HAProxyProcess, containers: list[Upstream], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = _with_tls(port, containers[0].server(), certificate(tmp_path / "shop.pem", [_HOST]))
    adapter = await _started(process, table)
    gone = Process(2**22 + 1, 9)
    ask = Master.processes

    async def with_one_that_has_ended(master: Master) -> Processes:
        now = await ask(master)
        return Processes((*now.workers, gone), now.failed)

    monkeypatch.setattr(Master, "processes", with_one_that_has_ended)
    with pytest.raises(ProxyError, match="has ended"):
        await Master(process.socket, process.config, 5).ask(gone.pid, "show info")
    await adapter.apply(table)


async def test_of_two_certificates_for_a_host_the_one_that_lasts_longest_is_served(
    process: HAProxyProcess, containers: list[Upstream], port: int, tmp_path: Path
) -> None:
    hosts = (_HOST, "one.shop.net", "two.shop.net")
    files = {
        "a": certificate(tmp_path / "a.pem", [_HOST], days=10),
        "b": certificate(tmp_path / "b.pem", [_HOST], days=20),
        "one": certificate(tmp_path / "one.pem", ["one.shop.net"], days=10),
        "wild": certificate(tmp_path / "wild.pem", ["*.shop.net"], days=20),
    }

    def table() -> Table:
        return _with_tls(port, containers[0].server(), *sorted(files.values()), hosts=hosts)

    async def served() -> dict[str, str]:
        seen = {host: (await trio.to_thread.run_sync(_hello, port, host))[0] for host in hosts}
        return {host: next(name for name, each in files.items() if _of(each.path) == seen[host]) for host in hosts}

    adapter = await _started(process, table())
    assert await served() == {_HOST: "b", "one.shop.net": "wild", "two.shop.net": "wild"}
    files["b"] = certificate(files["b"].path, [_HOST], days=30)
    files["wild"] = certificate(files["wild"].path, ["*.shop.net"], days=30)
    await adapter.apply(table())
    assert await served() == {_HOST: "b", "one.shop.net": "wild", "two.shop.net": "wild"}
    files["a"] = certificate(files["a"].path, [_HOST], days=40)
    files["one"] = certificate(files["one"].path, ["one.shop.net"], days=40)
    await adapter.apply(table())
    assert await served() == {_HOST: "a", "one.shop.net": "one", "two.shop.net": "wild"}
    assert await adapter.differences(table()) == ()


async def test_a_port_of_haproxys_own_is_not_taken_also_where_mcpd_does_not_see_whose_it_is(
    process: HAProxyProcess, containers: list[Upstream], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unseen(_: sockets.Socket) -> sockets.Owner:
        return sockets.Owner("mcp")

    monkeypatch.setattr(sockets, "owner", unseen)
    before = _with_tls(port, containers[0].server(), certificate(tmp_path / "shop.pem", [_HOST]))
    adapter = await _started(process, before)
    own = Entry(port, "own.net", "/", "own.tls.443")
    passed = Backend("own.tls.443", Mode.TLS, (containers[1].server(),))
    after = Table(before.listeners, (*before.entries, own), (*before.backends, passed), before.certificates)
    await adapter.apply(after)
    assert await adapter.differences(after) == ()


async def test_a_port_that_is_taken_is_told_where_mcpd_may_not_open_it_itself(
    process: HAProxyProcess, containers: list[Upstream], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = await _started(process, _table(port, containers[0].server()))
    plain = _table(port, containers[0].server())
    workers = process.workers()
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        listener = Listener(taken.getsockname()[1], "0.0.0.0", False)

        def refuse(_: socket.socket, __: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(socket.socket, "bind", refuse)
        with pytest.raises(ProxyError, match=rf"another program listens on port {listener.port}, .*{os.getpid()}"):
            await adapter.apply(Table((*plain.listeners, listener), plain.entries, plain.backends))
    assert process.workers() == workers
    assert "[ALERT]" not in process.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_a_worker_on_this_network_is_known_as_one_also_where_it_may_do_more_than_mcpd(
    process: HAProxyProcess, port: int
) -> None:
    await _started(process, _table(port))
    (worker,) = process.workers()
    os.seteuid(65534)
    try:
        assert not os.access(f"/proc/{worker}/fd", os.R_OK, effective_ids=True)
        assert is_near(worker)
    finally:
        os.seteuid(0)


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    # Also root cannot write in there.
    adapter = HAProxy(Path("/proc/1/haproxy.cfg"), tmp_path / "none.sock", PROGRAM)
    with pytest.raises(ProxyError, match=r"mcpd cannot write /proc/1/.*let mcpd's user write in /proc/1"):
        await adapter.apply(Table())


async def test_hosts_and_paths_have_their_precedence(
    process: HAProxyProcess, containers: list[Upstream], port: int
) -> None:
    a, b, c = containers
    table = Table(
        listeners=(Listener(port, "127.0.0.1", False),),
        entries=(
            Entry(port, "*.example.net", "/", "w.w.1"),
            Entry(port, "*.example.net", "/api/v1", "p.p.1"),
            Entry(port, _HOST, "/", _WEB),
            Entry(port, _HOST, "/api", "p.p.1"),
            Entry(port, _HOST, "/it's", "w.w.1"),
            Entry(port, "none.net", "/", "n.n.1"),
        ),
        backends=(
            Backend("n.n.1", Mode.HTTP),
            Backend("p.p.1", Mode.HTTP, (b.server(),)),
            Backend(_WEB, Mode.HTTP, (a.server(),)),
            Backend("w.w.1", Mode.HTTP, (c.server(),)),
        ),
    )
    await _started(process, table)
    expected = {
        (_HOST, "/"): "a",
        (_HOST, "/apis"): "a",
        (_HOST, "/api/v1"): "b",
        (_HOST, "/api"): "b",
        (_HOST, "/api?x=/"): "b",
        (_HOST, "/it's/x"): "c",
        (f"{_HOST.upper()}:80", "/api/"): "b",
        ("x.example.net", "/api"): "c",
        ("x.example.net", "/api/v1/y"): "b",
    }
    assert {each: _get(port, each[1], each[0])[1] for each in expected} == expected
    assert _get(port, host="x.y.example.net")[0] == 404
    assert _get(port, host="example.net")[0] == 404
    assert _get(port, host="xexample.net")[0] == 404
    assert _get(port, host="none.net")[0] == 503


async def test_a_connection_to_a_worker_from_before_a_reload_does_not_reach_the_drained_server(
    process: HAProxyProcess, containers: list[Upstream], port: int
) -> None:
    old, new, _ = containers
    adapter = await _started(process, _table(port, old.server()))
    # It keeps the worker alive; the other is the one that a client has open.
    kept = [http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(2)]
    assert [_get_over(each) for each in kept] == [(200, "a")] * 2
    before = process.workers()
    hosts = (_HOST, "x.example.net")
    await adapter.apply(_table(port, old.server(), hosts=hosts))
    assert len(process.workers()) == len(before) + 1
    await adapter.apply(_table(port, new.server(), old.server(draining=True), hosts=hosts))
    assert [_get_over(each) for each in kept] == [(200, "b")] * 2
    for each in kept:
        each.close()
