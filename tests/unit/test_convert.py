"""What goes into messages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mcpd.rpc.convert import component_info
from mcpd.status.components import live
from monitor.model import Desired
from protos.mcp import v1 as wire
from tests.support.builders import recorded, recorded_service

NOW = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize("desired", Desired)
def test_every_desired_state_is_one_on_the_wire(desired: Desired) -> None:
    (view,) = live(recorded_service(recorded(desired=desired)), [], NOW)
    sent = wire.ComponentInfo().parse(bytes(component_info(view))).desired
    assert wire.DesiredState(sent).name == desired.name
