"""A service's folder, opened in both ways."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpd.files.beneath import Opener, openat2, walk
from tests.support.service_folder import Place, descriptors, opener_of_root


@pytest.fixture(params=[openat2, walk], ids=["openat2", "walk"])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param is openat2 and opener_of_root() is not openat2:
        pytest.skip("this kernel, or its seccomp filter, has no openat2")
    chosen: Opener = request.param
    return chosen


@pytest.fixture
def place(tmp_path: Path, opener: Opener) -> Iterator[Place]:
    before = descriptors()
    made = Place(tmp_path, opener)
    yield made
    for each in made.held:
        os.close(each)
    assert descriptors() == before
