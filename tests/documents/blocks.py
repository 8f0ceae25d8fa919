"""What a document tells its reader to type: the code blocks, and the commands in them and in the text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mcpctl.commands.app import ALONE
from tests.documents.reference import Argument, Command, Program

# Above a block, alone on its line: why no test runs it.
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->")
# Above a block that is run after all others.
_LAST = "<!-- last -->"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)$")
_INLINE = re.compile(r"`(?P<code>[^`\n]+)`")
_PROGRAMS = ("mcpctl", "mcpd")
# What ends a command in a line of the shell's.
_BETWEEN = {"&&", "||", "|", ";", "&", "(", ")", "{", "}", ">", ">>", "<", "2>", "2>&1", "2>/dev/null", "|&"}
# What a reader replaces.
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_]*|\[.*|.*\]|\.\.\.|.*\||\$.*")


class Block(NamedTuple):
    """``line``: of its first line of code, from 1. ``reason`` not empty: it is not run, and why."""

    path: Path
    line: int
    language: str
    text: str
    reason: str = ""
    is_last: bool = False


class Typed(NamedTuple):
    """A command as it stands in a document. ``is_whole``: it is typed like that, and not only spoken of."""

    path: Path
    line: int
    words: tuple[str, ...]
    is_whole: bool

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}: {shlex.join(self.words)}"


def blocks(path: Path) -> list[Block]:
    """Every fenced code block of the document."""
    found, lines = [], path.read_text().splitlines()
    number = 0
    while number < len(lines):
        if match := _FENCE.fullmatch(lines[number]):
            indent = match["indent"]
            end = next(index for index in range(number + 1, len(lines)) if lines[index] == f"{indent}```")
            above = lines[number - 1].strip() if number else ""
            reason = _NOT_RUN.fullmatch(above)
            text = "\n".join(line.removeprefix(indent) for line in lines[number + 1 : end])
            found.append(
                Block(path, number + 2, match["language"], text, reason["reason"] if reason else "", above == _LAST)
            )
            number = end
        number += 1
    return found


def commands(path: Path) -> Iterator[Typed]:
    """Every command of mcpctl and mcpd that the document types or speaks of."""
    inside: set[int] = set()
    for block in blocks(path):
        lines = block.text.splitlines()
        inside |= set(range(block.line - 1, block.line + len(lines) + 1))
        if block.language in ("sh", "console"):
            yield from _of_block(block)
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if number not in inside:
            for match in _INLINE.finditer(line):
                yield from _of_line(path, number, match["code"], is_whole=False)


def _of_block(block: Block) -> Iterator[Typed]:
    terminator = ""
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if terminator:
            terminator = "" if line.strip() == terminator else terminator
            continue
        if block.language == "console":
            if not line.startswith(("$ ", "# ")):
                continue
            line = line[2:]
        if match := re.search(r"<<-?'?(\w+)'?", line):
            terminator = match[1]
        yield from _of_line(block.path, number, line, is_whole=True)


def _of_line(path: Path, number: int, line: str, *, is_whole: bool) -> Iterator[Typed]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();|&<>")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        words = line.split()
    begins = [index for index, word in enumerate(words) if Path(word).name in _PROGRAMS and _is_first(words, index)]
    for begin in begins:
        end = next((index for index in range(begin + 1, len(words)) if words[index] in _BETWEEN), len(words))
        yield Typed(path, number, (Path(words[begin]).name, *words[begin + 1 : end]), is_whole)


def _is_first(words: list[str], index: int) -> bool:
    """Whether a program's name is that of a command that is run there, and not an argument of another."""
    before = words[index - 1] if index else ""
    return index == 0 or before in (*_BETWEEN, "as_mcp", "--", "if", "!", "until", "setsid", "then", "do")


def problem(typed: Typed, programs: dict[str, Program]) -> str:
    """What is wrong with a command; empty when the program knows it."""
    program = programs[typed.words[0]]
    rest = list(typed.words[1:])
    if not rest or rest[0] in ("--help", "--version"):
        return ""
    known = {each.words: each for each in program.commands}
    if rest[0] in program.groups:
        if rest[0] in ALONE and (len(rest) == 1 or (rest[0], rest[1]) not in known):
            rest.insert(1, ALONE[rest[0]])
        if len(rest) == 1:
            return "" if not typed.is_whole else f"{rest[0]} needs a command behind it"
        names = rest[1].split("|")
        missing = [name for name in names if (rest[0], name) not in known]
        return (
            f"no command {rest[0]} {missing[0]}" if missing else _arguments(known[rest[0], names[0]], rest[2:], typed)
        )
    names = rest[0].split("|")
    missing = [name for name in names if (name,) not in known]
    return f"no command {missing[0]}" if missing else _arguments(known[(names[0],)], rest[1:], typed)


def _arguments(command: Command, words: list[str], typed: Typed) -> str:
    options = {name: each for each in command.options for name in each.names}
    given, awaits = 0, False
    for word in words:
        if awaits:
            awaits = False
        elif word == "--help":
            return ""
        elif word == "--":
            break  # the rest is another program's
        elif word.startswith("-") and len(word) > 1 and not _PLACEHOLDER.fullmatch(word):
            name, has_value, _ = word.partition("=")
            if name not in options:
                return f"{' '.join(command.words)} has no option {name}"
            awaits = not has_value and _needs_value(options[name])
        elif not word.startswith(("[-", "#")):
            given += 1
    required = sum(each.is_required for each in command.arguments)
    if given > len(command.arguments) and not any(each.is_repeatable for each in command.arguments):
        return f"{' '.join(command.words)} takes {len(command.arguments)} arguments, not {given}"
    if typed.is_whole and (awaits or given < required):
        return f"{' '.join(command.words)} needs more arguments"
    return ""


def _needs_value(option: Argument) -> bool:
    return bool(option.takes) and not option.takes.startswith("[")
