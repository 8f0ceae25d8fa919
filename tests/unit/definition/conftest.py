"""The settings of a workstation with a folder of definitions."""

from pathlib import Path

import pytest

from mcpctl.config import Settings
from tests.support.definition_files import settings_in


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)
