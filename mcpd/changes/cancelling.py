"""Which operations can be cancelled, and what is kept of who cancelled one. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from mcpd.model import Progress, Report, Step, Target

# Why operations of a kind are not cancelled, and what to do instead. Of a deploy everything can be taken back until it
# is committed; of the others each component's change counts by itself, as soon as it was made.
_IRREVOCABLE = {
    "start": "`mcpctl stop {target} --wait` stops it again",
    "stop": "`mcpctl start {target} --wait` starts it again",
    "undeploy": "`mcpctl deploy {target} --wait` recreates it",
}
_CANCELLED_BY = "cancelled by "
_ENDS_BY_ITSELF = "it ends on its own"


def irrevocable(kind: str, target: Target) -> str:
    """Why an operation of this kind cannot be cancelled, and what to do instead; "" when it can."""
    if kind == "deploy":
        return ""
    instead = _IRREVOCABLE.get(kind, _ENDS_BY_ITSELF).format(target=target)
    return f"only a deploy can be rolled back as a whole, and this is a {kind}; {instead}"


def cancelled(by: str) -> str:
    """The step, and the message, of an operation that ``by`` cancelled."""
    return f"{_CANCELLED_BY}{by}"


def canceller(reports: Iterable[Report]) -> str:
    """Who cancelled the operation that journalled these; "": nobody."""
    steps = (each for each in reports if isinstance(each, Progress) and each.step is Step.CANCEL)
    return next((each.message.removeprefix(_CANCELLED_BY) for each in steps), "")
