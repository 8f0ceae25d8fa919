"""All checks of `mcpd check` together: side by side, and as a table or JSON."""

from __future__ import annotations

import errno
import json
import re
import threading

from mcpd.checks import examine, finding
from mcpd.checks.finding import Finding, Status


async def test_a_look_that_hangs_or_crashes_is_a_warning_and_hides_no_other() -> None:
    release = threading.Event()

    def hang() -> list[Finding]:
        release.wait(30)
        return []

    def crash() -> list[Finding]:
        raise RuntimeError("a bug")

    def refuse() -> list[Finding]:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret")

    try:
        (hung,) = await examine.take(examine.Look("hangs", hang), deadline_s=0.05)
    finally:
        release.set()
    assert (hung.status, hung.words) == (Status.WARNING, "could not be checked: no answer after 0.05 s")
    good = [finding.ok("good", "all is well")]
    found = await examine.take_all(
        [examine.Look("crash", crash), examine.Look("good", lambda: good), examine.Look("refuse", refuse)]
    )
    assert [each.words for each in found] == [
        "could not be checked: RuntimeError: a bug",
        "all is well",
        "could not be checked: /secret: Permission denied",
    ]


async def test_looks_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet() -> list[Finding]:
        both.wait()
        return [finding.ok("met", "each other")]

    assert len(await examine.take_all([examine.Look("a", meet), examine.Look("b", meet)])) == 2


FOUND = [
    finding.ok("good", "all is well"),
    finding.warning("middling", "not so well", "mend it"),
    finding.failure("bad", "broken", "replace it"),
]


def test_the_table_is_aligned_and_coloured_only_when_asked() -> None:
    plain = finding.as_table(FOUND, coloured=False)
    assert plain.splitlines() == [
        "OK       good      all is well",
        "WARNING  middling  not so well",
        "                     mend it",
        "FAILURE  bad       broken",
        "                     replace it",
        "1 OK, 1 WARNING, 1 FAILURE",
    ]
    coloured = finding.as_table(FOUND, coloured=True)
    assert "\033[31mFAILURE\033[0m" in coloured
    assert re.sub("\033\\[\\d*m", "", coloured) == plain


def test_the_json_has_every_finding_with_its_four_words() -> None:
    assert json.loads(finding.as_json(FOUND))[1] == {
        "name": "middling",
        "status": "WARNING",
        "words": "not so well",
        "remedy": "mend it",
    }
    assert finding.failed(FOUND)
    assert not finding.failed(FOUND[:2])
