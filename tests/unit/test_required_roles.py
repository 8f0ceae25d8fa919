"""Every RPC has a role, and each role may do what it says."""

import pytest

from mcpd.identity.required_roles import REQUIRED_ROLE, allows
from mcpd.model import Role
from protos.mcp.v1 import AgentServiceBase

RPCS = AgentServiceBase().__mapping__()
AGENT = "/mcp.v1.AgentService/"


@pytest.mark.parametrize("method", RPCS)
def test_every_rpc_needs_a_role(method: str) -> None:
    assert isinstance(REQUIRED_ROLE[method], Role)


def test_the_table_has_no_rpc_that_the_contract_has_not() -> None:
    assert {method for method in REQUIRED_ROLE if method.startswith(AGENT)} == set(RPCS)


@pytest.mark.parametrize(
    "method",
    [
        "Deploy",
        "StartService",
        "StopService",
        "RestartService",
        "UndeployService",
        "Sync",
        "Adopt",
        "Purge",
        "Recover",
        "CancelOperation",
        "AckAlert",
        "SilenceAlert",
        "UnsilenceAlert",
        "PushFile",
        "PullFile",
        "DigestFile",
        "GetServiceSpec",
        "Snapshot",
        "PruneImages",
        "Logs",
    ],
)
def test_a_viewer_changes_nothing_and_sees_no_content(method: str) -> None:
    assert REQUIRED_ROLE[AGENT + method] is Role.ADMIN


@pytest.mark.parametrize("method", ["ListServices", "LiveCheck", "GetStatus", "ListEvents", "Plan", "NodeStatus"])
def test_a_viewer_may_look(method: str) -> None:
    assert REQUIRED_ROLE[AGENT + method] is Role.VIEWER


def test_only_a_health_check_needs_no_token() -> None:
    open_to_all = {method for method, role in REQUIRED_ROLE.items() if role is None}
    assert open_to_all == {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}


@pytest.mark.parametrize(
    ("have", "need", "allowed"),
    [
        (Role.ADMIN, Role.ADMIN, True),
        (Role.ADMIN, Role.VIEWER, True),
        (Role.VIEWER, Role.VIEWER, True),
        (Role.VIEWER, Role.ADMIN, False),
    ],
)
def test_an_admin_may_do_everything_and_a_viewer_may_view(have: Role, need: Role, allowed: bool) -> None:
    assert allows(have, need) is allowed
