"""The RPCs of jobs: when they run, how they ended, and running one now."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from mcpd.changes.jobs.keeper import Jobs, JobStatus
from mcpd.errors import InvalidRequestError, NotFoundError
from mcpd.model import Caller
from mcpd.registry.jobs import KEPT_RUNS, Run
from mcpd.rpc import convert
from mcpd.rpc.methods import Method
from protos.mcp import v1 as wire
from protos.scheduling import DEFAULT_TIMEZONE
from protos.wire import without_none


class JobMethods:
    def __init__(self, node: str, jobs: Jobs) -> None:
        self._node = node
        self._jobs = jobs

    @property
    def methods(self) -> dict[str, Method]:
        return {"ListJobs": self.list_jobs, "RunJob": self.run_job}

    async def list_jobs(self, request: wire.ListJobsRequest, caller: Caller) -> wire.ListJobsResponse:
        if request.service or request.component:
            convert.target(request.service, request.component)
        runs = min(request.runs or 1, KEPT_RUNS)
        found = await self._jobs.statuses(request.service, request.component, runs)
        if not found and request.service:
            asked = convert.target(request.service, request.component)
            raise NotFoundError(f"there is no job {asked} on {self._node}; `mcpctl jobs` lists them")
        return wire.ListJobsResponse(node=self._node, jobs=[_job(each) for each in found])

    async def run_job(self, request: wire.RunJobRequest, caller: Caller) -> AsyncGenerator[wire.RunJobResponse, None]:
        target = convert.target(request.service, request.component)
        if not target.component:
            raise InvalidRequestError("name the job, SERVICE/COMPONENT")
        run = await self._jobs.run_now(target, caller)
        yield wire.RunJobResponse(run=_run(run))
        if request.wait and run.ended_at is None:
            yield wire.RunJobResponse(run=_run(await self._jobs.runs.until(run, ended=True)))


def _job(status: JobStatus) -> wire.JobInfo:
    spec = status.recorded.spec
    runs = list(status.runs)
    # What memory has of it is newer.
    if going := status.going:
        runs = [going if each.id == going.id else each for each in runs]
        runs = runs if any(each.id == going.id for each in runs) else [going, *runs]
    return wire.JobInfo(
        service=status.recorded.service,
        component=spec.name,
        schedule=spec.schedule or "",
        timezone=spec.timezone or DEFAULT_TIMEZONE,
        active=status.recorded.is_scheduled,
        runs=[_run(each) for each in runs],
        **without_none(next_at=status.next_at, timeout=spec.timeout),
    )


def _run(run: Run) -> wire.JobRun:
    return wire.JobRun(
        id=run.id,
        state=run.state.value,
        caller=run.caller,
        missed=run.missed,
        message=run.message,
        **without_none(
            due_at=run.due_at, started_at=run.started_at, ended_at=run.ended_at, exit_status=run.exit_status
        ),
    )
