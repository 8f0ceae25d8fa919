"""The command line that created a container, as podman keeps it, parsed into options. Pure functions.

An inspection shows what a container came to. Some options leave nothing there, and some look like podman's defaults;
for those the command line is read, by the rules of podman-run(1): options end at the first word that is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

_MAKERS = ("run", "create")
# The options of podman-run(1) that take a value only after `=`.
_SWITCHES = frozenset(
    (
        *("--detach", "--disable-content-trust", "--env-host", "--help", "--http-proxy", "--init"),
        *("--interactive", "--no-healthcheck", "--no-hostname", "--no-hosts", "--oom-kill-disable"),
        *("--passwd", "--privileged", "--publish-all", "--quiet", "--read-only", "--read-only-tmpfs"),
        *("--replace", "--rm", "--rmi", "--rootfs", "--sig-proxy", "--tls-verify", "--tty", "--unsetenv-all"),
    )
)
# Its letters.
_LETTERS = {
    "a": "--attach",
    "c": "--cpu-shares",
    "d": "--detach",
    "e": "--env",
    "h": "--hostname",
    "i": "--interactive",
    "l": "--label",
    "m": "--memory",
    "P": "--publish-all",
    "p": "--publish",
    "q": "--quiet",
    "t": "--tty",
    "u": "--user",
    "v": "--volume",
    "w": "--workdir",
}
# Aliases of options.
_ALIASES = {
    "--net": "--network",
    "--dns-opt": "--dns-option",
    "--healthcheck-command": "--health-cmd",
    "--healthcheck-interval": "--health-interval",
    "--healthcheck-retries": "--health-retries",
    "--healthcheck-start-period": "--health-start-period",
    "--healthcheck-timeout": "--health-timeout",
}
_TRUE = "true"


class CreateCommand(msgspec.Struct, frozen=True):
    """The options in their order, each with its value; a switch has "true". ``is_known`` False: none was kept."""

    options: tuple[tuple[str, str], ...] = ()
    is_known: bool = False

    def values(self, *names: str) -> tuple[str, ...]:
        return tuple(value for option, value in self.options if option in names)

    def has(self, *names: str) -> bool:
        return any(option in names for option, _ in self.options)


def parse(command: Sequence[str] | None, images: Collection[str]) -> CreateCommand:
    """Of the ``command`` that made a container from an image with one of the names ``images``.

    What was made through the API has none, or the command line of the API's service.
    """
    words = list(command or ())
    start = next((index for index, word in enumerate(words) if index and word in _MAKERS), None)
    if start is None:
        return CreateCommand()
    # Of the options that are podman's own one is the container's.
    runtimes = [each for each in _options(words[1:start], ()) if each[0] == "--runtime"]
    return CreateCommand((*runtimes, *_options(words[start + 1 :], images)), True)


def _options(words: Sequence[str], images: Collection[str]) -> Iterator[tuple[str, str]]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--" or not word.startswith("-") or word == "-":
            return
        if word.startswith("--"):
            name, has_value, value = word.partition("=")
            name = _ALIASES.get(name, name)
            if has_value:
                yield name, value
            elif name in _SWITCHES or not rest or _is_image(rest[0], images):
                yield name, _TRUE
            else:
                yield name, rest.pop(0)
        else:
            yield from _lettered(word[1:], rest)


def _lettered(letters: str, rest: list[str]) -> Iterator[tuple[str, str]]:
    """``-dit``, ``-eA=1``, ``-e A=1``: what follows the first letter that takes a value is that value."""
    for index, letter in enumerate(letters):
        name = _LETTERS.get(letter, f"-{letter}")
        if name in _SWITCHES:
            yield name, _TRUE
            continue
        value = letters[index + 1 :].removeprefix("=")
        yield name, value or (rest.pop(0) if rest else "")
        return


def _is_image(word: str, images: Collection[str]) -> bool:
    """An unknown option may be a switch: the image's name is not its value."""
    return any(word == each or each.endswith((f"/{word}", f"/{word}:latest")) for each in images if each)
