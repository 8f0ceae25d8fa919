"""Passwords that came into a definition as text, and how each becomes a secret of podman's. No message has a value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mcpctl.definitions.loss import Warned
from protos import grammar

_SECRET = re.compile(
    r"(^|[_.-])(PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|SECRET|TOKEN|APIKEY|(API|ACCESS|PRIVATE|SECRET|ENCRYPTION|MASTER|SIGNING"
    r"|APP|AUTH|JWT|ADMIN|LICENSE|SALT)_?KEY|KEY_?BASE|CREDENTIALS?|SALT)[0-9_]*$",
    re.IGNORECASE,
)
_WITH_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@")
_SWITCHES = frozenset({"true", "false", "yes", "no", "on", "off", "0", "1", "none", "null", ""})


def is_secret(name: str) -> bool:
    """Whether a variable's value is one by its name."""
    return _SECRET.search(name) is not None


def warnings(components: Mapping[str, dict[str, Any]], service: str, node: str) -> Iterator[Warned]:
    """``components``: our values by the file's keys."""
    for key, component in components.items():
        for name, value in component.get("env", {}).items():
            if value.strip().lower() in _SWITCHES or not (is_secret(name) or _WITH_PASSWORD.search(value)):
                continue
            secret = _name(service, component["name"], name)
            entry = f'{{ name = "{secret}", env = "{name}" }}'
            yield Warned(
                f"services.{key}.environment.{name}",
                "is a password that stands in the definition. To keep it in podman: "
                f"`mcpctl secret set {secret} --node {node}`, which asks for the value; then `secrets = [{entry}]` in "
                "place of the variable",
            )


def _name(service: str, component: str, variable: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", variable.lower()).strip("-")
    own = service if component == service else f"{service}-{component}"
    return f"{own}-{words}"[: grammar.MAX_SECRET_NAME].rstrip("-")
