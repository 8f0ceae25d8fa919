"""Messages that are built quickly are the same messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from betterproto import Message

from mcpd.rpc.convert import built, component_info
from mcpd.status.components import live
from monitor.model import Desired
from protos.mcp import v1 as wire
from tests.support.builders import recorded, recorded_service

NOW = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)
FULL: dict[str, Any] = {
    "service": "web",
    "component": "api",
    "desired": wire.DesiredState.RUNNING,
    "observed": wire.ObservedState.EXITED,
    "observed_at": NOW,
    "exit_code": 0,
    "pid": 4_000_000_000,
    "ports": ["127.0.0.1:80:8080"],
}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (wire.ComponentInfo, FULL),
        (wire.ComponentInfo, {"service": "web"}),
        (wire.ComponentInfo, {"exit_code": 137}),
        (wire.ComponentInfo, {}),
        (wire.EventInfo, {"id": 7, "kind": "exited", "at": NOW}),
    ],
)
def test_a_message_built_quickly_is_the_same_message(kind: type[Message], fields: dict[str, Any]) -> None:
    usual, quick = kind(**fields), built(kind, **fields)
    assert isinstance(quick, kind)
    assert quick.to_dict(include_default_values=True) == usual.to_dict(include_default_values=True)
    assert {name: getattr(quick, name) for name in fields} == fields
    assert bytes(quick) == bytes(usual)
    assert kind().parse(bytes(quick)) == usual


def test_one_of_which_nothing_was_set_is_still_an_item_of_a_list() -> None:
    two = [wire.ComponentInfo(service="web"), built(wire.ComponentInfo)]
    assert len(wire.ServiceInfo().parse(bytes(wire.ServiceInfo(components=two))).components) == 2


def test_the_next_message_has_nothing_of_the_last_one() -> None:
    built(wire.ComponentInfo, ports=["80:80"], drift="exited 1")
    assert bytes(built(wire.ComponentInfo, service="web")) == bytes(wire.ComponentInfo(service="web"))


def test_a_field_that_does_not_exist_is_a_bug() -> None:
    with pytest.raises(TypeError, match="ComponentInfo has no field exit_kode"):
        built(wire.ComponentInfo, exit_kode=1)


def test_a_message_with_a_oneof_is_not_for_it() -> None:
    with pytest.raises(TypeError, match="Health has a oneof"):
        built(wire.Health, http="http://127.0.0.1/")


@pytest.mark.parametrize("desired", Desired)
def test_every_desired_state_is_one_on_the_wire(desired: Desired) -> None:
    (view,) = live(recorded_service(recorded(desired=desired)), [], NOW)
    sent = wire.ComponentInfo().parse(bytes(component_info(view))).desired
    assert wire.DesiredState(sent).name == desired.name
