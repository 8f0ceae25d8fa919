"""Compose files as plain values: YAML within bounds, anchors and merge keys resolved, variables replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from mcpctl.definitions.interpolation import InterpolationError, expanded
from protos.validation import MAX_FILE_SIZE

if TYPE_CHECKING:
    import yaml

# Ten times what a file of MAX_FILE_SIZE could hold that repeats nothing by aliases, in practice.
MAX_VALUES = 100_000
# Deeper than any compose file, and shallow enough for the parser's own recursion.
MAX_DEPTH = 60
_MERGE = "<<"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_OWN_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(_OWN_TAG + each for each in ("str", "int", "float", "bool", "null", "map", "seq"))
# 13-merge.md.
_RESET, _OVERRIDE = "!reset", "!override"
# A file that Coolify writes as it stands: no key of compose's.
_VERBATIM = "content"
_VOLUMES = ".volumes["
_DEVICE = re.compile(r"volumes\.[^.]+\.driver_opts\.device")


class ComposeError(Exception):
    """The file cannot be read, or used; a line for each problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(map(_one_line, problems)))


def _one_line(text: str) -> str:
    """Keys of a file are in it, which may be anything."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class Override(NamedTuple):
    """A value that replaces what earlier files say, in place of being merged with it."""

    value: Any


class Reset:
    """What takes back what earlier files say."""


RESET = Reset()


def documents(text: str) -> list[dict[str, Any]]:
    """Mappings, lists, strings and None: what a number is depends on where it stands. And `RESET` and `Override`.

    Several documents in one file are to be merged, as several files are. Raises ComposeError for what is no YAML, too
    large (also by its aliases), or no mapping.
    """
    import yaml

    if len(text) > MAX_FILE_SIZE:
        raise ComposeError(f"is longer than {MAX_FILE_SIZE // 2**20} MiB, too long for a compose file")
    values = _Values()
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.BaseLoader))
    except yaml.YAMLError as error:
        raise ComposeError(f"is not YAML: {_report(error)}") from None
    except (RecursionError, ValueError):  # a number of thousands of digits in an escape
        raise ComposeError("is not YAML, or nested too deeply") from None
    found = [values.of(node, 0) for node in nodes if node is not None]
    found = [each for each in found if each is not None]
    if not found or not all(isinstance(each, dict) for each in found):
        raise ComposeError("is not a compose file: expected a mapping at the top, with services:")
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
        if node.tag == _RESET:
            return RESET
        if node.tag not in _PLAIN_TAGS and node.tag != _OVERRIDE:
            shown = node.tag.replace(_OWN_TAG, "!!")
            self._refuse(
                node, f"tag {shown} is not supported; allowed are {_RESET} and {_OVERRIDE}: write out its value"
            )
        value: Any
        if isinstance(node, yaml.ScalarNode):
            if any("\ud800" <= char <= "\udfff" for char in node.value):
                self._refuse(node, "half of a character (a surrogate); write the whole")
            value = None if node.style is None and node.value in _NULLS else node.value
        elif isinstance(node, yaml.SequenceNode):
            value = [self.of(each, depth + 1) for each in node.value]
        else:
            value = self._mapping(node, depth)
        return Override(value) if node.tag == _OVERRIDE else value

    def _mapping(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.of(key_node, depth + 1)
            value = self.of(value_node, depth + 1)
            if not isinstance(key, str):
                self._refuse(key_node, "a key is not a string")
            if key == _MERGE and key_node.style is None:
                # The first of several wins, and what stands here wins over all.
                for source in self._merged(key_node, value):
                    merged = {**source, **merged}
            elif key in own:
                self._refuse(key_node, f"duplicate key {key!r}; remove one of the two")
            else:
                own[key] = value
        return {**merged, **own}

    def _merged(self, node: yaml.Node, value: Any) -> Iterator[dict[str, Any]]:
        for source in value if isinstance(value, list) else [value]:
            if isinstance(source, dict):
                yield source
            elif source is not None:
                self._refuse(node, "<< merges mappings only")

    def _refuse(self, node: yaml.Node, message: str) -> NoReturn:
        raise ComposeError(f"line {node.start_mark.line + 1}: {message}")


def interpolated(
    value: dict[str, Any],
    environment: Mapping[str, str],
    missing: Callable[[str, str], None],
    malformed: Callable[[str, str], None],
) -> dict[str, Any]:
    """``$VAR``, ``${VAR}`` and its operators replaced in every value but those of extensions (``x-...``).

    ``missing`` is told of the path and name of each variable that is not set: nothing stands in its place;
    ``malformed`` of a path and why a $ there begins no variable: it stays. Raises ComposeError with every variable that
    is required and not set.
    """
    problems: dict[str, None] = {}
    # Whoever mounts $PWD means the folder that the file is in.
    of_paths = {**environment, "PWD": "."}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, str):
            known = of_paths if _VOLUMES in path or _DEVICE.fullmatch(path) else environment
            try:
                if "$" not in value:
                    return value
                return expanded(
                    value, known, lambda name: missing(path, name), lambda message: malformed(path, message)
                )
            except InterpolationError as error:
                problems[f"{path}: {error}"] = None
                return value
        if isinstance(value, list):
            return [walk(each, f"{path}[{index}]") for index, each in enumerate(value)]
        if isinstance(value, Override):
            return Override(walk(value.value, path))
        if isinstance(value, dict):
            return {
                key: each if _is_verbatim(key, path) else walk(each, f"{path}.{key}" if path else key)
                for key, each in value.items()
            }
        return value

    found: dict[str, Any] = walk(value, "")
    if problems:
        raise ComposeError(*problems)
    return found


def _is_verbatim(key: str, path: str) -> bool:
    return (key.startswith("x-") and path.count(".") < 2) or (key == _VERBATIM and _VOLUMES in path)
