"""Which role every RPC needs: one table. An RPC that is not in it cannot be called."""

from __future__ import annotations

from mcpd.model import Role

_AGENT = "/mcp.v1.AgentService/"

# None: no token needed. A health check must work for a prober that has no secret, and says nothing but "serving".
REQUIRED_ROLE: dict[str, Role | None] = {
    _AGENT + "Plan": Role.VIEWER,
    _AGENT + "Deploy": Role.ADMIN,
    _AGENT + "StartService": Role.ADMIN,
    _AGENT + "StopService": Role.ADMIN,
    _AGENT + "RestartService": Role.ADMIN,
    _AGENT + "UndeployService": Role.ADMIN,
    _AGENT + "Sync": Role.ADMIN,
    _AGENT + "Adopt": Role.ADMIN,
    # It has the values of environment variables.
    _AGENT + "GetServiceSpec": Role.ADMIN,
    _AGENT + "ListRevisions": Role.VIEWER,
    _AGENT + "ListRoutes": Role.VIEWER,
    _AGENT + "SetMaintenance": Role.ADMIN,
    _AGENT + "Purge": Role.ADMIN,
    _AGENT + "Recover": Role.ADMIN,
    _AGENT + "ListOperations": Role.VIEWER,
    # The end of one that failed quotes what a container printed.
    _AGENT + "WatchOperation": Role.ADMIN,
    _AGENT + "CancelOperation": Role.ADMIN,
    _AGENT + "ListServices": Role.VIEWER,
    _AGENT + "LiveCheck": Role.VIEWER,
    _AGENT + "GetStatus": Role.VIEWER,
    _AGENT + "ListEvents": Role.VIEWER,
    _AGENT + "WatchEvents": Role.VIEWER,
    # What a program prints may hold anything, secrets included: as a file's content.
    _AGENT + "Logs": Role.ADMIN,
    _AGENT + "ListAlerts": Role.VIEWER,
    _AGENT + "AckAlert": Role.ADMIN,
    _AGENT + "SilenceAlert": Role.ADMIN,
    _AGENT + "UnsilenceAlert": Role.ADMIN,
    _AGENT + "ListAudit": Role.ADMIN,
    _AGENT + "WatchAudit": Role.ADMIN,
    _AGENT + "PushFile": Role.ADMIN,
    _AGENT + "PullFile": Role.ADMIN,
    _AGENT + "ListFiles": Role.VIEWER,
    _AGENT + "DigestFile": Role.ADMIN,
    _AGENT + "WhoAmI": Role.VIEWER,
    _AGENT + "NodeStatus": Role.VIEWER,
    # It has all that was ever declared, values of environment variables included.
    _AGENT + "Snapshot": Role.ADMIN,
    _AGENT + "ListImages": Role.VIEWER,
    _AGENT + "PruneImages": Role.ADMIN,
    _AGENT + "PushImage": Role.ADMIN,
    _AGENT + "Exec": Role.ADMIN,
    _AGENT + "Run": Role.ADMIN,
    _AGENT + "StopRun": Role.ADMIN,
    # It has the arguments of programs.
    _AGENT + "ListProcesses": Role.ADMIN,
    _AGENT + "ListSecrets": Role.VIEWER,
    _AGENT + "SetSecret": Role.ADMIN,
    _AGENT + "RemoveSecret": Role.ADMIN,
    _AGENT + "ListJobs": Role.VIEWER,
    _AGENT + "RunJob": Role.ADMIN,
    "/grpc.health.v1.Health/Check": None,
    "/grpc.health.v1.Health/Watch": None,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Role.VIEWER,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Role.VIEWER,
}


def allows(have: Role, need: Role) -> bool:
    return have is Role.ADMIN or have is need
