"""The table as HAProxy's configuration, and what a worker is told: values alone."""

from __future__ import annotations

import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from mcpd.routing import haproxy_config, haproxy_ports
from mcpd.routing.haproxy import HAProxy
from mcpd.routing.haproxy_disk import Disk
from mcpd.routing.haproxy_master import Master
from mcpd.routing.haproxy_servers import Loaded, changes, different_servers, parsed
from mcpd.routing.proxy import ProxyError
from mcpd.routing.table import Backend, Certificate, Entry, Listener, Server, Table
from mcpd.runtime.sockets import EVERY_ADDRESS
from protos import atomic
from protos.parts import Mode
from tests.support.waiting import until

_FILE = Path("/etc/haproxy/mcp.cfg")
_COLUMNS = "be_name srv_name srv_addr srv_fqdn srv_port srv_op_state srv_admin_state srv_uweight srv_iweight"
_A, _B = Server("a", "10.0.0.1", 80), Server("b", "10.0.0.2", 80)
_GONE = Server("a", "10.0.0.1", 80, draining=True)
_CERTIFICATE = Certificate(Path("/etc/certs/shop.pem"), ("shop.net",), datetime(2030, 1, 1, tzinfo=UTC), "f1")


def _web(*servers: Server) -> Backend:
    return Backend("shop.web.80", Mode.HTTP, servers)


def _table(*servers: Server, tls: bool = False, certificates: tuple[Certificate, ...] = ()) -> Table:
    return Table(
        (Listener(443, "0.0.0.0", tls),), (Entry(443, "shop.net", "/", "shop.web.80"),), (_web(*servers),), certificates
    )


def test_servers_are_no_part_of_the_structure() -> None:
    one, two = haproxy_config.text(_table(_A), _FILE), haproxy_config.text(_table(_B, _GONE), _FILE)
    assert haproxy_config.description(one) == haproxy_config.description(two)
    assert haproxy_config.with_servers(one, (_web(_B, _GONE),)) == two
    assert haproxy_config.is_intact(one)


def test_a_change_of_anything_else_is_seen_in_the_text_itself() -> None:
    text = haproxy_config.text(_table(_A), _FILE)
    assert not haproxy_config.is_intact(text.replace("retries 3", "retries 0"))
    assert not haproxy_config.is_intact("global\n")
    assert haproxy_config.is_intact(text.replace("10.0.0.1", "10.0.0.9"))


def test_a_server_that_is_draining_is_not_in_the_file() -> None:
    assert "    server a " not in haproxy_config.text(_table(_GONE, _B), _FILE)
    assert "    server b 10.0.0.2:80 " in haproxy_config.text(_table(_GONE, _B), _FILE)


def test_a_listener_with_tls_and_no_certificate_is_not_bound() -> None:
    assert "bind" not in haproxy_config.text(_table(_A, tls=True), _FILE).replace("ssl-default-bind-options", "")
    assert haproxy_config.frontends(_table(_A, tls=True)) == {}


def test_a_renewed_certificate_is_no_change_of_structure_and_another_file_is() -> None:
    renewed = Certificate(_CERTIFICATE.path, _CERTIFICATE.names, _CERTIFICATE.until, "f2")
    other = Certificate(Path("/etc/certs/new.pem"), _CERTIFICATE.names, _CERTIFICATE.until, "f1")
    texts = [haproxy_config.text(_table(_A, tls=True, certificates=(each,)), _FILE) for each in (_CERTIFICATE, renewed)]
    assert texts[0] == texts[1]
    assert haproxy_config.text(_table(_A, tls=True, certificates=(other,)), _FILE) != texts[0]
    assert " ssl crt-list /etc/haproxy/mcp.cfg." in texts[0]


def test_lists_of_certificates_that_are_not_needed_are_found() -> None:
    table = _table(_A, tls=True, certificates=(_CERTIFICATE,))
    needed = haproxy_config.certificate_list_path(table, _FILE).name
    names = (needed, "mcp.cfg", f"mcp.cfg.{'0' * 16}.certificates", "other.certificates")
    assert haproxy_config.other_lists(table, _FILE, names) == (f"mcp.cfg.{'0' * 16}.certificates",)


def test_addresses_of_version_6_are_in_brackets() -> None:
    table = Table(
        (Listener(80, "::", False), Listener(80, "0.0.0.0", False)), (), (_web(Server("a", "fd00::1", 8080)),)
    )
    text = haproxy_config.text(table, _FILE)
    assert "    bind [::]:80 v6only\n" in text
    assert "    bind 0.0.0.0:80\n" in text
    assert "    server a [fd00::1]:8080 " in text


def test_what_is_new_is_added_before_what_leaves_is_told_to() -> None:
    found = {("shop.web.80", "a"): Loaded("10.0.0.1", 80, takes_new=True, maintenance=False)}
    assert list(changes((_web(_B),), found)) == [
        "add server shop.web.80/b 10.0.0.2:80 pool-purge-delay 200ms",
        "set server shop.web.80/b weight 100%",
        "set server shop.web.80/b state ready",
        "set server shop.web.80/a state maint",
        "del server shop.web.80/a",
    ]


def test_a_server_that_is_draining_is_not_deleted() -> None:
    found = {("shop.web.80", "a"): Loaded("10.0.0.1", 80, takes_new=True, maintenance=False)}
    assert list(changes((_web(_GONE),), found)) == ["set server shop.web.80/a state maint"]


def test_what_is_in_maintenance_and_not_in_the_table_is_no_difference_and_is_deleted_when_it_can_be() -> None:
    found = {("shop.web.80", "a"): Loaded("10.0.0.1", 80, takes_new=False, maintenance=True)}
    assert list(different_servers((_web(),), found)) == []
    assert list(changes((_web(),), found)) == ["del server shop.web.80/a"]


def test_servers_of_others_are_left_alone() -> None:
    found = {("operators-own", "x"): Loaded("10.0.0.1", 80, takes_new=True, maintenance=False)}
    assert list(changes((_web(),), found)) == []
    assert list(different_servers((_web(),), found)) == []


def test_what_differs_is_told_by_backend_and_server() -> None:
    found = {
        ("shop.web.80", "a"): Loaded("10.0.0.1", 80, takes_new=True, maintenance=False),
        ("shop.web.80", "c"): Loaded("10.0.0.3", 80, takes_new=True, maintenance=False),
    }
    assert list(different_servers((_web(_GONE, _B),), found)) == [
        "shop.web.80 sends new connections to a, which is draining",
        "shop.web.80 has no server b",
        "shop.web.80 has a server c too many",
    ]


def test_workers_from_before_a_reload_end_after_some_time() -> None:
    assert "\n    hard-stop-after 1h\n" in haproxy_config.text(_table(_A), _FILE).partition("defaults")[0]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Unknown command",
        "1\n# be_name srv_name\nshop.web.80 a",
        f"1\n# {_COLUMNS}\nshop.web.80 a 10.0.0.1 - 80 2 x 1 1",
        f"1\n# {_COLUMNS}\nshop.web.80 a 10.0.0.1 - - 2 0 1 1",
    ],
)
def test_an_answer_about_servers_that_is_cut_or_strange_is_told(answer: str) -> None:
    with pytest.raises(ProxyError, match="answer to `show servers state` cannot be understood"):
        parsed(answer)


def test_an_answer_about_no_servers_is_one() -> None:
    assert parsed(f"1\n# {_COLUMNS}\n") == {}


@pytest.mark.parametrize("answer", ["", "Unknown command", "# pxname,svname\nmcp.80,FRONTEND"])
async def test_an_answer_about_frontends_that_is_cut_or_strange_is_told(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def say(_: Master, command: str) -> str:
        if command == "show proc":
            return "1 master 0 0d 2.6\n2 worker 0 0d 2.6"
        told = haproxy_config.description(haproxy_config.text(_table(_A), _FILE))
        return f"description: {told}" if "info" in command else answer

    monkeypatch.setattr(Master, "say", say)
    with pytest.raises(ProxyError, match="answer to `show stat -1 1 -1` cannot be understood"):
        await HAProxy(_FILE, Path("/none")).differences(_table(_A))


async def test_an_answer_about_workers_that_is_strange_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say(_: Master, __: str) -> str:
        return "2 worker [was: 1]"

    monkeypatch.setattr(Master, "say", say)
    with pytest.raises(ProxyError, match="answer to `show proc` cannot be understood"):
        await Master(Path("/none"), _FILE, 1).processes()


@pytest.mark.parametrize(
    ("wanted", "held", "both", "meets"),
    [
        ("0.0.0.0", "127.0.0.1", False, True),
        ("", "127.0.0.1", False, True),
        ("127.0.0.1", "0.0.0.0", False, True),
        ("127.0.0.1", "127.0.0.2", False, False),
        ("127.0.0.1", "::", False, False),
        ("127.0.0.1", EVERY_ADDRESS, False, True),
        ("::", "0.0.0.0", False, False),
        ("::", "0.0.0.0", True, True),
        ("::1", "::", False, True),
    ],
)
def test_two_listen_at_one_port_only_where_their_addresses_differ(
    wanted: str, held: str, both: bool, meets: bool
) -> None:
    assert haproxy_ports.meets(wanted, held, both=both) is meets


async def test_who_holds_a_port_is_told_unless_it_may() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        listener = Listener(held.getsockname()[1], "127.0.0.1", False)
        holder = await haproxy_ports.holder_of(listener, both=False, but=())
        assert holder is not None
        assert holder.pid == os.getpid()
        assert await haproxy_ports.holder_of(listener, both=False, but=(os.getpid(),)) is None
    assert await haproxy_ports.holder_of(listener, both=False, but=()) is None


async def test_a_disk_that_hangs_ends_within_the_deadline_and_does_not_write_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, goes_on = tmp_path / "haproxy.cfg", threading.Event()
    write = atomic.write

    def hang(path: Path, content: bytes, *, mode: int) -> None:
        goes_on.wait(10)
        write(path, content, mode=mode)

    disk = Disk(path, deadline=0.2)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "write", hang)
            with pytest.raises(ProxyError, match=rf"could not write {path} within 0.2 s: the disk hangs"):
                await disk.write(path, "first")
        with pytest.raises(ProxyError, match=rf"could not read {path} within 0.2 s"):
            await disk.read(path)
    finally:
        goes_on.set()
    await trio.to_thread.run_sync(until, path.exists, "what hung goes on")
    await disk.write(path, "second")
    assert await disk.read(path) == "second"


@pytest.mark.parametrize("what", ["read", "remove", "write", "names"])
async def test_what_the_disk_refuses_is_told_with_the_path_and_the_remedy(what: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    path = file / "x"
    disk = Disk(tmp_path / "haproxy.cfg")
    work = {
        "read": lambda: disk.read(path),
        "remove": lambda: disk.remove(path),
        "write": lambda: disk.write(path, ""),
        "names": lambda: disk.names(path),
    }
    with pytest.raises(ProxyError, match=rf"mcpd cannot {what.replace('names', 'read')} .*{path}: .*; let mcpd's user"):
        await work[what]()
