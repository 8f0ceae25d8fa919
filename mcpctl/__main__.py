"""The entry point: runs a command, and turns every way to fail into a sentence and an exit status."""

from __future__ import annotations

import os
import sys

from mcpctl.errors import DONE, FAILED, INTERRUPTED, CliError

# What is typed twenty times a day. With at most a service's name behind it there is nothing to parse, and without
# cyclopts it starts in three quarters of the time (`nox -s bench`).
_PLAIN = {"list": "list_services", "ps": "ps", "status": "status", "events": "events"}


def main() -> None:
    """Exit status as in `mcpctl.errors`."""
    try:
        status = _run(sys.argv[1:])
    except CliError as error:
        status = _failed(str(error), error.status)
    except KeyboardInterrupt:
        status = _failed("interrupted; what a node was doing ends there by itself", INTERRUPTED)
    except BrokenPipeError:
        # The reader had enough (`| head`); and stdout must not be flushed again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = DONE
    except OSError as error:
        status = _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)
    except Exception as error:
        if os.environ.get("MCP_DEBUG"):
            raise
        status = _failed(f"a bug of mcpctl: {type(error).__name__}: {error}\nMCP_DEBUG=1 shows where it is.", FAILED)
    sys.exit(status)


def _run(words: list[str]) -> int:
    if words and words[0] in _PLAIN and len(words) <= 2 and not any(word.startswith("-") for word in words):
        from mcpctl import looking

        status: int = getattr(looking, _PLAIN[words[0]])(looking.Query(target=words[1] if words[1:] else ""))
        sys.stdout.flush()
        return status
    from mcpctl import app

    return app.run(words)


def _failed(message: str, status: int) -> int:
    from mcpctl import render

    render.note(f"mcpctl: {message}")
    return status


if __name__ == "__main__":
    main()
