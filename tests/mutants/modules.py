"""Which tests a module's mutants are tried against: the quick ones that say what the module promises."""

from __future__ import annotations

from pathlib import Path

_UNIT = "tests/unit"


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(f"{_UNIT}/test_{name}.py" for name in names)


_POLICY = _unit(*(f"policy_{name}" for name in ("flaps", "grace", "healing", "oneshots", "suppression")))

# Left out are the properties that take seconds, test_policy_sequences and test_reducer_any_order: they would find some
# more, but a mutant that only they find is one whose reason nobody has written down.
TESTS: dict[Path, tuple[str, ...]] = {
    Path("monitor/alerts/policy.py"): _POLICY,
    Path("monitor/reducer.py"): _unit("reducer", "reducer_probes"),
    Path("monitor/drift.py"): (*_unit("drift"), *_POLICY),
    Path("mcpd/changes/plan.py"): _unit("plan", "plan_following"),
    Path("mcpd/changes/difference.py"): _unit("difference"),
    Path("mcpd/changes/rollback.py"): _unit("rollback", "deploy"),
}
