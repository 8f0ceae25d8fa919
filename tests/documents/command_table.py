"""`mcpctl/actions/completion/command_table.py`: the commands and their options, for completion."""

from __future__ import annotations

import subprocess

from mcpctl.commands.app import ALONE
from tests.documents.reference import Argument, Command, Program

_HEAD = '''\
"""The commands of mcpctl and their options, for completion, which has no time to ask cyclopts.

Written by `python -m tests.documents`; change the commands instead.
"""

from __future__ import annotations

# What an option or argument takes: "" is nothing, "text" something that cannot be completed, "files" and "config" a
# file's name, "node", "service" and "what" (SERVICE or SERVICE/COMPONENT) a name, and "a|b" one of these words. With
# "..." behind it an argument may be given again.

# The words that have commands behind them.
'''
_FILES = ("LOCAL", "FILE", "COMPOSE", "--to")
_NODES = ("--node", "NODE")


def text(program: Program) -> str:
    commands = {" ".join(each.words): _entry(each) for each in program.commands}
    alone = {word: f"{word} {name}" for word, name in ALONE.items()}
    code = (
        f"{_HEAD}GROUPS: dict[str, str] = {program.groups!r}\n\n"
        "# Those that do what one of their commands does, when nothing but its arguments is behind them.\n"
        f"ALONE: dict[str, str] = {alone!r}\n\n"
        "# Each with its line in the list, its options (what each takes, and its help), and what its arguments are.\n"
        f"COMMANDS: dict[str, tuple[str, dict[str, tuple[str, str]], tuple[str, ...]]] = {commands!r}\n"
    )
    formatted = ["ruff", "format", "--stdin-filename", "mcpctl/actions/completion/command_table.py", "-"]
    return subprocess.run(formatted, input=code, capture_output=True, text=True, check=True).stdout


def _entry(command: Command) -> tuple[str, dict[str, tuple[str, str]], tuple[str, ...]]:
    options = {name: (_kind(command, each), each.help) for each in command.options for name in each.names}
    return (
        command.summary,
        options,
        tuple(f"{_kind(command, each)}{'...' if each.is_repeatable else ''}" for each in command.arguments),
    )


def _kind(command: Command, argument: Argument) -> str:
    name = argument.names[0]
    if not argument.takes or argument.takes.startswith("["):
        return ""
    if argument.choices:
        return "|".join(argument.choices)
    if name == "--config":
        return "config"
    if argument.takes == "FILE" or (name in _FILES and argument.takes != "N"):
        return "files"
    if name in _NODES or (command.words[0] == "node" and name == "NAME" and command.words[1] != "add"):
        return "node"
    return {"SERVICE": "service", "TARGET": "what"}.get(name, "text")
