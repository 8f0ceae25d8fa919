"""Reads a TOML file, or any plain value, into frozen Structs, and reports every problem at once.

msgspec itself stops at the first problem; a person who edits a file wants them all, each with its key path, what
was found and what is allowed.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

T = TypeVar("T")

# Far larger than any file written by hand; a larger one is the wrong file and is not read into memory.
MAX_FILE_SIZE = 1024 * 1024

# Python refuses to print integers of more than a few thousand digits.
_MAX_SHOWN_BITS = 256

_BAD: Any = object()
_NAMES = {str: "a string", bool: "true or false", int: "an integer", float: "a number", list: "a list", dict: "a table"}


class Problem(NamedTuple):
    """``path`` is the key path (``components[0].ports[2]``), empty for the whole file."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Invalid(Exception):
    """The input breaks its rules; ``str()`` has a line for each problem, with the source's name."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = problems


class Rule(NamedTuple):
    """Attached with ``Annotated``: how the value in the file becomes the field's value.

    ``parse`` raises ValueError with a sentence for what it refuses. ``takes`` are the plain types that it is given.
    """

    parse: Callable[[Any], Any]
    takes: tuple[type, ...] = (str,)


def checked(parse: Callable[[Any], object]) -> Rule:
    """A rule that only checks: the value is unchanged."""

    def same(value: Any) -> Any:
        parse(value)
        return value

    return Rule(same)


def read_toml(path: Path) -> dict[str, Any]:
    """The file as plain values. Raises Invalid when it is too large, not UTF-8 or not TOML; OSError otherwise."""
    size = path.stat().st_size
    if size > MAX_FILE_SIZE:
        raise Invalid(
            str(path), [Problem("", f"is {size / 2**20:.1f} MiB long; at most {MAX_FILE_SIZE // 2**20} MiB is read")]
        )
    try:
        return tomllib.loads(path.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise Invalid(str(path), [Problem("", f"is not UTF-8: {error.reason} at byte {error.start}")]) from None
    except tomllib.TOMLDecodeError as error:
        raise Invalid(str(path), [Problem("", f"is not TOML: {error}")]) from None
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
        raise Invalid(str(path), [Problem("", f"is not usable: {error}")]) from None


def convert(value: object, to: type[T], source: str) -> T:
    """``value`` as a ``to``; raises Invalid with every problem."""
    result, problems = examine(value, to)
    if problems:
        raise Invalid(source, problems)
    return typing.cast(T, result)


def examine(value: object, to: type[T]) -> tuple[T | None, list[Problem]]:
    """``value`` as a ``to`` and no problems, or None and all problems."""
    problems: list[Problem] = []
    result = _walk(value, to, "", problems)
    return (None if problems else result), problems


def plain(struct: msgspec.Struct) -> dict[str, Any]:
    """A struct as the plain values that `examine` makes the same of; fields that are None are left out."""
    return {
        field.encode_name: plain_value(value)
        for field in msgspec.structs.fields(type(struct))
        if (value := getattr(struct, field.name)) is not None
    }


def plain_value(value: Any) -> Any:
    """A field's value as `plain` has it."""
    if isinstance(value, msgspec.Struct):
        return plain(value)
    if isinstance(value, Mapping):
        return {key: plain_value(each) for key, each in value.items()}
    return [plain_value(each) for each in value] if isinstance(value, tuple) else value


def _walk(value: object, to: Any, path: str, problems: list[Problem]) -> Any:
    origin = get_origin(to)
    if origin is Annotated:
        base, *extras = get_args(to)
        rule = next((extra for extra in extras if isinstance(extra, Rule)), None)
        return _walk(value, base, path, problems) if rule is None else _apply(value, rule, path, problems)
    if origin in (Union, types.UnionType):
        return _walk_union(value, [arg for arg in get_args(to) if arg is not type(None)], path, problems)
    if origin is tuple:
        return _walk_list(value, get_args(to)[0], path, problems)
    if origin in (dict, Mapping):
        return _walk_table(value, get_args(to), path, problems)
    if isinstance(to, type) and issubclass(to, msgspec.Struct):
        return _walk_struct(value, to, path, problems)
    if isinstance(to, type) and issubclass(to, Enum):
        return _walk_enum(value, to, path, problems)
    return _plain(value, to, path, problems)


def _walk_struct(value: object, to: type[msgspec.Struct], path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        return _wrong_type(value, "a table", path, problems)
    fields = _fields(to)
    before = len(problems)
    problems += [Problem(_join(path, key), _unknown_key(key, list(fields))) for key in value if key not in fields]
    result = {}
    for key, field in fields.items():
        if key in value:
            result[field.name] = _walk(value[key], field.type, _join(path, key), problems)
        elif field.required:
            problems.append(Problem(_join(path, key), "is missing"))
    return to(**result) if len(problems) == before else _BAD


@functools.cache
def _fields(of: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """The fields by key. msgspec evaluates the annotations each time: 1.4 ms of a definition's 1.8 (measured)."""
    return {field.encode_name: field for field in msgspec.structs.fields(of)}


def _walk_union(value: object, kinds: list[Any], path: str, problems: list[Problem]) -> Any:
    """Something or nothing; or a string or a table, which becomes a string where that says the same."""
    if len(kinds) == 1:
        return None if value is None else _walk(value, kinds[0], path, problems)
    text, table = kinds
    if not isinstance(value, (str, dict)):
        return _wrong_type(value, "a string or a table", path, problems)
    found = _walk(value, table if isinstance(value, dict) else text, path, problems)
    short = found.short() if isinstance(value, dict) and found is not _BAD else None
    return found if short is None else short


def _walk_list(value: object, item: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, (list, tuple)):
        return _wrong_type(value, "a list", path, problems)
    found = tuple(_walk(each, item, f"{path}[{index}]", problems) for index, each in enumerate(value))
    # Strings come before tables, whatever way they came: a message has them in two fields.
    return tuple(sorted(found, key=lambda each: isinstance(each, msgspec.Struct))) if is_mixed(item) else found


def is_mixed(kind: Any) -> bool:
    """Whether a type is a string or a table."""
    return get_origin(kind) in (Union, types.UnionType) and type(None) not in get_args(kind)


def _walk_table(value: object, pair: tuple[Any, ...], path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        return _wrong_type(value, "a table", path, problems)
    key_type, item_type = pair
    return {
        _walk(key, key_type, _join(path, key), problems): _walk(each, item_type, _join(path, key), problems)
        for key, each in value.items()
    }


def _walk_enum(value: object, to: type[Enum], path: str, problems: list[Problem]) -> Any:
    try:
        return to(value)
    except ValueError:
        allowed = ", ".join(str(member.value) for member in to)
        problems.append(Problem(path, f"found {_found(value)}; allowed: {allowed}"))
        return _BAD


def _plain(value: object, to: Any, path: str, problems: list[Problem]) -> Any:
    if to is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, to) or (isinstance(value, bool) and to is not bool):
        return _wrong_type(value, _NAMES[to], path, problems)
    return value


def _apply(value: object, rule: Rule, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, rule.takes) or isinstance(value, bool):
        return _wrong_type(value, _NAMES.get(rule.takes[0], "a string"), path, problems)
    try:
        return rule.parse(value)
    except ValueError as error:
        problems.append(Problem(path, str(error)))
        return _BAD


def _wrong_type(value: object, expected: str, path: str, problems: list[Problem]) -> Any:
    problems.append(Problem(path, f"expected {expected}, found {_found(value)}"))
    return _BAD


def _found(value: object) -> str:
    if isinstance(value, (dict, list)):
        return _NAMES[type(value)]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _MAX_SHOWN_BITS:
        return "a number with more digits than any value here accepts"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _unknown_key(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown key{hint} (allowed here: {', '.join(known)})"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
