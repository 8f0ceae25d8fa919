"""What programs print, inside sentences of ours: always behind a mark, so that it can be left out again.

Whatever a program prints, it stands behind the first mark of its sentence; what is ours stands before it. Sentences are
kept (events, alerts, operations) and told onwards: who may not see what programs print gets them through `without`.
"""

from __future__ import annotations

import re

# Behind the end of a container: its last lines, which stand below.
PRINTED = "; it printed last:"
# Behind the end of a probe; behind an answer that is none; behind the end of a container. Registries are full of
# sentences with these marks: another wording must be added here, and none taken away. "illegal ..." is h11's, of what
# a component sends in place of HTTP, which was once kept without a mark of ours.
_SAID = "; it said: "
_MARK = re.compile(rf"(exited -?\d+|illegal [a-z ]+): |{_SAID}|{PRINTED}")
# What stands there instead.
LEFT_OUT = "(what it printed is for admins)"


def exited(program: str, status: int, text: str) -> str:
    """How a program ended, with what it printed; nothing of it when ``text`` is empty."""
    return f"{program} exited {status}: {text}" if text else f"{program} exited {status}"


def said(words: str, text: str) -> str:
    """``words`` of ours, with what came over a connection."""
    return f"{words}{_SAID}{text}"


def printed_last(text: str) -> str:
    """The last lines that a container printed, to stand behind a sentence."""
    return f"{PRINTED}\n" + "\n".join(f"    {line}" for line in text.splitlines())


def with_sequel(message: str, sequel: str) -> str:
    """A message that says one thing more, before the lines that a container printed, if it has any."""
    head, mark, lines = message.partition(f"{PRINTED}\n")
    return f"{head}; {sequel}{mark}{lines}"


def headline(message: str) -> str:
    """What happened, without the lines that a container printed: for tables and ledgers."""
    return message.partition("\n")[0].removesuffix(PRINTED)


def without(sentence: str) -> str:
    """``sentence`` up to what a program printed, and all of one that quotes nobody."""
    mark = _MARK.search(sentence)
    if mark is None:
        return sentence
    return f"{sentence[: mark.start()]}{mark[1] or ''} {LEFT_OUT}"
