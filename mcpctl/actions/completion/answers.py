"""What may come next on a command line: the answers to the shells' questions.

Nothing is asked of a node, and nothing is imported that takes time: a person has pressed Tab and waits.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mcpctl.actions.completion.command_table import ALONE, COMMANDS, GROUPS
from protos import naming

# Stands for the names of files: the shell knows how its user likes those completed.
FILES = ":files"
# Behind the kind of an argument that may be given again.
_AGAIN = "..."
_HELP = {"--help": ("", "Show help and exit.")}
_VERSION = {"--version": ("", "Show the version and exit.")}
# As `mcpctl.config` has it.
_DEFAULT_CONFIG = "~/.config/mcp/mcp.toml"
_DEFAULT_SERVICES = "services"


class Candidate(NamedTuple):
    """``about`` is empty for what explains itself."""

    word: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.word}\t{self.about}" if self.about else self.word


class _Line(NamedTuple):
    """What was typed: the command as far as it is known, its options, and how many arguments it has.

    ``awaited``: what the last word wants behind it, in the notation of `mcpctl.actions.completion.command_table`.
    """

    command: str = ""
    options: frozenset[str] = frozenset()
    arguments: int = 0
    awaited: str = ""
    config: str = ""
    is_known: bool = True
    only_arguments: bool = False


def answer(words: Sequence[str]) -> int:
    """Prints a line for each candidate, its word and after a tab what it is. ``words``: as of `candidates`."""
    for each in candidates(words):
        print(each)
    return 0


def candidates(words: Sequence[str]) -> list[Candidate]:
    """What the last of ``words`` may become; they are those behind `mcpctl`, the last one cut at the cursor."""
    *before, begun = words or [""]
    line = _Line()
    for word in before:
        line = _read(line, word)
    if not line.is_known:
        return []
    return [each for each in _possible(line, begun) if each.word.startswith(begun) or each.word == FILES]


def _read(line: _Line, word: str) -> _Line:
    """``line`` with one more word."""
    if line.awaited:
        config = word if line.awaited == "config" else line.config
        return line._replace(awaited="", config=config)
    if word == "--":
        return line._replace(only_arguments=True)
    if word.startswith("-") and not line.only_arguments:
        name, has_value, value = word.partition("=")
        kind = _options(line.command).get(name, ("", ""))[0]
        config = value if kind == "config" and has_value else line.config
        return line._replace(options=line.options | {name}, awaited="" if has_value else kind, config=config)
    if line.command in COMMANDS:
        return line._replace(arguments=line.arguments + 1)
    command = f"{line.command} {word}".lstrip()
    is_known = command in COMMANDS or command in GROUPS
    if not is_known and line.command in ALONE:
        return line._replace(command=ALONE[line.command], arguments=1)
    return line._replace(command=command, is_known=is_known)


def _possible(line: _Line, begun: str) -> Iterable[Candidate]:
    if line.awaited:
        return _values(line.awaited, line, begun)
    options = {} if line.only_arguments else _options(line.command)
    name, has_value, value = begun.partition("=")
    if has_value and name in options:
        found = _values(options[name][0], line, value)
        return [Candidate(each.word if each.word == FILES else f"{name}={each.word}", each.about) for each in found]
    if begun.startswith("-"):
        return _unused(options, line)
    if line.command not in COMMANDS:
        return [*_commands(line.command), *_of_group(line, begun)]
    arguments = COMMANDS[line.command][2]
    if kind := _awaited(arguments, line.arguments):
        return _values(kind, line, begun)
    return _unused(options, line)


def _of_group(line: _Line, begun: str) -> Iterable[Candidate]:
    """The first argument of what the group's word does alone."""
    kind = _awaited(COMMANDS[ALONE[line.command]][2], 0) if line.command in ALONE else ""
    return _values(kind, line, begun) if kind else ()


def _awaited(arguments: Sequence[str], given: int) -> str:
    """What the next argument is; "" when there is none. The last one may be one that is given again."""
    last = arguments[-1:] if arguments and arguments[-1].endswith(_AGAIN) else ()
    return next(iter(arguments[given : given + 1] or last), "").removesuffix(_AGAIN)


def _options(command: str) -> dict[str, tuple[str, str]]:
    """The command's options: what each takes, and its help."""
    if not command:
        return _HELP | _VERSION
    command = ALONE.get(command, command)
    return (COMMANDS[command][1] if command in COMMANDS else {}) | _HELP


def _unused(options: dict[str, tuple[str, str]], line: _Line) -> Iterator[Candidate]:
    """The options that may still be given; only --node may be given again."""
    for name, (_, about) in options.items():
        if name.startswith("--") and (name not in line.options or name == "--node"):
            yield Candidate(name, about)


def _commands(group: str) -> Iterator[Candidate]:
    """The commands in ``group``, "" for the program, and the groups in it."""
    for name, about in {**{name: entry[0] for name, entry in COMMANDS.items()}, **GROUPS}.items():
        place, _, last = name.rpartition(" ")
        if place == group:
            yield Candidate(last, about)


def _values(kind: str, line: _Line, begun: str) -> Iterable[Candidate]:
    """What an option or argument of ``kind`` may be."""
    if kind in ("files", "config"):
        return [Candidate(FILES)]
    if kind in ("node", "service", "what"):
        path, data = _configuration(line.config)
        if kind == "node":
            return map(Candidate, _names(data, "nodes"))
        return map(Candidate, _targets(_services(path, data), begun, with_components=kind == "what"))
    return map(Candidate, kind.split("|") if "|" in kind else ())


# --- Files ------------------------------------------------------------------------------------------------------------


def _configuration(named: str) -> tuple[Path, dict[str, Any]]:
    path = Path(named or os.environ.get("MCP_CONFIG") or _DEFAULT_CONFIG).expanduser()
    return path, _toml(path)


def _services(path: Path, data: dict[str, Any]) -> list[Path]:
    """The definitions, by name. What is wrong with them is for other commands to tell."""
    services = data.get("services")
    folder = services.get("dir") if isinstance(services, dict) else None
    where = path.parent / Path(folder if isinstance(folder, str) else _DEFAULT_SERVICES).expanduser()
    return sorted(each for each in where.glob("*.toml") if naming.is_name(each.stem))


def _targets(definitions: list[Path], begun: str, *, with_components: bool) -> Iterator[str]:
    """The services; and the components of the one that is meant, once that is clear."""
    service, slash, _ = begun.partition("/")
    meant = [each for each in definitions if (each.stem == service if slash else each.stem.startswith(service))]
    if not slash:
        yield from (each.stem for each in meant)
    if with_components and len(meant) == 1:
        yield from (f"{meant[0].stem}/{name}" for name in _names(_toml(meant[0]), "components"))


def _names(data: dict[str, Any], key: str) -> list[str]:
    """The names of the tables in the array ``key``."""
    tables = data.get(key)
    found = [each.get("name") for each in tables if isinstance(each, dict)] if isinstance(tables, list) else []
    return [name for name in found if isinstance(name, str) and naming.is_name(name)]


def _toml(path: Path) -> dict[str, Any]:
    """What the file says; nothing when it is missing or broken."""
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
