"""The field types that files and messages share, each with the rule for its value."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from protos import grammar
from protos.validation import Rule, checked


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{text!r} cannot be expanded: {error}") from None


FilePath = Annotated[Path, Rule(_path)]
Name = Annotated[str, checked(grammar.name)]
Image = Annotated[str, checked(grammar.image)]
Duration = Annotated[timedelta, Rule(grammar.duration, (str, timedelta))]
PositiveDuration = Annotated[timedelta, Rule(grammar.positive_duration, (str, timedelta))]
Size = Annotated[int, Rule(grammar.size, (str, int))]
Argument = Annotated[str, checked(grammar.argument)]
NetworkAddress = Annotated[str, checked(grammar.host_port)]
