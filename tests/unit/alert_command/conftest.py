"""No alert command leaves anything behind."""

from collections.abc import Iterator

import pytest

from tests.support.alert_command import children, open_descriptors


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test does, neither a descriptor nor a child process is left of it."""
    before, others = open_descriptors(), children()
    yield
    assert open_descriptors() <= before
    assert children() == others
