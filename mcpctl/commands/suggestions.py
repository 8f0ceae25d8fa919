"""Words that other programs have for what mcpctl does, answered with ours.

An alias would have to mean exactly the same, options and all; a sentence teaches the word that the documents have.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Collection, Mapping, Sequence

# What is ours for the first word, or the first two; the arguments follow it, without options, which are not the same.
_OURS = {
    "": {
        "up": "deploy",
        "apply": "deploy",
        "create": "deploy",
        "update": "deploy",
        "upgrade": "deploy",
        "down": "undeploy",
        "rm": "undeploy",
        "remove": "undeploy",
        "delete": "undeploy",
        "destroy": "undeploy",
        "kill": "stop",
        "reload": "restart",
        "describe": "status",
        "get": "status",
        "get all": "status",
        "get services": "list",
        "get pods": "ps",
        "get containers": "ps",
        "get nodes": "node list",
        "get events": "events",
        "stats": "ps --watch",
        "inspect": "service show",
        "config": "service show",
        "edit": "service edit",
        "export": "service export",
        "convert": "service export --format compose",
        "import": "service import",
        "diff": "plan",
        "log": "logs",
        "event": "events",
        "undo": "rollback",
        "revisions": "history",
        "alert": "alerts list",
        "job": "jobs list",
        "cron": "jobs list",
        "cronjobs": "jobs list",
        "get cronjobs": "jobs list",
        "get jobs": "jobs list",
        "ack": "alerts ack",
        "silence": "alerts silence",
        "nodes": "node list",
        "services": "service list",
        "images": "image list",
        "get images": "image list",
        "prune": "image prune --node",
        "snapshot": "node snapshot",
        "refresh": "sync",
        "wait": "attach",
        "abort": "cancel",
        "cp": "push",
        "upload": "push",
        "download": "pull",
    },
    "node": {
        "rm": "node remove",
        "delete": "node remove",
        "ls": "node list",
        "describe": "node show",
        "prune": "image prune --node",
    },
    "image": {"ls": "image list"},
    "alerts": {"ls": "alerts list", "show": "alerts list", "mute": "alerts silence"},
    "jobs": {"start": "jobs run", "trigger": "jobs run", "exec": "jobs run", "ls": "jobs list", "show": "jobs list"},
    "service": {"ls": "service list", "get": "service show", "describe": "service show", "inspect": "service show"},
}
_PRUNE = "`mcpctl image prune` removes the images of a node that nothing uses"
# Where no command of ours is the same.
_NOTHING_LIKE_IT = {
    "init": "`mcpd init DIR`, on the node, creates what both programs need",
    "scale": "a component is one container; for more, add `[[components]]` to the definition",
    "image rm": _PRUNE,
    "image remove": _PRUNE,
    "image delete": _PRUNE,
    "image pull": "a deploy pulls the images it needs",
}
# `mcpctl pull` copies files; who says this wants an image.
_IMAGE = "image"
_OF_IMAGES = "a deploy pulls the images it needs, and `mcpctl image prune` removes unused ones"


def answer(words: Sequence[str], known: Mapping[str, Collection[str]]) -> str | None:
    """What to say to a command line whose command is none of ours; None when there is nothing wrong with its command.

    ``known``: the commands of each group, "" for the program itself.
    """
    group = words[0] if words and words[0] in known else ""
    rest = list(words[1:] if group else words)
    if not rest or rest[0].startswith("-"):
        return None
    if rest[0] in known[group]:
        asks_for_image = not group and rest[0] == "pull" and rest[1:2] == [_IMAGE]
        return f"`mcpctl pull SERVICE PATH` copies files; {_OF_IMAGES}" if asks_for_image else None
    said = f"{group} {rest[0]}".lstrip()
    table = _OURS.get(group, {})
    pair = " ".join(rest[:2])
    if pair in table:
        return f"mcpctl has no `{f'{group} {pair}'.lstrip()}`; use `{_ours(table[pair], rest[2:])}`"
    if rest[0] in table:
        return f"mcpctl has no `{said}`; use `{_ours(table[rest[0]], rest[1:])}`"
    if said in _NOTHING_LIKE_IT:
        return f"mcpctl has no `{said}`: {_NOTHING_LIKE_IT[said]}"
    close = difflib.get_close_matches(rest[0], known[group], n=1)
    if close:
        # A slip of the finger: all of the line is meant, options too.
        meant = shlex.join(["mcpctl", *filter(None, [group]), close[0], *rest[1:]])
        return f"mcpctl has no `{said}`; did you mean `{meant}`?"
    return f"mcpctl has no `{said}`; `{f'mcpctl help {group}'.rstrip()}` lists its commands"


def _ours(command: str, rest: Sequence[str]) -> str:
    arguments = [each for each in rest if not each.startswith("-")]
    words = command.split()
    # An option that takes the argument is of no use without one.
    if not arguments and words[-1] == "--node":
        words.pop()
    return shlex.join(["mcpctl", *words, *arguments])
