"""A program's commands as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from tests.documents.reference import Argument, Command, Program

WRITTEN = "<!-- Written by `python -m tests.documents`; change the program instead. -->"


def page(program: Program) -> str:
    lines = [*_head(program), *(line for each in program.commands for line in _command(program, each))]
    return "\n".join(lines).rstrip() + "\n"


def _head(program: Program) -> Iterator[str]:
    yield from (WRITTEN, "", f"# {program.name}", "", program.help, "")
    yield from ("| command | |", "| --- | --- |")
    for each in program.commands:
        words = " ".join((program.name, *each.words))
        yield f"| [`{words}`](#{'-'.join((program.name, *each.words))}) | {_cell(each.summary)} |"
    yield ""


def _command(program: Program, command: Command) -> Iterator[str]:
    yield from (f"## {' '.join((program.name, *command.words))}", "", command.summary, "")
    yield from ("```console", f"$ {program.name} {command.usage}", "```", "")
    for paragraph in command.paragraphs:
        yield from (paragraph, "")
    if command.arguments or command.options:
        yield from ("| argument or option | meaning | default |", "| --- | --- | --- |")
        yield from map(_row, (*command.arguments, *command.options))
        yield ""
    if command.example:
        yield from (f"For example: `{command.example}`", "")


def _row(argument: Argument) -> str:
    names = ", ".join(f"`{name}`" for name in argument.names)
    takes = f" `{argument.takes}`" if argument.takes and argument.takes != argument.names[0] else ""
    default = "required" if argument.is_required else argument.default
    return f"| {names}{_cell(takes)} | {_cell(argument.help)} | {_cell(default)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
