"""What holds for every format: strings survive YAML, and every service can be exported."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.definitions import exporting
from mcpctl.definitions.exporting import formats, yamltext
from mcpctl.definitions.exporting.formats import Format
from protos.spec import Component, Service
from tests.support.builders import service
from tests.support.exports import HOSTILE
from tests.support.strategies import services


@pytest.mark.parametrize("text", HOSTILE)
def test_any_string_is_that_string_to_every_parser(text: str) -> None:
    written = yamltext.document({"a": [text]})
    assert yaml.safe_load(written) == {"a": [text]}
    # Without a schema at all, and with the one of 1.1: quoted, unless nothing could take it for something else.
    assert re.search(r'^ *- "', written, re.MULTILINE)


@pytest.mark.parametrize("text", ["a", "/srv/data", "registry.example.net", "v1"])
def test_what_is_plain_is_left_plain(text: str) -> None:
    assert yamltext.document({"a": text}) == f"a: {text}\n"


# -- all of them


@given(services(), st.sampled_from(Format))
def test_every_service_can_be_exported(made: Service, to: Format) -> None:
    exported = exporting.export(made, to)
    assert len({file.name for file in exported.files}) == len(exported.files) >= 1
    names = {each.name for each in made.components}
    for loss in exported.losses:
        match = re.match(r"components\[([^]]+)\]\.\w|(?:volumes|networks)\.\w", loss.path)
        assert match
        assert match[1] in {None, *names}
        assert loss.message
    if to is Format.QUADLET:
        # One line is one line: nothing in a value begins another.
        text = "".join(file.text for file in exported.files if "." in file.name)
        assert all(re.match(r"\[\w+\]$|\w+=|$", line) for line in text.split("\n"))
    if to in (Format.KUBE, Format.COMPOSE):
        assert list(yaml.safe_load_all(exported.files[0].text))


def test_dependencies_go_first() -> None:
    chain = [Component(name, "x", depends_on=needs) for name, needs in (("a", ("b",)), ("b", ("c",)), ("c", ()))]
    assert [each.name for each in formats.in_dependency_order(service(*chain))] == ["c", "b", "a"]
