"""What a plan says that changes, field by field."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given

from mcpd.changes.difference import Source, difference
from protos.parts import Heal, Health, Resources
from protos.spec import Component
from tests.support.builders import component
from tests.support.strategies import components

DEFINITION, DEFAULT, NODE = Source.DEFINITION, Source.DEFAULT, Source.NODE


def changes(
    before: dict[str, Any], after: dict[str, Any], heal: Heal = Heal.ALERT
) -> list[tuple[str, str, str, Source]]:
    found = difference(component(**before), component(**after), heal)
    return [(each.field, each.before, each.after, each.source) for each in found]


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({"image": "app:v1"}, {"image": "app:v2"}, ("image", "app:v1", "app:v2", DEFINITION)),
        ({}, {"network": "mcpnet"}, ("network", "", "mcpnet", DEFINITION)),
        ({"network": "mcpnet"}, {}, ("network", "mcpnet", "", DEFAULT)),
        ({"restart": "always"}, {}, ("restart", "always", "no", DEFAULT)),
        ({"ports": ("80:80",)}, {"ports": ("80:80", "81:81")}, ("ports", '["80:80"]', '["80:80","81:81"]', DEFINITION)),
        ({}, {"active": False}, ("active", "true", "false", DEFINITION)),
        ({"stop_timeout": timedelta(seconds=2)}, {}, ("stop_timeout", "2s", "10s", DEFAULT)),
        (
            {"resources": Resources(memory=1 << 20)},
            {"resources": Resources(memory=1 << 21)},
            ("resources.memory", "1048576", "2097152", DEFINITION),
        ),
        ({"resources": Resources(pids=9)}, {}, ("resources.pids", "9", "", DEFAULT)),
    ],
)
def test_a_field_is_told_with_where_its_value_comes_from(
    before: dict[str, Any], after: dict[str, Any], change: tuple[str, str, str, Source]
) -> None:
    assert changes(before, after) == [change]


def test_what_heals_it_comes_from_the_node_where_the_definition_says_nothing() -> None:
    assert changes({"heal": Heal.RESTART}, {}) == [("heal", "restart", "alert", NODE)]
    assert changes({"heal": Heal.RESTART}, {}, Heal.RESTART) == []


def test_a_probe_that_comes_or_goes_is_told_field_by_field() -> None:
    probe = Health(http="http://127.0.0.1/", retries=5)
    told = {field: (before, after) for field, before, after, _ in changes({}, {"health": probe})}
    assert told["health.http"] == ("", "http://127.0.0.1/")
    assert told["health.retries"] == ("", "5")
    assert all(after == "" for _, _, after, _ in changes({"health": probe}, {}))


def test_the_values_of_environment_variables_are_never_shown() -> None:
    """People put secrets there; a plan is printed, and kept."""
    found = changes(
        {"env": {"A": "hunter1", "B": "hunter2", "C": "same"}}, {"env": {"A": "hunter3", "C": "same", "D": "x"}}
    )
    assert [(field, before, after) for field, before, after, _ in found] == [
        ("env.A", "(not shown)", "(not shown)"),
        ("env.D", "", "(not shown)"),
        ("env.B", "(not shown)", ""),
    ]


@given(components(), components())
def test_nothing_differs_from_itself_and_what_differs_is_told(one: Component, other: Component) -> None:
    assert difference(one, one, Heal.ALERT) == ()
    other = msgspec.structs.replace(other, name=one.name)
    fields = {change.field.partition(".")[0] for change in difference(one, other, Heal.ALERT)}
    differing = {name for name in one.__struct_fields__ if getattr(one, name) != getattr(other, name)}
    # What means the same in other words (no heal, and the node's) is no difference.
    assert fields <= differing
    assert differing - fields <= {"heal", "health", "resources"}


def test_changes_are_in_the_order_of_a_definition_file() -> None:
    found = changes({}, {"image": "app:v9", "user": "1:1", "cmd": ("a",), "health": Health(tcp="127.0.0.1:1")})
    assert [field for field, *_ in found][:3] == ["image", "cmd", "user"]
