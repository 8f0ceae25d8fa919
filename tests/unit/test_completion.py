"""Completion: what may come next, in what time, and what bash, zsh and fish make of it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpctl.actions.completion import answers, shells
from mcpctl.actions.completion.shells import SCRIPTS, Shell
from mcpctl.commands.app import COMPLETION_COMMANDS
from mcpctl.errors import CliError, UsageError
from tests.support.waiting import until

DEADLINE_S = 30.0
WEB = 'name = "web"\nnode = "rift"\n[[components]]\nname = "api"\n[[components]]\nname = "db"\n'
CONFIG = '[services]\ndir = "my services"\n[[nodes]]\nname = "rift"\naddress = "a:1"\n[[nodes]]\nname = "orion"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a configuration, two services that are right, and one that is broken."""
    folder = tmp_path / ".config/mcp"
    services = folder / "my services"
    services.mkdir(parents=True)
    (folder / "mcp.toml").write_text(CONFIG)
    (services / "web.toml").write_text(WEB)
    (services / "worker.toml").write_text(WEB.replace('"web"', '"worker"'))
    (services / "broken.toml").write_text("name = ")
    for name in ("MCP_CONFIG", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def words(*typed: str) -> list[str]:
    return [each.word for each in answers.candidates(typed)]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["dep"], ["deploy"]),
        (["comp"], ["completion"]),
        (["nonsense", ""], []),
        (["node", "s"], ["show", "snapshot", "set-state"]),
        (["node", "nonsense", ""], []),
        (["jobs", ""], ["list", "run", "broken", "web", "worker"]),
        (["jobs", "we"], ["web", "web/api", "web/db"]),
        (["jobs", "web", "--ru"], ["--runs"]),
        (["jobs", "--ru"], ["--runs"]),
        (["jobs", "--node", ""], ["rift", "orion"]),
        (["jobs", "run", "web/a"], ["web/api"]),
        (["jobs", "run", "web", "--wa"], ["--wait"]),
        (["jobs", "list", "wo"], ["worker", "worker/api", "worker/db"]),
        (["--ver"], ["--version"]),
        (["deploy", "w"], ["web", "worker"]),
        (["deploy", "we"], ["web", "web/api", "web/db"]),
        (["deploy", "web/"], ["web/api", "web/db"]),
        (["deploy", "web/a"], ["web/api"]),
        (["deploy", ""], ["broken", "web", "worker"]),
        (["deploy", "bro"], ["broken"]),
        (["deploy", "nobody/"], []),
        (["adopt", "we"], ["web"]),
        (["deploy", "--for"], ["--force"]),
        (["deploy", "--force", "--for"], []),
        (["deploy", "--force", "we"], ["web", "web/api", "web/db"]),
        (["deploy", "--image", ""], []),
        (["deploy", "--image", "x", "we"], ["web", "web/api", "web/db"]),
        (["deploy", "--image=x", "we"], ["web", "web/api", "web/db"]),
        (["deploy", "--", "--f"], []),
        (["completion", "install", "--shell", "z"], ["zsh"]),
        (["completion", "install", "--shell=z"], ["--shell=zsh"]),
        (["ps", "--node", ""], ["rift", "orion"]),
        (["ps", "--node", "rift", "--no"], ["--node"]),
        (["ps", "--node=o"], ["--node=orion"]),
        (["ps", "--config", "x"], [":files"]),
        (["node", "show", "r"], ["rift"]),
        (["node", "set-state", "rift", ""], ["active", "inactive", "down"]),
        (["node", "add", "r"], []),
        (["push", "x"], [":files"]),
        (["push", "x", "we"], ["web"]),
        (["completion", "install", "--shell", ""], ["bash", "zsh", "fish"]),
        (["version", ""], ["--help"]),
    ],
    ids=" ".join,
)
def test_what_may_come_next(typed: list[str], expected: list[str]) -> None:
    assert words(*typed) == expected


@pytest.mark.usefixtures("home")
def test_a_command_line_that_is_empty_may_become_any_command() -> None:
    assert {"deploy", "node", "alerts", "service", "completion"} <= set(words(""))
    assert set(words()) == set(words(""))


@pytest.mark.usefixtures("home")
def test_options_come_with_what_they_do() -> None:
    (found,) = answers.candidates(["deploy", "--forc"])
    assert str(found) == "--force\tAlso recreate containers that have not changed."


@pytest.mark.parametrize("way", ["option", "joined option", "environment"])
def test_the_configuration_that_was_named_is_the_one_that_counts(
    home: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    other = home / "other.toml"
    other.write_text('[[nodes]]\nname = "elsewhere"\n')
    if way == "environment":
        monkeypatch.setenv("MCP_CONFIG", str(other))
    given = {"option": ["--config", str(other)], "joined option": [f"--config={other}"], "environment": []}[way]
    assert words("ps", *given, "--node", "") == ["elsewhere"]


@pytest.mark.parametrize(
    "text",
    [None, "", "broken = ", "nodes = 3", 'nodes = ["a"]', "[[nodes]]\nname = 3", "services = 3", "[services]\ndir = 3"],
)
def test_a_configuration_that_is_missing_or_wrong_leaves_the_rest(home: Path, text: str | None) -> None:
    path = home / ".config/mcp/mcp.toml"
    path.unlink() if text is None else path.write_text(text)
    assert words("ps", "--node", "") == []
    assert words("deploy", "") == []
    assert words("dep") == ["deploy"]


def test_a_name_that_a_shell_would_take_amiss_is_not_offered(home: Path) -> None:
    services = home / ".config/mcp/my services"
    (services / "$(reboot).toml").write_text(WEB)
    (services / "web.toml").write_text(WEB.replace('"api"', '"a;reboot"'))
    assert words("deploy", "") == ["broken", "web", "worker"]
    assert words("deploy", "web/") == ["web/db"]


def run_hidden(home: Path, code: str) -> str:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.stderr == ""
    return done.stdout


def test_the_hidden_command_imports_nothing_that_takes_time(home: Path) -> None:
    code = """
import atexit, sys
from mcpctl.__main__ import main
sys.argv = ["mcpctl", "__complete", "deploy", "we"]
heavy = {"cyclopts", "grpclib", "betterproto", "msgspec", "asyncio", "rich", "mcpctl.commands.app", "mcpctl.config"}
atexit.register(lambda: print(sorted(heavy & set(sys.modules))))
main()
"""
    assert run_hidden(home, code).splitlines() == ["web", "web/api", "web/db", "[]"]


@pytest.mark.parametrize("name", COMPLETION_COMMANDS)
def test_a_summary_is_the_first_line_of_the_commands_docstring(name: str) -> None:
    place, summary = COMPLETION_COMMANDS[name]
    module, _, function = place.partition(":")
    found = getattr(importlib.import_module(f"mcpctl.commands.{module}"), function)
    assert summary == (inspect.getdoc(found) or "").splitlines()[0]


# -- real shells

# Each writes the command line as it stands into $BUFFER_FILE when it is sent Ctrl-G.
_BASH = r"""
source "$SCRIPT"
show() { printf '%s' "$READLINE_LINE" >"$BUFFER_FILE.new"; mv "$BUFFER_FILE.new" "$BUFFER_FILE"; }
bind -x '"\C-g": show'
bind 'set show-all-if-ambiguous off'
bind 'set completion-query-items 0'
"""
_ZSH = r"""
unsetopt beep
autoload -Uz compinit && compinit -D -u
source "$SCRIPT"
show() { print -rn -- "$BUFFER" >"$BUFFER_FILE.new"; mv "$BUFFER_FILE.new" "$BUFFER_FILE"; }
zle -N show
bindkey '^G' show
"""


def needed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed, so its completion was not tried (apt-get install {program})")
    return found


def environment(home: Path, script: Path) -> dict[str, str]:
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {
        "HOME": str(home),
        "PATH": programs,
        "TERM": "dumb",
        "SCRIPT": str(script),
        "BUFFER_FILE": str(home / "buffer"),
        "LC_ALL": "C.UTF-8",
    }


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, argv: list[str], home: Path, settings: str, script: str) -> None:
        self._buffer = home / "buffer"
        (home / "script").write_text(script)
        (home / "settings").write_text(settings)
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execve(argv[0], argv, environment(home, home / "script"))
        os.set_blocking(self._fd, False)
        self.seen = ""
        self._type(f". {home}/settings && touch {home}/ready\r")
        self._until(lambda: (home / "ready").exists(), "the shell has read its settings")

    def completed(self, text: str) -> str:
        """What the command line is after ``text`` and Tab."""
        self._buffer.unlink(missing_ok=True)
        self._type(f"{text}\t\x07")
        self._until(self._buffer.exists, f"{text!r} is completed")
        self._type("\x15")  # Ctrl-U
        return self._buffer.read_text()

    def close(self) -> None:
        os.close(self._fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        def check() -> bool:
            with contextlib.suppress(BlockingIOError, OSError):
                self.seen += os.read(self._fd, 65536).decode(errors="replace")
            return condition()

        try:
            until(check, what, DEADLINE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.seen}") from None


@pytest.fixture(params=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, home: Path) -> Iterator[Terminal]:
    program = needed(request.param)
    argv = [program, "--norc", "--noprofile", "-i"] if request.param == "bash" else [program, "-f", "-i"]
    settings = _BASH if request.param == "bash" else _ZSH
    found = Terminal(argv, home, settings, SCRIPTS[Shell(request.param)])
    try:
        yield found
    finally:
        found.close()


LINES = [
    ("mcpctl depl", "mcpctl deploy "),
    ("mcpctl node set", "mcpctl node set-state "),
    ("mcpctl deploy wo", "mcpctl deploy worker"),
    ("mcpctl deploy web/a", "mcpctl deploy web/api "),
    ("mcpctl completion install --shell z", "mcpctl completion install --shell zsh "),
    ("mcpctl completion install --shell=z", "mcpctl completion install --shell=zsh "),
    ("mcpctl node set-state ri", "mcpctl node set-state rift "),
    ("mcpctl node set-state rift d", "mcpctl node set-state rift down "),
    ("mcpctl node add new 127.0.0.1:9444 --outp", "mcpctl node add new 127.0.0.1:9444 --output "),
    ("mcpctl push a-f", "mcpctl push a-file.ini "),
    ("mcpctl push 'a-file.ini' wor", "mcpctl push 'a-file.ini' worker "),
    ("mcpctl ps --config=a-f", "mcpctl ps --config=a-file.ini "),
]


def test_a_person_at_a_terminal_gets_the_rest_of_the_word(home: Path, terminal: Terminal) -> None:
    (home / "a-file.ini").write_text("")
    found = [(typed, terminal.completed(typed)) for typed, _ in LINES]
    assert found == LINES


def test_fish_offers_what_there_is_with_its_meaning(home: Path) -> None:
    fish = needed("fish")
    (home / "a-file.ini").write_text("")
    (home / "script").write_text(SCRIPTS[Shell.FISH])

    def offered(line: str) -> list[str]:
        done = subprocess.run(
            [fish, "--no-config", "-c", f"source {home}/script; complete -C '{line}'"],
            env=environment(home, home / "script"),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        return done.stdout.splitlines()

    assert offered("mcpctl depl") == ["deploy\tMake a service, or one component of it, run as its definition says."]
    assert offered("mcpctl deploy we") == ["web", "web/api", "web/db"]
    assert offered("mcpctl completion install --shell ") == ["bash", "zsh", "fish"]
    assert offered("mcpctl completion install --shell=z") == ["--shell=zsh"]
    assert offered("mcpctl node set-state rift d") == ["down"]
    assert [each.split("\t")[0] for each in offered("mcpctl push a-f")] == ["a-file.ini"]


# -- installing


@pytest.mark.parametrize("shell", Shell)
def test_installing_twice_writes_once(home: Path, shell: Shell) -> None:
    first = shells.install(shell, {}, home)
    assert first.is_new
    assert first.path.is_relative_to(home)
    assert first.path.read_text() == SCRIPTS[shell]
    second = shells.install(shell, {}, home)
    assert second == first._replace(is_new=False)
    first.path.write_text("old")
    assert shells.install(shell, {}, home).is_new
    assert first.path.read_text() == SCRIPTS[shell]
    assert [each.name for each in first.path.parent.iterdir()] == [first.path.name]


def test_zsh_is_told_where_to_look_until_it_knows(home: Path) -> None:
    first = shells.install(Shell.ZSH, {}, home)
    assert f"fpath=({first.path.parent} $fpath)" in first.advice
    assert str(home / ".zshrc") in first.advice
    (home / ".zshrc").write_text(
        "fpath=(~/.local/share/zsh/site-functions $fpath)\nautoload -Uz compinit && compinit\n"
    )
    assert shells.install(Shell.ZSH, {}, home).advice == "It works in the next zsh."


@pytest.mark.parametrize(
    ("shell", "name", "below"),
    [
        (Shell.BASH, "XDG_DATA_HOME", "bash-completion/completions/mcpctl"),
        (Shell.BASH, "BASH_COMPLETION_USER_DIR", "completions/mcpctl"),
        (Shell.ZSH, "XDG_DATA_HOME", "zsh/site-functions/_mcpctl"),
        (Shell.FISH, "XDG_CONFIG_HOME", "fish/completions/mcpctl.fish"),
    ],
)
def test_folders_of_the_users_own_choice_are_kept(home: Path, shell: Shell, name: str, below: str) -> None:
    chosen = home / "chosen"
    assert shells.install(shell, {name: str(chosen)}, home).path == chosen / below


def test_a_place_that_cannot_be_written_is_said(home: Path) -> None:
    (home / ".local").write_text("no folder")
    with pytest.raises(CliError, match=r"\.local.*nothing was installed"):
        shells.install(Shell.BASH, {}, home)


@pytest.mark.usefixtures("home")
def test_a_shell_that_has_no_completion_is_said() -> None:
    assert shells.of_user({"SHELL": "/bin/zsh"}) is Shell.ZSH
    with pytest.raises(UsageError, match=r"SHELL names tcsh.*--shell"):
        shells.of_user({"SHELL": "/bin/tcsh"})
    with pytest.raises(UsageError, match="SHELL names no shell"):
        shells.of_user({})


def test_the_command_prints_and_installs(home: Path) -> None:
    def mcpctl(*given: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mcpctl", "completion", *given],
            env={"HOME": str(home), "PATH": os.environ["PATH"], "SHELL": "/usr/bin/fish"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        return done.stdout

    for shell in Shell:
        assert mcpctl(shell) == SCRIPTS[shell]
    path = home / ".config/fish/completions/mcpctl.fish"
    assert mcpctl("install") == f"{path}: written\nIt works in every fish, from the next command on.\n"
    assert mcpctl("install").startswith(f"{path}: already there\n")


def test_bash_finds_the_installed_script_by_itself(home: Path) -> None:
    library = Path("/usr/share/bash-completion/bash_completion")
    if not library.exists():
        pytest.skip("the package bash-completion is not installed, so nothing looks for installed scripts")
    shells.install(Shell.BASH, {}, home)
    found = Terminal(
        [needed("bash"), "--norc", "--noprofile", "-i"], home, _BASH.replace('"$SCRIPT"', str(library)), ""
    )
    try:
        assert found.completed("mcpctl depl") == "mcpctl deploy "
    finally:
        found.close()
