"""YAML that every parser reads alike: each string that another one could take for something else is quoted."""

from __future__ import annotations

import re
from typing import Any

from protos import escapes

# Whatever YAML 1.1 or 1.2 could resolve to no string begins otherwise, or is one of the words below.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def document(value: Any, *, comment: str = "") -> str:
    """One document, keys in their order. ``comment``: lines that go before it."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            return super().increase_indent(flow, False)

    def string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')

    Dumper.add_representer(str, string)
    lines = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    # A line is never folded: a command reads better whole.
    body: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=2**31)
    return escapes.in_yaml(lines + body)
