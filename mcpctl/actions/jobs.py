"""What `mcpctl jobs` does: lists jobs and their runs, and runs one now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from mcpctl.actions.operation_progress import Show, ended_early, is_seen, shown
from mcpctl.actions.query import Query
from mcpctl.config import Node, Settings
from mcpctl.definitions import definition, targets
from mcpctl.errors import DONE, FAILED, InterruptedByUserError, UnknownServiceError, UnreachableError, UsageError
from mcpctl.nodes import client
from mcpctl.nodes.fanout import ask
from mcpctl.nodes.follow import WITHOUT_END_S
from mcpctl.ui import output, render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How, View, listing
from mcpctl.ui.rows import jobs as rows
from mcpctl.ui.rows.changes import OutcomeRow, ProgressRow, ReportRow
from mcpctl.ui.rows.jobs import JobRow, JobRunRow, StartedRunRow, job_row, job_run_row
from mcpctl.ui.table_layout import Fit
from protos.mcp import v1
from protos.scheduling import DEFAULT_TIMEZONE

_NEVER = "never"
_LAST_TWO = 2
# As a user knows them: a run that somebody stopped has not failed, and has not done its work either.
_GOOD = (rows.RUNNING, rows.SUCCEEDED)


# -- list


def list_jobs(query: Query, *, runs: int | None) -> int:
    """``runs``: so many of each are listed below it; None: a job is a line. Raises CliError."""
    service, component = query.service_and_component()
    settings = query.settings()
    # For people also the one before a run that goes on: how that ended is not known yet.
    request = v1.ListJobsRequest(service, component, runs or (0 if query.json else _LAST_TWO))
    try:
        found = asyncio.run(ask(settings, query.nodes, lambda stub: stub.list_jobs(request)))
    except UnknownServiceError as error:
        raise UnknownServiceError(f"{error}{definition.nearest(settings, service, component)}") from None
    jobs = [job_row(answer.node, each) for answer in found.answers for each in answer.jobs]
    nothing = found.nothing(f"no jobs of {query.target} found" if query.target else "no jobs found")
    if runs is None or query.json or query.how.quiet or not jobs:
        listing(jobs, query.how, _JOBS, nothing)
    else:
        _print_runs(jobs, query.how)
    return found.status


def _print_runs(jobs: list[JobRow], how: How) -> None:
    several = len({each.node for each in jobs}) > 1
    for index, job in enumerate(jobs):
        if index:
            print()
        where = f"{job.node}: " if several else ""
        following = f", next {render.moment(job.next_at)}" if job.next_at else ""
        colour = render.state_colour(job.state)
        render.say((f"{where}{_name(job)}", "bold"), f"  {_schedule(job)}{following}  ", (job.state, colour))
        if job.runs:
            output.table(job.runs, how, _RUNS)
        else:
            render.say(f"{_NEVER} run")


def _name(row: JobRow | StartedRunRow) -> str:
    return full_name(row.service, row.component)


def _schedule(row: JobRow) -> str:
    is_usual = row.timezone in ("", DEFAULT_TIMEZONE)
    return row.schedule if is_usual else f"{row.schedule} {row.timezone}"


def _job_cells(row: JobRow) -> tuple[str, ...]:
    last = row.last
    began, result, took = (_began(last), last.result, _took(last)) if last else (_NEVER, "", "")
    return row.node, _name(row), _schedule(row), began, result, took, render.moment(row.next_at), row.state


def _wide_job_cells(row: JobRow) -> tuple[str, ...]:
    last = row.last
    ago = render.age(last.started_at) if last else ""
    until = render.age(datetime.now(UTC), row.next_at) if row.next_at else ""
    limit = f"{row.timeout_s:g}s" if row.timeout_s else ""
    return ago, until, limit, *((str(last.missed or ""), last.caller, last.message) if last else ("", "", ""))


def _run_cells(row: JobRunRow) -> tuple[str, ...]:
    missed = f" and {row.missed} before" if row.missed else ""
    due = f"{render.moment(row.due_at)}{missed}" if row.due_at else ""
    return str(row.id), due, render.moment(row.started_at), _took(row), row.result, row.caller, row.message


def _began(row: JobRunRow) -> str:
    """When it started; of one that never did, when it should have."""
    return render.moment(row.started_at or row.due_at or row.ended_at)


def _took(row: JobRunRow) -> str:
    """How long it ran, or has been running; "" for one that never started."""
    is_known = row.started_at and (row.ended_at or not row.is_over)
    return render.age(row.started_at, row.ended_at) if is_known else ""


_JOBS: View[JobRow] = View(
    ("NODE", "JOB", "SCHEDULE", "LAST", "RESULT", "TOOK", "NEXT", "STATE"),
    _job_cells,
    _name,
    ("AGO", "IN", "TIMEOUT", "MISSED", "BY", "DETAIL"),
    _wide_job_cells,
    Fit(flows=("SCHEDULE",), spare=("TOOK", "STATE")),
)
_RUNS: View[JobRunRow] = View(
    ("RUN", "DUE", "STARTED", "TOOK", "RESULT", "BY", "DETAIL"),
    _run_cells,
    lambda row: str(row.id),
    fit=Fit(flows=("DETAIL",), same=(), spare=("BY", "RUN")),
)


# -- run


def run(settings: Settings, what: str, node: str, how: How, *, wait: bool) -> int:
    """``node`` "": the one that its definition names. ``wait``: to its end. Raises CliError."""
    service, component, where = _meant(settings, what, node)
    target = full_name(service, component)
    request = v1.RunJobRequest(service, component, wait)
    found: list[JobRunRow] = []

    async def command() -> None:
        # A run takes as long as it takes; whether its node is there is asked all the time.
        deadline = WITHOUT_END_S if wait else client.CHANGE_DEADLINE_S
        async with _progress(how) as show, client.agent(settings, where, deadline=deadline) as stub:
            async for answer in stub.run_job(request):
                found.append(job_run_row(answer.run))
                if wait:
                    show(_report(service, component, found[-1]))
            if not found or (wait and not found[-1].is_over):
                raise ended_early(where, f"the run of {target}")

    try:
        asyncio.run(command())
    except KeyboardInterrupt:
        if not found:
            raise InterruptedByUserError(
                f"interrupted; node {where.name} may have started {target}: `mcpctl jobs list {target}` shows it"
            ) from None
        raise InterruptedByUserError(f"interrupted; {_continues(where, target)}") from None
    except UnreachableError as error:
        if not found:
            raise
        raise UnreachableError(f"{error}\n{_continues(where, target)}") from None
    return _tell(StartedRunRow(where.name, service, component, found[-1]), how, is_drawn=wait)


def _meant(settings: Settings, what: str, node: str) -> tuple[str, str, Node]:
    """The service, the component and the node. Raises UsageError."""
    service, component = targets.split(what)
    if node and component:
        return service, component, settings.usable_node(node)
    try:
        found = definition.load(settings, service)
    except UsageError as error:
        raise UsageError(f"{error}\nWithout a definition, give SERVICE/COMPONENT and --node NAME") from None
    found.check_component(component)
    jobs = [each.name for each in found.service.components if each.schedule]
    if not component and len(jobs) != 1:
        if not jobs:
            raise UsageError(f"{what!r}: none of its components has a schedule, so there is no job to run")
        raise UsageError(f"{what!r}: its jobs are {', '.join(jobs)}; give one: `mcpctl jobs run {service}/{jobs[0]}`")
    return service, component or jobs[0], settings.usable_node(node or found.service.node)


@asynccontextmanager
async def _progress(how: How) -> AsyncIterator[Show]:
    """As of an operation; a program that reads the answer gets one document."""
    if how.structured:
        yield lambda _: None
        return
    async with shown(how) as show:
        yield show


def _report(service: str, component: str, run: JobRunRow) -> ReportRow:
    if not run.is_over:
        progress = ProgressRow(component, run.state, f"run {run.id}", run.started_at)
        return ReportRow("", service=service, progress=progress)
    result = run.state if run.state in _GOOD else rows.FAILED
    words = "" if run.state == result else run.state
    if run.state == rows.FAILED and run.exit_status is not None:
        words = f"exited {run.exit_status}"
    return ReportRow("", service=service, outcome=OutcomeRow(component, result, f"{words}{_reason(run)}".lstrip("; ")))


def _tell(row: StartedRunRow, how: How, *, is_drawn: bool) -> int:
    """Says how it ended, or that it runs. Returns the exit status."""
    run, is_good = row.run, row.run.state in _GOOD
    if how.structured:
        output.put(how, row)
    elif not (is_drawn and is_seen(how)) and not (is_good and how.quiet):
        where = f"node {row.node}: {_name(row)}: "
        if run.is_over:
            how_it_ended = (run.result, render.state_colour(run.result))
            render.say(where, how_it_ended, f" after {took}" if (took := _took(run)) else "", _reason(run))
        else:
            render.say(f"{where}run {run.id} has started: `mcpctl logs {_name(row)} --follow` follows it")
    return DONE if is_good else FAILED


def _reason(run: JobRunRow) -> str:
    return f"; {run.message}" if run.message else ""


def _continues(where: Node, target: str) -> str:
    return (
        f"the run of {target} continues on {where.name}: `mcpctl logs {target} --follow` follows it, "
        f"`mcpctl jobs list {target}` shows how it ends"
    )
