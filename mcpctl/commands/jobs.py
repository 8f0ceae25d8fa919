"""jobs list|run: their signatures; what they do is in `mcpctl.actions.jobs`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import jobs as action
from mcpctl.commands.options import COMMON, Common, Nodes, Target
from mcpctl.errors import UsageError


def list_jobs(
    what: Target = "",
    /,
    *,
    runs: Annotated[
        int | None, Parameter(help="List the last N runs of each job as well. [default: only the last one]")
    ] = None,
    node: Nodes = (),
    common: Common = COMMON,
) -> int:
    """List jobs: when they run next, and how they last ended.

    A job is a component with a `schedule`. The list comes from the nodes. `mcpctl jobs` does the same, with a target
    and options, too; for a service that is called list or run, write `mcpctl jobs list run`.

    For example: `mcpctl jobs list web --runs 5`
    """
    if runs is not None and runs < 1:
        raise UsageError(f"--runs must be at least 1, not {runs}")
    return action.list_jobs(common.query(what, node), runs=runs)


def run(
    what: Annotated[
        str, Parameter(name="TARGET", help="SERVICE/COMPONENT; or SERVICE, if only one of its components is a job.")
    ],
    /,
    *,
    wait: Annotated[bool, Parameter(negative="", help="Wait until it ends; exit with status 1 if it fails.")] = False,
    node: Annotated[str, Parameter(help="The node. [default: the definition's node]")] = "",
    common: Common = COMMON,
) -> int:
    """Run a job now, beside its schedule.

    A job that is running is not run a second time. With --wait, Ctrl-C ends the waiting and not the run.

    For example: `mcpctl jobs run web/backup --wait`
    """
    return action.run(common.settings(), what, node, common.how, wait=wait)
