"""Where the command of another program begins on our command line: its options are not ours."""

from __future__ import annotations

from collections.abc import Sequence

# Commands of mcpctl whose exit status is that of a program on a node.
RELAYS = ("exec", "run")
# Their options that take a value, which is no target and no program.
WITH_VALUE = {"--env", "--user", "--workdir", "--node", "--config", "--output", "--entrypoint", "--stop"}
SHORT_WITH_VALUE = "euwo"


def is_relay(words: Sequence[str]) -> bool:
    """Whether it is such a command."""
    return next((each for each in words if not each.startswith("-")), "") in RELAYS


def delimited(words: Sequence[str]) -> list[str]:
    """The command line with the ``--`` before the program that may be left out: `exec web/api ls -l`."""
    values = 0
    # The command itself, its target, and then the program.
    plain = 0
    for index, word in enumerate(words):
        if word == "--":
            break
        if values:
            values -= 1
        elif word.startswith("-") and word != "-":
            values = _values(word)
        else:
            plain += 1
            if plain > 2:
                return [*words[:index], "--", *words[index:]]
    return [*words]


def _values(option: str) -> int:
    """How many words behind it are its."""
    if option.startswith("--"):
        return int(option in WITH_VALUE)
    place = next((index for index, letter in enumerate(option) if letter in SHORT_WITH_VALUE), 0)
    # What follows a letter that takes a value is its value: -uroot.
    return int(place == len(option) - 1)
