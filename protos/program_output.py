"""Output of programs inside our sentences: always after a mark, so that it can be left out again.

Whatever a program prints, it stands behind the first mark of its sentence; what is ours stands before it. Sentences are
kept (events, alerts, operations) and told onwards: who may not see what programs print gets them through `without`.
"""

from __future__ import annotations

import re

# After the exit of a container: its last lines follow below.
PRINTED = "; it printed last:"
# Behind the end of a probe; behind an answer that is none; behind the end of a container. Registries are full of
# sentences with these marks: another wording must be added here, and none taken away. "illegal ..." is h11's, of what
# a component sends in place of HTTP, which was once kept without a mark of ours.
_SAID = "; it said: "
_MARK = re.compile(rf"(exited -?\d+|illegal [a-z ]+): |{_SAID}|{PRINTED}")
# Replaces the output.
LEFT_OUT = "(what it printed is for admins)"


def exited(program: str, status: int, text: str) -> str:
    """How a program ended, with its output unless ``text`` is empty."""
    return f"{program} exited {status}: {text}" if text else f"{program} exited {status}"


def said(words: str, text: str) -> str:
    """Our ``words``, followed by text received over a connection."""
    return f"{words}{_SAID}{text}"


def printed_last(text: str) -> str:
    """The last lines that a container printed, to append to a sentence."""
    return f"{PRINTED}\n" + "\n".join(f"    {line}" for line in text.splitlines())


def with_sequel(message: str, sequel: str) -> str:
    """``message`` with ``sequel`` added, before the lines that a container printed, if any."""
    head, mark, lines = message.partition(f"{PRINTED}\n")
    return f"{head}; {sequel}{mark}{lines}"


def headline(message: str) -> str:
    """What happened, without the lines that a container printed: for tables and ledgers."""
    return message.partition("\n")[0].removesuffix(PRINTED)


def without(sentence: str) -> str:
    """``sentence`` without the output of programs; unchanged when it has none."""
    mark = _MARK.search(sentence)
    if mark is None:
        return sentence
    return f"{sentence[: mark.start()]}{mark[1] or ''} {LEFT_OUT}"
