"""The commands: their help, their exit statuses, what they import, and how they edit the configuration."""

import contextlib
import importlib
import inspect
import os
import re
import socket
import ssl
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mcpctl import __main__ as program
from mcpctl import __version__
from mcpctl.commands.app import ALERT_COMMANDS, COMMANDS, COMPLETION_COMMANDS, NODE_COMMANDS, SERVICE_COMMANDS
from mcpctl.nodes import client
from mcpd import pki

DEADLINE_S = 30.0
CONFIG = """\
# My nodes.
[services]
dir = "services" # beside this file

# the big one
[[nodes]]
name = "rift"
address = "127.0.0.1:1" # by the overlay
state = "active" # since May

# the small one
[[nodes]]
# in the cellar
name = "orion"
address = "127.0.0.2:1"
# the end
"""
WEB = 'name = "web"\nnode = "rift"\n[[components]]\nname = "api"\nimage = "x:v1"\n'


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workstation's configuration, with nodes at which nothing listens."""
    (tmp_path / "services").mkdir()
    (tmp_path / "mcp.toml").write_text(CONFIG)
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "ca.pem").write_bytes(pki.make_authority("rift").pem.certificate)
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program in this process: fast enough for many."""

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["mcpctl", *words])
        with pytest.raises(SystemExit) as raised:
            program.main()
        out, err = capsys.readouterr()
        assert isinstance(raised.value.code, int)
        return Ran(raised.value.code, out, err)

    for name in ("MCP_TOKEN", "MCP_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MCP_CONFIG", str(folder / "mcp.toml"))
    return run


def run_process(folder: Path, *words: str) -> Ran:
    """Runs the program as a shell does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCP_")}
    done = subprocess.run(
        [sys.executable, *words],
        env={**environment, "MCP_CONFIG": str(folder / "mcp.toml")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


# -- help

ALL = {(name,): entry for name, entry in COMMANDS.items()}
ALL |= {("node", name): entry for name, entry in NODE_COMMANDS.items()}
ALL |= {("alerts", name): entry for name, entry in ALERT_COMMANDS.items()}
ALL |= {("service", name): entry for name, entry in SERVICE_COMMANDS.items()}
COMPLETION = [("completion", name) for name in COMPLETION_COMMANDS]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_a_summary_is_the_first_line_of_the_commands_docstring(words: tuple[str, ...]) -> None:
    place, summary = ALL[words]
    module, _, function = place.partition(":")
    found = getattr(importlib.import_module(f"mcpctl.commands.{module}"), function)
    assert summary == (inspect.getdoc(found) or "").splitlines()[0]


@pytest.mark.parametrize("words", [(), ("node",), ("alerts",), ("service",), *ALL], ids=" ".join)
def test_every_command_has_help(run: Run, words: tuple[str, ...]) -> None:
    status, out, err = run(*words, "--help")
    assert (status, err) == (0, "")
    assert "Usage: mcpctl" in out
    if words in ALL:
        # Wrapped to the terminal's width.
        assert ALL[words][1] in " ".join(out.split())
        assert "--config" in out
        assert "--output" in out
        assert "For example" in out


@pytest.mark.parametrize(
    ("words", "table"),
    [
        ((), COMMANDS),
        (("node",), NODE_COMMANDS),
        (("alerts",), ALERT_COMMANDS),
        (("service",), SERVICE_COMMANDS),
    ],
)
def test_help_lists_every_command_with_its_summary(
    run: Run, words: tuple[str, ...], table: dict[str, tuple[str, str]]
) -> None:
    shown = run(*words, "--help").out
    for name in table:
        assert re.search(rf"^\W*{name}\s+\S", shown, re.MULTILINE)


@pytest.mark.parametrize("words", [("version",), ("help", "deploy"), *ALL, *COMPLETION], ids=" ".join)
def test_help_shows_only_defaults_that_tell_something(run: Run, words: tuple[str, ...]) -> None:
    shown = " ".join(run(*words, "--help").out.replace("│", " ").split())
    assert "Usage: mcpctl" in shown
    assert not re.search(r"""\[default: (""|''|\(\)|\[\]|False|None|none|)\]""", shown)
    # One that is said in words is not said again.
    assert not re.search(r"\[default: [^]]*\] \[default: ", shown)


def test_the_version_is_shown(run: Run) -> None:
    assert run("version") == (0, f"mcpctl {__version__}\n", "")
    assert run("--version") == (0, f"mcpctl {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("deplyo", "web"), ("deplyo", "deploy")),
        (("node", "lst"), ("lst", "list")),
        (("ps", "--al"), ("--al", "--all")),
        (("deploy",), ("--yes", "mcpctl plan")),
        (("start",), ("`mcpctl start SERVICE`",)),
        (("stop",), ("`mcpctl stop SERVICE`",)),
        (("restart",), ("`mcpctl restart SERVICE`",)),
        (("deploy", "a", "b", "--image", "x:v1"), ("--image", "one service")),
        (("deploy", "--plan", "p1", "--yes"), ("--plan", "one service")),
        (("cancel",), ("ID",)),
        (("cancel", "0"), ("0", "operation")),
        (("deploy", "web", "more"), ("more",)),
        (("list", "--output", "xml"), ("xml", "table", "json")),
        (("node", "set-state", "rift", "up"), ("up", "active", "inactive", "down")),
        (("events", "--limit", "0"), ("--limit",)),
        (("events", "--since", "yesterday"), ("--since", "yesterday", "2h")),
        (("status", "--at", "yesterday"), ("--at", "yesterday", "2h")),
        (("timeline", "--since", "yesterday"), ("--since", "yesterday", "2h")),
        (("push", "nowhere.ini", "web"), ("nowhere.ini",)),
        (("pull", "web"), ("PATH",)),
        (("pull", "web", "/etc/passwd"), ("/etc/passwd", "starts with /")),
        (("ls", "web", "--limit", "0"), ("--limit",)),
        (("diff-file", "app.ini"), ("SERVICE",)),
        (("alerts", "lst"), ("lst", "list")),
        (("alerts", "list", "--limit", "0"), ("--limit",)),
        (("alerts", "ack"), ("ID",)),
        (("alerts", "ack", "seven"), ("seven",)),
        (("operations", "--limit", "0"), ("--limit",)),
        (("operations", "web/api"), ("web/api", "service")),
        (("attach",), ("ID",)),
        (("attach", "seven"), ("seven",)),
        (("plan", "a/b/c"), ("a/b/c",)),
        (("purge", "a/b/c"), ("a/b/c",)),
        (("recover", "web/api"), ("web/api", "service")),
        (("sync", "--node", "rfit"), ("rfit", "did you mean rift?")),
        (("alerts", "silence", "web"), ("--reason",)),
        (("ps", "a/b/c"), ("a/b/c",)),
        (("ps", "--interval", "5"), ("--interval", "--watch")),
        (("undeploy", "--foo", "web"), ("Usage: mcpctl undeploy [OPTIONS] TARGET", "See `mcpctl undeploy --help`.")),
        (("node", "show"), ("Usage: mcpctl node show", "See `mcpctl node show --help`.")),
        (("ps", "Web!"), ("Web!", "lower-case")),
        (("deploy", "a/b/c"), ("a/b/c",)),
        (("ps", "--node", "rfit"), ("rfit", "did you mean rift?")),
        (("node", "add", "rift", "127.0.0.1:1"), ("rift", "already")),
        (("node", "add", "Rift!", "127.0.0.1:1"), ("Rift!",)),
        (("node", "add", "new", "127.0.0.1"), ("127.0.0.1", "HOST:PORT")),
        (("node", "remove", "rfit"), ("did you mean rift?",)),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_with_2_and_says_what_is_meant(
    run: Run, folder: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("mcpctl: ")
    assert [part for part in parts if part not in err] == []
    assert (folder / "mcp.toml").read_text() == CONFIG


# -- nodes in the configuration


def nodes(folder: Path) -> dict[str, tuple[str, str]]:
    text = (folder / "mcp.toml").read_text()
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        pytest.fail(f"the configuration is no TOML any more: {error}\n{text}")
    return {each["name"]: (each["address"], each.get("state", "active")) for each in data.get("nodes", [])}


def comments(text: str) -> list[str]:
    return re.findall(r"#.*", text)


def test_nodes_are_listed(run: Run) -> None:
    assert run("node", "list", "--offline").out.splitlines() == [
        "NODE   ADDRESS      STATE",
        "rift   127.0.0.1:1  active",
        "orion  127.0.0.2:1  active",
    ]


def test_an_added_node_is_in_the_file_and_comments_are_kept(run: Run, folder: Path) -> None:
    said = f"mcpctl: added node new ([::1]:9444) to {folder / 'mcp.toml'}\n"
    assert run("node", "add", "new", "[::1]:9444", "--no-check") == (0, "", said)
    text = (folder / "mcp.toml").read_text()
    assert text == CONFIG.rstrip("\n") + '\n\n[[nodes]]\nname = "new"\naddress = "[::1]:9444"\n'
    assert nodes(folder)["new"] == ("[::1]:9444", "active")
    assert list(nodes(folder)) == ["rift", "orion", "new"]


@pytest.mark.parametrize("before", ["", "# nothing yet\n", '[services]\ndir = "services"', "nodes = []\n"])
def test_a_first_node_is_added_to_a_file_without_any(run: Run, folder: Path, before: str) -> None:
    (folder / "mcp.toml").write_text(before)
    assert run("node", "add", "rift", "127.0.0.1:1", "--no-check", "--quiet") == (0, "", "")
    assert run("node", "add", "orion", "127.0.0.2:1", "--no-check", "--quiet") == (0, "", "")
    assert nodes(folder) == {"rift": ("127.0.0.1:1", "active"), "orion": ("127.0.0.2:1", "active")}
    assert comments((folder / "mcp.toml").read_text()) == comments(before)


def test_a_removed_node_is_gone_and_the_others_are_as_they_were(run: Run, folder: Path) -> None:
    said = f"mcpctl: removed node rift from {folder / 'mcp.toml'}; its services keep running\n"
    assert run("node", "remove", "rift") == (0, "", said)
    text = (folder / "mcp.toml").read_text()
    assert nodes(folder) == {"orion": ("127.0.0.2:1", "active")}
    assert '# My nodes.\n[services]\ndir = "services" # beside this file\n' in text
    assert '# in the cellar\nname = "orion"\naddress = "127.0.0.2:1"\n# the end\n' in text


def test_the_last_node_can_be_removed_and_one_added_again(run: Run, folder: Path) -> None:
    for name in ("orion", "rift"):
        assert run("node", "remove", name).status == 0
    assert nodes(folder) == {}
    assert run("node", "add", "rift", "127.0.0.1:1", "--no-check").status == 0
    assert nodes(folder) == {"rift": ("127.0.0.1:1", "active")}


def test_a_state_is_changed_in_its_place(run: Run, folder: Path) -> None:
    said = f"mcpctl: node rift is now down in {folder / 'mcp.toml'}: commands skip it\n"
    assert run("node", "set-state", "rift", "down") == (0, "", said)
    expected = CONFIG.replace('state = "active" # since May', 'state = "down" # since May')
    assert (folder / "mcp.toml").read_text() == expected


def test_a_state_that_was_not_written_is_added_and_comments_are_kept(run: Run, folder: Path) -> None:
    assert run("node", "set-state", "orion", "inactive", "--quiet") == (0, "", "")
    assert nodes(folder) == {"rift": ("127.0.0.1:1", "active"), "orion": ("127.0.0.2:1", "inactive")}
    assert comments((folder / "mcp.toml").read_text()) == comments(CONFIG)


def test_an_edit_keeps_mode_and_link_and_leaves_nothing_beside(run: Run, folder: Path) -> None:
    target = folder / "repository.toml"
    (folder / "mcp.toml").rename(target)
    (folder / "mcp.toml").symlink_to(target)
    target.chmod(0o600)
    before = sorted(folder.iterdir())
    assert run("node", "set-state", "rift", "down").status == 0
    assert (folder / "mcp.toml").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(folder.iterdir()) == before


# -- nodes that cannot be asked

LOOKING = [("ps",), ("list",), ("status",), ("events",), ("ps", "--all"), ("node", "show", "rift")]
LOOKING += [("status", "--at", "2h"), ("events", "--follow"), ("timeline",), ("alerts", "list")]
LOOKING += [("whoami",), ("audit",), ("audit", "--follow"), ("sync",), ("purge",), ("recover",), ("operations",)]


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_without_a_node_that_answers_it_exits_with_4_and_says_which(run: Run, words: tuple[str, ...]) -> None:
    status, _, err = run(*words)
    assert status == 4
    assert "node rift: 127.0.0.1:1 cannot be reached: " in err
    assert ("node orion: 127.0.0.2:1 cannot be reached: " in err) == ("show" not in words)


def test_only_the_nodes_that_were_named_are_asked(run: Run) -> None:
    status, _, err = run("ps", "--node", "orion", "--node", "orion")
    assert status == 4
    assert err.count("node orion") == 1
    assert "rift" not in err


def test_nodes_that_are_not_active_are_skipped_and_said(run: Run) -> None:
    run("node", "set-state", "rift", "inactive")
    status, _, err = run("ps")
    assert status == 4
    assert "node rift is inactive in mcp.toml: skipped" in err
    run("node", "set-state", "orion", "down")
    status, _, err = run("ps")
    assert status == 2
    assert "has no active node" in err


def test_json_stays_json_when_nobody_answers(run: Run) -> None:
    status, out, err = run("ps", "--output", "json")
    assert (status, out.strip()) == (4, "[]")
    assert "node rift" in err


def test_a_stop_that_cannot_reach_the_node_still_changes_the_definition(run: Run, folder: Path) -> None:
    path = folder / "services/web.toml"
    path.write_text(WEB)
    status, _, err = run("stop", "web")
    assert status == 1
    assert tomllib.loads(path.read_text())["active"] is False
    assert f"{path} now says active = false; when the node is back, `mcpctl sync` applies it" in err


@pytest.mark.parametrize("command", ["plan", "deploy", "start", "stop", "restart", "undeploy"])
def test_a_change_on_a_node_that_is_not_active_is_refused_and_changes_nothing(
    run: Run, folder: Path, command: str
) -> None:
    (folder / "services/web.toml").write_text(WEB)
    run("node", "set-state", "rift", "down")
    status, out, err = run(command, "web")
    assert (status, out) == (1, "")
    assert "mcpctl node set-state rift active" in err
    assert (folder / "services/web.toml").read_text() == WEB


@pytest.mark.parametrize("command", ["plan", "deploy", "start", "stop", "restart"])
def test_a_change_of_a_component_that_is_not_defined_is_refused(run: Run, folder: Path, command: str) -> None:
    (folder / "services/web.toml").write_text(WEB)
    status, _, err = run(command, "web/nobody")
    assert status == 2
    assert "web has no component 'nobody'" in err
    assert (folder / "services/web.toml").read_text() == WEB


# -- our own side is wrong


def test_a_token_file_that_others_can_read_is_refused_before_anything_is_sent(run: Run, folder: Path) -> None:
    (folder / "token").chmod(0o644)
    status, _, err = run("ps")
    assert status == 2
    assert f"chmod 600 {folder / 'token'}" in err
    assert "secret" not in err


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_that_is_none_is_said(run: Run, folder: Path, content: str | None) -> None:
    path = folder / "ca.pem"
    path.unlink()
    if content is not None:
        path.write_text(content)
    status, _, err = run("ps")
    assert status == 2
    assert str(path) in err


def test_a_configuration_that_is_missing_is_said(run: Run, folder: Path) -> None:
    (folder / "mcp.toml").unlink()
    status, _, err = run("ps")
    assert status == 2
    assert f"{folder / 'mcp.toml'} does not exist" in err


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a server that speaks TLS but hangs up on everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                # It has no certificate: every handshake fails.
                with connection, contextlib.suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)


def test_a_server_that_is_no_agent_is_one_line_and_no_bug(run: Run, folder: Path, stranger: int) -> None:
    (folder / "mcp.toml").write_text(CONFIG.replace("127.0.0.1:1", f"127.0.0.1:{stranger}"))
    status, _, err = run("ps", "--node", "rift")
    assert status == 4
    (line,) = err.splitlines()
    assert line.startswith(f"mcpctl: node rift: the connection to 127.0.0.1:{stranger} failed: ")


def test_a_node_that_takes_a_connection_and_is_silent_is_not_waited_for_an_hour(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "services/web.toml").write_text(WEB)
    monkeypatch.setattr(client, "READ_DEADLINE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        (folder / "mcp.toml").write_text(CONFIG.replace("127.0.0.1:1", address))
        status, _, err = run("deploy", "web")
    assert status == 1
    assert err == f"mcpctl: node rift: {address} did not answer within 0.2 s\n"


def test_a_bug_is_a_sentence_and_not_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("surprise")

    monkeypatch.setattr("mcpctl.actions.status.ps", crash)
    status, out, err = run("ps")
    assert (status, out) == (1, "")
    assert err == (
        "mcpctl: a bug in mcpctl: RuntimeError: surprise\n"
        "Please report it to the project; `--debug` shows the traceback to include.\n"
    )


@pytest.mark.parametrize("words", [("ps",), ("ps", "--all")], ids=" ".join)
def test_an_interrupt_has_the_status_that_shells_know(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mcpctl.actions.status.ps", interrupt)
    status, _, err = run(*words)
    assert status == 130
    assert "interrupted" in err


# -- bad definitions, as a shell sees it

BAD: dict[str, tuple[str | bytes, str]] = {
    "unknown key": (WEB + 'immage = "y"\n', "components[0].immage"),
    "wrong type": (WEB + "ports = 8080\n", "components[0].ports"),
    "bad image reference": (WEB.replace("x:v1", "X Y"), "components[0].image"),
    "duplicate component": (WEB + WEB[WEB.index("[[") :], "components[1].name"),
    "port 99999": (WEB + 'ports = ["99999:80"]\n', "components[0].ports[0]"),
    "a volume without a colon": (WEB + 'volumes = ["/data"]\n', "components[0].volumes[0]"),
    "another name than the file's": (WEB.replace("web", "wob"), "name: is 'wob'"),
    "an unknown node": (WEB.replace("rift", "nowhere"), "node: 'nowhere'"),
    "5 MiB": (WEB + "#" * 5 * 2**20, "is 5.0 MiB long"),
    "not UTF-8": (WEB.encode() + b"# \xff\n", "is not UTF-8"),
}


@pytest.mark.parametrize(("content", "part"), BAD.values(), ids=BAD.keys())
def test_deploy_of_a_bad_definition_exits_with_2_and_sends_nothing(
    folder: Path, content: str | bytes, part: str
) -> None:
    path = folder / "services/web.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, out, err = run_process(folder, "-m", "mcpctl", "deploy", "web")
    assert (status, out) == (2, "")
    assert err.startswith(f"mcpctl: {path}: {part}")
    assert "Traceback" not in err
    assert "cannot be reached" not in err


def test_deploy_of_a_colliding_container_name_exits_with_2(folder: Path) -> None:
    for service, component in (("a", "b-c"), ("a-b", "c")):
        text = WEB.replace("web", service).replace("api", component)
        (folder / f"services/{service}.toml").write_text(text)
    status, out, err = run_process(folder, "-m", "mcpctl", "deploy", "a")
    assert (status, out) == (2, "")
    assert "components[0].name: its container name a-b-c" in err


def test_what_a_file_says_cannot_move_the_cursor(run: Run, folder: Path) -> None:
    (folder / "services/web.toml").write_text(WEB + '"\\u001b[2J\\u009b31m" = 1\n')
    status, _, err = run("deploy", "web")
    assert status == 2
    assert err.replace("\n", "").isprintable()


# -- start-up

IMPORTED = """
import sys
from mcpctl.__main__ import main
sys.argv = ["mcpctl", *sys.argv[1:]]
try:
    main()
finally:
    ours = {name for name in sys.modules if name.startswith("mcpctl.")}
    print(*sorted(ours | {name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("words", [("ps",), ("status",), ("list",), ("events",), ("ps", "web")], ids=" ".join)
def test_what_is_typed_most_imports_nothing_that_it_does_not_need(folder: Path, words: tuple[str, ...]) -> None:
    status, out, _ = run_process(folder, "-c", IMPORTED, *words)
    assert status == 4
    imported = set(out.splitlines()[-1].split())
    assert {"mcpctl", "grpclib", "betterproto"} <= imported
    assert (
        imported & {"cyclopts", "rich", "tomlkit", "trio", "trio_asyncio", "mcpd", "monitor", "cryptography"} == set()
    )
    assert [name for name in imported if name.startswith("mcpctl.commands")] == []
    others = {"audit", "definition", "intent", "mcias", "planning", "progress", "reports"}
    if words == ("status",):  # it says what of the definitions is not deployed
        others -= {"definition"}
    assert imported & {f"mcpctl.{name}" for name in others} == set()


def test_a_command_with_options_imports_neither_the_daemon_nor_trio(folder: Path) -> None:
    _, out, _ = run_process(folder, "-c", IMPORTED, "ps", "--node", "rift")
    assert set(out.splitlines()[-1].split()) & {"tomlkit", "trio", "trio_asyncio", "mcpd", "monitor"} == set()


def test_a_reader_that_has_enough_is_no_error(folder: Path) -> None:
    command = [sys.executable, "-m", "mcpctl", "node", "list", "--config", str(folder / "mcp.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""
