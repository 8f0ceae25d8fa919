"""Runs mutmut over one module, in a folder outside of the source tree, and reads what came of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
# What mutmut copies, so that no test sees the real sources; only the module itself is changed.
_SOURCES = ("monitor", "mcpd", "mcpctl", "protos")
_BESIDE = ("tests", "docs", "pyproject.toml")
# A mutant may take three times as long as its tests took and ten seconds: more is an endless loop.
_TIMEOUT_FACTOR = 3
_TIMEOUT_S = 10
_EXAMPLES = "25"
_KILLED = ("killed", "timeout")
_SURVIVED = ("survived", "no tests")
_UNCHECKED = "not checked"


class Mutant(NamedTuple):
    """One that no test noticed: the text of the lines that it replaces in the module, and of what it puts there."""

    function: str
    before: str
    after: str


class Outcome(NamedTuple):
    """How many mutants there are, and those that survived."""

    mutants: int
    survivors: tuple[Mutant, ...]


class MutmutError(Exception):
    """mutmut did not say of every mutant whether it survived."""


class Workshop:
    """The folder of one module. It is kept, so that what survived can be tried again with new tests."""

    def __init__(self, state: Path, module: Path) -> None:
        self._folder = state / ".".join(module.with_suffix("").parts)
        self._module = module

    def run(self, tests: Collection[str], jobs: int, *, again: bool) -> Outcome:
        """Tries all mutants; ``again``: those that survived or took too long the last time, and what was changed."""
        left = self._left() if again and self._folder.exists() else []
        if not again:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._prepare(tests)
        self._mutmut("run", "--max-children", str(jobs), *left, shown=True)
        if _UNCHECKED in self._statuses().values():  # of functions that were changed since the last time
            self._mutmut("run", "--max-children", str(jobs), shown=True)
        return self._outcome()

    def _prepare(self, tests: Collection[str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in (*_SOURCES, *_BESIDE):
            link = self._folder / name
            if not link.is_symlink():
                link.symlink_to(REPOSITORY / name)
        lists = {
            "source_paths": _SOURCES,
            "also_copy": _BESIDE,
            "only_mutate": (str(self._module),),
            "pytest_add_cli_args_test_selection": tests,
            "pytest_add_cli_args": ("-p", "tests.mutants.ordering"),
        }
        lines = [f"{key} =\n    " + "\n    ".join(values) for key, values in lists.items()]
        lines += [f"timeout_multiplier = {_TIMEOUT_FACTOR}", f"timeout_constant = {_TIMEOUT_S}"]
        # Forks a process that has run no test, and so has no thread of Trio.
        lines += ["process_isolation = forkserver", "track_dependencies = false", "use_git_change_detection = false"]
        (self._folder / "setup.cfg").write_text("\n".join(("[mutmut]", *lines, "")))

    def _outcome(self) -> Outcome:
        statuses = self._statuses()
        unclear = {status for status in statuses.values() if status not in (*_KILLED, *_SURVIVED)}
        if unclear or not statuses:
            raise MutmutError(f"{self._module}: {', '.join(sorted(unclear)) or 'no mutants'}")
        survivors = [name for name, status in statuses.items() if status in _SURVIVED]
        # `mutmut show` takes a process, and a second, for each.
        shown = self._run(sys.executable, "-m", "tests.mutants.differences", str(self._module), *survivors)
        return Outcome(len(statuses), tuple(map(_mutant, survivors, json.loads(shown))))

    def _left(self) -> list[str]:
        # A machine that was busy may have made others slow.
        return [name for name, status in self._statuses().items() if status not in ("killed", _UNCHECKED)]

    def _statuses(self) -> dict[str, str]:
        found = re.findall(r"^ +(\S+): (.+)$", self._mutmut("results", "--all", "true"), re.MULTILINE)
        return dict(found)

    def _mutmut(self, *words: str, shown: bool = False) -> str:
        return self._run(str(Path(sys.executable).with_name("mutmut")), *words, shown=shown)

    def _run(self, *argv: str, shown: bool = False) -> str:
        environment = {**os.environ, "MCP_EXAMPLES": _EXAMPLES}
        ran = subprocess.run(
            argv, cwd=self._folder, env=environment, text=True, check=False, stdout=None if shown else subprocess.PIPE
        )
        if ran.returncode:
            raise MutmutError(f"{self._module}: {' '.join(argv[:2])} exited with {ran.returncode}")
        return ran.stdout or ""


def _mutant(name: str, difference: str) -> Mutant:
    lines = [each for each in difference.splitlines() if not each.startswith(("---", "+++"))]
    before, after = (" ".join(each[1:].strip() for each in lines if each.startswith(sign)) for sign in "-+")
    return Mutant(_function(name), before, after)


def _function(mutant: str) -> str:
    """``monitor.reducer.x_observe__mutmut_3`` is one of ``observe``, ``mcpd.x.xǁYǁz__mutmut_3`` of ``Y.z``."""
    mangled = mutant.rpartition(".")[2].partition("__mutmut_")[0]
    return mangled.removeprefix("x_") if mangled.startswith("x_") else mangled.removeprefix("xǁ").replace("ǁ", ".")
