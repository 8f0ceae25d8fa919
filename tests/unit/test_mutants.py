"""docs/mutants.md and the lists that it is made from fit the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import page
from tests.mutants.modules import TESTS
from tests.mutants.mutmut import REPOSITORY, Mutant, Outcome
from tests.mutants.page import Equivalent, Result

# In these a fault is an alert that nobody gets, or a deploy that does something else than it said.
CRITICAL = (
    *("monitor/alerts/policy.py", "monitor/reducer.py", "monitor/drift.py"),
    *("mcpd/changes/plan.py", "mcpd/changes/difference.py", "mcpd/changes/rollback.py"),
)


def test_the_page_is_what_the_lists_generate() -> None:
    assert page.PAGE.read_text() == page.text()


def test_every_module_that_is_mutated_has_its_tests() -> None:
    """Those without a function have no mutants."""
    folders = ("monitor", "mcpd/changes", "protos")
    found = {path for folder in folders for path in (REPOSITORY / folder).rglob("*.py") if path.name != "__init__.py"}
    with_functions = {path.relative_to(REPOSITORY) for path in found if "    return " in path.read_text()}
    assert with_functions - TESTS.keys() == set()
    for module, tests in TESTS.items():
        for each in (module, *map(Path, tests)):
            assert (REPOSITORY / each).exists(), each


@pytest.mark.parametrize("each", page.equivalents(), ids=lambda each: each.function)
def test_an_equivalent_mutant_changes_lines_that_the_module_has(each: Equivalent) -> None:
    """Or nobody knows any more whether its reason holds."""
    lines = " ".join(line.strip() for line in (REPOSITORY / each.file).read_text().splitlines())
    assert each.before in lines
    assert each.reason.endswith(".")


@pytest.mark.parametrize("module", CRITICAL)
def test_nine_of_ten_changes_to_what_decides_are_noticed(module: str) -> None:
    assert page.results()[module].score >= 90


def test_what_survives_counts_and_what_is_equivalent_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, other = Mutant("f", "a < b", "a <= b"), Mutant("f", "a < b", "a > b")
    (tmp_path / "equivalent.toml").write_text(
        '[[equivalent]]\nfile = "m.py"\nfunction = "f"\nbefore = "a < b"\nafter = "a <= b"\nreason = "a is never b."\n'
    )
    for name in ("EQUIVALENT", "RESULTS", "PAGE"):
        monkeypatch.setattr(page, name, tmp_path / getattr(page, name).name)
    assert page.note(Path("m.py"), Outcome(11, (one, other))) == [other]
    assert page.results() == {"m.py": Result(11, 1, 1)}
    assert (page.results()["m.py"].killed, page.results()["m.py"].score) == (9, 90.0)
    assert "| `m.py` | 11 | 9 | 1 | 1 | 90.0 % |" in page.PAGE.read_text()
    assert "a is never b." in page.PAGE.read_text()
