"""Mutation testing: `nox -s mutants -- [--again] [--jobs N] PATH...`; the session's docstring says what they mean."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.mutants import mutmut, page
from tests.mutants.modules import TESTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s mutants --")
    parser.add_argument("paths", nargs="*", type=Path, help="modules, or folders of modules; all when none is given")
    parser.add_argument("--again", action="store_true", help="only what survived the last time")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once")
    parser.add_argument("--state", type=Path, required=True, help="a folder outside of the source tree")
    asked = parser.parse_args()
    chosen = [each for each in TESTS if not asked.paths or any(each.is_relative_to(path) for path in asked.paths)]
    if not chosen:
        parser.error(f"no tests are listed for {', '.join(map(str, asked.paths))} in tests/mutants/modules.py")
    found = 0
    for module in chosen:
        print(f"{module}:")
        outcome = mutmut.Workshop(asked.state.absolute(), module).run(TESTS[module], asked.jobs, again=asked.again)
        for survivor in page.note(module, outcome):
            found += 1
            print(f"  survived in {survivor.function}:\n    - {survivor.before}\n    + {survivor.after}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
