"""Operations: what changes the node. A service has one at a time, and each has a life of its own.

An operation belongs to the daemon, not to the call that asked for it: a client that disconnects, is interrupted or
passes its deadline only stops watching. Nothing has to be unlocked by hand.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog
import trio

from mcpd.changes.cancelling import cancelled, irrevocable
from mcpd.errors import (
    BugError,
    BusyError,
    McpdError,
    RefusedError,
    RegistryError,
    UnavailableError,
    UnwritableError,
    expected,
)
from mcpd.model import Caller, Outcome, Progress, Report, Step, Target
from mcpd.registry.journal import Journal, OperationRecord, State

log = structlog.get_logger()

# A long deploy reports some hundred steps; past this, a runaway report is cut.
_MAX_REPORTS = 10_000
# A registry that is said to work, and does not take the end of an operation, will be said not to soon.
_RECORD_AGAIN_S = 5.0

_SHUT_DOWN = "mcpd shut down during the operation, and resumes it when it is back"
_TAKEN_UP = "mcpd was interrupted in the middle of it, and is recovering it on its own"
_COMMITTED = "it is past its commit point: everything runs as requested, and only cleanup is left"
_GOING_BACK = "it has failed, and is already being rolled back"

Body = Callable[["Operation"], Awaitable[None]]


class RevertedError(RefusedError):
    """An operation failed, and the service was rolled back."""


class CancelledError(RevertedError):
    """Somebody cancelled an operation; whoever carries it out takes it back. Says by whom."""


class Operation:
    """One operation as it runs: what it has reported so far, and how it ended."""

    def __init__(
        self, number: int, kind: str, target: Target, caller: Caller, started_at: datetime, journal: Journal
    ) -> None:
        self.id = number
        self.kind = kind
        self.target = target
        self.caller = caller
        self.started_at = started_at
        self.outcomes: list[Outcome] = []
        # False: it goes on though it cannot be written down, since nothing of it would have to be taken back.
        self.is_kept = True
        # False: it only looks as yet, and may find nothing to do.
        self.is_at_work = True
        # Who cancelled it; "": nobody.
        self.cancelled_by = ""
        # Why it cannot be cancelled; "": it can.
        self._irrevocable = irrevocable(kind, target)
        self._window: trio.CancelScope | None = None
        self._goes_to_work: Callable[[], None] | None = None
        self._journal = journal
        self._reports: list[Report] = []
        self._news = trio.Event()
        self._ended = False
        self._error: McpdError | None = None

    def looks_first(self, goes_to_work: Callable[[], None]) -> None:
        """It may find nothing to do. Until then its service is watched as ever; ``goes_to_work`` is called after."""
        self.is_at_work, self._goes_to_work = False, goes_to_work

    def goes_to_work(self) -> None:
        """Call it before anything is touched."""
        self.is_at_work = True
        if self._goes_to_work:
            self._goes_to_work()

    async def take(self, component: str, step: Step, message: str) -> None:
        """Journals and reports a step before it is taken. Raises RegistryError."""
        progress = Progress(datetime.now(UTC), component, step, message)
        if self.is_kept:
            await self._journal.take(self.id, progress)
        self._publish(progress)

    async def take_anyhow(self, component: str, step: Step, message: str) -> None:
        """As `take`, for a step that finishes or reverts something, and is taken even if it cannot be journalled."""
        try:
            await self.take(component, step, message)
        except RegistryError as error:
            log.error("a step could not be journalled; continuing", operation=self.id, step=message, error=str(error))

    async def take_back(self, component: str, message: str) -> None:
        await self.take_anyhow(component, Step.REVERT, message)

    def report(self, component: str, step: Step, message: str) -> None:
        """Reports the progress of a step."""
        self._publish(Progress(datetime.now(UTC), component, step, message))

    async def conclude(self, *outcomes: Outcome) -> None:
        """Reports how the operation ended for some components, and journals it."""
        try:
            if self.is_kept:
                await self._journal.conclude(self.id, outcomes, datetime.now(UTC))
        except RegistryError as error:
            # It is so, whether or not it can be written down.
            log.error("outcomes could not be journalled", operation=self.id, error=str(error))
        self.outcomes += outcomes
        for each in outcomes:
            self._publish(each)

    def cancel(self, by: str) -> None:
        """Has it taken back, on behalf of ``by``; returns at once. A second time is like the first.

        Raises RefusedError when it cannot be: then it goes on as if nothing had been asked.
        """
        if self.cancelled_by:
            return
        if self._irrevocable:
            raise RefusedError(f"{_numbered(self)} cannot be cancelled: {self._irrevocable}")
        self.cancelled_by = by
        if self._window:
            self._window.cancel()

    @contextmanager
    def revocable(self) -> Iterator[None]:
        """Inside it, `cancel` cuts off what is being done. Raises CancelledError, at the end at the latest."""
        with trio.CancelScope() as self._window:
            if self.cancelled_by:
                self._window.cancel()
            yield
        # Also when it was done already, and nothing could be cut off any more: who cancels was promised an end.
        if self.cancelled_by:
            raise CancelledError(cancelled(self.cancelled_by))

    def is_committed(self) -> None:
        """The commit point. Call it with no checkpoint after `revocable`, so that no `cancel` comes between."""
        self._irrevocable = _COMMITTED

    def goes_back(self) -> None:
        """It has failed: there is nothing to cancel any more."""
        self._irrevocable = _GOING_BACK

    def is_taken_up(self) -> None:
        """An earlier daemon began it, and this one puts it right."""
        self._irrevocable = _TAKEN_UP

    @property
    def doing(self) -> str:
        """The last step reported, in words."""
        last = next((each for each in reversed(self._reports) if isinstance(each, Progress)), None)
        return f"{last.step} {last.component}".strip() if last else "starting"

    async def follow(self) -> AsyncGenerator[list[Report], None]:
        """Every report from the first one on, as they come; then raises the operation's error, if it has one.

        Several at once, when several have come.
        """
        position = 0
        while True:
            news = self._news
            while reports := self._reports[position:]:
                position += len(reports)
                yield reports
            if self._ended:
                break
            await news.wait()
        if self._error:
            raise self._error

    async def finished(self) -> tuple[Outcome, ...]:
        """Waits for the end. Raises the operation's error."""
        async for _ in self.follow():
            pass
        return tuple(self.outcomes)

    def end(self, error: McpdError | None) -> None:
        self._ended, self._error = True, error
        self._wake()

    def _publish(self, report: Report) -> None:
        if len(self._reports) < _MAX_REPORTS or isinstance(report, Outcome):
            self._reports.append(report)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()


class Operations:
    """Starts operations in the daemon's nursery, and knows which ones run."""

    def __init__(self, nursery: trio.Nursery, journal: Journal) -> None:
        self._nursery = nursery
        self._journal = journal
        self._running: dict[str, Operation] = {}
        self._freed = trio.Event()
        self._changed = trio.Event()
        self._changes = 0
        self._at_standstill = False
        # Who wants to begin, and is kept out.
        self._waiting = 0
        self._draining = False
        # How operations ended that the journal has still open: before any other begins, it gets that. What is open
        # there is taken back by the next daemon, which must not find what came after it.
        self._unrecorded: dict[int, tuple[State, str, datetime]] = {}

    @property
    def running(self) -> tuple[Operation, ...]:
        return tuple(self._running.values())

    async def start(
        self,
        kind: str,
        target: Target,
        caller: Caller,
        body: Body,
        *,
        wait: bool = False,
        anyhow: bool = False,
        looks_first: bool = False,
        is_kept: bool = True,
    ) -> Operation:
        """Starts ``body``, and returns at once. Raises BusyError unless told to wait for who holds the service.

        Raises RegistryError when the journal cannot be written; told to start it ``anyhow``, it does, with no trace.
        One that ``looks_first`` touches nothing before it says so with `goes_to_work`; not ``is_kept``: no journal.
        """
        operation = Operation(0, kind, target, caller, datetime.now(UTC), self._journal)
        operation.is_kept = is_kept
        if looks_first:
            operation.looks_first(self._tell)
        while self._at_standstill or target.service in self._running:
            holder = self._running.get(target.service)
            if holder and not wait:
                raise BusyError(_busy(target, holder))
            self._waiting += 1
            try:
                await self._freed.wait()
            finally:
                self._waiting -= 1
        if self._draining:
            raise UnavailableError("mcpd is shutting down; try again when it is back")
        # No checkpoint between the look and the claim: nobody comes between.
        self._running[target.service] = operation
        self._tell()
        try:
            await self._record_ends()
            if is_kept:
                operation.id = await self._journal.begin(target, kind, caller.name, operation.started_at)
        except UnwritableError as error:
            if not anyhow:
                self._release(operation)
                raise
            operation.is_kept = False
            log.warning("an operation is running without its journal", kind=kind, target=str(target), error=str(error))
        except BaseException:
            self._release(operation)
            raise
        self._nursery.start_soon(self._live, operation, body)
        return operation

    def take_up(self, left: OperationRecord, caller: Caller, body: Body) -> None:
        """Resumes an operation that an earlier daemon left open: it holds its service until ``body`` ends."""
        operation = Operation(left.id, left.kind, left.target, caller, left.started_at, self._journal)
        operation.is_taken_up()
        self._running[left.target.service] = operation
        self._tell()
        self._nursery.start_soon(self._live, operation, body)

    def intent_changed(self) -> None:
        """Counts as a change for `change_after`: what is wanted was changed, and by no operation."""
        self._tell()

    async def change_after(self, number: int) -> int:
        """Waits until there were more than ``number`` changes, and returns how many there were.

        An operation is one when it begins, one when it goes to work, and one when it ends.
        """
        while self._changes <= number:
            await self._changed.wait()
        return self._changes

    @contextmanager
    def standstill(self) -> Iterator[int]:
        """Nothing runs, and who starts something waits until this is left: for moments only.

        Gives how many changes there were, as `change_after` does. Raises BusyError when something runs.
        """
        if self._running:
            holder = next(iter(self._running.values()))
            raise BusyError(f"the node is being changed by {_who(holder)}; try again when it is done")
        if self._waiting:
            # They come first: a standstill follows another without end.
            raise BusyError("the node is about to be changed; try again when that is done")
        if self._at_standstill:
            raise BusyError("images are already being pruned; try again when that is done")
        self._at_standstill = True
        try:
            yield self._changes
        finally:
            self._at_standstill = False
            self._let_in()

    async def drain(self, grace: float) -> None:
        """Takes no more operations, and waits ``grace`` seconds at most for those that run."""
        self._draining = True
        with trio.move_on_after(grace):
            while self._running:
                await self._freed.wait()

    async def _live(self, operation: Operation, body: Body) -> None:
        # Cut off by a shutdown it stays open in the journal, and the next daemon goes on with it.
        error: McpdError | None = UnavailableError(_SHUT_DOWN)
        state = State.RUNNING
        try:
            await body(operation)
            error, state = None, State.COMPLETED
        except Exception as failure:
            error = expected(failure)
            state = State.REVERTED if isinstance(error, RevertedError) else State.FAILED
            if error is None:
                # A bug of ours in one operation: told in full to the log, and the node stays in the operator's hands.
                log.exception("operation crashed", operation=operation.id, kind=operation.kind)
                error = BugError(f"mcpd failed at {operation.doing} because of a bug; its log has more")
        finally:
            if state is not State.RUNNING:
                with trio.CancelScope(shield=True):
                    await self._record(operation, state, error)
            operation.end(error)
            self._release(operation)

    async def _record(self, operation: Operation, state: State, error: McpdError | None) -> None:
        if not operation.is_kept:
            return
        now = datetime.now(UTC)
        try:
            await self._journal.end(operation.id, state, str(error or ""), now)
        except McpdError as failure:
            log.error("the end of an operation could not be recorded yet", operation=operation.id, error=str(failure))
            if not self._unrecorded:
                self._nursery.start_soon(self._record_ends_later)
            self._unrecorded[operation.id] = (state, str(error or ""), now)

    async def _record_ends(self) -> None:
        """Raises RegistryError; then the rest stays."""
        for number, (state, message, at) in list(self._unrecorded.items()):
            await self._journal.end(number, state, message, at)
            self._unrecorded.pop(number, None)

    async def _record_ends_later(self) -> None:
        """Another operation may begin before that. Nothing is lost when mcpd ends first: see `crash_recovery`."""
        while self._unrecorded:
            await self._journal.until_writable()
            try:
                await self._record_ends()
            except RegistryError:
                await trio.sleep(_RECORD_AGAIN_S)

    def _release(self, operation: Operation) -> None:
        del self._running[operation.target.service]
        self._let_in()
        self._tell()

    def _let_in(self) -> None:
        self._freed.set()
        self._freed = trio.Event()

    def _tell(self) -> None:
        self._changes += 1
        self._changed.set()
        self._changed = trio.Event()


def _busy(target: Target, holder: Operation) -> str:
    return f"{target.service} is held by {_who(holder)}; try again when it is done, or use --wait"


def _who(holder: Operation) -> str:
    return (
        f"{_numbered(holder)}: {holder.kind} {holder.target} by {holder.caller.name} "
        f"since {holder.started_at:%H:%M:%S} UTC, now at {holder.doing}"
    )


def _numbered(operation: Operation) -> str:
    return f"operation {operation.id}" if operation.id else "an operation"
