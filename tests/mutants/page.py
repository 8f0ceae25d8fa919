"""docs/mutants.md: what was measured (results.toml), and the mutants that nobody can notice (equivalent.toml)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import tomlkit

from tests.mutants.mutmut import REPOSITORY, Mutant, Outcome

EQUIVALENT = Path(__file__).with_name("equivalent.toml")
RESULTS = Path(__file__).with_name("results.toml")
PAGE = REPOSITORY / "docs/mutants.md"

_INTRODUCTION = """\
# Mutation testing

`nox -s mutants -- PATH...` changes a module in one place at a time (a comparison, a constant, an argument, a text) and
runs the module's tests. A change that no test notices survives: either a test is missing, or nobody can notice it.
[mutmut](https://mutmut.readthedocs.io) makes the changes. It leaves out properties and what is outside of functions,
deletes no statement and turns no condition around. `tests/mutants/modules.py` lists the tests of each module: quick
ones only. The session writes this page.

The score is killed / (mutants - equivalent). A mutant that never ends is killed by its timeout. Each row is of the last
run over its module; a module without a row has not been run yet.
"""
_EQUIVALENT_INTRODUCTION = """\
## Equivalent mutants

Changes with no difference that anybody could observe, each with the reason (`tests/mutants/equivalent.toml`). One that
changes an argument or a constant whose value is never read, for example.
"""


class Equivalent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``before`` is the text of the module's lines that the change replaces by ``after``."""

    file: str
    function: str
    before: str
    after: str
    reason: str

    def is_for(self, module: Path, mutant: Mutant) -> bool:
        return (Path(self.file), self.function, self.before, self.after) == (module, *mutant)


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one module. ``survived`` leaves out those that are equivalent."""

    mutants: int
    survived: int
    equivalent: int

    @property
    def killed(self) -> int:
        return self.mutants - self.survived - self.equivalent

    @property
    def score(self) -> float:
        """Between 0 and 100."""
        return 100 * self.killed / (self.mutants - self.equivalent)


def equivalents() -> list[Equivalent]:
    found = tomllib.loads(EQUIVALENT.read_text()).get("equivalent", [])
    return msgspec.convert(found, list[Equivalent])


def results() -> dict[str, Result]:
    return msgspec.convert(tomllib.loads(RESULTS.read_text()), dict[str, Result]) if RESULTS.exists() else {}


def note(module: Path, outcome: Outcome) -> list[Mutant]:
    """Writes what was found of a module into the page. Returns what survived and is not known to be equivalent."""
    known = equivalents()
    left = [each for each in outcome.survivors if not any(one.is_for(module, each) for one in known)]
    result = Result(outcome.mutants, len(left), len(outcome.survivors) - len(left))
    written = {**results(), str(module): result}
    RESULTS.write_text(tomlkit.dumps({name: msgspec.to_builtins(written[name]) for name in sorted(written)}))
    PAGE.write_text(text())
    return left


def text() -> str:
    """The whole page."""
    rows = ["| module | mutants | killed | survived | equivalent | score |", "| --- | --: | --: | --: | --: | --: |"]
    for name, each in results().items():
        numbers = (each.mutants, each.killed, each.survived, each.equivalent)
        rows.append(f"| `{name}` | {' | '.join(map(str, numbers))} | {each.score:.1f} % |")
    return "\n".join((_INTRODUCTION, "## Results\n", *rows, "", _EQUIVALENT_INTRODUCTION, *_listed()))


def _listed() -> list[str]:
    lines = []
    known = equivalents()
    for file in sorted({each.file for each in known}):
        lines.append(f"### {file}\n")
        for each in known:
            if each.file == file:
                lines += [f"`{each.function}`: {each.reason}\n", "```text", f"- {each.before}", f"+ {each.after}"]
                lines.append("```\n")
    return lines
