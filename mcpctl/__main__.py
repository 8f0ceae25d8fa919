"""The entry point: runs a command, and turns every way to fail into a sentence and an exit status.

``--debug``, anywhere on the command line, or ``MCP_DEBUG=1``: the traceback, too.
"""

from __future__ import annotations

import io
import os
import sys

from mcpctl.errors import DONE, FAILED, INTERRUPTED, OWN_FAILURE, CliError

# What is typed twenty times a day. With at most a service's name behind it there is nothing to parse, and without
# cyclopts it starts in three quarters of the time (`nox -s bench`). So does `exec` with nothing but its program, and
# `image push`, which takes no longer than that for a layer of a MiB.
_PLAIN = {
    "list": ("status", "list_services"),
    "ps": ("status", "ps"),
    "status": ("status", "status"),
    "events": ("events", "events"),
}

_DEBUG = "--debug"
_BUG = "Please report it to the project; `--debug` shows the traceback to include."


def main() -> None:
    """Exit status as in `mcpctl.errors`; of exec and run that of the program."""
    words, relays = _relayed(sys.argv[1:])
    words, is_debugging = _debugging(words)
    failed = OWN_FAILURE if relays else FAILED
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal of another encoding than UTF-8 shows what it can.
        sys.stdout.reconfigure(errors="replace")
    try:
        status = _run(words)
    except CliError as error:
        if is_debugging:
            _trace(error)
        status = _failed(str(error), OWN_FAILURE if relays and error.status < OWN_FAILURE else error.status)
    except KeyboardInterrupt:
        status = _failed("interrupted; an operation that a node has begun continues there", INTERRUPTED)
    except BrokenPipeError:
        # The reader had enough (`| head`); and stdout must not be flushed again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = DONE
    except OSError as error:
        if is_debugging:
            _trace(error)
        status = _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error), failed)
    except Exception as error:
        if is_debugging:
            _trace(error)
        status = _failed(f"a bug in mcpctl: {type(error).__name__}: {error}\n{_BUG}", failed)
    sys.exit(status)


def _relayed(words: list[str]) -> tuple[list[str], bool]:
    """The command line, and whether the exit status is that of a program on a node: then its words come behind a --."""
    if not {"exec", "run"} & {*words}:  # which every other command need not import
        return words, False
    from mcpctl.commands import remote_command

    relays = remote_command.is_relay(words)
    return remote_command.delimited(words) if relays else words, relays


def _run(words: list[str]) -> int:
    if words and words[0] == "__complete":  # a shell asks, and its user waits
        from mcpctl.actions.completion import answers

        return answers.answer(words[1:])
    if words and words[0] in _PLAIN and len(words) <= 2 and not any(word.startswith("-") for word in words):
        from importlib import import_module

        from mcpctl.actions.query import Query

        module, function = _PLAIN[words[0]]
        action = getattr(import_module(f"mcpctl.actions.{module}"), function)
        status: int = action(Query(target=words[1] if words[1:] else ""))
        sys.stdout.flush()
        return status
    if words and words[0] == "exec" and _is_plain(words[1:]):
        from mcpctl.actions import sessions
        from mcpctl.actions.query import Query

        return sessions.exec_(Query(target=words[1]), sessions.Wanted(tuple(words[3:])))
    if words[:2] == ["image", "push"] and len(words) == 3 and not words[2].startswith("-"):
        from mcpctl.actions import image_push
        from mcpctl.actions.query import Query
        from mcpctl.ui.output import How

        status = image_push.push(Query().settings(), words[2], (), image_push.From(), How())
        sys.stdout.flush()
        return status
    from mcpctl.commands import app

    return app.run(words)


def _is_plain(words: list[str]) -> bool:
    """Whether it is a target, and nothing of ours behind it: TARGET, or TARGET -- PROGRAM ARGUMENT..."""
    return bool(words) and not words[0].startswith("-") and words[1:2] in ([], ["--"])


def _debugging(words: list[str]) -> tuple[list[str], bool]:
    """The command line without ``--debug``, and whether errors show where they come from."""
    end = words.index("--") if "--" in words else len(words)
    found = _DEBUG in words[:end]
    kept = [word for word in words[:end] if word != _DEBUG] + words[end:]
    return kept, found or bool(os.environ.get("MCP_DEBUG"))


def _trace(error: BaseException) -> None:
    """Shows where ``error`` comes from, and the errors that it was made of."""
    import traceback

    each: BaseException | None = error
    while each is not None:
        # `from None` is for people who only want the sentence.
        each.__suppress_context__ = each.__cause__ is not None
        each = each.__cause__ or each.__context__
    traceback.print_exception(error)


def _failed(message: str, status: int) -> int:
    from mcpctl.ui import render

    render.note(f"mcpctl: {message}")
    return status


if __name__ == "__main__":
    main()
