"""How many sessions may go on at once, and how long each; who is at it now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mcpd.config import settings
from mcpd.errors import ExhaustedError, RefusedError
from mcpd.sessions.conversation import Limits


class Places:
    """``open`` and ``begun`` are counted by kind: ``exec`` and ``run``. A run that is detached keeps none of them."""

    def __init__(self, rules: settings.Sessions) -> None:
        self._max = rules.max
        self.limits = Limits(rules.idle_timeout.total_seconds(), rules.max_duration.total_seconds())
        self.open: Counter[str] = Counter({"exec": 0, "run": 0})
        self.begun: Counter[str] = Counter({"exec": 0, "run": 0})

    @contextmanager
    def taken(self, kind: str) -> Iterator[None]:
        """A place for one session. Raises ExhaustedError, or RefusedError on a node that has none at all."""
        if not self._max:
            raise RefusedError("this node allows no sessions: [sessions] of its mcpd.toml has max = 0")
        if self.open.total() >= self._max:
            raise ExhaustedError(
                f"{self._max} sessions go on already, which is all that the node allows "
                "([sessions] max in its mcpd.toml); try again when one has ended"
            )
        self.open[kind] += 1
        self.begun[kind] += 1
        try:
            yield
        finally:
            self.open[kind] -= 1

    def check_detached(self, number: int) -> None:
        """Of runs that go on without anybody there may be as many again. Raises ExhaustedError."""
        if number >= self._max:
            raise ExhaustedError(
                f"{number} detached runs go on already, which is all that the node allows "
                "([sessions] max in its mcpd.toml); `mcpctl top` shows them"
            )
