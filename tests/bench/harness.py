"""Times two things in turn, A B A B, and compares pair by pair: a machine whose speed drifts does not matter."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One line of the table. Times are medians in milliseconds; ``ratio`` is the median of the pairs' ratios.

    ``target`` None: there is none.
    """

    what: str
    against: str
    ours_ms: float
    theirs_ms: float
    ratio: float
    target: float | None
    pairs: int
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
    return Row(
        what,
        against,
        ours_ms=1000 * statistics.median(each for each, _ in times),
        theirs_ms=1000 * statistics.median(each for _, each in times),
        ratio=statistics.median(mine / other for mine, other in times),
        target=target,
        pairs=pairs,
    )


def timed(action: Callable[[], object]) -> float:
    """Seconds that ``action`` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Figure(msgspec.Struct, frozen=True):
    """A figure that stands by itself; ``target`` None: there is none."""

    what: str
    value: float
    unit: str
    target: float | None


def show(rows: list[Row], figures: list[Figure]) -> None:
    headers = ("WHAT", "AGAINST", "OURS", "THEIRS", "RATIO", "TARGET", "", "")
    cells = [
        (
            row.what,
            row.against,
            f"{row.ours_ms:.1f} ms",
            f"{row.theirs_ms:.1f} ms",
            f"{row.ratio:.2f}",
            "" if row.target is None else f"<= {row.target:g}" + (f", {row.limit_ms:g} ms" if row.limit_ms else ""),
            "" if row.target is None else "met" if row.met else "MISSED",
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
            "" if each.target is None else f"<= {each.target:g}",
            "" if each.target is None else "met" if each.value <= each.target else "MISSED",
            "",
        )
        for each in figures
    ]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    for line in (headers, *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), flush=True)
