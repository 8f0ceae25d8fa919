"""`contrib/demo`: which processes it starts and ends, and what podman leaves of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from contrib.demonstration import daemons, leftovers, podman, processes
from contrib.demonstration.down import mounts_below
from contrib.demonstration.node import Node
from contrib.demonstration.output import Failure
from tests.support.demo_node import started
from tests.support.waiting import until

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
POLITE = """
import signal
import sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit("term"))
print("ready", flush=True)
signal.pause()
"""


def lenient(_: int) -> bool:
    return True


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


def test_names_of_networks_that_are_gone_are_forgotten_and_no_others(tmp_path: Path) -> None:
    container = f"{'0' * 64} 10.9.0.2  web-api,api\n"
    for name, text in {
        "here": f"127.0.0.1\n{container}",
        "with-servers": f"192.0.2.1,127.0.0.1 9.9.9.9\n{container}",
        "gone": f"192.0.2.1\n{container}",
        "aardvark.pid": "192.0.2.1",
    }.items():
        (tmp_path / name).write_text(text)
    leftovers.forget_networks_that_are_gone(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {"here", "with-servers", "aardvark.pid"}
    leftovers.forget_networks_that_are_gone(tmp_path / "no folder")


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
