"""The daemon's log: a line for everything that an operator would want to know, on stderr, which journald keeps."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# syslog(3) by level, as the prefix that the journal takes off a line (sd-daemon(3)).
_PRIORITY = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

# Made once: json.dumps makes an encoder for each line, which takes it as long as encoding (measured).
_ENCODER = json.JSONEncoder(default=repr)
_JSON = structlog.processors.JSONRenderer(serializer=lambda event, **_: _ENCODER.encode(event))


def set_up() -> None:
    """Plain lines on a terminal, JSON elsewhere, to the journal with its priorities.

    Libraries' own records join them, from warnings up.
    """
    interactive = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer() if interactive else _JSON
    if _is_the_journal():
        renderer = _with_priority
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # It writes a traceback for what the gate has already answered and logged: refusals, clients that went away.
    logging.getLogger("grpclib.server").setLevel(logging.CRITICAL)


def _is_the_journal() -> bool:
    """Whether stderr is connected to systemd's journal (systemd.exec(5), JOURNAL_STREAM: its device and inode)."""
    stream = os.fstat(sys.stderr.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


def _with_priority(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    priority = _PRIORITY.get(event.get("level", ""), _PRIORITY["info"])
    return f"<{priority}>{_JSON(logger, method, event)!s}"
