"""`mcpd check`: each finding when all is well, and when it is not; what can be broken for real is."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import sqlite3
import ssl
import stat
import subprocess
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from mcpd import config
from mcpd.checks import authentication, database, examine, files, finding, machine, podman, user
from mcpd.checks import server as server_checks
from mcpd.checks.database import Declared
from mcpd.checks.files import Access, Mount
from mcpd.checks.finding import Finding, Status
from mcpd.checks.user import Owner, Range
from mcpd.registry import schema
from mcpd.registry.store import Registry
from mcpd.setup import pki
from mcpd.setup.init import initialize
from protos.fingerprint import spec_hash
from protos.spec import Component, Service
from tests.support.waiting import free_port

NOW = datetime.now(UTC)
GIB = 2**30
ROOT = Owner("root", 0, 0, rootless=False)
MCP = Owner("mcp", 1000, 1000, True, (Range("mcp", 100000, 65536),), (Range("mcp", 200000, 65536),))


def status(found: Finding | list[Finding]) -> Status:
    if isinstance(found, list):
        (found,) = found
    assert found.words
    # Whoever is told that something is wrong is told what to do.
    assert bool(found.remedy) is (found.status is not Status.OK), found
    return found.status


def named(found: list[Finding], name: str) -> Finding:
    (one,) = (each for each in found if each.name == name)
    status(one)
    return one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node as `mcpd init` sets it up, on a free port."""
    initialize(tmp_path / "mcp", "rift", f"127.0.0.1:{free_port()}")
    return tmp_path / "mcp"


@pytest.fixture
def settings(folder: Path) -> config.Config:
    return config.load(folder / "mcpd.toml")


# -- podman


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("4.3.0", Status.OK),
        ("5.4.2", Status.OK),
        ("10.0", Status.OK),
        ("4.2.9", Status.FAILURE),
        ("3.4.4", Status.FAILURE),
        ("new", Status.WARNING),
    ],
)
def test_podman_must_be_4_3_or_newer(version: str, verdict: Status) -> None:
    assert status(podman.judge_version(version)) is verdict


def test_an_oci_runtime_must_be_there() -> None:
    assert status(podman.judge_runtime("crun")) is Status.OK
    assert status(podman.judge_runtime("")) is Status.FAILURE


@pytest.mark.parametrize(("backend", "verdict"), [("netavark", Status.OK), ("cni", Status.WARNING)])
def test_cni_is_warned_of(backend: str, verdict: Status) -> None:
    assert status(podman.judge_network(backend)) is verdict


@pytest.mark.parametrize(
    ("version", "controllers", "verdict"),
    [
        ("v2", ("cpu", "io", "memory", "pids"), Status.OK),
        ("v2", ("memory", "pids"), Status.WARNING),
        ("v1", ("cpu", "memory", "pids"), Status.WARNING),
        ("", (), Status.WARNING),
    ],
)
@pytest.mark.parametrize("rootless", [True, False])
def test_limits_need_their_controllers(
    version: str, controllers: tuple[str, ...], verdict: Status, rootless: bool
) -> None:
    found = podman.judge_cgroups(version, controllers, rootless=rootless)
    assert status(found) is verdict
    if verdict is Status.WARNING and version == "v2":
        assert "cpu" in found.words


def test_a_podman_that_is_not_there_is_told(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found, info = podman.look(settings)
    assert status(named(found, "podman")) is Status.FAILURE
    assert info is None


def with_podman(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `podman` on PATH that does what ``script`` says."""
    program = tmp_path / "podman"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_a_service_that_ends_at_once_is_told_with_what_it_said(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_podman(tmp_path, "echo 'Error: the database is broken' >&2; exit 125", monkeypatch)
    found, info = podman.look(settings)
    assert status(found) is Status.FAILURE
    assert "the database is broken" in found[0].words
    assert info is None


def test_a_service_that_never_listens_is_ended(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(podman, "_START_S", 0.3)
    with_podman(tmp_path, f'echo "$$" >{tmp_path}/pid; exec sleep 600', monkeypatch)
    found, _ = podman.look(settings)
    assert status(found) is Status.FAILURE
    assert "did not listen" in found[0].words
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_configured_socket_that_nobody_listens_on_is_told(settings: config.Config, tmp_path: Path) -> None:
    given = msgspec.structs.replace(settings, podman=config.Podman(socket=str(tmp_path / "none.sock")))
    found, info = podman.look(given)
    assert status(named(found, "podman service")) is Status.FAILURE
    assert info is None


# -- the user


def test_subordinate_ids_are_read_as_shadow_reads_them() -> None:
    text = "# a comment\nmcp:100000:65536\n\nbroken:x:1\nother:1:2:3\n1000:300000:10\n"
    assert user.parse(text) == (Range("mcp", 100000, 65536), Range("1000", 300000, 10))


@pytest.mark.parametrize("kind", ["uid", "gid"])
@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("mcp:100000:65536\nother:165536:65536\n", Status.OK),
        ("1000:100000:65536\n", Status.OK),
        ("mcp:100000:32768\nmcp:200000:32768\n", Status.OK),
        ("other:100000:65536\n", Status.FAILURE),
        ("", Status.FAILURE),
        ("mcp:100000:1000\n", Status.WARNING),
        ("mcp:100000:65536\nother:165535:65536\n", Status.WARNING),
    ],
)
def test_a_rootless_podman_needs_subordinate_ids_of_its_own(kind: str, text: str, verdict: Status) -> None:
    assert status(user.judge_subordinate(kind, text, "mcp", 1000)) is verdict


def test_the_ids_that_are_proposed_are_nobodys() -> None:
    found = user.judge_subordinate("uid", "other:100000:65536\nthird:300000:65536\n", "mcp", 1000)
    assert "--add-subuids 365536-431071 mcp" in found.remedy


@pytest.mark.parametrize(("inside", "outside"), [(0, 1000), (1, 100000), (1000, 100999), (65536, 165535)])
def test_container_ids_are_the_subordinate_ids_in_order(inside: int, outside: int) -> None:
    assert MCP.host_uid(inside) == outside


def test_an_id_beyond_the_subordinate_ids_is_nobody() -> None:
    assert MCP.host_uid(65537) is None
    assert user.host_id(11, 1000, (Range("mcp", 100, 10), Range("mcp", 500, 10))) == 500


def test_roots_containers_have_the_machines_ids() -> None:
    assert (ROOT.host_uid(1000), ROOT.host_gid(0)) == (1000, 0)


def test_the_programs_that_map_ids_need_power(tmp_path: Path) -> None:
    program = tmp_path / "newuidmap"
    program.touch()
    program.chmod(0o755)
    assert status(user.judge_mapper("newuidmap", str(program))) is Status.FAILURE
    program.chmod(0o4755)
    assert status(user.judge_mapper("newuidmap", str(program))) is Status.OK
    assert status(user.judge_mapper("newuidmap", None)) is Status.FAILURE


def test_without_linger_a_logout_ends_everything() -> None:
    assert status(user.judge_linger("mcp", lingers=True)) is Status.OK
    assert status(user.judge_linger("mcp", lingers=False)) is Status.FAILURE


def test_the_runtime_folder_must_be_there_and_ours(tmp_path: Path) -> None:
    mine = tmp_path.stat().st_uid
    assert status(user.judge_runtime_folder(str(tmp_path), mine)) is Status.OK
    assert status(user.judge_runtime_folder("", mine)) is Status.WARNING
    assert status(user.judge_runtime_folder(str(tmp_path / "none"), mine)) is Status.FAILURE
    assert status(user.judge_runtime_folder(str(tmp_path), mine + 1)) is Status.FAILURE


def test_root_is_told_of_rootless_and_nothing_else() -> None:
    assert status(user.look(ROOT)) is Status.WARNING


def test_a_rootless_user_is_looked_at_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kind in ("uid", "gid"):
        (tmp_path / kind).write_text("mcp:100000:65536\n")
        monkeypatch.setitem(user.MAPS, kind, tmp_path / kind)
    found = {each.name: each.status for each in user.look(MCP)}
    assert found["user"] is found["subuid"] is found["subgid"] is Status.OK
    assert {"newuidmap", "newgidmap"} <= found.keys()


# -- the files root and the services' folders


def test_the_files_root_must_be_there_and_ours(tmp_path: Path) -> None:
    assert status(files.look_root(tmp_path)) is Status.OK
    assert status(files.look_root(tmp_path / "none")) is Status.FAILURE


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_files_root_that_is_anothers_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        os.seteuid(65534)
        try:
            found = files.look_root(Path(folder))
        finally:
            os.seteuid(0)
    assert status(found) is Status.FAILURE


def judged(access: Access, ids: tuple[int, int] | None, who: Owner, *, writes: bool = True) -> Finding:
    found = files.judge_path("/srv/web", access, [Mount("/srv/web", "web/app", ids, writes)], who)
    status(found)
    return found


def a_folder(uid: int, gid: int, mode: int) -> Access:
    return Access(uid, gid, stat.S_IFDIR | mode)


@pytest.mark.parametrize(
    ("access", "ids", "verdict"),
    [
        (a_folder(1000, 1000, 0o700), (0, 0), Status.OK),  # a container's root is podman's user
        (a_folder(100999, 200999, 0o700), (1000, 1000), Status.OK),
        (a_folder(100999, 200999, 0o700), (0, 0), Status.OK),  # root has power over all ids of its namespace
        (a_folder(1000, 1000, 0o700), (1000, 1000), Status.FAILURE),
        (a_folder(1000, 1000, 0o755), (1000, 1000), Status.WARNING),
        (a_folder(1000, 200999, 0o770), (1000, 1000), Status.OK),  # by its group
        (a_folder(0, 0, 0o700), (0, 0), Status.FAILURE),  # the machine's root is nobody there
        (a_folder(0, 0, 0o755), (0, 0), Status.WARNING),
        (a_folder(1000, 1000, 0o700), (70000, 0), Status.FAILURE),
        (a_folder(1000, 1000, 0o700), None, Status.OK),  # only the image knows who that is
    ],
)
def test_a_rootless_containers_ids_are_mapped(access: Access, ids: tuple[int, int] | None, verdict: Status) -> None:
    assert judged(access, ids, MCP).status is verdict


@pytest.mark.parametrize(
    ("ids", "verdict"), [((0, 0), Status.OK), ((33, 33), Status.OK), ((1000, 1000), Status.FAILURE)]
)
def test_roots_containers_have_the_machines_permissions(ids: tuple[int, int], verdict: Status) -> None:
    assert judged(a_folder(33, 33, 0o700), ids, ROOT).status is verdict


def test_what_is_only_read_need_not_be_writable() -> None:
    assert judged(a_folder(0, 0, 0o755), (1000, 1000), MCP, writes=False).status is Status.OK
    assert judged(Access(0, 0, stat.S_IFREG | 0o644), (1000, 1000), MCP, writes=False).status is Status.OK
    assert judged(a_folder(0, 0, 0o644), (1000, 1000), MCP, writes=False).status is Status.FAILURE


@pytest.mark.parametrize(
    ("access", "who", "command"),
    [
        (a_folder(1000, 1000, 0o700), MCP, "podman unshare chown -R 33:44 /srv/web"),
        # podman's user has no power over root's files, whatever it calls them.
        (a_folder(0, 0, 0o700), MCP, "chown -R 100032:200043 /srv/web"),
        (a_folder(0, 0, 0o700), ROOT, "chown -R 33:44 /srv/web"),
    ],
)
def test_the_remedy_is_a_command_that_may_do_it(access: Access, who: Owner, command: str) -> None:
    found = judged(access, (33, 44), who)
    assert found.remedy.startswith(command)


@pytest.mark.parametrize(
    ("text", "ids"),
    [("0:0", (0, 0)), ("1000", (1000, 0)), ("5:6", (5, 6)), ("www-data", None), ("5:users", None), (None, None)],
)
def test_only_numbers_say_who_a_user_is(text: str | None, ids: tuple[int, int] | None) -> None:
    assert files.numeric_ids(text) == ids


def test_what_components_mount_below_the_root_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "web/data").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    volumes = (f"{tmp_path}/web/data:/data:ro", f"{tmp_path}/web/none:/none", "/etc:/etc:ro", "named:/volume")
    app = Component("app", "localhost/app:v1", volumes=volumes)
    found = files.look_folders(tmp_path, (Declared("web", app),), ROOT)
    assert {each.name: status(each) for each in found} == {
        str(tmp_path / "web"): Status.OK,
        str(tmp_path / "web/data"): Status.OK,
        str(tmp_path / "web/none"): Status.FAILURE,
    }


def test_how_a_component_mounts_is_in_its_volumes() -> None:
    volumes = ("/srv/web/a:/a", "/srv/web/b/../c:/c:ro,Z", "/srv2/d:/d", "/srv/../etc:/e", "named:/f")
    each = Declared("web", Component("app", "localhost/app:v1", user="5:6", volumes=volumes))
    assert files.mounts_of(each, Path("/srv")) == [
        Mount("/srv/web/a", "web/app", (5, 6), True),
        Mount("/srv/web/c", "web/app", (5, 6), False),
    ]


@pytest.mark.parametrize(
    ("available", "total", "verdict"),
    [
        (50 * GIB, 100 * GIB, Status.OK),
        (14 * GIB, 100 * GIB, Status.WARNING),
        (4 * GIB, 100 * GIB, Status.FAILURE),
        (200 * 2**20, 2**30 // 4, Status.FAILURE),
        (0, 0, Status.FAILURE),
    ],
)
def test_free_space_is_judged_by_its_share_and_by_itself(available: int, total: int, verdict: Status) -> None:
    assert status(files.judge_space("space", "/", available, total)) is verdict


def test_space_is_looked_for_where_the_folder_will_be(tmp_path: Path) -> None:
    (found,) = files.look_space("space", tmp_path / "not/yet")
    assert f"at {tmp_path}" in found.words


# -- the database


async def filled(path: Path, component: Component) -> None:
    async with Registry.open(path) as registry:
        service = Service("web", "rift", (component,))
        await registry.put_service(service, {component.name: spec_hash(component)}, NOW)


def beside(path: Path) -> dict[str, tuple[bytes, int]]:
    return {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in path.parent.iterdir()}


async def test_a_database_is_looked_at_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    assert [status(each) for each in database.look(path)] == [Status.OK, Status.OK]
    assert database.declared(path) == ()
    assert beside(path) == {}
    component = Component("app", "localhost/app:v1")
    await filled(path, component)
    before = beside(path)
    assert [status(each) for each in database.look(path)] == [Status.OK, Status.OK]
    assert database.declared(path) == (Declared("web", component),)
    assert beside(path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
async def test_no_file_is_made_beside_it() -> None:
    """Shown by a folder in which none can be made."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mcp.db")
        await filled(path, Component("app", "localhost/app:v1"))
        os.chmod(folder, 0o755)  # noqa: PTH101 -- nothing else runs in this loop
        os.chmod(path, 0o644)  # noqa: PTH101
        os.seteuid(65534)
        try:
            found, (declared,) = database.look(path), database.declared(path)
        finally:
            os.seteuid(0)
    assert named(found, "database").status is Status.OK
    assert named(found, "database folder").status is Status.FAILURE
    assert declared.service == "web"


async def test_it_sees_what_a_daemon_has_written_a_moment_ago(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    component = Component("app", "localhost/app:v1")
    async with Registry.open(path) as registry:
        await registry.put_service(Service("web", "rift", (component,)), {"app": spec_hash(component)}, NOW)
        assert database.declared(path) == (Declared("web", component),)
        assert status(named(database.look(path), "database")) is Status.OK
        await registry.forget("web", ["app"], NOW)
        assert database.declared(path) == ()


async def test_what_a_killed_daemon_left_is_not_touched_either(tmp_path: Path) -> None:
    path, left = tmp_path / "mcp.db", tmp_path / "left"
    left.mkdir()
    component = Component("app", "localhost/app:v1")
    async with Registry.open(path) as registry:
        await registry.put_service(Service("web", "rift", (component,)), {"app": spec_hash(component)}, NOW)
        for name in ("mcp.db", "mcp.db-wal", "mcp.db-shm"):
            shutil.copy(tmp_path / name, left)
    before = {name: content for name, (content, _) in beside(left / "mcp.db").items() if not name.endswith("-shm")}
    assert database.declared(left / "mcp.db") == (Declared("web", component),)
    assert status(named(database.look(left / "mcp.db"), "database")) is Status.OK
    after = {name: content for name, (content, _) in beside(left / "mcp.db").items() if not name.endswith("-shm")}
    assert after == before


async def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    path.write_bytes(b"this is no database" * 1000)
    assert status(named(database.look(path), "database")) is Status.FAILURE
    assert database.declared(path) == ()
    path.unlink()
    await filled(path, Component("app", "localhost/app:v1"))
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = os.urandom(4096 * 2)
    path.write_bytes(content)
    assert status(named(database.look(path), "database")) is Status.FAILURE


async def test_a_newer_schema_is_told_and_an_older_one_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    await filled(path, Component("app", "localhost/app:v1"))
    for version, verdict in ((schema.VERSION + 1, Status.FAILURE), (schema.VERSION - 1, Status.OK)):
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {version}")
        db.close()
        assert status(named(database.look(path), "database")) is verdict
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        db.close()


async def test_who_is_not_mcpds_user_is_told_to_look_as_it(tmp_path: Path) -> None:
    path = tmp_path / "mcp.db"
    await filled(path, Component("app", "localhost/app:v1"))
    mine = os.geteuid()
    assert "who looks" not in {each.name for each in database.look(path)}
    assert status(database.judge_looker(mine + 1, mine)) is Status.WARNING
    if mine == 0:
        os.chown(path, 12345, 12345)
        assert named(database.look(path), "who looks").status is Status.WARNING


def test_a_database_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert status(named(database.look(tmp_path / "none/mcp.db"), "database folder")) is Status.FAILURE


# -- the certificate


def test_the_certificate_that_init_makes_is_good(settings: config.Config) -> None:
    assert {each.name: status(each) for each in server_checks.look_certificate(settings.server, NOW)} == {
        "certificate": Status.OK,
        "certificate names": Status.OK,
        "private key": Status.OK,
    }


@pytest.mark.parametrize(
    ("moved", "verdict"),
    [
        (timedelta(days=-826), Status.FAILURE),  # expired a day ago
        (timedelta(days=-800), Status.WARNING),  # expires in 25 days
        (timedelta(days=-790), Status.OK),
        (timedelta(days=1), Status.FAILURE),  # not valid before tomorrow
    ],
)
def test_a_certificate_must_be_valid_for_a_while(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, moved: timedelta, verdict: Status
) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
            return NOW + moved

    monkeypatch.setattr(pki, "datetime", Then)
    made = pki.make_server(pki.make_authority("rift"), "rift", "127.0.0.1")
    settings.server.tls_cert.write_bytes(made.certificate)
    settings.server.tls_key.write_bytes(made.key)
    assert named(server_checks.look_certificate(settings.server, NOW), "certificate").status is verdict


def test_a_certificate_for_another_address_is_told(settings: config.Config) -> None:
    made = pki.make_server(pki.make_authority("rift"), "rift", "127.0.0.2")
    settings.server.tls_cert.write_bytes(made.certificate)
    settings.server.tls_key.write_bytes(made.key)
    assert named(server_checks.look_certificate(settings.server, NOW), "certificate names").status is Status.WARNING


def test_the_authoritys_own_certificate_names_nobody() -> None:
    made = pki.make_authority("rift").certificate
    assert status(server_checks.judge_names(made, "127.0.0.1", "renew")) is Status.FAILURE


def test_a_key_of_another_certificate_and_garbage_are_told_without_showing_them(settings: config.Config) -> None:
    other = pki.make_server(pki.make_authority("rift"), "rift", "127.0.0.1")
    for content in (other.key, b"garbage", b""):
        settings.server.tls_key.write_bytes(content)
        found = server_checks.look_certificate(settings.server, NOW)
        assert named(found, "certificate").status is Status.FAILURE
        assert "PRIVATE" not in finding.as_json(found)


@pytest.mark.parametrize(
    ("mode", "verdict"),
    [(0o600, Status.OK), (0o400, Status.OK), (0o640, Status.WARNING), (0o644, Status.FAILURE), (0o602, Status.FAILURE)],
)
def test_a_key_is_for_its_owner(settings: config.Config, mode: int, verdict: Status) -> None:
    settings.server.tls_key.chmod(mode)
    assert named(server_checks.look_certificate(settings.server, NOW), "private key").status is verdict


# -- the address


def test_a_free_port_is_good_and_still_free_afterwards(settings: config.Config) -> None:
    for _ in range(2):
        assert status(server_checks.look_address(settings.server)) is Status.OK


def test_a_port_that_is_taken_is_told(settings: config.Config) -> None:
    with socket.create_server(settings.server.grpc_addr) as listener:
        # It says no word of TLS, so that the look need not wait for any.
        threading.Thread(target=lambda: listener.accept()[0].close()).start()
        assert status(server_checks.look_address(settings.server)) is Status.FAILURE


def test_an_mcpd_of_ours_may_hold_it(settings: config.Config) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(settings.server.tls_cert, settings.server.tls_key)

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            accepted, _ = listener.accept()
            try:
                with server.wrap_socket(accepted, server_side=True) as secured:
                    secured.recv(1)
            except OSError:
                pass

    with socket.create_server(settings.server.grpc_addr) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            assert status(server_checks.look_address(settings.server)) is Status.OK
            other = pki.make_server(pki.make_authority("rift"), "rift", "127.0.0.1")
            settings.server.tls_cert.write_bytes(other.certificate)
            assert status(server_checks.look_address(settings.server)) is Status.FAILURE
        finally:
            thread.join()


def test_an_address_that_no_interface_has_is_waited_for(settings: config.Config) -> None:
    # TEST-NET-1 (RFC 5737) is nobody's.
    server = msgspec.structs.replace(settings.server, grpc_addr=("192.0.2.1", 9444))
    assert status(server_checks.look_address(server)) is Status.WARNING


def test_a_port_that_we_may_not_have_is_told() -> None:
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
    assert status(server_checks.judge_bind("127.0.0.1", 80, denied, ours=False)) is Status.FAILURE


# -- who is let in


def test_the_token_that_init_makes_is_good_and_not_shown(folder: Path, settings: config.Config) -> None:
    found = authentication.look_identity(settings, NOW)
    assert status(found) is Status.OK
    shown = finding.as_json(found)
    assert (folder / "admin.token").read_text().strip() not in shown
    (kept,) = json.loads(settings.auth.tokens_path.read_text())["tokens"]
    assert kept["sha256"] not in shown


def test_token_files_that_let_nobody_or_anybody_in_are_told(settings: config.Config) -> None:
    path = settings.auth.tokens_path
    path.chmod(0o666)
    assert status(authentication.look_tokens(path, NOW)) is Status.FAILURE
    path.chmod(0o600)
    kept = json.loads(path.read_text())
    kept["tokens"][0]["expires_at"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(kept))
    assert status(authentication.look_tokens(path, NOW)) is Status.WARNING
    path.write_text("no json, but secret")
    found = authentication.look_tokens(path, NOW)
    assert status(found) is Status.FAILURE
    assert "secret" not in found.words
    path.unlink()
    assert status(authentication.look_tokens(path, NOW)) is Status.WARNING


# -- the machine


@pytest.mark.parametrize(("year", "verdict"), [(2026, Status.OK), (1970, Status.FAILURE), (2199, Status.FAILURE)])
def test_a_clock_far_off_is_told(year: int, verdict: Status) -> None:
    assert status(machine.judge_clock(datetime(year, 1, 1, tzinfo=UTC))) is verdict


def test_a_clock_that_nobody_keeps_right_is_told() -> None:
    assert status(machine.judge_sync(0)) is Status.OK
    assert status(machine.judge_sync(0x41)) is Status.WARNING


def test_the_kernel_is_asked_as_python_cannot() -> None:
    """Against adjtimex(8), where that is installed; in any case the answer is one that the kernel can give."""
    asked = machine.clock_status()
    assert 0 <= asked <= 0xFFFF
    if program := shutil.which("adjtimex"):
        printed = subprocess.run([program, "--print"], capture_output=True, text=True, check=True).stdout
        (line,) = (line for line in printed.splitlines() if "status:" in line)
        assert asked == int(line.split(":")[1].split()[0])


def test_an_alert_command_must_be_a_program(tmp_path: Path) -> None:
    program = tmp_path / "alert"
    argv = (str(program), "--token", "hunter2")
    assert status(machine.look_alert_command(())) is Status.WARNING
    assert status(machine.look_alert_command(argv)) is Status.WARNING
    program.touch()
    assert status(machine.look_alert_command(argv)) is Status.WARNING
    program.chmod(0o755)
    found = machine.look_alert_command(argv)
    assert status(found) is Status.OK
    assert "hunter2" not in finding.as_json(found)


# -- together


async def test_a_look_that_hangs_or_crashes_is_a_warning_and_hides_no_other() -> None:
    release = threading.Event()

    def hang() -> list[Finding]:
        release.wait(30)
        return []

    def crash() -> list[Finding]:
        raise RuntimeError("a bug")

    def refuse() -> list[Finding]:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret")

    try:
        (hung,) = await examine.take(examine.Look("hangs", hang), deadline_s=0.05)
    finally:
        release.set()
    assert (hung.status, hung.words) == (Status.WARNING, "could not be checked: no answer after 0.05 s")
    good = [finding.ok("good", "all is well")]
    found = await examine.take_all(
        [examine.Look("crash", crash), examine.Look("good", lambda: good), examine.Look("refuse", refuse)]
    )
    assert [each.words for each in found] == [
        "could not be checked: RuntimeError: a bug",
        "all is well",
        "could not be checked: /secret: Permission denied",
    ]


async def test_looks_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet() -> list[Finding]:
        both.wait()
        return [finding.ok("met", "each other")]

    assert len(await examine.take_all([examine.Look("a", meet), examine.Look("b", meet)])) == 2


FOUND = [
    finding.ok("good", "all is well"),
    finding.warning("middling", "not so well", "mend it"),
    finding.failure("bad", "broken", "replace it"),
]


def test_the_table_is_aligned_and_coloured_only_when_asked() -> None:
    plain = finding.as_table(FOUND, coloured=False)
    assert plain.splitlines() == [
        "OK       good      all is well",
        "WARNING  middling  not so well",
        "                     mend it",
        "FAILURE  bad       broken",
        "                     replace it",
        "1 OK, 1 WARNING, 1 FAILURE",
    ]
    coloured = finding.as_table(FOUND, coloured=True)
    assert "\033[31mFAILURE\033[0m" in coloured
    assert re.sub("\033\\[\\d*m", "", coloured) == plain


def test_the_json_has_every_finding_with_its_four_words() -> None:
    assert json.loads(finding.as_json(FOUND))[1] == {
        "name": "middling",
        "status": "WARNING",
        "words": "not so well",
        "remedy": "mend it",
    }
    assert finding.failed(FOUND)
    assert not finding.failed(FOUND[:2])
