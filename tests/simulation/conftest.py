"""The assertions of the invariants explain themselves, as those of a test module do."""

import pytest

pytest.register_assert_rewrite("tests.simulation.invariants")
