"""Times two things in turn, A B A B, and compares pair by pair: a machine whose speed drifts does not matter.

Beside every time is the machine's noise: how far the same command was from itself, the next time that it ran. A target
that is missed by less than that may have met a bad minute.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One line of the table. Times are medians in milliseconds; ``ratio`` is the median of the pairs' ratios.

    ``target`` None: there is none. ``noise`` as in `noise`.
    """

    what: str
    against: str
    ours_ms: float
    theirs_ms: float
    ratio: float
    target: float | None
    pairs: int
    noise: float
    note: str = ""
    # A target for our own median beside that for the ratio.
    limit_ms: float | None = None

    @property
    def met(self) -> bool:
        return (self.target is None or self.ratio <= self.target) and (
            self.limit_ms is None or self.ours_ms <= self.limit_ms
        )


def compare(
    what: str, against: str, target: float | None, ours: Callable[[], float], theirs: Callable[[], float], *, pairs: int
) -> Row:
    """Calls ``ours`` and ``theirs`` in turn, each returning the seconds that count; one warm-up of each first."""
    ours(), theirs()
    times = [(ours(), theirs()) for _ in range(pairs)]
    return compared(what, against, [1000 * each for each, _ in times], [1000 * each for _, each in times], target)


def compared(
    what: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    target: float | None = None,
    *,
    limit: float | None = None,
    note: str = "",
) -> Row:
    """The row of pairs that were measured side by side, in milliseconds; the noise is that of what we are held to."""
    return Row(
        what,
        against,
        ours_ms=statistics.median(ours),
        theirs_ms=statistics.median(theirs),
        ratio=statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True)),
        target=target,
        pairs=len(ours),
        noise=noise(theirs) or noise(ours),
        note=note,
        limit_ms=limit,
    )


def noise(samples: Sequence[float]) -> float:
    """How far a sample is from the next one of the same, as a share of the smaller one: the median. 0: one sample."""
    return statistics.median(max(pair) / min(pair) - 1 for pair in pairwise(samples)) if len(samples) > 1 else 0.0


def p99(samples: Sequence[float]) -> float:
    return sorted(samples)[math.ceil(len(samples) * 0.99) - 1]


def timed(action: Callable[[], object]) -> float:
    """Seconds that ``action`` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Figure(msgspec.Struct, frozen=True):
    """A figure that stands by itself; ``target`` None: there is none. ``noise`` as in `noise`; 0: measured once."""

    what: str
    value: float
    unit: str
    target: float | None
    noise: float = 0.0
    note: str = ""


def figure(what: str, samples: Sequence[float], unit: str, target: float | None, note: str = "") -> Figure:
    """The median of what was measured again and again."""
    return Figure(what, statistics.median(samples), unit, target, noise(samples), note)


Results = tuple[list[Row], list[Figure]]


def show(rows: Sequence[Row], figures: Sequence[Figure]) -> None:
    headers = ("WHAT", "AGAINST", "OURS", "THEIRS", "RATIO", "NOISE", "TARGET", "", "")
    cells = [
        (
            row.what,
            row.against,
            f"{row.ours_ms:.1f} ms",
            f"{row.theirs_ms:.1f} ms",
            f"{row.ratio:.2f}",
            _share(row.noise),
            _target(row),
            _verdict(row.met, row.target, row.limit_ms),
            row.note,
        )
        for row in rows
    ]
    cells += [
        (
            each.what,
            "",
            f"{each.value:,.1f} {each.unit}",
            "",
            "",
            _share(each.noise),
            "" if each.target is None else f"<= {each.target:g}",
            _verdict(each.target is None or each.value <= each.target, each.target),
            each.note,
        )
        for each in figures
    ]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    for line in (headers, *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), flush=True)


def _share(noise: float) -> str:
    return f"{noise:.0%}" if noise else ""


def _target(row: Row) -> str:
    ratio = "" if row.target is None else f"{row.target:g}"
    limit = "" if row.limit_ms is None else f"{row.limit_ms:g} ms"
    both = ", ".join(filter(None, (ratio, limit)))
    return f"<= {both}" if both else ""


def _verdict(met: bool, *targets: float | None) -> str:
    if all(each is None for each in targets):
        return ""
    return "met" if met else "MISSED"
