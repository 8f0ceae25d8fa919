"""Prints what mutants change, as JSON: a process of its own, since mutmut reads its settings where it is started."""

from __future__ import annotations

import json
import sys

from mutmut.mutation.diff_apply import get_diff_for_mutant

if __name__ == "__main__":
    module, *mutants = sys.argv[1:]
    json.dump([get_diff_for_mutant(each, path=module) for each in mutants], sys.stdout)
