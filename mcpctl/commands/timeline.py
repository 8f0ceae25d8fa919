"""timeline: its signature; what it does is in `mcpctl.actions.timeline`."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import timeline as action
from mcpctl.commands.options import COMMON, Common, Nodes, past
from mcpctl.errors import UsageError
from mcpctl.ui.history import Window

# Narrower has no place for a name and a picture, wider is no terminal, shorter no history.
_NARROWEST, _WIDEST = 30, 1000
_SHORTEST = timedelta(seconds=1)


def timeline(
    service: Annotated[str, Parameter(name="SERVICE", help="The service. [default: all]")] = "",
    /,
    *,
    since: Annotated[str, Parameter(help="Start at a time (2026-01-31T12:00) or a duration ago (2h).")] = "24h",
    width: Annotated[
        int | None, Parameter(help=f"Width in characters, {_NARROWEST} to {_WIDEST}. [default: the terminal's width]")
    ] = None,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """Draw the states of each component over time, with deploys and alerts.

    Each character is a slice of time. It shows trouble, however short; else the state that lasted longest. UPTIME is
    the share of the known time in which the component was running or healthy.

    For example: `mcpctl timeline web --since 7d`
    """
    if width is not None and not _NARROWEST <= width <= _WIDEST:
        raise UsageError(f"--width must be {_NARROWEST} to {_WIDEST}, not {width}")
    first, now = past(since, "--since"), datetime.now(UTC)
    if first is None or now - first < _SHORTEST:
        raise UsageError(f"--since: {since!r} is less than a second ago")
    columns = width or min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    return action.timeline(common.query(service, node), Window(first, now), columns)
