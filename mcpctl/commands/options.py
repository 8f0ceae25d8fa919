"""The options that every command has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions.query import Query
from mcpctl.config import Settings, load
from mcpctl.definitions import targets
from mcpctl.errors import UsageError
from mcpctl.images.engine import Kind
from mcpctl.ui.output import How, Output
from protos import grammar

# SQLite's.
_LARGEST_ID = 2**63 - 1


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """The options that every command has, flattened into its own."""

    config: Annotated[
        Path | None,
        Parameter(help="Configuration file. [default: the one in MCP_CONFIG, or ~/.config/mcp/mcp.toml]"),
    ] = None
    output: Annotated[Output, Parameter(name=("--output", "-o"), help="Output format.")] = Output.TABLE
    quiet: Annotated[
        bool,
        Parameter(
            name=("--quiet", "-q"), negative="", help="In listings print only names, in changes only what went wrong."
        ),
    ] = False
    # `mcpctl.__main__` takes it off the command line, wherever it is: this is for --help.
    debug: Annotated[bool, Parameter(negative="", help="Show the traceback of an error.")] = False

    @property
    def how(self) -> How:
        """How the answer is printed."""
        return How(self.output, self.quiet)

    @property
    def json(self) -> bool:
        """Whether a program reads it: JSON, or another form of the same."""
        return self.how.structured

    def settings(self) -> Settings:
        return load(self.config)

    def query(self, target: str = "", nodes: tuple[str, ...] = ()) -> Query:
        """What is asked for: a service or component, "" for all; of these nodes, or of every active one."""
        return Query(target, nodes, self.config, self.how)


COMMON = Common()

What = Annotated[str, Parameter(name="TARGET", help="SERVICE or SERVICE/COMPONENT.")]
Target = Annotated[str, Parameter(name="TARGET", help="SERVICE or SERVICE/COMPONENT. [default: all]")]
# Several of those, or none: a command says itself what none means.
Whats = Annotated[str, Parameter(name="TARGET", help="SERVICE, SERVICE/COMPONENT, or a definition file.")]
Force = Annotated[bool, Parameter(negative="", help="Also recreate containers that have not changed.")]
DryRun = Annotated[bool, Parameter(negative="", help="Only show what would be done.")]
Wait = Annotated[bool, Parameter(negative="", help="Wait for a running operation on the service, instead of failing.")]
Engine = Annotated[
    Kind | None,
    Parameter(name="--with", help="The program that builds. [default: the first of them that is installed]"),
]
OneNode = Annotated[str, Parameter(name="--node", help="The node. [default: the only active node]")]
Nodes = Annotated[
    tuple[str, ...], Parameter(name="--node", negative="", help="Only this node; can be given more than once.")
]


def past(text: str, option: str) -> datetime | None:
    """A time, or so long ago; None for "". Raises UsageError."""
    if not text:
        return None
    try:
        return datetime.now(UTC) - grammar.duration(text)
    except ValueError:
        pass
    try:
        return instant(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is neither a duration (2h) nor a time (2026-01-31T12:00)") from None


def instant(text: str) -> datetime:
    """A time; of this machine's time zone when it names none. Raises ValueError."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def ledger_id(number: int, kind: str) -> int:
    """A number that a node may have given to something. Raises UsageError."""
    if not 1 <= number <= _LARGEST_ID:
        raise UsageError(f"{number} is not a valid {kind} ID")
    return number


def target(text: str) -> tuple[str, str]:
    """``SERVICE[/COMPONENT]`` from the command line. Raises UsageError."""
    return targets.split(text)
