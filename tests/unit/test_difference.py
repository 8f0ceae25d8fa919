"""What a plan says that changes, field by field."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given

from mcpd.changes.difference import FieldChange, Source, difference
from protos.parts import Build, ConfigFile, Heal, Health, Resources
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
        ({"ports": ("80:80",)}, {}, ("ports", '["80:80"]', "", DEFAULT)),
        ({}, {"active": False}, ("active", "true", "false", DEFINITION)),
        ({"stop_timeout": timedelta(seconds=2)}, {}, ("stop_timeout", "2s", "10s", DEFAULT)),
        (
            {"resources": Resources(memory=1 << 20)},
            {"resources": Resources(memory=1 << 21)},
            ("resources.memory", "1048576", "2097152", DEFINITION),
        ),
        ({"resources": Resources(pids=9)}, {}, ("resources.pids", "9", "", DEFAULT)),
        ({}, {"settle": timedelta(seconds=2.5)}, ("settle", "", "2.5s", DEFINITION)),
        ({}, {"labels": {"a": "b"}}, ("labels.a", "", "b", DEFINITION)),
        ({"labels": {"a": "b"}}, {}, ("labels.a", "b", "", DEFINITION)),
        ({"labels": {"a": "b"}}, {"labels": {"a": ""}}, ("labels.a", "b", '""', DEFINITION)),
        ({}, {"entrypoint": ()}, ("entrypoint", "", "[]", DEFINITION)),
        ({"entrypoint": ("a",)}, {}, ("entrypoint", '["a"]', "", DEFAULT)),
        ({"heal": Heal.ALERT}, {"heal": Heal.RESTART}, ("heal", "alert", "restart", DEFINITION)),
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
    gone = changes({"health": probe}, {})
    assert ("health.retries", "5", "", DEFINITION) in gone
    assert all((after, source) == ("", DEFINITION) for _, _, after, source in gone)


def test_a_field_of_a_probe_that_is_left_out_has_its_default() -> None:
    probe = Health(http="http://127.0.0.1/", retries=5)
    assert changes({"health": probe}, {"health": Health(http="http://127.0.0.1/")}) == [
        ("health.retries", "5", "3", DEFAULT)
    ]


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
    built = [{"build": Build(context="/src", args={"TOKEN": value})} for value in ("hunter1", "hunter2")]
    assert changes(*built) == [("build.args.TOKEN", "(not shown)", "(not shown)", DEFINITION)]


# Configs


def config(content: str | None, **more: Any) -> dict[str, Any]:
    return {"configs": (ConfigFile("/etc/app.conf", content=content, **more),)}


def told(before: dict[str, Any], after: dict[str, Any]) -> list[FieldChange]:
    return list(difference(component(**before), component(**after), Heal.ALERT))


def test_a_config_is_told_by_the_lines_that_differ_and_two_around_them() -> None:
    lines = ["one", "two", "three", "four", "five", "six"]
    before, after = "\n".join(lines) + "\n", "\n".join([*lines[:3], "vier", *lines[4:], "seven"]) + "\n"
    diff = "@@ -2,5 +2,6 @@\n two\n three\n-four\n+vier\n five\n six\n+seven"
    assert told(config(before), config(after)) == [
        FieldChange("configs./etc/app.conf", "6 lines", "7 lines", DEFINITION, diff)
    ]


def test_a_config_that_comes_or_goes_is_told_by_all_its_lines() -> None:
    change, mode = told({}, config("a = 1\n"))
    assert change == FieldChange("configs./etc/app.conf", "", "1 line", DEFINITION, "@@ -0,0 +1 @@\n+a = 1")
    assert (mode.field, mode.before, mode.after, mode.source) == ("configs./etc/app.conf.mode", "", "0444", DEFINITION)
    change, _ = told(config("a = 1\n"), {})
    assert change == FieldChange("configs./etc/app.conf", "1 line", "", DEFINITION, "@@ -1 +0,0 @@\n-a = 1")


def test_an_empty_config_has_no_lines_to_tell() -> None:
    assert [each.field for each in told({}, config(None))] == ["configs./etc/app.conf.mode"]
    assert told(config(None), config("")) == []


def test_whose_a_config_is_and_what_they_may_do_with_it_is_told_when_it_changes() -> None:
    changed = told(config("a", uid=7), config("a", mode=0o600, gid=8))
    assert [(each.field, each.before, each.after, each.source) for each in changed] == [
        ("configs./etc/app.conf.mode", "0444", "0600", DEFINITION),
        ("configs./etc/app.conf.gid", "", "8", DEFINITION),
        ("configs./etc/app.conf.uid", "7", "", DEFINITION),
    ]


def test_of_a_config_that_is_another_altogether_only_so_much_is_shown() -> None:
    many = "\n".join(map(str, range(600)))
    change, _ = told({}, config(many))
    lines = change.diff.splitlines()
    assert lines[0] == "@@ -0,0 +1,600 @@"
    # The diff has 600 lines, and three before them, of which two name files.
    assert lines[-2:] == ["+496", "... and 103 lines more"]
    assert len(lines) == 499
    just = "\n".join(map(str, range(497)))
    assert told({}, config(just))[0].diff.endswith("\n+496")


def test_a_line_without_end_is_cut_off() -> None:
    (change, _), (cut, _) = told({}, config("x" * 1999)), told({}, config("x" * 2000))
    assert change.diff.splitlines()[1:] == ["+" + "x" * 1999]
    assert cut.diff.splitlines()[1:] == ["+" + "x" * 1999 + "..."]


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
