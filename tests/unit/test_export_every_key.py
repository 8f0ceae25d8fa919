"""No key of a definition is dropped silently: each is expressed by every format, or told to be lost."""

from collections.abc import Container
from typing import Any, get_args

import msgspec
import pytest

from mcpctl.definitions import exporting
from mcpctl.definitions.exporting import formats
from mcpctl.definitions.exporting.formats import Format
from mcpctl.definitions.plain_keys import PLAIN_KEYS, PlainKey
from protos.spec import Service
from tests.support.every_key import SAMPLES, variations

# A file of another program is of the node where it is put.
_NODE = frozenset({"Service.node = 'orion'"})
# podman labels the folders that a Pod mounts so by itself.
_MEANT = {Format.KUBE: _NODE | {"Mount.options = ('z',)"}, Format.TOML: frozenset[str]()}
# Whose namespace it is, is also what it waits for; and podman-compose makes no pod for a user namespace.
_SAID_TWICE = {(to, f"Component.{key} = 'component:db'") for to in Format for key in ("pid", "ipc")}
_SAID_TWICE |= {(Format.COMPOSE, str(each)) for each in variations() if each.key == "Component.userns"}


def silent(to: Format, keys: Container[str] | None = None) -> set[str]:
    """What can be said in a definition, and changes nothing in an export. ``keys`` None: every one."""
    asked = [each for each in variations() if keys is None or each.key in keys]
    assert asked
    return {str(each) for each in asked if exporting.export(each.without, to) == exporting.export(each.said, to)}


@pytest.mark.parametrize("to", Format)
def test_whatever_a_definition_says_is_expressed_or_lost(to: Format) -> None:
    assert silent(to) == _MEANT.get(to, _NODE)


@pytest.mark.parametrize("to", [Format.QUADLET, Format.COMPOSE])
@pytest.mark.parametrize("plain", PLAIN_KEYS, ids=lambda each: each.key)
def test_a_key_that_is_forgotten_is_found(to: Format, plain: PlainKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the test above."""
    monkeypatch.setattr(formats, "PLAIN_KEYS", tuple(each for each in PLAIN_KEYS if each != plain))
    key = f"Component.{plain.key}"
    samples = {str(each) for each in variations() if each.key == key}
    assert silent(to, {key}) == {each for each in samples if (to, each) not in _SAID_TWICE}


def test_every_key_has_samples() -> None:
    """What is new fails here first."""
    assert _structs(Service) == set(SAMPLES)
    for of, samples in SAMPLES.items():
        assert tuple(samples) == of.__struct_fields__


def test_every_sample_says_something() -> None:
    for of, samples in SAMPLES.items():
        said = {(each.key, repr(each.value)) for each in variations()}
        assert {(f"{of.__name__}.{key}", repr(value)) for key in samples for value in samples[key]} <= said


def _structs(kind: Any) -> set[type[msgspec.Struct]]:
    """The structs that a type consists of."""
    found: set[type[msgspec.Struct]] = set()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        found = {kind}.union(*(_structs(field.type) for field in msgspec.structs.fields(kind)))
    return found.union(*map(_structs, get_args(kind)))
