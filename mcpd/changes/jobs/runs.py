"""Runs of jobs: each is kept before its container is started, and followed to its end.

Whatever cuts mcpd off, the container itself says afterwards whether a run that was kept has begun, and how it ended.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, datetime

import msgspec
import structlog
import trio

from mcpd.changes import podman_hints, ports
from mcpd.changes.jobs import outcome
from mcpd.changes.jobs.due import due_between
from mcpd.changes.jobs.outcome import End
from mcpd.changes.jobs.records import Records
from mcpd.changes.node import Node
from mcpd.changes.operations import Operation, Operations
from mcpd.errors import McpdError, RefusedError, RegistryError, UnavailableError
from mcpd.model import MCPD, OURSELVES, Container, RecordedComponent, Step, Target
from mcpd.registry.job_ledger import JobLedger, Key
from mcpd.registry.jobs import Run, RunState
from mcpd.runtime.api import NoSuchError, PodmanError
from mcpd.runtime.api_types import Inspected, ever
from monitor import pidfd
from monitor.model import Alert, Observed
from protos import program_output
from protos.scheduling import DEFAULT_TIMEZONE

log = structlog.get_logger()

# While podman does not answer: nothing can be looked at, and nothing is guessed.
_RETRY_S = 2.0
_RETRY_MAX_S = 30.0
# How long podman may need to say that a process has ended, and how often it is asked.
_POST_MORTEM_S = 5.0
_POLL_S = 0.02
_LAST_LINES = 10
_BY_HAND = "somebody started its container by hand"

# What a run stands for: the time that it is due at, how many others, up to when its job is accounted for then, and what
# was missed, in words. None: nothing is due.
Stands = tuple[datetime, int, datetime, str]


class Runs:
    """The runs that go on, one of a job at most, and how the others ended."""

    def __init__(self, node: Node, operations: Operations, ledger: JobLedger, submit: Callable[[Alert], None]) -> None:
        self._node = node
        self._operations = operations
        self._ledger = ledger
        self._going: dict[Key, Run] = {}
        self._last: dict[Key, Run] = {}
        self.records = Records(ledger, submit, self._going)
        self._changed = trio.Event()
        # How runs ended since this daemon began.
        self.ended: Counter[tuple[Key, RunState]] = Counter()

    def going(self, key: Key) -> Run | None:
        return self._going.get(key)

    def is_overdue(self, run: Run) -> None:
        """Remembers that it is told."""
        now = self._going.get(run.key)
        if now and now.at == run.at:
            self._is_now(msgspec.structs.replace(now, overdue=True))

    def forget(self, keys: set[Key]) -> None:
        """Forgets what is not among ``keys`` any more."""
        self.records.forget(keys)
        for key in self._last.keys() - keys:
            del self._last[key]
        for key, state in [each for each in self.ended if each[0] not in keys]:
            del self.ended[key, state]

    async def until(self, run: Run, *, ended: bool) -> Run:
        """Waits until a run has started, or it has ended; returns it as it is then."""
        while True:
            found = self._going.get(run.key)
            if found is None or found.at != run.at:
                last = self._last.get(run.key)
                return last if last and last.at == run.at else run
            if found.started_at and not ended:
                return found
            await self._changed.wait()

    # -- beginning

    async def begin(
        self,
        operation: Operation,
        recorded: RecordedComponent,
        caller: str,
        stands: Stands | None,
        nursery: trio.Nursery,
    ) -> Run:
        """Starts a job, whose service ``operation`` holds, and follows it in ``nursery``. Returns when podman has it.

        ``stands`` None: somebody asked for it. Raises RefusedError while its container runs, and McpdError when nothing
        could be found out; what podman refuses is a run that was not started.
        """
        containers = await self._node.podman.containers(service=recorded.service)
        service = await self._node.registry.service(recorded.service)
        found = service.found_in(containers) if service else {}
        container = found.get(recorded.spec.name)
        seen = await self._node.podman.inspect(container.id) if container else None
        due_at, missed, until, words = stands or (None, 0, None, "")
        run = Run(
            id=0,
            service=recorded.service,
            component=recorded.spec.name,
            due_at=due_at,
            missed=missed,
            caller=caller,
            container=seen.id if seen else "",
            before=ever(seen.state.started_at) if seen else None,
            before_end=ever(seen.state.finished_at) if seen else None,
            at=datetime.now(UTC),
            message=_without(recorded, found),
        )
        if seen and seen.observed in (Observed.RUNNING, Observed.PAUSED):
            run = msgspec.structs.replace(run, due_at=None, missed=0, caller="", before=None, message=_BY_HAND)
            await self._account(run, None, "")
            nursery.start_soon(self.follow, self._going[run.key])
            raise RefusedError(f"{recorded.service}/{recorded.spec.name} runs already: {_BY_HAND}")
        run = await self._account(run, until, words)
        if seen is None:
            deploy = f"`mcpctl deploy {recorded.service}/{recorded.spec.name}` recreates it"
            return await self._end(run, _failed(f"its container {recorded.container} is gone; {deploy}"))
        if not await self._start(operation, run, recorded):
            return self._last[run.key]
        nursery.start_soon(self.follow, run)
        return run

    async def _account(self, run: Run, until: datetime | None, missed: str) -> Run:
        """Keeps a run, before it is started. What cannot be written is run all the same."""
        run = await self.records.begun(run, until, missed)
        self._wake()
        return run

    async def _start(self, operation: Operation, run: Run, recorded: RecordedComponent) -> bool:
        """Has podman start it; whether it may have. What podman refuses ends the run."""
        await operation.take_anyhow(run.component, Step.START, f"starting {recorded.container}")
        try:
            await ports.start(self._node, run.container, operation.caller.name)
        except UnavailableError as error:
            log.warning("podman did not say whether it started a job", job="/".join(run.key), error=str(error))
        except McpdError as error:
            why = podman_hints.about_step(recorded.spec.image, str(error)) if isinstance(error, PodmanError) else error
            await self._end(run, _failed(str(why)))
            return False
        return True

    # -- following

    async def take_up(self, left: Collection[Run], nursery: trio.Nursery) -> None:
        """Follows the runs, oldest first, that an earlier daemon has begun, or was about to begin.

        Of a job's runs only the last can go on: the end of one before it could not be written down in time.
        """
        newest = {run.key: run for run in left}
        for run in left:
            if newest[run.key] is run:
                self._is_now(run)
                nursery.start_soon(self.follow, run)
            else:
                words = "nobody knows how it ended: that could not be recorded, and another run has begun since"
                over = msgspec.structs.replace(
                    run, state=RunState.FAILED, message=_at(words), ended_at=datetime.now(UTC)
                )
                await self.records.ended(over)

    async def follow(self, run: Run) -> None:
        """Returns when the run has ended, and that is kept."""
        pause = _RETRY_S
        while True:
            try:
                end = await self._find_out(run.key)
                await self._end(self._going[run.key], end)
                return
            except McpdError as error:
                log.warning("a run cannot be followed yet", job="/".join(run.key), error=str(error))
            await trio.sleep(pause)
            pause = min(2 * pause, _RETRY_MAX_S)

    async def _find_out(self, key: Key) -> End:
        """Waits for the end of the run that goes on. Raises McpdError when podman does not say."""
        while True:
            try:
                seen = await self._node.podman.inspect(self._going[key].container)
            except NoSuchError:
                by = await self._stopped_by(self._going[key])
                words = "nobody knows how it ended: its container is gone"
                return End(RunState.STOPPED, f"ended by {by}") if by else End(RunState.FAILED, _at(words))
            run = self._going[key]
            if not outcome.was_started(run, seen):
                if end := await self._start_after_all(run):
                    return end
                continue
            if run.started_at is None:
                run = await self._has_started(run, seen)
            if not outcome.goes_on(run, seen):
                return outcome.how_it_ended(run, seen, await self._stopped_by(self._going[key]), _now())
            if seen.state.pid:
                await pidfd.wait_exit(seen.state.pid)
            await self._until_podman_knows(run)

    async def _has_started(self, run: Run, seen: Inspected) -> Run:
        run = msgspec.structs.replace(run, started_at=ever(seen.state.started_at))
        self._is_now(run)
        with contextlib.suppress(trio.WouldBlock):  # very many at once; the monitor's next list has it
            self._node.started.send_nowait(seen.sighting())
        try:
            await self._ledger.started(run)
        except RegistryError as error:
            log.error("the start of a run could not be recorded", job="/".join(run.key), error=str(error))
        return run

    async def _until_podman_knows(self, run: Run) -> None:
        """podman's clean-up process finds out how a container ended, some time after that."""
        with trio.move_on_after(_POST_MORTEM_S):
            while outcome.goes_on(run, await self._node.podman.inspect(run.container)):  # noqa: ASYNC110 (it is asked)
                await trio.sleep(_POLL_S)

    async def _start_after_all(self, run: Run) -> End | None:
        """Starts what was kept and not started, when nothing else is at work on its service.

        It then stands for all that was due meanwhile. One that somebody asked for is not: he knows that it was cut off.
        """
        if run.due_at is None:
            return End(RunState.STOPPED, "mcpd ended before it was started")
        found: list[End] = []

        async def body(operation: Operation) -> None:
            nonlocal run
            service = await self._node.registry.service(run.service)
            recorded = service.component(run.component) if service else None
            if recorded is None or not recorded.is_scheduled:
                found.append(End(RunState.STOPPED, "its schedule does not count any more"))
                return
            seen = await self._node.podman.inspect(run.container)
            if outcome.was_started(run, seen):
                return
            run, until = await self._with_what_is_due(run, recorded)
            run = await self._account(run, until, "")
            why = f"starting {recorded.container}, which was about to be started when mcpd ended"
            await operation.take_anyhow(run.component, Step.START, why)
            try:
                await ports.start(self._node, run.container, MCPD)
            except UnavailableError:
                raise
            except McpdError as error:
                found.append(_failed(str(error)))

        target = Target(*run.key)
        operation = await self._operations.start("job", target, OURSELVES, body, wait=True, is_kept=False)
        await operation.finished()
        return found[0] if found else None

    async def _with_what_is_due(self, run: Run, recorded: RecordedComponent) -> tuple[Run, datetime]:
        accounts, _ = await self.records.read()
        until = next((each.accounted_until for each in accounts if each.key == run.key), run.due_at or run.at)
        schedule, zone = recorded.spec.schedule or "", recorded.spec.timezone or DEFAULT_TIMEZONE
        due = due_between(schedule, zone, until, datetime.now(UTC))
        if due is None:
            return run, until
        return msgspec.structs.replace(run, due_at=due.at, missed=run.missed + 1 + due.missed), due.at

    async def _stopped_by(self, run: Run) -> str:
        try:
            return await self._ledger.stopped_by(run)
        except RegistryError:
            return ""

    # -- ending

    async def _end(self, run: Run, end: End) -> Run:
        message = f"{end.message}, {run.message}" if end.message and run.message else end.message or run.message
        if end.state in (RunState.FAILED, RunState.TIMED_OUT) and run.started_at:
            message += await self._last_words(run)
        run = msgspec.structs.replace(
            run,
            state=end.state,
            exit_status=end.exit_status,
            message=message,
            ended_at=end.at or datetime.now(UTC),
        )
        log.info("a job has ended", job="/".join(run.key), state=run.state.value, exit_status=run.exit_status)
        self.ended[run.key, run.state] += 1
        await self.records.ended(run)
        self._going.pop(run.key, None)
        self._last[run.key] = run
        self._wake()
        # Also that it is in trouble, or not any more.
        self._operations.intent_changed()
        return run

    async def _last_words(self, run: Run) -> str:
        """What it printed last; its container's log has earlier runs as well.

        podman notes a start when it has heard of it, and an end with the coarse time of a file: what is printed at once
        may have been printed before the one, and after the other. A run that somebody began is kept after its start.
        """
        since = min(run.at, run.started_at or run.at)
        try:
            lines = await self._node.podman.logs(run.container, since, _LAST_LINES)
        except McpdError as error:
            return f" (its log cannot be read: {error})"
        # podman writes its time before each.
        text = "\n".join(line.partition(b" ")[2].decode(errors="replace") for _, line in lines[-_LAST_LINES:])
        return program_output.printed_last(text) if text.strip() else "; it printed nothing"

    def _is_now(self, run: Run) -> None:
        self._going[run.key] = run
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _without(recorded: RecordedComponent, found: dict[str, Container]) -> str:
    """What it depends on and does not run: podman starts it all the same, and it may fail because of that."""
    down = [name for name in sorted(recorded.spec.waits_for) if not ((it := found.get(name)) and it.is_active)]
    return f"without {', '.join(down)}, which did not run" if down else ""


def _failed(why: str) -> End:
    return outcome.not_started(why, _now())


def _at(words: str) -> str:
    return f"job failed at {_now()}: {words}"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
