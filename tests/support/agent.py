"""Agents that say what a test prepared, as real servers with TLS; and the program that asks them."""

import asyncio
import hashlib
import json
import os
import queue
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import betterproto
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from mcpd.setup import pki
from protos.mcp import v1
from tests.support.waiting import DEADLINE_S, free_port

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOST = "127.0.0.1"
HOSTILE = "\x1b[2J\x9b31m one\r\ntwo\u2028three"
JSON = ("--output", "json")
WEB = 'name = "web"\nnode = "rift"\n[[components]]\nname = "api"\nimage = "x:v1"\n'


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


class Pushed(NamedTuple):
    """What a push brought."""

    header: v1.FileHeader
    content: bytearray


class Agent(v1.AgentServiceBase):
    """Keeps a ledger of events; answers everything else with what was prepared, by the name of the method."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.ledger: list[v1.EventInfo] = []
        self.prepared: dict[str, Any] = {}
        self.requests: list[Any] = []
        # The next calls are refused with these.
        self.refusals: list[GRPCError] = []
        # The same for requests of one type, by its name.
        self.refusals_of: dict[str, list[GRPCError]] = {}
        # Calls that were let in, and are not over.
        self.calls_running = 0
        # What was pushed, in order; without its bytes where those are not kept.
        self.pushed: list[Pushed] = []
        self.keeps_content = True
        # What a push that came to its end is answered with, instead of the truth.
        self.wrong_answer: v1.PushFileResponse | None = None
        # Where pushes stop being read for as long as the caller stays: at their first "chunk", or at their "end".
        self.stuck_at = ""
        self.is_stuck = False
        # The folders of every service, by path; a listing has at most so many entries on a page.
        self.folders: dict[str, list[v1.FileInfo]] = {}
        self.page = 1000
        # Written when somebody begins to watch, just too late for a listing.
        self.late: list[v1.EventInfo] = []
        # What was called, for ListAudit.
        self.calls: list[v1.AuditInfo] = []
        self.late_calls: list[v1.AuditInfo] = []
        # An older mcpd does not say which entry of a ledger is the newest.
        self.tells_newest = True
        # The tokens that are good; None: every one. What came with each call that was let in, or not.
        self.good_tokens: Container[str] | None = None
        self.seen_tokens: list[str] = []
        # Tokens are refused when the caller has sent as much as it may, and waits.
        self.refuses_late = False
        self._news = asyncio.Event()

    def __mapping__(self) -> dict[str, Any]:
        return {path: self._guarded(handler) for path, handler in super().__mapping__().items()}

    def _guarded(self, handler: Any) -> Any:
        async def serve(stream: Any) -> None:
            token = stream.metadata.get("authorization", "").removeprefix("Bearer ")
            self.seen_tokens.append(token)
            if self.good_tokens is not None and token not in self.good_tokens:
                while self.refuses_late and not _is_window_full(stream):  # noqa: ASYNC110 (nothing tells when it is)
                    await asyncio.sleep(0.01)
                raise GRPCError(Status.UNAUTHENTICATED, "the token is not known here")
            self.calls_running += 1
            try:
                await handler.func(stream)
            finally:
                self.calls_running -= 1

        return handler._replace(func=serve)

    def asked(self, kind: type) -> list[Any]:
        return [each for each in self.requests if isinstance(each, kind)]

    def append(self, *events: v1.EventInfo) -> None:
        self.ledger += events
        self._news.set()
        self._news = asyncio.Event()

    def _answer(self, request: Any) -> Any:
        self.requests.append(request)
        if self.refusals:
            raise self.refusals.pop(0)
        if refusals := self.refusals_of.get(type(request).__name__):
            raise refusals.pop(0)
        answer = self.prepared.get(type(request).__name__)
        if isinstance(answer, GRPCError):
            raise answer
        return answer

    async def list_alerts(self, list_alerts_request: v1.ListAlertsRequest) -> v1.ListAlertsResponse:
        return self._answer(list_alerts_request) or v1.ListAlertsResponse(self.node)

    async def ack_alert(self, ack_alert_request: v1.AckAlertRequest) -> v1.AckAlertResponse:
        return self._answer(ack_alert_request)

    async def silence_alert(self, silence_alert_request: v1.SilenceAlertRequest) -> v1.SilenceAlertResponse:
        self._answer(silence_alert_request)
        asked = silence_alert_request
        silence = v1.SilenceInfo(3, asked.service, asked.component, asked.until, asked.reason, "kyle")
        return v1.SilenceAlertResponse(silence)

    async def unsilence_alert(self, unsilence_alert_request: v1.UnsilenceAlertRequest) -> v1.UnsilenceAlertResponse:
        asked = unsilence_alert_request
        ended = v1.SilenceInfo(asked.id or 3, asked.service or "web", asked.component, AT, "moving", "kyle")
        return self._answer(asked) or v1.UnsilenceAlertResponse([ended])

    async def get_status(self, get_status_request: v1.GetStatusRequest) -> v1.GetStatusResponse:
        return self._answer(get_status_request) or v1.GetStatusResponse(self.node)

    async def live_check(self, live_check_request: v1.LiveCheckRequest) -> v1.LiveCheckResponse:
        return self._answer(live_check_request) or v1.LiveCheckResponse(self.node)

    async def list_events(self, list_events_request: v1.ListEventsRequest) -> v1.ListEventsResponse:
        asked = list_events_request
        self._answer(asked)
        found = [each for each in self.ledger if self._matches(each, asked) and each.at >= asked.since]
        newest = max((each.id for each in self.ledger), default=0) if self.tells_newest else 0
        return v1.ListEventsResponse(self.node, found[-(asked.limit or 100) :], newest)

    async def list_audit(self, list_audit_request: v1.ListAuditRequest) -> v1.ListAuditResponse:
        asked = list_audit_request
        self._answer(asked)
        wanted = {"caller": asked.caller, "method": asked.method}
        found = [each for each in self.calls if all(value in ("", getattr(each, key)) for key, value in wanted.items())]
        found = [each for each in found if each.at >= asked.since and each.id > asked.after_id]
        limit = asked.limit or 100
        newest = max((each.id for each in self.calls), default=0) if self.tells_newest else 0
        return v1.ListAuditResponse(self.node, found[:limit] if asked.after_id else found[-limit:], newest)

    async def watch_audit(self, watch_audit_request: v1.WatchAuditRequest) -> AsyncIterator[v1.WatchAuditResponse]:
        asked = watch_audit_request
        self._answer(asked)
        self.calls += self.late_calls
        self.late_calls = []
        wanted = {"caller": asked.caller, "method": asked.method}
        last = asked.after_id or max((each.id for each in self.calls), default=0)
        while True:
            for each in [each for each in self.calls if each.id > last]:
                last = each.id
                if all(value in ("", getattr(each, key)) for key, value in wanted.items()):
                    yield v1.WatchAuditResponse(each)
            # The tests write to the list as it is.
            await asyncio.sleep(0.01)

    async def who_am_i(self, who_am_i_request: v1.WhoAmIRequest) -> v1.WhoAmIResponse:
        return self._answer(who_am_i_request) or v1.WhoAmIResponse(self.node, "kyle", "admin")

    async def plan(self, plan_request: v1.PlanRequest) -> v1.PlanResponse:
        return self._answer(plan_request) or v1.PlanResponse(plan_id="p1")

    async def list_services(self, list_services_request: v1.ListServicesRequest) -> v1.ListServicesResponse:
        return self._answer(list_services_request) or v1.ListServicesResponse()

    async def get_service_spec(self, get_service_spec_request: v1.GetServiceSpecRequest) -> v1.GetServiceSpecResponse:
        return self._answer(get_service_spec_request) or v1.GetServiceSpecResponse()

    async def list_revisions(self, list_revisions_request: v1.ListRevisionsRequest) -> v1.ListRevisionsResponse:
        return self._answer(list_revisions_request) or v1.ListRevisionsResponse(self.node)

    async def list_routes(self, list_routes_request: v1.ListRoutesRequest) -> v1.ListRoutesResponse:
        return self._answer(list_routes_request) or v1.ListRoutesResponse(self.node)

    async def list_processes(self, list_processes_request: v1.ListProcessesRequest) -> v1.ListProcessesResponse:
        return self._answer(list_processes_request) or v1.ListProcessesResponse(self.node)

    async def exec(self, exec_request_iterator: AsyncIterator[v1.ExecRequest]) -> AsyncIterator[v1.ExecResponse]:
        async for each in self._stream((await anext(exec_request_iterator)).start):
            yield each

    async def run(self, run_request_iterator: AsyncIterator[v1.RunRequest]) -> AsyncIterator[v1.RunResponse]:
        async for each in self._stream((await anext(run_request_iterator)).start):
            yield each

    async def stop_run(self, stop_run_request: v1.StopRunRequest) -> v1.StopRunResponse:
        return self._answer(stop_run_request) or v1.StopRunResponse()

    async def set_maintenance(self, set_maintenance_request: v1.SetMaintenanceRequest) -> v1.SetMaintenanceResponse:
        return self._answer(set_maintenance_request) or v1.SetMaintenanceResponse()

    async def list_jobs(self, list_jobs_request: v1.ListJobsRequest) -> v1.ListJobsResponse:
        return self._answer(list_jobs_request) or v1.ListJobsResponse(self.node)

    async def run_job(self, run_job_request: v1.RunJobRequest) -> AsyncIterator[v1.RunJobResponse]:
        async for each in self._stream(run_job_request):
            yield each

    async def list_secrets(self, list_secrets_request: v1.ListSecretsRequest) -> v1.ListSecretsResponse:
        return self._answer(list_secrets_request) or v1.ListSecretsResponse(self.node)

    async def set_secret(self, set_secret_request: v1.SetSecretRequest) -> v1.SetSecretResponse:
        return self._answer(set_secret_request) or v1.SetSecretResponse()

    async def remove_secret(self, remove_secret_request: v1.RemoveSecretRequest) -> v1.RemoveSecretResponse:
        return self._answer(remove_secret_request) or v1.RemoveSecretResponse()

    async def sync(self, sync_request: v1.SyncRequest) -> v1.SyncResponse:
        return self._answer(sync_request) or v1.SyncResponse()

    async def list_images(self, list_images_request: v1.ListImagesRequest) -> v1.ListImagesResponse:
        return self._answer(list_images_request) or v1.ListImagesResponse()

    async def prune_images(self, prune_images_request: v1.PruneImagesRequest) -> v1.PruneImagesResponse:
        return self._answer(prune_images_request) or v1.PruneImagesResponse()

    async def purge(self, purge_request: v1.PurgeRequest) -> v1.PurgeResponse:
        return self._answer(purge_request) or v1.PurgeResponse()

    async def list_operations(self, list_operations_request: v1.ListOperationsRequest) -> v1.ListOperationsResponse:
        return self._answer(list_operations_request) or v1.ListOperationsResponse(self.node)

    async def cancel_operation(self, cancel_operation_request: v1.CancelOperationRequest) -> v1.CancelOperationResponse:
        return self._answer(cancel_operation_request) or v1.CancelOperationResponse()

    async def start_service(self, start_service_request: v1.StartServiceRequest) -> v1.StartServiceResponse:
        return self._answer(start_service_request) or v1.StartServiceResponse()

    async def stop_service(self, stop_service_request: v1.StopServiceRequest) -> v1.StopServiceResponse:
        return self._answer(stop_service_request) or v1.StopServiceResponse()

    async def undeploy_service(self, undeploy_service_request: v1.UndeployServiceRequest) -> v1.UndeployServiceResponse:
        return self._answer(undeploy_service_request) or v1.UndeployServiceResponse()

    async def deploy(self, deploy_request: v1.DeployRequest) -> AsyncIterator[v1.DeployResponse]:
        async for each in self._stream(deploy_request):
            yield each

    async def recover(self, recover_request: v1.RecoverRequest) -> AsyncIterator[v1.RecoverResponse]:
        async for each in self._stream(recover_request):
            yield each

    async def watch_operation(
        self, watch_operation_request: v1.WatchOperationRequest
    ) -> AsyncIterator[v1.WatchOperationResponse]:
        async for each in self._stream(watch_operation_request):
            yield each

    async def _stream(self, request: Any) -> AsyncIterator[Any]:
        async for each in self._each(self._answer(request) or ()):
            yield each

    async def _each(self, prepared: Iterable[Any]) -> AsyncIterator[Any]:
        """What was prepared: messages; an error is raised; at ... it says nothing more."""
        for each in prepared:
            if isinstance(each, GRPCError):
                raise each
            if each is ...:
                await asyncio.Event().wait()
            yield each

    async def push_file(self, push_file_request_iterator: AsyncIterator[v1.PushFileRequest]) -> v1.PushFileResponse:
        parts = push_file_request_iterator
        header = (await anext(parts)).header
        self._answer(header)
        found = Pushed(header, bytearray())
        self.pushed.append(found)
        digest, size, announced = hashlib.sha256(), 0, b""
        async for part in parts:
            await self._perhaps_stuck("chunk")
            kind, value = betterproto.which_one_of(part, "part")
            if kind == "sha256":
                announced = value
                continue
            digest.update(value)
            size += len(value)
            if self.keeps_content:
                found.content.extend(value)
        await self._perhaps_stuck("end")
        if not header.is_folder and (announced, size) != (digest.digest(), header.size):
            raise GRPCError(Status.DATA_LOSS, "it did not arrive as it was sent")
        return self.wrong_answer or v1.PushFileResponse(header.path, size, announced)

    async def _perhaps_stuck(self, where: str) -> None:
        self.is_stuck = self.stuck_at == where
        if self.is_stuck:
            await asyncio.Event().wait()

    async def pull_file(self, pull_file_request: v1.PullFileRequest) -> AsyncIterator[v1.PullFileResponse]:
        """What was prepared for the path, or for every path."""
        prepared = self._answer(pull_file_request)
        if isinstance(prepared, dict):
            prepared = prepared[pull_file_request.path]
        async for each in self._each(prepared or ()):
            yield each

    async def list_files(self, list_files_request: v1.ListFilesRequest) -> v1.ListFilesResponse:
        asked = list_files_request
        self._answer(asked)
        found = self._listed(asked.path)
        if found is None:
            raise GRPCError(Status.NOT_FOUND, f"{asked.path} does not exist")
        rest = [each for each in found if not asked.after or each.name > asked.after]
        limit = min(asked.limit or self.page, self.page)
        return v1.ListFilesResponse(rest[:limit], len(rest) > limit)

    def _listed(self, path: str) -> list[v1.FileInfo] | None:
        if path in self.folders:
            return self.folders[path]
        folder, _, name = path.rpartition("/")
        return [each for each in self.folders.get(folder, ()) if each.name == name] or None

    async def digest_file(self, digest_file_request: v1.DigestFileRequest) -> v1.DigestFileResponse:
        return self._answer(digest_file_request)

    async def watch_events(self, watch_events_request: v1.WatchEventsRequest) -> AsyncIterator[v1.WatchEventsResponse]:
        asked = watch_events_request
        self._answer(asked)
        late, self.late = self.late, []
        self.append(*late)
        last = asked.after_id or max((each.id for each in self.ledger), default=0)
        while True:
            news = self._news
            for each in [each for each in self.ledger if each.id > last]:
                last = each.id
                if self._matches(each, asked):
                    yield v1.WatchEventsResponse(each)
            await news.wait()

    def _matches(self, event: v1.EventInfo, asked: v1.ListEventsRequest | v1.WatchEventsRequest) -> bool:
        return asked.service in ("", event.service) and asked.component in ("", event.component)


def _is_window_full(stream: Any) -> bool:
    inner = stream._stream
    return bool(inner._h2_connection.remote_flow_control_window(inner.id) <= 0)


class Tracking(Server):
    """Knows its connections, so that they can be cut."""

    def __init__(self, agent: Agent) -> None:
        super().__init__([agent])
        self.transports: list[asyncio.Transport] = []

    def _protocol_factory(self) -> Any:
        protocol = super()._protocol_factory()
        made = protocol.connection_made

        def connection_made(transport: asyncio.Transport) -> None:
            self.transports.append(transport)
            made(transport)

        protocol.connection_made = connection_made  # type: ignore[method-assign]
        return protocol


class Node:
    """A server in a thread of its own. ``agent`` is its to change: from outside, through `tell`."""

    def __init__(self, name: str, authority: pki.Authority, folder: Path) -> None:
        pem = pki.make_server(authority, name, HOST)
        chain = folder / f"{name}.pem"
        chain.write_bytes(pem.certificate + pem.key)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(chain)
        self._tls.set_alpn_protocols(["h2"])
        self.port = free_port()
        # Not what the policy gives: trio-asyncio's loops stay in one thread.
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.agent = Agent(name)
        self._server: Tracking | None = None

    @property
    def connections(self) -> int:
        """How many there have been since it listens."""
        return len(self._server.transports) if self._server else 0

    def listen(self) -> None:
        """Raises OSError when the port is taken."""

        async def listen() -> None:
            server = Tracking(self.agent)
            await server.start(HOST, self.port, ssl=self._tls)
            self._server = server

        self._run(listen())

    def cut(self, *, for_good: bool = False) -> None:
        """Breaks every connection."""

        async def cut() -> None:
            assert self._server is not None
            for transport in self._server.transports:
                transport.abort()
            if for_good:
                self._server.close()
                await self._server.wait_closed()
                self._server = None

        self._run(cut())

    def freeze(self) -> None:
        """Reads nothing any more, as a machine that lost its power."""

        async def freeze() -> None:
            assert self._server is not None
            for transport in self._server.transports:
                transport.pause_reading()

        self._run(freeze())

    def append(self, *events: v1.EventInfo) -> None:
        async def append() -> None:
            self.agent.append(*events)

        self._run(append())

    def close(self) -> None:
        if self._server is not None:
            self.cut(for_good=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE_S)


def columns(line: str) -> list[str]:
    """The cells of a table's row."""
    return [cell for cell in line.split("  ") if cell]


def stripped(line: str) -> list[str]:
    return [cell.strip() for cell in columns(line)]


def of_a_shell(folder: Path) -> dict[str, str]:
    """The environment of somebody who uses the configuration in ``folder``."""
    unwanted = ("MCP_", "PYTHONUNBUFFERED")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**environment, "MCP_CONFIG": str(folder / "mcp.toml")}


class Program:
    """`mcpctl` as a shell runs it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._stderr = folder / "stderr"
        with self._stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mcpctl", *words],
                env=of_a_shell(folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self) -> str:
        found = self._lines.get(timeout=DEADLINE_S)
        assert found is not None, f"it ended: {self.err}"
        return found

    def ids(self, count: int) -> list[int]:
        """Of the next events; with --output json."""
        return [json.loads(self.line())["id"] for _ in range(count)]

    @property
    def err(self) -> str:
        return self._stderr.read_text()

    def end(self) -> tuple[int, list[str]]:
        """Its exit status, and the lines that were not read yet."""
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status, [line for line in iter(self._lines.get_nowait, None) if line]

    def interrupt(self) -> tuple[int, list[str]]:
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


Launch = Callable[..., Program]
