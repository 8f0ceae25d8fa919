"""When to heal a component: at once, then with growing pauses, so that a hopeless one stays cheap."""

from __future__ import annotations

import msgspec

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 300.0
# A component that has run this long has proved itself: its next death is healed at once again.
PROVEN_AFTER_S = 60.0


class Healing(msgspec.Struct, frozen=True):
    """``not_before`` is on a clock that only moves forwards; ``pause`` is what the next attempt will wait."""

    not_before: float = 0.0
    pause: float = FIRST_PAUSE_S
    tried_at: float | None = None

    def wait(self, now: float, hidden: float = 0.0) -> float:
        """Seconds until the next attempt may be made; it may be ill for ``hidden`` seconds before anybody knows."""
        return max(0.0, self._forgiven(now, hidden).not_before - now)

    def attempted(self, now: float, hidden: float = 0.0) -> Healing:
        """After an attempt that begins ``now``."""
        last = self._forgiven(now, hidden)
        return Healing(now + last.pause, min(last.pause * 2, MAX_PAUSE_S), now)

    def _forgiven(self, now: float, hidden: float) -> Healing:
        # Time in which it may have been ill, and its probe had not found out, proves nothing.
        proven = self.tried_at is not None and now - self.tried_at > max(PROVEN_AFTER_S, 2 * self.pause) + hidden
        return Healing() if proven else self
