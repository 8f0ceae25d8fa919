"""Compose files as plain values: YAML within bounds, anchors and merge keys resolved, variables interpolated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from protos.validation import MAX_FILE_SIZE

if TYPE_CHECKING:
    import yaml

# Ten times what a file of MAX_FILE_SIZE could hold that repeats nothing by aliases, in practice.
MAX_VALUES = 100_000
# Deeper than any compose file, and shallow enough for the parser's own recursion.
MAX_DEPTH = 60
# What variables may come to in one text. Each can name others many times, and a few lines would fill any memory.
MAX_EXPANDED = 2**20
# Of a text in an error.
_MAX_SHOWN = 60
_MERGE = "<<"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_OWN_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(_OWN_TAG + each for each in ("str", "int", "float", "bool", "null", "map", "seq"))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")


class ComposeError(Exception):
    """The file cannot be read, or used; a line for each problem."""


def load(text: str) -> dict[str, Any]:
    """Mappings, lists, strings and None: what a number is depends on where it stands.

    Raises ComposeError for what is no YAML, too large (also by its aliases), or no mapping.
    """
    import yaml

    if len(text) > MAX_FILE_SIZE:
        raise ComposeError(f"is longer than {MAX_FILE_SIZE // 2**20} MiB, too long for a compose file")
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ComposeError(f"is not YAML: {_report(error)}") from None
    except RecursionError:
        raise ComposeError("is nested too deeply") from None
    found = _Values().of(node, 0) if node is not None else None
    if not isinstance(found, dict):
        raise ComposeError("is not a compose file: expected a mapping at the top")
    return found


def _report(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"{problem}, line {mark.line + 1}" if mark and problem else str(error).splitlines()[0]


class _Values:
    """Counts what it makes: a few lines of aliases of aliases can stand for more than any memory holds."""

    def __init__(self) -> None:
        self._count = 0

    def of(self, node: yaml.Node, depth: int) -> Any:
        import yaml

        self._count += 1
        if self._count > MAX_VALUES:
            raise ComposeError(f"stands for more than {MAX_VALUES} values: are there aliases of aliases?")
        if depth > MAX_DEPTH:
            raise ComposeError(f"is nested more than {MAX_DEPTH} levels deep, or an alias holds itself")
        if node.tag not in _PLAIN_TAGS:
            shown = node.tag.replace(_OWN_TAG, "!!")
            self._refuse(node, f"tag {shown} is not supported; write out its value")
        if isinstance(node, yaml.ScalarNode):
            text: str = node.value
            return None if node.style is None and text in _NULLS else text
        if isinstance(node, yaml.SequenceNode):
            return [self.of(each, depth + 1) for each in node.value]
        return self._mapping(node, depth)

    def _mapping(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.of(key_node, depth + 1)
            value = self.of(value_node, depth + 1)
            if not isinstance(key, str):
                self._refuse(key_node, "a key is not a string")
            if key == _MERGE and key_node.style is None:
                sources = value if isinstance(value, list) else [value]
                # The first of several wins, and what stands here wins over all.
                for source in reversed(sources):
                    if not isinstance(source, dict):
                        self._refuse(key_node, "<< merges mappings only")
                    merged |= source
            elif key in own:
                self._refuse(key_node, f"duplicate key {key!r}")
            else:
                own[key] = value
        return {**merged, **own}

    def _refuse(self, node: yaml.Node, message: str) -> NoReturn:
        raise ComposeError(f"line {node.start_mark.line + 1}: {message}")


def interpolated(value: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """``$VAR``, ``${VAR}`` and its operators replaced in every value but those of extensions (``x-...``).

    Raises ComposeError with every variable that is missing and has no default.
    """
    problems: dict[str, None] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, str):
            try:
                return _Interpolation(value, environment).result()
            except ComposeError as error:
                problems[f"{path}: {error}"] = None
                return value
        if isinstance(value, list):
            return [walk(each, f"{path}[{index}]") for index, each in enumerate(value)]
        if isinstance(value, dict):
            return {key: walk(each, f"{path}.{key}" if path else key) for key, each in value.items()}
        return value

    found = {key: each if key.startswith("x-") else walk(each, key) for key, each in value.items()}
    if problems:
        raise ComposeError("\n".join(problems))
    return found


def expanded(text: str, environment: Mapping[str, str], missing: Callable[[str], None]) -> str:
    """One text with its variables replaced; ``missing`` is told of each that is not there, which stands for nothing.

    Raises ComposeError.
    """
    return _Interpolation(text, environment, missing).result()


class _Interpolation:
    """One string, by the rules of the Compose Specification (12-interpolation.md).

    ``missing`` is told of a variable that is not set; without it, such a one is refused.
    """

    def __init__(self, text: str, environment: Mapping[str, str], missing: Callable[[str], None] | None = None) -> None:
        self._text = text
        self._environment = environment
        self._missing = missing
        self._at = 0
        self._left = MAX_EXPANDED

    def result(self) -> str:
        return self._until("")

    @property
    def _shown(self) -> str:
        """As much as tells which text it is: there are whole files in some."""
        return repr(self._text if len(self._text) <= _MAX_SHOWN else self._text[:_MAX_SHOWN] + "...")

    def _until(self, end: str, *, wanted: bool = True) -> str:
        """Up to ``end``. Not ``wanted``: its value is thrown away, so that nothing in it can be missing."""
        parts: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == end:
                return "".join(parts)
            self._at += 1
            parts.append(self._variable(wanted) if char == "$" else char)
        if end:
            raise ComposeError(f"{self._shown}: a ${{ is never closed")
        return "".join(parts)

    def _variable(self, wanted: bool) -> str:
        rest = self._text[self._at : self._at + 1]
        if rest == "$":
            self._at += 1
            return "$"
        braced = rest == "{"
        match = _NAME.match(self._text, self._at + braced)
        if match is None:
            raise ComposeError(f"{self._shown} has a $ that begins no variable; write $$ for a dollar sign")
        self._at = match.end()
        if not braced:
            return self._value(match[0], wanted)
        found = self._operated(match[0], wanted)
        if self._text[self._at : self._at + 1] != "}":
            raise ComposeError(f"{self._shown}: ${{{match[0]} is not followed by }} or an operator")
        self._at += 1
        return found

    def _operated(self, name: str, wanted: bool) -> str:
        operator = _OPERATOR.match(self._text, self._at)
        if operator is None:
            return self._value(name, wanted)
        self._at = operator.end()
        value = self._environment.get(name)
        is_there = bool(value) if operator[0].startswith(":") else value is not None
        kind = operator[0][-1]
        other = self._until("}", wanted=wanted and is_there is (kind == "+"))
        if kind == "+":
            return other if is_there else ""
        if is_there:
            return self._counted(value or "")
        if kind == "?" and wanted:
            raise ComposeError(f"variable {name} is not set: {other or 'it is required'}")
        return other

    def _value(self, name: str, wanted: bool) -> str:
        value = self._environment.get(name)
        if value is None and wanted and self._missing:
            self._missing(name)
        elif value is None and wanted:
            raise ComposeError(
                f"variable {name} is not set and has no default; export it, put it into .env beside the file, or "
                f"write ${{{name}:-DEFAULT}}"
            )
        return self._counted(value or "")

    def _counted(self, value: str) -> str:
        self._left -= len(value)
        if self._left < 0:
            raise ComposeError(f"its variables stand for more than {MAX_EXPANDED // 2**20} MiB")
        return value
