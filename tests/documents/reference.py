"""The commands of a program as values: read from its cyclopts application."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from cyclopts import App
from cyclopts.argument import Argument as CycloptsArgument

_DEFAULT = re.compile(r"\s*\[default: (?P<default>.+)\]$")


class Argument(NamedTuple):
    """An argument, or an option with its ``names``. ``takes`` is "" for one without a value."""

    names: tuple[str, ...]
    takes: str
    choices: tuple[str, ...]
    is_required: bool
    is_repeatable: bool
    help: str
    default: str

    @property
    def usage(self) -> str:
        text = f"{self.names[0]} {self.takes}".rstrip() if self.names[0].startswith("-") else self.names[0]
        return (text if self.is_required else f"[{text}]") + ("..." if self.is_repeatable else "")


class Command(NamedTuple):
    """``words`` as they are typed behind the program's name. ``paragraphs``: of its docstring, behind the summary."""

    words: tuple[str, ...]
    summary: str
    paragraphs: tuple[str, ...]
    example: str
    arguments: tuple[Argument, ...]
    options: tuple[Argument, ...]

    @property
    def usage(self) -> str:
        return " ".join([*self.words, *(each.usage for each in (*self.arguments, *self.options))])


class Program(NamedTuple):
    """``groups``: the words that have commands behind them, with what those are about."""

    name: str
    section: int
    help: str
    groups: dict[str, str]
    commands: tuple[Command, ...]


def programs() -> tuple[Program, Program]:
    """mcpctl and mcpd."""
    from mcpctl.commands.app import build
    from mcpd.__main__ import app

    return read("mcpctl", 1, build([])), read("mcpd", 8, app)


def read(name: str, section: int, app: App) -> Program:
    groups: dict[str, str] = {}
    commands = tuple(sorted(_commands(app, (), groups), key=lambda each: len(each.words) > 1))
    return Program(name, section, app.help or "", groups, commands)


def _commands(app: App, path: tuple[str, ...], groups: dict[str, str]) -> Iterator[Command]:
    for name in app:
        if name.startswith("-"):
            continue
        command, words = app[name], (*path, name)
        if not command.show:
            continue
        if any(not each.startswith("-") for each in command):
            groups[" ".join(words)] = command.help or ""
            yield from _commands(command, words, groups)
        else:
            yield _command(command, words)


def _command(app: App, words: tuple[str, ...]) -> Command:
    function = app.default_command
    assert function is not None
    summary, *paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    arguments: list[Argument] = []
    options: list[Argument] = []
    for each in app.assemble_argument_collection():
        if not each.show or each.names == ("*",):
            continue
        (options if each.index is None else arguments).append(_argument(each))
    example = next((text for text in paragraphs if text.startswith("For example: ")), "")
    return Command(
        words,
        _flowing(summary),
        tuple(_flowing(text) for text in paragraphs if text != example),
        example.removeprefix("For example: ").strip("`"),
        tuple(arguments),
        tuple(options),
    )


def _argument(found: CycloptsArgument) -> Argument:
    about = found.parameter.help or ""
    default = ""
    if match := _DEFAULT.search(about):
        about, default = about[: match.start()], match["default"]
    elif found.parameter.show_default is not False and not found.required:
        default = _shown(found.field_info.default)
    names = tuple(each for each in found.names if each not in found.negatives)
    if found.index is not None:  # where it stands says what it is
        names = (names[0].lstrip("-").upper(),)
    choices = tuple(found.get_choices() or ())
    return Argument(names, _takes(found, names, choices), choices, found.required, _is_many(found), about, default)


def _takes(found: CycloptsArgument, names: tuple[str, ...], choices: tuple[str, ...]) -> str:
    """What stands for the value in a line of usage."""
    if found.hint is bool:
        return ""
    if bool in typing.get_args(found.hint):  # the value may be left out
        return "[N]"
    if choices:
        return "|".join(choices)
    if not names[0].startswith("-"):
        return names[0]
    if int in (found.hint, *typing.get_args(found.hint)):
        return "N"
    if Path in (found.hint, *typing.get_args(found.hint)):
        return "FOLDER" if names[0] == "--to" else "FILE"
    return _TAKES.get(names[0], names[0].lstrip("-").upper())


_TAKES = {
    "--address": "IP:PORT",
    "--at": "TIME",
    "--chown": "UID:GID",
    "--expires": "DURATION",
    "--for": "DURATION",
    "--image": "REF",
    "--note": "TEXT",
    "--plan": "ID",
    "--reason": "TEXT",
    "--since": "TIME",
    "--until": "TIME",
    "--username": "NAME",
}


def _is_many(found: CycloptsArgument) -> bool:
    return typing.get_origin(found.hint) in (tuple, list)


def _shown(default: Any) -> str:
    if default in (None, "", (), False, inspect.Parameter.empty):
        return ""
    return str(default.value if isinstance(default, Enum) else default)


def _flowing(text: str) -> str:
    """A paragraph as one line."""
    return " ".join(text.split())
