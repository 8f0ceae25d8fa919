"""Messages that are made cheaply are betterproto's own: compared with the same generated module as it comes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import betterproto
import pytest

from protos.mcp import v1

LEAN = "from protos.lean_messages import dataclass"
USUAL = "from dataclasses import dataclass"
NOW = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)
KINDS = [name for name, each in vars(v1).items() if isinstance(each, type) and issubclass(each, betterproto.Message)]
WITH_ONEOF = [name for name in KINDS if getattr(v1, name)._betterproto.oneof_field_by_group]


@pytest.fixture(scope="module")
def usual() -> Iterator[ModuleType]:
    """The generated module with the usual dataclasses."""
    source = Path(v1.__file__).read_text()
    assert source.count(LEAN) == 1
    module = ModuleType("tests.usual_messages")
    sys.modules[module.__name__] = module  # where betterproto looks for the types of fields
    exec(compile(source.replace(LEAN, USUAL), module.__name__, "exec"), vars(module))
    yield module
    del sys.modules[module.__name__]


def fields(module: ModuleType, kind: str, depth: int = 2) -> dict[str, Any]:
    """A value for every field of a message; of a oneof for the last."""
    found: dict[str, Any] = {}
    of_group: dict[str, str] = {}
    meta = getattr(module, kind)._betterproto
    for name, each in meta.meta_by_field_name.items():
        value = _value(module, meta, name, depth)
        if value is None:
            continue
        if each.group:
            found.pop(of_group.get(each.group, ""), None)
            of_group[each.group] = name
        found[name] = value
    return found


def _value(module: ModuleType, meta: Any, name: str, depth: int) -> Any:
    each, of = meta.meta_by_field_name[name], meta.cls_by_field[name]
    plain: dict[str, Any] = {
        betterproto.TYPE_STRING: name,
        betterproto.TYPE_BYTES: name.encode(),
        betterproto.TYPE_BOOL: True,
        betterproto.TYPE_ENUM: 1,
        betterproto.TYPE_DOUBLE: 1.5,
        betterproto.TYPE_MESSAGE: None,
    }
    if each.proto_type == betterproto.TYPE_MAP:
        return {"a": "b"} if each.map_types[1] == betterproto.TYPE_STRING else None
    if each.proto_type == betterproto.TYPE_MESSAGE:
        known = {datetime: NOW, timedelta: timedelta(seconds=3)}
        one = known.get(of) or (
            made(module, of.__name__, depth - 1) if depth and hasattr(module, of.__name__) else None
        )
    else:
        one = plain.get(each.proto_type, 7)
    if one is None:
        return None
    return [one, one] if meta.default_gen[name] is list else one


def made(module: ModuleType, kind: str, depth: int = 2) -> Any:
    return getattr(module, kind)(**fields(module, kind, depth))


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_has_the_same_bytes_and_the_same_json_and_is_read_alike(usual: ModuleType, kind: str) -> None:
    for depth in (0, 1, 2):
        lean, other = made(v1, kind, depth), made(usual, kind, depth)
        assert bytes(lean) == bytes(other)
        assert lean.to_dict(include_default_values=True) == other.to_dict(include_default_values=True)
        assert repr(lean) == repr(other)
        again, other_again = type(lean)().parse(bytes(other)), type(other)().parse(bytes(other))
        assert bytes(again) == bytes(other)
        assert repr(again) == repr(other_again)
        assert again == lean
        for name in lean._betterproto.meta_by_field_name:
            assert again.is_set(name) == other_again.is_set(name), name
            assert lean.is_set(name) == other.is_set(name), name


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_message_that_says_nothing_too(usual: ModuleType, kind: str) -> None:
    lean, other = getattr(v1, kind)(), getattr(usual, kind)()
    assert bytes(lean) == bytes(other) == b""
    assert betterproto.serialized_on_wire(lean) == betterproto.serialized_on_wire(other)
    assert lean.to_dict(include_default_values=True) == other.to_dict(include_default_values=True)
    assert not lean


@pytest.mark.parametrize("kind", WITH_ONEOF)
def test_which_of_a_oneof_is_set_and_what_is_not_cannot_be_read(usual: ModuleType, kind: str) -> None:
    for module in (v1, usual):
        for group, members in getattr(module, kind)._betterproto.oneof_field_by_group.items():
            for each in members:
                value = _value(module, getattr(module, kind)._betterproto, each.name, 2)
                message = getattr(module, kind)(**{each.name: value})
                assert betterproto.which_one_of(message, group) == (each.name, value)
                others = {other.name for other in members} - {each.name}
                assert not any(hasattr(message, other) for other in others)


def test_a_field_that_is_set_later_is_sent_and_one_of_a_oneof_unsets_the_others() -> None:
    health = v1.Health(http="http://127.0.0.1/")
    health.tcp = "80"
    assert betterproto.which_one_of(v1.Health().parse(bytes(health)), "probe")[0] == "tcp"
    event = v1.EventInfo()
    event.kind = "exited"
    assert v1.EventInfo().parse(bytes(event)).kind == "exited"


def test_one_of_which_nothing_was_set_is_still_an_item_of_a_list() -> None:
    two = [v1.ComponentInfo(service="web"), v1.ComponentInfo()]
    assert len(v1.ServiceInfo().parse(bytes(v1.ServiceInfo(components=two))).components) == 2


def test_an_empty_message_says_something_by_being_there() -> None:
    sent = bytes(v1.DeployResponse(completed=v1.Completed()))
    assert betterproto.which_one_of(v1.DeployResponse().parse(sent), "event")[0] == "completed"


def test_the_next_message_has_nothing_of_the_last_one() -> None:
    v1.ComponentInfo().ports.append("80:80")
    assert v1.ComponentInfo().ports == []
    first = v1.Health(http="http://127.0.0.1/")
    assert betterproto.which_one_of(v1.Health(), "probe") == ("", None)
    assert first.http


def test_fields_may_be_given_in_their_order() -> None:
    assert v1.FieldChange("image", "a:1", after="a:2") == v1.FieldChange(field="image", before="a:1", after="a:2")


def test_a_field_that_does_not_exist_is_a_bug() -> None:
    with pytest.raises(TypeError, match="ComponentInfo has no field exit_kode"):
        v1.ComponentInfo(exit_kode=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        v1.ComponentInfo().exit_kode  # type: ignore[attr-defined]  # noqa: B018
