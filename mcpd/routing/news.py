"""What is told of routes: a proxy that does not have them, what was mended, and certificates that end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import trio

from mcpd.routing.claims import certificate_for
from mcpd.routing.desired import Routed
from mcpd.routing.table import Certificate
from monitor.model import Alert
from protos.parts import Mode

# What hinders once (a proxy that is restarted by hand) is not worth an alert.
_PATIENCE_S = 10.0
# A table that somebody changes again and again is told of once in so long.
_TELL_AGAIN_S = 900.0
# A certificate that ends within this is told, like mcpd's own.
_EXPIRY_WARNING_DAYS = 30
# Of what differs, as much as an alert can carry.
_MOST_DIFFERENCES = 5


class Ledger(Protocol):
    async def record_routes(self, problem: str, words: str, now: datetime) -> tuple[Alert, ...]: ...
    async def record_route_news(self, words: str, now: datetime) -> tuple[Alert, ...]: ...
    async def record_route_certificates(self, ending: Mapping[str, str], now: datetime) -> tuple[Alert, ...]: ...


class Messenger(Protocol):
    def submit(self, alert: Alert) -> None: ...


class News:
    """What was told last, so that nothing is told twice."""

    def __init__(self) -> None:
        self._told_at: float | None = None
        # None: nobody knows what an mcpd before this one has told.
        self._problem_told: bool | None = None
        self._endings_told: dict[str, str] | None = None

    async def tell(
        self,
        ledger: Ledger,
        messenger: Messenger,
        problem: str,
        failing_since: float | None,
        drift: Sequence[str],
        ending: dict[str, str],
    ) -> None:
        """Records and sends what is wrong, when it stays so, and what was mended. Raises RegistryError.

        ``failing_since``: by Trio's clock, when ``problem`` began; None: there is none. ``ending`` as of `ending`.
        """
        told: list[Alert] = []
        now = datetime.now(UTC)
        is_late = failing_since is not None and trio.current_time() - failing_since >= _PATIENCE_S
        if is_late and self._problem_told is not True:
            words = f"the proxy does not have the routes that it should have: {problem}"
            told += await ledger.record_routes("failing", words, now)
            self._problem_told = True
        elif failing_since is None and self._problem_told is not False:
            told += await ledger.record_routes("", "the proxy has the routes again", now)
            self._problem_told = False
        if drift and (self._told_at is None or trio.current_time() - self._told_at >= _TELL_AGAIN_S):
            self._told_at = trio.current_time()
            told += await ledger.record_route_news(_mended(drift), now)
        if ending != self._endings_told:
            told += await ledger.record_route_certificates(ending, now)
            self._endings_told = ending
        for alert in told:
            messenger.submit(alert)


def _mended(drift: Sequence[str]) -> str:
    more = f"; and {len(drift) - _MOST_DIFFERENCES} more" if len(drift) > _MOST_DIFFERENCES else ""
    said = "; ".join(drift[:_MOST_DIFFERENCES])
    return f"the proxy had something else than mcpd had told it, which was mended: {said}{more}"


def ending(routed: Sequence[Routed], certificates: Sequence[Certificate], now: datetime) -> dict[str, str]:
    """The certificates that routes use and that end soon, in words, by their fingerprints."""
    found = {}
    for each in routed:
        for route in each.component.routes:
            certificate = None if route.mode is Mode.TLS else certificate_for(route.host, certificates)
            if certificate and certificate.until - now < timedelta(days=_EXPIRY_WARNING_DAYS):
                until = f"{certificate.until:%Y-%m-%d %H:%M} UTC"
                found[certificate.fingerprint] = (
                    f"the certificate of {route.host} ends on {until}: replace {certificate.path} by a newer one"
                )
    return found
