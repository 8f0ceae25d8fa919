"""Plain values become Structs, or every problem at once, each with its key path."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import example, given

from mcpd.config.settings import Config
from protos import grammar, validation
from protos.spec import Service
from protos.validation import Invalid, Problem, Rule, checked, examine
from tests.support.strategies import plain, plain_configs, plain_services


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct, frozen=True):
    port: Annotated[str, checked(grammar.port)]
    size: Annotated[int, Rule(grammar.size, (str, int))] = 0


class Outer(msgspec.Struct, frozen=True):
    name: str
    count: int = 0
    ratio: float = 0.0
    enabled: bool = False
    color: Color = Color.RED
    words: tuple[str, ...] = ()
    inners: tuple[Inner, ...] = ()
    table: dict[str, int] = {}
    maybe: Inner | None = None


def problems_of(value: object, to: type[Any] = Outer) -> list[Problem]:
    result, problems = examine(value, to)
    assert result is None or not problems
    return problems


def test_plain_values_become_frozen_structs() -> None:
    value = {
        "name": "a",
        "ratio": 1,
        "color": "blue",
        "words": ["x", "y"],
        "inners": [{"port": "80:80", "size": "1KiB"}],
        "table": {"k": 1},
        "maybe": {"port": "81:81"},
    }
    result, problems = examine(value, Outer)
    assert problems == []
    assert result == Outer(
        "a", 0, 1.0, False, Color.BLUE, ("x", "y"), (Inner("80:80", 1024),), {"k": 1}, Inner("81:81")
    )
    assert isinstance(result.ratio, float)


def test_all_problems_are_found_at_once_each_with_its_key_path() -> None:
    found = problems_of(
        {
            "count": "3",
            "color": "green",
            "words": ["x", 2],
            "inners": [{"port": "80:80"}, {"port": "x", "size": "big"}, {}],
            "table": {"k": "v"},
            "maybe": {"port": 80},
        }
    )
    assert {each.path for each in found} == {
        "name",
        "count",
        "color",
        "words[1]",
        "inners[1].port",
        "inners[1].size",
        "inners[2].port",
        "table.k",
        "maybe.port",
    }


def test_a_problem_says_what_was_found_and_what_is_allowed() -> None:
    (color,) = problems_of({"name": "a", "color": "green"})
    assert str(color) == "color: found 'green'; allowed: red, blue"
    (count,) = problems_of({"name": "a", "count": 1.5})
    assert str(count) == "count: expected an integer, found 1.5"


def test_an_unknown_key_is_told_with_the_key_that_was_probably_meant() -> None:
    (problem,) = problems_of({"name": "a", "colour": "red"})
    assert problem.path == "colour"
    assert "did you mean color?" in problem.message
    assert "name, count, ratio" in problem.message


def test_an_unknown_key_like_no_other_gets_no_suggestion() -> None:
    (problem,) = problems_of({"name": "a", "zzzz": 1})
    assert "did you mean" not in problem.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 1),
        ("name", True),
        ("name", None),
        ("count", True),
        ("count", "1"),
        ("ratio", True),
        ("enabled", 1),
        ("enabled", "true"),
        ("words", "x"),
        ("words", {"x": 1}),
        ("inners", {"port": "80:80"}),
        ("table", [1]),
        ("maybe", []),
        ("color", ["red"]),
    ],
)
def test_a_value_of_the_wrong_type_is_never_made_to_fit(key: str, value: object) -> None:
    (problem,) = problems_of({"name": "a", key: value})
    assert problem.path == key


@pytest.mark.parametrize("value", [None, 1, "x", [], [{}]])
def test_the_whole_must_be_a_table(value: object) -> None:
    (problem,) = problems_of(value)
    assert problem.message.startswith("expected a table")


def test_convert_names_the_source_in_every_line() -> None:
    with pytest.raises(Invalid) as refusal:
        validation.convert({"count": "x", "words": 1}, Outer, "a.toml")
    lines = str(refusal.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("a.toml: ") for line in lines)


def test_a_long_value_is_quoted_only_in_part() -> None:
    (problem,) = problems_of({"name": "a", "count": "x" * 100_000})
    assert len(problem.message) < 200


@given(plain)
def test_any_plain_value_is_accepted_or_has_problems(value: Any) -> None:
    problems_of(value)


@given(plain | plain_services)
@example({"name": 16**5000})
def test_any_plain_value_is_a_service_or_has_problems(value: Any) -> None:
    result, problems = examine(value, Service)
    assert (result is None) == bool(problems)


@given(plain_configs)
@example({"auth": {"tokens_path": "~nobody-has-this-name/tokens.json"}})
def test_any_plain_value_is_a_configuration_or_has_problems(value: Any) -> None:
    result, problems = examine(value, Config)
    assert (result is None) == bool(problems)


def refusal_of(path: Path) -> str:
    with pytest.raises(Invalid) as refusal:
        validation.read_toml(path)
    assert str(path) in str(refusal.value)
    return str(refusal.value)


def test_a_file_is_read_as_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "ä"\n[table]\nk = 1\n')
    assert validation.read_toml(path) == {"name": "ä", "table": {"k": 1}}


def test_a_file_of_5_mib_is_refused_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"# " + b"x" * (5 * 2**20))
    assert "5.0 MiB" in refusal_of(path)


def test_a_file_that_is_not_utf_8_is_refused_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b'name = "\xff"')
    assert "not UTF-8" in refusal_of(path)
    assert "byte 8" in refusal_of(path)


def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "a"\nname: b\n')
    assert "not TOML" in refusal_of(path)
    assert "line 2" in refusal_of(path)


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "a = " + "9" * 5000, "a = 2026-99-99", 'a = "\\uD800"', "a = 1\na = 2"],
    ids=["deeply nested", "huge number", "no such day", "half a character", "key twice"],
)
def test_odd_toml_is_refused_and_nothing_worse(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    refusal_of(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        validation.read_toml(tmp_path / "a.toml")
