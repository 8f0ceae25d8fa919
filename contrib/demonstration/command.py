"""The command line of `contrib/demo`: words into actions, failures into exit statuses."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace

from contrib.demonstration.daemons import PROXIES
from contrib.demonstration.down import down
from contrib.demonstration.node import node_at, require_unclaimed
from contrib.demonstration.output import FAILED, WRONG_USAGE, Failure, say, tell
from contrib.demonstration.settings import Options
from contrib.demonstration.tour import tour
from contrib.demonstration.up import describe, up

# Options with a value, and what that sets.
_WITH_VALUE: dict[str, Callable[[Options, str], Options]] = {
    "--node": lambda options, value: replace(options, name=value),
    "--address": lambda options, value: replace(options, address=value),
    "--proxy": lambda options, value: replace(options, proxy=value),
}
_INTERRUPTED = 130  # as shells count: 128 and the number of SIGINT

# The first word of contrib/demo's own: only looks whether the others are right, before anything is installed for them.
CHECK = "--check"


def main(words: list[str]) -> int:
    """Returns the exit status: 0 done, 1 failed, 2 wrong usage or a folder that is not ours."""
    try:
        is_check = words[:1] == [CHECK]
        act = action(words[1:] if is_check else words)
        if not is_check:
            act()
    except Failure as failure:
        tell(failure)
        return failure.status
    except (OSError, subprocess.SubprocessError) as error:
        say(f"demo: {error}")
        return FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def action(words: list[str]) -> Callable[[], None]:
    """What ``words`` ask for. Changes nothing yet; raises Failure when they are wrong."""
    match words:
        case []:
            return tour
        case ["up", folder, *options] if is_folder(folder):
            return _up(folder, options)
        case ["up", *_]:
            raise Failure("up needs a folder: contrib/demo up DIR", WRONG_USAGE)
        case ["down", folder] if is_folder(folder):
            return lambda: down(node_at(folder))
        case ["down", *_]:
            raise Failure("down needs a folder, and nothing else: contrib/demo down DIR", WRONG_USAGE)
    raise Failure(f"{words[0]}: there is no such command; see --help", WRONG_USAGE)


def is_folder(word: str) -> bool:
    return word != "" and not word.startswith("-")


def _up(folder: str, words: list[str]) -> Callable[[], None]:
    options = parse_options(words)
    node = node_at(folder)
    require_unclaimed(node)

    def act() -> None:
        up(node, options)
        describe(node)

    return act


def parse_options(words: list[str]) -> Options:
    """Raises Failure for an option that there is not, or that lacks its value."""
    options = Options()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if word == "--mcias":
            options = replace(options, mcias=True)
        elif option in _WITH_VALUE:
            if not equals:
                if not rest:
                    raise Failure(f"{option} needs a value; see --help", WRONG_USAGE)
                value = rest.pop(0)
            if option == "--proxy" and value not in PROXIES:
                raise Failure(f"--proxy {value}: it is one of {', '.join(PROXIES)}", WRONG_USAGE)
            options = _WITH_VALUE[option](options, value)
        else:
            raise Failure(f"up: {word} is not an option; see --help", WRONG_USAGE)
    return options
