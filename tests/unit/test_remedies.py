"""Whatever the product says to type can be typed: every command in its words goes through the command line's parser."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import MissingArgumentError

from mcpctl.commands import app as mcpctl
from mcpd import __main__ as mcpd

REPOSITORY = Path(__file__).parents[2]
# Generated from the command line itself.
GENERATED = REPOSITORY / "mcpctl/actions/completion/command_table.py"
# Stands for what is only known when it is said.
SOMETHING = "web"


def sentences(tree: ast.AST) -> Iterator[str]:
    """The strings of a module, with `SOMETHING` for each value in them; but docstrings that are no command's help."""
    known = {id(part) for each in ast.walk(tree) if isinstance(each, ast.JoinedStr) for part in each.values}
    known |= {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for each in ast.walk(tree):
        if isinstance(each, ast.JoinedStr):
            yield "".join(str(it.value) if isinstance(it, ast.Constant) else SOMETHING for it in each.values)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in known:
            yield each.value


def said(program: str) -> list[str]:
    """The command lines of ``program`` that the sources mention, each in backquotes."""
    found = set()
    for path in sorted(
        each for package in ("mcpd", "mcpctl", "monitor") for each in (REPOSITORY / package).rglob("*.py")
    ):
        source = path.read_text()
        # Reading the syntax of all of them would take seconds, in each process that collects the tests.
        if path != GENERATED and f"`{program}" in source:
            for text in sentences(ast.parse(source)):
                found.update(re.findall(rf"`{program} (?!{SOMETHING} )([^`]+)`", text))
    return sorted(found)


@pytest.mark.parametrize("line", said("mcpctl"))
def test_what_is_said_to_be_typed_is_a_command_line_of_mcpctl(line: str) -> None:
    words = shlex.split(line)
    mcpctl.build(words).parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("line", said("mcpd"))
def test_what_is_said_to_be_typed_is_a_command_of_mcpd(line: str) -> None:
    """Its arguments are the node's, and whoever types it has them; a command or option must be there."""
    with contextlib.suppress(MissingArgumentError):
        mcpd.app.parse_args(shlex.split(line.partition("|")[0]), exit_on_error=False, print_error=False)


def test_there_are_remedies_to_look_at() -> None:
    assert {"deploy web --force", "undeploy web --node web"} <= {*said("mcpctl")}
