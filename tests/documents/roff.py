"""A program's commands as a manual page: man(7), clean for `mandoc -Tlint`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from tests.documents.reference import Argument, Command, Program

# The day this form of the pages was made; the day of writing would make every run another page.
_DATE = "2026-11-01"
_WIDTH = 78
_CODE = re.compile(r"`([^`]+)`")

FILES = {
    "mcpctl": (
        ("~/.config/mcp/mcp.toml", "The configuration: nodes, services, how to log in. docs/configuration.md."),
        ("~/.config/mcp/services/", "The definitions, unless the configuration names another folder."),
    ),
    "mcpd": (
        ("/srv/mcp/mcpd.toml", "The configuration. docs/configuration.md."),
        ("/srv/mcp/mcp.db", "The registry, an SQLite database."),
        ("/srv/SERVICE/", "The files of a service."),
    ),
}
STATUS = {
    "mcpctl": (
        ("0", "Done."),
        ("1", "It failed, was refused, or was rolled back."),
        ("2", "The command line, the configuration or a definition is wrong; nothing was sent."),
        ("3", "Drift was found, and the option --exit-code was given."),
        ("4", "Some nodes could not be asked."),
        ("130", "Interrupted."),
    ),
    "mcpd": (
        ("0", "Done."),
        ("1", "It failed; with `mcpd check`, there is a failure."),
        ("2", "The command line or the configuration is wrong."),
    ),
}
ENVIRONMENT = {
    "mcpctl": (
        ("MCP_CONFIG", "The configuration file, when there is no --config."),
        ("MCP_TOKEN", "The token for every node, instead of those in files."),
        ("NO_COLOR", "Not empty: no colours."),
        ("MCP_DEBUG", "Not empty: a bug shows where it is."),
    ),
    "mcpd": (("NO_COLOR", "Not empty: no colours."),),
}


def page(program: Program) -> str:
    return "\n".join(_lines(program)) + "\n"


def _lines(program: Program) -> Iterator[str]:
    yield '.\\" Written by `python -m tests.documents`; change the program instead.'
    yield f'.TH {program.name.upper()} {program.section} {_DATE} "mcp" "Metacircular Control Plane"'
    summary = program.help.rstrip(".")
    yield from (".SH NAME", f"{program.name} \\- {_text(summary[0].lower() + summary[1:])}")
    yield from (".SH SYNOPSIS", f".B {program.name}", '.IR COMMAND " [" OPTION ...]')
    yield ".SH COMMANDS"
    for each in program.commands:
        yield from _command(program, each)
    for heading, entries in (("EXIT STATUS", STATUS), ("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        yield f".SH {heading}"
        for term, about in entries[program.name]:
            yield from (".TP", f".B {_text(term)}", _flowing(about))
    other = {"mcpctl": "mcpd (8)", "mcpd": "mcpctl (1)"}[program.name]
    yield from (".SH SEE ALSO", f".BR {other} ,", ".BR podman (1)")


def _command(program: Program, command: Command) -> Iterator[str]:
    yield f".SS {_text(' '.join((program.name, *command.words)))}"
    yield _flowing(command.summary)
    yield from (".PP", ".nf", f".B {_text(f'{program.name} {command.usage}')}", ".fi")
    for paragraph in command.paragraphs:
        yield from (".PP", _flowing(paragraph))
    for each in (*command.arguments, *command.options):
        yield from (".TP", f".B {_term(each)}", _flowing(_about(each)))
    if command.example:
        yield from (".PP", "For example:", ".PP", ".nf", f".B {_text(command.example)}", ".fi")


def _term(argument: Argument) -> str:
    takes = f" {argument.takes}" if argument.takes and argument.takes != argument.names[0] else ""
    return _text(f"{', '.join(argument.names)}{takes}")


def _about(argument: Argument) -> str:
    about = argument.help or f"The {argument.names[0].lower().lstrip('-')}."
    return f"{about} Default: {argument.default}." if argument.default else about


def _flowing(text: str) -> str:
    """A paragraph, in lines that are not too long for a file."""
    lines = textwrap.wrap(_text(text), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"\\&{line}" if line[0] in ".'" else line for line in lines)


def _text(text: str) -> str:
    """Text that roff prints as it is."""
    text = _CODE.sub(r"\1", text).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text
