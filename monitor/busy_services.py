"""Which services are busy: an operation is, or just was, at work on them, so that they are not judged by old news."""

from __future__ import annotations

from collections.abc import Callable

from monitor.ports import Intent


class BusyServices:
    """A service is busy until its operation has ended, and then until its containers were looked at again."""

    def __init__(self, intent: Intent) -> None:
        self._intent = intent
        self._worked_on: set[str] = set()
        self._settling: set[str] = set()
        # Has a service's containers looked at, and calls `settled` after that.
        self.look: Callable[[str], None] = self.settled

    def is_busy(self, service: str) -> bool:
        """Whether it is; the first answer after an operation has its containers looked at."""
        if self._intent.is_busy(service):
            self._worked_on.add(service)
        elif service in self._worked_on and service not in self._settling:
            self._worked_on.discard(service)
            self._settling.add(service)
            self.look(service)
        return service in self._worked_on or service in self._settling

    def settled(self, service: str) -> None:
        """Its containers were looked at."""
        self._settling.discard(service)
