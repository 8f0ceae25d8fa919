"""The options that every command has."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.config import Settings, load
from mcpctl.errors import UsageError
from protos import naming


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """``--config`` and ``--output``, flattened into a command's own options."""

    config: Annotated[
        Path | None,
        Parameter(help="Configuration file. [default: the one that MCP_CONFIG names, or ~/.config/mcp/mcp.toml]"),
    ] = None
    output: Annotated[Output, Parameter(help="How to print the answer.")] = Output.TABLE

    @property
    def json(self) -> bool:
        return self.output is Output.JSON

    def settings(self) -> Settings:
        return load(self.config)


COMMON = Common()

Nodes = Annotated[tuple[str, ...], Parameter(name="--node", help="Ask only this node; may be given several times.")]


def target(text: str) -> tuple[str, str]:
    """``SERVICE[/COMPONENT]`` from the command line. Raises UsageError."""
    try:
        return naming.split_target(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
