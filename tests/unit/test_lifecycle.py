"""What starting, stopping and restarting say of what they leave alone."""

import pytest

from mcpd.model import Outcome, Result
from monitor.model import Observed
from protos.fingerprint import spec_hash
from tests.support.builders import NOW, component, container, service
from tests.support.failing_changes import API, DB, Changed, carry_out


async def outcomes(node: Changed, kind: str) -> dict[str, Outcome]:
    operation, error = await carry_out(node, kind)
    assert error is None
    assert operation is not None
    return {each.component: each for each in operation.outcomes}


async def test_a_restart_of_what_is_stopped_says_that_it_is(changed: Changed) -> None:
    await changed.registry.set_active("web", "", False, NOW)
    found = await outcomes(changed, "restart")
    assert {each.result for each in found.values()} == {Result.SKIPPED}
    assert found["db"].message == "stopped, like its service; `mcpctl start web` starts both"


@pytest.mark.parametrize("kind", ["restart", "start"])
async def test_what_depends_on_something_stopped_is_not_told_that_it_failed(changed: Changed, kind: str) -> None:
    if kind == "start":
        # As a container that is gone: nothing to be started.
        del changed.podman.found["web-db"]
        found = await outcomes(changed, kind)
        assert found["api"] == Outcome("api", Result.SKIPPED, "depends on db, which failed")
        return
    await changed.registry.set_active("web", "db", False, NOW)
    found = await outcomes(changed, kind)
    assert found["db"] == Outcome("db", Result.SKIPPED, "stopped; `mcpctl start web/db` starts it")
    assert found["api"] == Outcome("api", Result.SKIPPED, "depends on db, which was skipped")


async def test_a_oneshot_whose_container_is_another_one_is_not_started_since_it_may_never_end(changed: Changed) -> None:
    job = component("db", image="job:v2", oneshot=True)
    await changed.registry.put_service(service(job, API), {"db": spec_hash(job)}, NOW)
    for each in (DB, API):
        changed.podman.found[f"web-{each.name}"] = container(each, state=Observed.EXITED, exit_code=1)
    found = await outcomes(changed, "start")
    assert found["db"].result is Result.FAILED
    assert found["db"].message.endswith("so it may never complete; `mcpctl deploy web/db` makes it anew")
    assert found["api"] == Outcome("api", Result.SKIPPED, "depends on db, which failed")
    assert changed.running == set()
