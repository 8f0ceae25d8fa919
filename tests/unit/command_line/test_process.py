"""The program as a shell sees it: bad definitions, what is imported at the start, and a reader that goes away."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.agent import WEB, Run
from tests.support.offline import run_process
from tests.support.waiting import DEADLINE_S

BAD: dict[str, tuple[str | bytes, str]] = {
    "unknown key": (WEB + 'immage = "y"\n', "components[0].immage"),
    "wrong type": (WEB + "ports = 8080\n", "components[0].ports"),
    "bad image reference": (WEB.replace("x:v1", "X Y"), "components[0].image"),
    "duplicate component": (WEB + WEB[WEB.index("[[") :], "components[1].name"),
    "port 99999": (WEB + 'ports = ["99999:80"]\n', "components[0].ports[0]"),
    "a volume without a target": (WEB + 'volumes = ["data"]\n', "components[0].volumes[0]"),
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


@pytest.mark.parametrize(
    "words", [("web/api",), ("web/api", "--", "ls", "--color"), ("web/api", "ls", "-l")], ids=" ".join
)
def test_nor_does_a_program_that_is_to_start_at_once(folder: Path, words: tuple[str, ...]) -> None:
    status, out, _ = run_process(folder, "-c", IMPORTED, "exec", *words)
    assert status != 0, "there is no such node"
    imported = set(out.splitlines()[-1].split())
    assert imported & {"cyclopts", "rich", "trio", "trio_asyncio", "mcpd", "monitor"} == set()


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
