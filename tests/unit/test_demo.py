"""`contrib/demo`: what it writes, what it refuses, which processes it ends, and what a step that fails leaves."""

from __future__ import annotations

import io
import ipaddress
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contrib.demonstration import command, daemons, leftovers, podman, processes, settings, tour
from contrib.demonstration.down import down, mounts_below
from contrib.demonstration.images import root_file_system
from contrib.demonstration.node import MARKER, VENV, Node, claim, node_at, require_unclaimed, write_once
from contrib.demonstration.output import Failure
from contrib.demonstration.settings import Options, Settings
from tests.support.waiting import until

HERE = {"PATH": os.environ["PATH"]}
FOUND = Settings("n1", "127.0.0.1:9444")
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
POLITE = """
import signal
import sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit("term"))
print("ready", flush=True)
signal.pause()
"""
MCPD_TOML = """\
[server]
grpc_addr = "127.0.0.1:9444"

[auth]
mode = "tokens"                 # hashed
tokens_path = "tokens.json"

[database]
path = "mcp.db"

[files]
root = "/srv"

[monitor]
alert_command = ["/usr/local/bin/notify"]
disk_free_warning = "10%"
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Root's, so that the folder's name may be as long as a test's is; nothing here needs root."""
    return node_at(str(tmp_path / "n"), HERE, is_root=True)


@contextmanager
def started(node: Node, *argv: str, log: str = "x.log") -> Iterator[int]:
    node.folder.mkdir(exist_ok=True)
    pid = processes.start(list(argv), HERE, log=node.folder / log, pid_file=node.folder / "x.pid")
    try:
        yield pid
    finally:
        processes.end([pid], lambda _: True, 0)


def lenient(_: int) -> bool:
    return True


# -- folders


@pytest.mark.parametrize("folder", ["/a:b", "/a,b", '/a"b', "/a\\b", "/a$b", "/a\nb", "/"])
def test_a_folder_that_podman_takes_amiss_is_refused(folder: str) -> None:
    with pytest.raises(Failure, match="use letters, digits") as refused:
        node_at(folder, HERE)
    assert refused.value.status == 2


def test_a_folder_is_too_long_when_a_socket_in_it_would_be() -> None:
    longest = "/" + "x" * (107 - len("/run/podman.sock") - 1)
    assert node_at(longest, HERE, is_root=True)
    with pytest.raises(Failure, match="108 bytes, and such a path holds 107"):
        node_at(f"{longest}x", HERE, is_root=True)
    with pytest.raises(Failure, match="too long"):
        node_at(longest, HERE, is_root=False)


def test_a_folder_is_named_as_it_is_whatever_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["n", "./n/", f"/{tmp_path}/x/../n"]
    assert {node_at(name, HERE, is_root=True).folder for name in names} == {tmp_path / "n"}


def test_a_sourced_environment_of_another_node_leads_nowhere() -> None:
    others = {"MCP_CONFIG": "/other", "CONTAINER_HOST": "unix:///other", "MCP_TOKEN": "other", "KEPT": "yes"}
    environment = node_at("/srv/n", others, is_root=True).environment
    assert environment["KEPT"] == "yes"
    assert environment["CONTAINERS_CONF"] == "/srv/n/podman/containers.conf"
    assert not {"MCP_CONFIG", "CONTAINER_HOST", "MCP_TOKEN", "XDG_RUNTIME_DIR"} & set(environment)


def test_an_ordinary_users_podman_keeps_its_runtime_files_in_the_folder() -> None:
    environment = node_at("/home/me/n", HERE, is_root=False).environment
    assert environment["XDG_RUNTIME_DIR"] == "/home/me/n/run/user"
    assert environment["XDG_DATA_HOME"] == "/home/me/n/podman/data"


def test_up_takes_a_folder_that_is_missing_empty_or_holds_definitions_only(node: Node) -> None:
    require_unclaimed(node)
    node.definitions.mkdir(parents=True)
    (node.definitions / "web.toml").touch()
    require_unclaimed(node)
    (node.folder / "precious").touch()
    with pytest.raises(Failure, match="was not made by `up`"):
        require_unclaimed(node)
    claim(node)
    require_unclaimed(node)


def test_a_link_and_a_file_are_not_vacant(node: Node, tmp_path: Path) -> None:
    node.folder.write_text("a file")
    assert not node.is_vacant
    node.folder.unlink()
    node.folder.mkdir()
    node.definitions.symlink_to(tmp_path)
    assert not node.is_vacant


def test_an_ordinary_user_without_subordinate_ids_is_told_the_command(tmp_path: Path) -> None:
    user = node_at("/tmp/n", HERE, is_root=False)
    with pytest.raises(Failure, match="usermod --add-subuids"):
        claim(user, tmp_path / "subuid")


def test_what_somebody_has_changed_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_once(path, "first", mode=0o755)
    write_once(path, "second")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("first", 0o755)
    assert list(tmp_path.iterdir()) == [path]


# -- configuration


def test_mcpds_configuration_keeps_alerts_and_files_below_the_folder(node: Node) -> None:
    tables = tomllib.loads(settings.adapted(MCPD_TOML, node, ""))
    assert tables["monitor"]["alert_command"][1] == f"{node.folder}/bin/alert"
    assert tables["files"]["root"] == f"{node.folder}/srv"
    assert tables["auth"] == {"mode": "tokens", "tokens_path": "tokens.json"}
    assert "mcias" not in tables


def test_mcpds_configuration_with_mcias_has_no_tokens(node: Node) -> None:
    tables = tomllib.loads(settings.adapted(MCPD_TOML, node, "https://127.0.0.1:1"))
    assert tables["auth"] == {"mode": "mcias"}
    assert tables["mcias"] == {"server_url": "https://127.0.0.1:1", "ca_cert": f"{node.folder}/mcias/ca.pem"}
    assert tables["database"] == {"path": "mcp.db"}


def test_a_configuration_without_an_alert_command_is_not_passed_over(node: Node) -> None:
    with pytest.raises(Failure, match="no alert_command line"):
        settings.adapted("[node]\n", node, "")


def test_a_broken_configuration_is_named(node: Node) -> None:
    node.folder.mkdir()
    for text in ("[node", "[node]\nname = 'n'\n"):
        (node.folder / "mcpd.toml").write_text(text)
        with pytest.raises(Failure, match=r"mcpd\.toml"):
            settings.read_settings(node)


def test_mcpctl_finds_the_node_and_a_shell_what_it_needs(tmp_path: Path) -> None:
    node = node_at(str(tmp_path / "a node"), HERE, is_root=True)
    node.folder.mkdir()
    settings.set_up_mcpctl(node, FOUND)
    (entry,) = tomllib.loads((node.folder / "mcp.toml").read_text())["nodes"]
    assert (entry["name"], entry["address"]) == ("n1", "127.0.0.1:9444")
    assert entry["token_path"] == f"{node.folder}/admin.token"
    script = f'source "{node.folder}/env"; printf "%s\\n" "$MCP_CONFIG" "$CONTAINER_HOST" "$PATH"'
    said = subprocess.run(["bash", "-c", script], env=HERE, capture_output=True, text=True, check=True).stdout
    config, host, path = said.splitlines()
    assert config == f"{node.folder}/mcp.toml"
    assert host == f"unix://{node.folder}/run/podman.sock"
    assert path == f"{VENV}/bin:{HERE['PATH']}"


def test_mcpctl_asks_mcias_with_the_password_file(node: Node) -> None:
    node.folder.mkdir()
    settings.set_up_mcpctl(node, Settings("n1", "127.0.0.1:1", "https://127.0.0.1:2"))
    tables = tomllib.loads((node.folder / "mcp.toml").read_text())
    assert tables["auth"]["password_file"] == f"{node.folder}/mcias/password"
    assert "token_path" not in tables["nodes"][0]


def test_podman_is_given_limits_that_it_may_set_and_a_network_of_its_own(node: Node) -> None:
    subnet = podman.choose_subnet(node, "default via 10.1.0.1 dev eth0")
    engine = tomllib.loads(podman.containers_conf(node, subnet))
    for limit in engine["containers"]["default_ulimits"]:
        soft, _, hard = limit.partition("=")[2].partition(":")
        assert soft == hard
        assert int(soft) > 0
    assert engine["engine"]["tmp_dir"] == f"{node.folder}/podman/tmp"
    network = podman.network(node, subnet)
    assert network["name"] == engine["network"]["default_network"] == node.network
    assert len(node.bridge) <= 15
    assert network["subnets"] == [{"subnet": str(subnet).replace("/20", "/24"), "gateway": str(subnet[1])}]


def test_a_subnet_is_one_that_the_machine_has_no_route_into(node: Node) -> None:
    first = podman.choose_subnet(node, "")
    assert first.prefixlen == 20
    assert podman.choose_subnet(node, f"{first[77]} dev eth0 scope link") != first
    assert podman.choose_subnet(node, "unreachable 110.0.0.0/8") == first
    last = ipaddress.IPv4Network("10.7.16.0/20")
    others = ipaddress.IPv4Network("10.0.0.0/8").address_exclude(last)
    assert podman.choose_subnet(node, "\n".join(map(str, others))) == last
    with pytest.raises(Failure, match="no /20"):
        podman.choose_subnet(node, "10.0.0.0/8 dev tun0")


def test_what_podman_kept_for_another_boot_is_forgotten(node: Node) -> None:
    claim(node)
    (node.folder / "podman/tmp").mkdir(parents=True)
    podman.forget_other_boots(node)
    assert (node.folder / "podman/tmp").exists()
    node.marker.write_text("another boot\n")
    podman.forget_other_boots(node)
    assert not (node.folder / "podman/tmp").exists()
    podman.forget_other_boots(node)


def test_an_image_is_busybox_and_answers_with_its_version() -> None:
    with tarfile.open(fileobj=io.BytesIO(root_file_system("v7", b"\x7fELF", ["busybox", "sh"]))) as tar:
        members = {member.name: member for member in tar}
        page = tar.extractfile("www/index.html")
        assert page is not None
        assert page.read() == b"v7\n"
    assert members["bin/sh"].linkname == "busybox"
    assert members["bin/serve"].mode & 0o111
    assert members["tmp"].mode == 0o1777
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}


# -- a step that fails


def fake_mcpd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, status: int) -> None:
    """`mcpd init` that writes half of its files, or all."""
    files = ["mcpd.toml"] if status else ["mcpd.toml", "tokens.json", "admin.token"]
    program = tmp_path / "venv/bin/mcpd"
    program.parent.mkdir(parents=True, exist_ok=True)
    config = program.with_name("mcpd.toml")
    config.write_text(MCPD_TOML)
    lines = ["#!/bin/sh", 'mkdir "$2" "$2/certs"', *(f'cp {config} "$2/{file}"' for file in files), f"exit {status}"]
    program.write_text("\n".join(lines) + "\n")
    program.chmod(0o755)
    monkeypatch.setattr(settings, "VENV", tmp_path / "venv")


def test_a_set_up_that_failed_is_begun_anew_and_one_that_is_done_is_not(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(node)
    fake_mcpd(tmp_path, monkeypatch, status=3)
    with pytest.raises(Failure) as failed:
        settings.set_up_mcpd(node, Options(mcias=True))
    assert failed.value.status == 3
    assert not (node.folder / "mcpd.toml").exists()
    fake_mcpd(tmp_path, monkeypatch, status=0)
    settings.set_up_mcpd(node, Options())
    assert (node.folder / "admin.token").exists()
    assert not (node.folder / "init.new").exists()
    assert not (node.folder / "mcias").exists()
    (node.folder / "mcpd.toml").write_text("mine")
    settings.set_up_mcpd(node, Options())
    assert (node.folder / "mcpd.toml").read_text() == "mine"


def test_the_password_is_its_owners_alone(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mcpd(tmp_path, monkeypatch, status=0)
    claim(node)
    settings.set_up_mcpd(node, Options(mcias=True))
    assert stat.S_IMODE((node.folder / "mcias/password").stat().st_mode) == 0o600
    (account,) = json.loads((node.folder / "mcias/accounts.json").read_text())
    assert account["password"] == (node.folder / "mcias/password").read_text().strip()


def test_down_removes_what_a_failed_up_has_made(node: Node) -> None:
    claim(node)
    (node.podman / "networks").mkdir(parents=True)
    (node.podman / "networks/half.json").write_text("{")
    down(node)
    assert not node.folder.exists()
    down(node)


def test_down_keeps_definitions_and_up_takes_the_folder_again(node: Node) -> None:
    claim(node)
    node.definitions.mkdir()
    (node.definitions / "web.toml").touch()
    down(node)
    assert [path.name for path in node.folder.rglob("*")] == ["services", "web.toml"]
    require_unclaimed(node)


def test_down_touches_nothing_of_somebody_elses(node: Node) -> None:
    node.folder.mkdir()
    (node.folder / "precious").touch()
    with pytest.raises(Failure, match="nothing was touched") as refused:
        down(node)
    assert refused.value.status == 2
    assert (node.folder / "precious").exists()


@pytest.mark.parametrize(
    ("fault", "status"), [(Failure("podman does not work here", 1), 1), (SystemExit(143), 143)], ids=["fails", "TERM"]
)
def test_a_demonstration_that_does_not_end_well_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, status: int
) -> None:
    def up(node: Node, _: Options) -> None:
        claim(node)
        if isinstance(fault, SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)
        raise fault

    monkeypatch.setattr(tour, "up", up)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    try:
        ended = command.main([])
    except SystemExit as left:
        ended = int(str(left.code))
    assert ended == status
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


# -- processes


def test_what_is_started_has_a_session_a_log_and_a_pid_file_of_its_own(node: Node) -> None:
    with started(node, "sh", "-c", "echo said; echo told >&2; read line || exec sleep 1000") as pid:
        until(lambda: processes.program(pid) == "sleep")  # there is nothing to read
        assert os.getsid(pid) == pid
        assert processes.recorded(node.folder / "x.pid") == pid
        assert (node.folder / "x.log").read_text() == "said\ntold\n"
    assert not processes.is_running(pid)


def test_what_ignores_sigterm_gets_sigkill_and_only_after_its_time(node: Node) -> None:
    with started(node, sys.executable, "-c", STUBBORN) as pid:
        until(lambda: (node.folder / "x.log").read_text())
        start = time.monotonic()
        processes.end([pid], lenient, 0.05)
        assert time.monotonic() - start >= 0.05
        assert not processes.is_running(pid)


def test_what_is_stopped_still_ends_by_sigterm(node: Node) -> None:
    with started(node, sys.executable, "-c", POLITE) as pid:
        until(lambda: (node.folder / "x.log").read_text())
        os.kill(pid, signal.SIGSTOP)
        processes.end([pid], lenient, 10)
        assert (node.folder / "x.log").read_text() == "ready\nterm\n"


def test_a_pid_that_means_another_process_by_now_is_left_alone(node: Node) -> None:
    with started(node, "sleep", "1000") as stranger:
        daemon = daemons.mcpd(node)
        daemon.pid_file.write_text(f"{stranger}\n")
        assert daemon.pid() is None
        daemon.end()
        processes.end([stranger], lambda _: False, 0)
        assert processes.is_running(stranger)
    processes.end([stranger], lenient, 0)  # nothing has that pid any more


def test_processes_of_a_node_are_known_by_program_and_path(node: Node) -> None:
    inside, beside = node.folder / "file", node.folder.with_name("n-other") / "file"
    for path in (inside, beside):
        path.parent.mkdir()
        path.touch()
    with started(node, "sleep", "1000", log="sleep.log") as other, started(node, "tail", "-f", str(inside)) as editor:
        assert processes.matching(processes.names_path_below(node.folder, ["conmon", "sleep"])) == []
        assert processes.matching(processes.names_path_below(node.folder, ["tail"])) == [editor]
        with started(node, "tail", "-f", str(beside)):
            assert processes.matching(processes.names_path_below(node.folder, ["tail"])) == [editor]
        processes.end_matching(processes.names_path_below(node.folder, ["tail"]), 10)
        assert processes.is_running(other)
        assert not processes.is_running(editor)


@pytest.mark.parametrize("prefix", ["", "--config=", "unix://", "lower:"])
def test_a_path_is_found_where_an_argument_has_it(node: Node, prefix: str) -> None:
    with started(node, "sh", "-c", "read line || exec sleep 1000", f"{prefix}{node.folder}/x") as pid:
        until(lambda: processes.program(pid) == "sleep")
        assert not processes.names_path_below(node.folder, ["sleep"])(pid)  # sleep has another command line
    idle = "import signal; signal.pause()"
    with started(node, sys.executable, "-c", idle, f"{prefix}{node.folder}/x") as pid:
        until(lambda: idle in processes.command_line(pid))
        assert processes.names_path_below(node.folder, [processes.program(pid)])(pid)


def test_a_daemon_that_ends_at_once_is_told_with_the_end_of_its_log_only(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    node.folder.mkdir()
    daemon = daemons.mcpd(node)
    daemon.log.write_text("of yesterday\n")
    with pytest.raises(Failure, match="mcpd has ended; its log is above"):
        daemon.ensure_runs(node, ["sh", "-c", "seq 100; exit 1"], lambda: False)
    said = capsys.readouterr().err
    assert said.splitlines()[0] == f"--- the end of {daemon.log}"
    assert said.splitlines()[1:] == [str(number) for number in range(81, 101)]
    os.waitpid(int(daemon.pid_file.read_text()), 0)


def test_a_daemon_that_never_answers_is_given_up_and_one_that_runs_is_not_started_again(node: Node) -> None:
    node.folder.mkdir()
    argv = [sys.executable, "-c", STUBBORN, "serve", "--config", f"{node.folder}/mcpd.toml"]
    daemon = daemons.mcpd(node)
    with pytest.raises(Failure, match="mcpd does not answer after 0 s"):
        daemon.ensure_runs(node, argv, lambda: False, within_s=0)
    until(lambda: daemon.log.read_text())
    pid = daemon.pid()
    daemon.ensure_runs(node, ["false"], lambda: True)
    assert daemon.pid() == pid
    daemon.end(within_s=0)
    assert daemon.pid() is None


def test_a_program_without_our_certificate_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert not daemons.answers(address, tmp_path / "missing.pem")
    assert not daemons.answers("127.0.0.1:none", tmp_path / "missing.pem")


# -- what podman leaves


def test_firewall_rules_of_this_network_go_and_no_others() -> None:
    nat = (
        ":NETAVARK-0A1B - [0:0]\n:NETAVARK-DN-0A1B - [0:0]\n:NETAVARK-FFFF - [0:0]\n"
        "-A NETAVARK-HOSTPORT-DNAT -p tcp --dport 80 -j NETAVARK-DN-0A1B\n"
        "-A POSTROUTING -s 10.9.0.0/24 -j NETAVARK-FFFF\n"
        "-A POSTROUTING -s 10.1.0.0/24 -m x -j NETAVARK-0A1B\n"
    )
    filters = "-A NETAVARK_FORWARD -d 10.1.0.0/24 -j ACCEPT\n-A NETAVARK_FORWARD -d 10.9.0.0/24 -j ACCEPT\n"
    assert leftovers.rules_without("10.1.0.0/24", nat, filters).splitlines() == [
        "*nat",
        "-D NETAVARK-HOSTPORT-DNAT -p tcp --dport 80 -j NETAVARK-DN-0A1B",
        "-D POSTROUTING -s 10.1.0.0/24 -m x -j NETAVARK-0A1B",
        "-F NETAVARK-0A1B",
        "-X NETAVARK-0A1B",
        "-F NETAVARK-DN-0A1B",
        "-X NETAVARK-DN-0A1B",
        "COMMIT",
        "*filter",
        "-D NETAVARK_FORWARD -d 10.1.0.0/24 -j ACCEPT",
        "COMMIT",
    ]
    assert leftovers.rules_without("10.2.0.0/24", nat, filters) == ""


def test_what_lies_outside_of_the_folder_is_named_by_files_in_it(node: Node) -> None:
    container = "0123456789abcdef" * 4
    userdata = node.podman / "graph/overlay-containers" / container / "userdata"
    userdata.mkdir(parents=True)
    (userdata / "config.json").write_text('{"path": "/run/netns/netns-12-ab"}')
    (node.podman / "networks").mkdir()
    network = podman.network(node, podman.choose_subnet(node, ""))
    (node.podman / "networks/n.json").write_text(json.dumps(network))
    outside = leftovers.outside_of(node)
    assert outside.containers == [container]
    assert outside.namespaces == ["/run/netns/netns-12-ab"]
    assert outside.bridges == [node.bridge]
    assert len(outside.subnets) == 1


def test_mounts_go_deepest_first_and_neighbours_stay() -> None:
    lines = [
        f"1 2 0:1 / {point} rw - overlay overlay rw" for point in (r"/a\040b/n/x", r"/a\040b/n/x/y", r"/a\040b/n2", "/")
    ]
    assert mounts_below(Path("/a b/n"), "\n".join(lines)) == ["/a b/n/x/y", "/a b/n/x"]


# -- the command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up"], "up needs a folder: contrib/demo up DIR"),
        (["up", "--mcias"], "up needs a folder: contrib/demo up DIR"),
        (["up", "/nowhere", "--bogus"], "up: --bogus is not an option; see --help"),
        (["up", "/nowhere", "--mcias=1"], "up: --mcias=1 is not an option; see --help"),
        (["up", "/nowhere", "--node"], "--node needs a value; see --help"),
        (["down", "/nowhere", "more"], "down needs a folder, and nothing else: contrib/demo down DIR"),
        (["sideways"], "sideways: there is no such command; see --help"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert command.main(["--check", *words]) == command.main(words) == 2
    assert capsys.readouterr().err == f"demo: {said}\n" * 2


def test_a_look_at_the_words_changes_nothing(node: Node) -> None:
    assert command.main(["--check", "up", str(node.folder), "--node=a", "--address", "127.0.0.1:1", "--mcias"]) == 0
    assert command.main(["--check"]) == 0
    assert not node.folder.exists()
    node.folder.mkdir()
    (node.folder / "precious").touch()
    assert command.main(["--check", "up", str(node.folder)]) == 2


def test_options_are_taken_with_and_without_an_equals_sign() -> None:
    made = command.parse_options(["--node=a", "--address", "127.0.0.1:1", "--mcias"])
    assert made == Options("a", "127.0.0.1:1", mcias=True)


def test_a_failure_of_the_system_is_a_sentence(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.folder.mkdir()
    (node.folder / MARKER).symlink_to("marker")
    (node.folder / "marker").touch()
    (node.folder / "services").write_text("a file where a folder belongs")
    assert command.main(["up", str(node.folder)]) == 1
    assert capsys.readouterr().err.startswith("demo: ")


def test_it_runs_by_path_from_any_folder_with_nothing_installed(tmp_path: Path) -> None:
    program = Path(command.__file__).parent
    argv = [sys.executable, "-S", str(program), "down", "nothing-here"]
    done = subprocess.run(argv, cwd=tmp_path, env=HERE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, f"there is nothing to end in {tmp_path}/nothing-here\n")
