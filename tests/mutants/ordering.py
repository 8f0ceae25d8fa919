"""A plugin for pytest: examples come before properties, and a property stops at its first counterexample."""

from __future__ import annotations

import pytest
from hypothesis import Phase, is_hypothesis_test, settings


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The same examples for every mutant: none is found by luck. Nobody reads the counterexample, so none is shrunk.
    settings.register_profile(
        "mutants", settings.get_profile("unit"), derandomize=True, phases=(Phase.explicit, Phase.generate)
    )
    settings.load_profile("mutants")
    items.sort(key=lambda item: is_hypothesis_test(getattr(item, "obj", None)))
