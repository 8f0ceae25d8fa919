"""What Traefik's file has in it, for a table, and how strange files and answers of its API are told."""

import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trio
import yaml

from mcpd.errors import ConfigError
from mcpd.routing import traefik as module
from mcpd.routing import traefik_file
from mcpd.routing.proxy import ProxyError
from mcpd.routing.table import Backend, Certificate, Entry, Listener, Server, Table
from mcpd.routing.traefik import Traefik
from protos.parts import Mode
from tests.support.waiting import DEADLINE_S, until

ENTRY_POINTS = {80: "web", 443: "websecure"}
LISTENERS = (Listener(80, "", tls=False), Listener(443, "", tls=True))
VERSION = traefik_file.version("0123456789abcdef")
SERVER = Server("c1", "127.0.0.1", 40001)
UNTIL = datetime(2027, 1, 1, tzinfo=UTC)


def table(mode: Mode, host: str, path: str = "/", listen: int = 443, *servers: Server) -> Table:
    return Table(LISTENERS, (Entry(listen, host, path, "web.api.80"),), (Backend("web.api.80", mode, servers),))


def written(table: Table, resolver: str = "") -> dict[str, dict[str, dict[str, object]]]:
    """As Traefik reads it: YAML."""
    document = traefik_file.document(table, ENTRY_POINTS, resolver, VERSION)
    loaded = yaml.safe_load(traefik_file.render(document, table.certificates))
    assert isinstance(loaded, dict)
    return loaded


def certificate(name: str, fingerprint: str, until: datetime = UNTIL, host: str = "a.test") -> Certificate:
    return Certificate(Path(f"/srv/{name}.pem"), (host,), until, fingerprint)


@pytest.mark.parametrize(
    ("host", "path", "rule"),
    [
        ("a.test", "/", "Host(`a.test`)"),
        ("a.test", "/api", "Host(`a.test`) && (Path(`/api`) || PathPrefix(`/api/`))"),
        ("*.a.test", "/", r"HostRegexp(`^[^.]+\.a\.test$`)"),
        ("*.a.test", "/x", r"HostRegexp(`^[^.]+\.a\.test$`) && (Path(`/x`) || PathPrefix(`/x/`))"),
    ],
)
def test_a_rule_matches_the_host_and_the_beginning_of_the_path(host: str, path: str, rule: str) -> None:
    (router,) = written(table(Mode.HTTP, host, path))["http"]["routers"].values()
    assert router["rule"] == rule


@pytest.mark.parametrize(
    ("host", "rule"), [("a.test", "HostSNI(`a.test`)"), ("*.a.test", r"HostSNIRegexp(`^[^.]+\.a\.test$`)")]
)
def test_tls_is_passed_through_by_its_name(host: str, rule: str) -> None:
    found = written(table(Mode.TLS, host, "/", 443, SERVER))
    (router,) = found["tcp"]["routers"].values()
    assert (router["rule"], router["tls"]) == (rule, {"passthrough": True})
    assert found["tcp"]["services"]["mcp-web.api.80"]["loadBalancer"]["servers"] == [{"address": "127.0.0.1:40001"}]
    assert "routers" not in found["http"]


def test_any_exact_host_comes_before_any_wildcard_and_a_longer_path_before_a_shorter() -> None:
    longest = "/" + "x" * 199
    order = [("a.test", longest), ("a.test", "/a"), ("a.test", "/"), ("*.test", longest), ("*.test", "/")]
    priorities = [
        next(iter(written(table(Mode.HTTP, *each))["http"]["routers"].values()))["priority"] for each in order
    ]
    assert priorities == sorted(set(priorities), reverse=True)


@pytest.mark.parametrize(("mode", "scheme"), [(Mode.HTTP, "http"), (Mode.GRPC, "h2c")])
def test_a_server_is_asked_in_the_mode_of_its_backend(mode: Mode, scheme: str) -> None:
    found = written(table(mode, "a.test", "/", 443, SERVER, Server("c2", "::1", 40002)))
    assert found["http"]["services"]["mcp-web.api.80"]["loadBalancer"] == {
        "servers": [{"url": f"{scheme}://127.0.0.1:40001"}, {"url": f"{scheme}://[::1]:40002"}],
        "serversTransport": traefik_file.TRANSPORT,
    }


def test_a_server_that_drains_is_left_out_and_its_route_stays() -> None:
    draining = msgspec.structs.replace(SERVER, draining=True)
    found = written(table(Mode.HTTP, "a.test", "/", 443, draining))
    assert found["http"]["services"]["mcp-web.api.80"]["loadBalancer"]["servers"] == []
    assert found["http"]["routers"]


@pytest.mark.parametrize(
    ("listen", "resolver", "tls"),
    [(80, "", None), (80, "le", None), (443, "", {}), (443, "le", {"certResolver": "le"})],
)
def test_tls_ends_at_a_listener_that_says_so(listen: int, resolver: str, tls: object) -> None:
    (router,) = written(table(Mode.HTTP, "a.test", "/", listen), resolver)["http"]["routers"].values()
    assert router.get("tls") == tls
    assert router["entryPoints"] == [ENTRY_POINTS[listen]]


def test_an_empty_table_has_no_section_that_is_empty() -> None:
    """Traefik refuses such a file."""
    found = written(Table(LISTENERS))
    assert set(found) == {"http"}
    assert set(found["http"]) == {"services", "serversTransports"}


def test_the_file_changes_with_the_content_of_a_certificate() -> None:
    document = traefik_file.document(Table(LISTENERS), ENTRY_POINTS, "", VERSION)
    texts = {traefik_file.render(document, (certificate("a", each),)) for each in ("00", "11")}
    assert len(texts) == 2


def test_of_certificates_for_the_same_names_the_one_that_lasts_longest_is_used() -> None:
    old, new = certificate("old", "00", UNTIL - timedelta(days=60)), certificate("new", "11")
    other = certificate("other", "22", host="b.test")
    for order in ((old, new, other), (other, new, old)):
        assert traefik_file.chosen(order) == (new, other)


def test_a_certificate_for_a_host_is_left_out_when_a_wildcard_lasts_longer() -> None:
    """Traefik would take the one with the exact name, and mcpd says of a route that it has the other."""
    own, both = certificate("own", "00"), Certificate(Path("/srv/both.pem"), ("a.test", "b.net"), UNTIL, "11")
    wild = certificate("wild", "22", UNTIL + timedelta(days=1), host="*.test")
    assert traefik_file.chosen((own, wild)) == (wild,)
    # It is the only one for its other name.
    assert traefik_file.chosen((both, wild)) == (both, wild)
    sooner = msgspec.structs.replace(wild, until=UNTIL - timedelta(days=1))
    assert traefik_file.chosen((own, sooner)) == (own, sooner)


@pytest.mark.parametrize("path", ["/srv/{{env `HOME`}}.pem", "/srv/{{{.pem", "/srv/a\nb: c.pem", "/srv/ä'\".pem"])
def test_the_file_is_no_template_whatever_a_path_has_in_it(path: str) -> None:
    strange = Certificate(Path(path), ("a.test",), UNTIL, "00")
    table = Table(LISTENERS, certificates=(strange,))
    text = traefik_file.render(traefik_file.document(table, ENTRY_POINTS, "", VERSION), table.certificates)
    assert "{{" not in text
    assert written(table)["tls"]["certificates"] == [{"certFile": path, "keyFile": path}]


def test_the_version_of_a_file_is_found_in_it() -> None:
    text = traefik_file.render(traefik_file.document(Table(), {}, "", VERSION), ())
    assert traefik_file.version_in(text) == VERSION
    assert traefik_file.version_in("") == ""


def test_a_file_that_traefik_would_not_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"/etc/traefik/mcp\.json: .*\.yml or \.yaml"):
        Traefik(Path("/etc/traefik/mcp.json"), "http://127.0.0.1:8080")


# -- what nobody has thought of


@contextmanager
def api(answer: bytes) -> Iterator[str]:
    """The URL of something that gives this answer to every request."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def answer(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, headers, len(body), body)


async def refused(proxy: Traefik, words: str, table: Table | None = None) -> None:
    """By both, and with nothing but a ProxyError."""
    for call in (proxy.apply, proxy.differences):
        with pytest.raises(ProxyError, match=words):
            await call(table or Table())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "does it run"),
        (b"\0\1\2\r\n\r\n", "does it run"),
        (answer(b"[]")[:-1], "does it run"),
        (answer(b"", b"302 Found", b"Location: http://[\r\n"), "does it run|HTTP status 302"),
        (answer(b"", b"302 Found", b"Location: http://a:999999/\r\n"), "does it run|HTTP status 302"),
        (answer(b"", b"999 \xff"), "cannot be asked"),
        (answer(b"<html>"), "not that of a Traefik 3"),
        (answer(b"{}"), "not that of a Traefik 3"),
        (answer(b"[null]"), "not that of a Traefik 3"),
        (answer(b"\xff"), "not that of a Traefik 3"),
        (answer(b'[{"name": "\xff"}]'), "not that of a Traefik 3"),
        (answer(b'[{"name": "a", "x": %s' % (b"[" * 100_000)), "not that of a Traefik 3"),
    ],
    ids=["none", "binary", "half", "location", "port", "status", "html", "object", "null", "utf-8", "name", "deep"],
)
async def test_a_strange_answer_is_told(tmp_path: Path, said: bytes, words: str) -> None:
    with api(said) as url:
        await refused(Traefik(tmp_path / "mcp.yml", url), words)


@pytest.mark.parametrize("address", ["9" * 5000, "\u0663", "", ":x", ":-1", "\ud800:80"])
async def test_an_entry_point_with_a_strange_address_is_none(tmp_path: Path, address: str) -> None:
    body = msgspec.json.encode([{"name": "a", "address": "?"}]).replace(
        b"?", address.encode("ascii", "backslashreplace")
    )
    with api(answer(body)) as url:
        proxy = Traefik(tmp_path / "mcp.yml", url)
        with pytest.raises(ProxyError, match=r"no entry point for port 443|not that of a Traefik 3"):
            await proxy.apply(Table((Listener(443, "", tls=True),)))


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://[", "http://a:b", "http://\0", "http://127.0.0.1:999999", "ftp://a"]
)
async def test_a_url_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    await refused(Traefik(tmp_path / "mcp.yml", url), "cannot be asked")


async def test_an_entry_on_a_port_that_nobody_listens_on_is_told(tmp_path: Path) -> None:
    stray = Table((), (Entry(443, "a.test", "/", "b"),), (Backend("b", Mode.HTTP),))
    with api(answer(b"[]")) as url:
        await refused(Traefik(tmp_path / "mcp.yml", url), "no entry point for port 443", stray)


async def test_a_file_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.yml").mkdir()
    (tmp_path / "file").touch()
    with api(answer(b"[]")) as url:
        for name in ("folder.yml", "file/mcp.yml", "nul\0.yml", f"{'x' * 300}.yml"):
            await refused(Traefik(tmp_path / name, url), "cannot be (written|read): ")
        gone = Traefik(tmp_path / "gone/mcp.yml", url)
        with pytest.raises(ProxyError, match=r"gone/mcp\.yml cannot be written: No such file or directory"):
            await gone.apply(Table())
        assert f"{tmp_path}/gone/mcp.yml is missing or empty" in await gone.differences(Table())
        os.mkfifo(tmp_path / "pipe.yml")
        with pytest.raises(ProxyError, match="cannot be read: it is not a file"):
            await Traefik(tmp_path / "pipe.yml", url).differences(Table())
        strange = certificate(os.fsdecode(b"\xff"), "00")
        await refused(Traefik(tmp_path / "mcp.yml", url), "is not UTF-8", Table(certificates=(strange,)))


async def test_a_disk_that_hangs_is_told_and_holds_up_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, begun = threading.Event(), []

    def hang(*_: object) -> bytes:
        begun.append(1)
        assert goes_on.wait(DEADLINE_S)
        return b""

    for each in ("_read", "_write"):
        monkeypatch.setattr(module, each, hang)
    monkeypatch.setattr(module, "_WRITE_S", 0.2)
    monkeypatch.setattr(module, "_TAKEN_S", 0.2)
    with api(answer(b"[]")) as url:
        proxy = Traefik(tmp_path / "mcp.yml", url)
        try:
            await refused(proxy, "could not be (written|read) within 0 s: the disk hangs")
            assert len(begun) == 1
        finally:
            goes_on.set()
        await trio.to_thread.run_sync(until, lambda: not proxy._disk.borrowed_tokens)
        assert await proxy.differences(Table())
