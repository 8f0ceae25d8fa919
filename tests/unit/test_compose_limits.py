"""Compose files that would not end, and any others: imported, or refused with a sentence."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.definitions.importing import compose_file
from mcpctl.definitions.importing.compose_file import ComposeError
from tests.support.compose import QUICK_S, imported, refused


def bomb(item: str) -> str:
    lines = ["a0: &a0 {k: v}" if "<<" in item else "a0: &a0 [x, x]"]
    for level in range(1, 40):
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {item % aliases}")
    return "\n".join(lines)


@pytest.mark.parametrize("item", ["[%s]", "{<<: [%s]}"])
def test_aliases_of_aliases_are_bounded(item: str) -> None:
    started = time.monotonic()
    assert "stands for more than 100000 values" in refused(bomb(item))
    assert time.monotonic() - started < QUICK_S


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "an alias holds itself"),
        ("a: " + "[" * 5000, "nested"),
        ("a: " + "[" * 100 + "]" * 100, "nested"),
        ("a: " + "x" * 2**20, "longer than 1 MiB"),
    ],
)
def test_what_would_not_end_is_refused(text: str, message: str) -> None:
    started = time.monotonic()
    assert message in refused(text)
    assert time.monotonic() - started < QUICK_S


def test_merge_keys_are_weaker_than_what_stands_there_and_the_first_is_the_strongest() -> None:
    text = "a: &a {x: 1, y: 1, z: 1}\nb: &b {y: 2, z: 2, w: 2}\nc: {z: 3, <<: [*a, *b]}"
    assert compose_file.load(text)["c"] == {"x": "1", "y": "1", "z": "3", "w": "2"}


_plain = st.recursive(
    st.none() | st.text(max_size=8) | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
_keys = st.sampled_from(
    (
        *("image", "build", "command", "environment", "env_file", "ports", "volumes", "user", "restart", "networks"),
        *("network_mode", "depends_on", "healthcheck", "stop_grace_period", "mem_limit", "cpus", "pids_limit"),
        *("deploy", "secrets", "container_name"),
    )
)


@given(
    st.dictionaries(st.text(max_size=5), st.dictionaries(_keys, _plain, max_size=6), max_size=3),
    st.dictionaries(st.sampled_from(["volumes", "networks", "secrets", "x"]), _plain, max_size=3),
)
def test_anything_is_imported_or_refused_with_a_sentence(listed: dict[str, Any], others: dict[str, Any]) -> None:
    text = yaml.safe_dump({"services": listed, **others})
    assert said_of(lambda: imported(text).service.name) != ""


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    assert said_of(lambda: compose_file.interpolated(compose_file.load(text), {})) != ""


def said_of(attempt: Callable[[], object]) -> str:
    """What came of it, or why nothing did."""
    try:
        return repr(attempt())
    except ComposeError as error:
        return str(error)
