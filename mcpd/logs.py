"""The daemon's log: one line per thing that an operator would want to know, on stderr, which journald keeps."""

from __future__ import annotations

import logging
import sys

import structlog


def set_up() -> None:
    """Plain lines on a terminal, JSON elsewhere. Libraries' own records join them, from warnings up."""
    interactive = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if interactive else structlog.processors.JSONRenderer()
    )
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
