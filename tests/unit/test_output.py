"""How answers are printed: tables that fit, rows for programs in a shape that stays, names for a shell's loop."""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.commands.app import (
    ALERT_COMMANDS,
    COMMANDS,
    IMAGE_COMMANDS,
    JOB_COMMANDS,
    NODE_COMMANDS,
    SECRET_COMMANDS,
    SERVICE_COMMANDS,
)
from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import AT, WEB, Node, Run, of_a_shell
from tests.support.answers import a_job, a_run
from tests.support.engines import Engine
from tests.support.image_agent import ImageAgent
from tests.support.image_archives import layout, write_tar
from tests.support.image_registry import OneImage
from tests.support.oci_images import image, layer
from tests.support.waiting import DEADLINE_S

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"
CONTENT = b"key = value\n"


class FullAgent(ImageAgent):
    """Answers what the double does not."""

    async def live_check(self, live_check_request: v1.LiveCheckRequest) -> v1.LiveCheckResponse:
        return self._answer(live_check_request) or v1.LiveCheckResponse(self.node)

    async def node_status(self, node_status_request: v1.NodeStatusRequest) -> v1.NodeStatusResponse:
        return self._answer(node_status_request) or a_status(self.node)

    async def start_service(self, start_service_request: v1.StartServiceRequest) -> v1.StartServiceResponse:
        return self._answer(start_service_request) or v1.StartServiceResponse([STARTED])

    async def stop_service(self, stop_service_request: v1.StopServiceRequest) -> v1.StopServiceResponse:
        return self._answer(stop_service_request) or v1.StopServiceResponse([STARTED])

    async def restart_service(self, restart_service_request: v1.RestartServiceRequest) -> v1.RestartServiceResponse:
        return self._answer(restart_service_request) or v1.RestartServiceResponse([STARTED])

    async def undeploy_service(self, undeploy_service_request: v1.UndeployServiceRequest) -> v1.UndeployServiceResponse:
        return self._answer(undeploy_service_request) or v1.UndeployServiceResponse([STARTED])

    async def adopt(self, adopt_request: v1.AdoptRequest) -> v1.AdoptResponse:
        outcome = v1.ComponentOutcome("api", v1.Result.ADOPTED, "it runs")
        return v1.AdoptResponse(outcomes=[outcome], losses=["--privileged"])

    async def logs(self, logs_request: v1.LogsRequest) -> AsyncIterator[v1.LogsResponse]:
        yield v1.LogsResponse("api", AT, "stdout", b"hello")

    async def snapshot(self, snapshot_request: v1.SnapshotRequest) -> AsyncIterator[v1.SnapshotResponse]:
        yield v1.SnapshotResponse(header=v1.SnapshotHeader("rift.db", len(CONTENT), AT))
        yield v1.SnapshotResponse(chunk=CONTENT)
        yield v1.SnapshotResponse(sha256=hashlib.sha256(CONTENT).digest())


STARTED = v1.ComponentOutcome("api", v1.Result.STARTED, "")
FAILED = v1.ComponentOutcome("db", v1.Result.FAILED, "no such image")


def a_component(name: str = "api", **values: Any) -> v1.ComponentInfo:
    known = {
        "service": "web",
        "component": name,
        "container": f"web-{name}",
        "image": "registry.example.net/web:v1",
        "version": "v1",
        "desired": v1.DesiredState.RUNNING,
        "observed": v1.ObservedState.RUNNING,
        "pid": 4711,
        "started_at": AT,
        "container_id": "0123456789abcdef",
        "spec_hash": "sha256:fedcba9876543210",
        "ports": ["8443:8443"],
    }
    return v1.ComponentInfo(**(known | values))


def a_process() -> v1.ProcessInfo:
    return v1.ProcessInfo(1, "root", 0.5, 12 << 20, timedelta(minutes=3), "/bin/api --listen :80", 4711)


def a_status(node: str) -> v1.NodeStatusResponse:
    links = [v1.LinkState("podman", True, "answers", AT), v1.LinkState("mcias", False, "it is away", AT)]
    status = v1.NodeStatusResponse(node, "0.1.0", "5.4.2", AT, links, services=1, components=2, cpus=4)
    status.load_average, status.disk_free_bytes, status.disk_total_bytes = 0.5, 2**30, 2**31
    status.certificate_expires_at = datetime.now(UTC) + timedelta(days=30, hours=1)
    return status


@pytest.fixture
def full(alone: Node) -> Node:
    """The one node, which has something to say to every question."""
    alone.cut(for_good=True)
    agent = FullAgent("rift")
    service = v1.ServiceInfo("web", "rift", True, [a_component(), a_component("db", drift="exited 1")], AT, 3)
    plan = v1.ComponentPlan(
        "api", "replace", "its image changed", [v1.FieldChange("image", "x:v0", "x:v1", "web.toml")]
    )
    alert = v1.AlertInfo(7, kind="drift", service="web", component="api", reason="exited 137", opened_at=AT)
    outcome = v1.ServiceOutcome("web", [STARTED], [plan])
    agent.prepared = {
        "ListServicesRequest": v1.ListServicesResponse(services=[service]),
        "LiveCheckRequest": v1.LiveCheckResponse("rift", list(service.components)),
        "GetStatusRequest": v1.GetStatusResponse("rift", [service]),
        "ListAlertsRequest": v1.ListAlertsResponse(
            "rift", [alert], [v1.SilenceInfo(3, "web", "api", AT, "moving", "kyle")]
        ),
        "AckAlertRequest": v1.AckAlertResponse(alert),
        "PlanRequest": v1.PlanResponse("p-1", [plan], ["it is late"]),
        "SyncRequest": v1.SyncResponse([outcome]),
        "PurgeRequest": v1.PurgeResponse([outcome]),
        "ListImagesRequest": v1.ListImagesResponse(
            [
                v1.ImageInfo(
                    names=["x:v0"],
                    id="ab",
                    size=5,
                    created_at=AT,
                    digests=["x@sha256:0"],
                    users=[v1.ImageUser("web", "api", "web-api", True), v1.ImageUser(container="keeper")],
                )
            ]
        ),
        "PruneImagesRequest": v1.PruneImagesResponse(
            [v1.ImageInfo(names=["x:v0"], id="ab", size=5, created_at=AT, removed=True, reason="old")], 5
        ),
        "ListRevisionsRequest": v1.ListRevisionsResponse(
            "rift",
            [
                v1.RevisionInfo(2, AT, "kyle", components=[v1.RevisionComponent("api", "x:v1", "v1")]),
                v1.RevisionInfo(1, AT, "", components=[v1.RevisionComponent("api", "x:v0", "v0")]),
            ],
        ),
        "ListRoutesRequest": v1.ListRoutesResponse(
            "rift",
            "haproxy",
            routes=[
                v1.RouteInfo(
                    *("web", "api", "web.example.net", "/", 443, "http", "up"),
                    [v1.RouteServer("web-api", "127.0.0.1:20007")],
                    AT,
                )
            ],
        ),
        "ListProcessesRequest": v1.ListProcessesResponse(
            "rift", [v1.ComponentProcesses("web", "api", "web-api", "", [a_process()], "")]
        ),
        "ListJobsRequest": v1.ListJobsResponse("rift", [a_job(a_run())]),
        "RunJobRequest": [v1.RunJobResponse(a_run())],
        "ListSecretsRequest": v1.ListSecretsResponse(
            "rift", [v1.SecretInfo("db-password", AT, AT, "file", ["web/api", "web/db"], ["web/db"])]
        ),
        "SetSecretRequest": v1.SetSecretResponse(replaced=True, used_by=["web/db"]),
        "SetMaintenanceRequest": v1.SetMaintenanceResponse([STARTED]),
        "GetServiceSpecRequest": v1.GetServiceSpecResponse(
            v1.ServiceSpec(name="web", node="rift", active=True, components=[v1.ComponentSpec("api", "x:v0")]), 1
        ),
        "ListOperationsRequest": v1.ListOperationsResponse(
            "rift", [v1.OperationInfo(12, "web", "api", "deploy", "kyle", AT, AT, "completed", "start", "")]
        ),
        "DeployRequest": [
            v1.DeployResponse("12", progress=v1.Progress("api", "create", "creating web-api", AT)),
            v1.DeployResponse("12", outcome=STARTED),
            v1.DeployResponse("12", completed=v1.Completed()),
        ],
        "RecoverRequest": [
            v1.RecoverResponse("13", service="web", outcome=STARTED),
            v1.RecoverResponse("13", service="web", completed=v1.Completed()),
        ],
        "CancelOperationRequest": v1.CancelOperationResponse(
            v1.OperationInfo(12, "web", "", "deploy", "kyle", AT, AT, "reverted", "cancel", "cancelled by kyle")
        ),
        "WatchOperationRequest": [
            v1.WatchOperationResponse(operation=v1.OperationInfo(12, "web", kind="deploy", started_at=AT)),
            v1.WatchOperationResponse(outcome=STARTED),
            v1.WatchOperationResponse(completed=v1.Completed()),
        ],
        "PullFileRequest": [
            v1.PullFileResponse(header=v1.FileHeader("web", "app.ini", len(CONTENT), 0o644)),
            v1.PullFileResponse(chunk=CONTENT),
            v1.PullFileResponse(sha256=hashlib.sha256(CONTENT).digest()),
        ],
        "DigestFileRequest": v1.DigestFileResponse(len(CONTENT), 0o644, AT, hashlib.sha256(CONTENT).digest()),
    }
    agent.folders = {
        "": [v1.FileInfo(name="app.ini", kind="file", size=len(CONTENT), mode=0o644, owner="0:0", modified_at=AT)]
    }
    agent.calls = [v1.AuditInfo(1, AT, "Deploy", "kyle", "admin", "127.0.0.1", "web", "OK", timedelta(milliseconds=3))]
    agent.ledger = [
        v1.EventInfo(1, "web", "api", AT, "deployed", "v1", "kyle"),
        v1.EventInfo(2, "web", "api", AT, "exited", "137", ""),
    ]
    alone.agent = agent
    alone.listen()
    return alone


CRAFTED = """\
name = "crafted"
node = "rift"
[[components]]
name = "api"
image = "localhost/api:1.0"
[components.build]
context = "."
"""


@pytest.fixture
def here(full: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A folder with a definition, and some files to copy, export and import."""
    (tmp_path / "services/web.toml").write_text(WEB)
    (tmp_path / "app.ini").write_bytes(CONTENT)
    write_tar(tmp_path / "image.tar", layout({"": image(layer({"a": b"a"}))}))
    (tmp_path / "compose.yaml").write_text("name: mail\nservices: {smtp: {image: 'x:v1', tty: true}}\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "crafted.toml").write_text(CRAFTED)
    (tmp_path / "bin").mkdir()
    Engine(tmp_path / "bin", "podman")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDITOR", "true")
    # Of the image of web/api; nobody on the network is asked.
    monkeypatch.setattr("mcpctl.images.registries.newness.Registries", lambda: OneImage("sha256:0"))
    return tmp_path


# -- JSON in a shape that stays

# What is said to each command; those that are left out print no JSON, or need MCIAS.
SUCCESSES = {
    "maintenance": "maintenance web on",
    "routes": "routes web",
    "adopt": "adopt web --dry-run",
    "alerts-ack": "alerts ack 7",
    "alerts-list": "alerts list",
    "alerts-silence": "alerts silence web --for 1h --reason moving",
    "alerts-unsilence": "alerts unsilence 3",
    "attach": "attach 12",
    "audit": "audit",
    "build": "build crafted.toml",
    "cancel": "cancel 12",
    "deploy": "deploy web",
    "diff-file": "diff-file app.ini web",
    "events": "events --since 9999d",
    "history": "history web",
    "image-list": "image list",
    "image-prune": "image prune",
    "image-push": "image push web --from image.tar",
    "jobs-list": "jobs list",
    "jobs-run": "jobs run web/api --node rift",
    "list": "list",
    "logs": "logs web",
    "ls": "ls web",
    "node-list": "node list",
    "node-show": "node show rift",
    "node-snapshot": "node snapshot rift rift.db",
    "operations": "operations",
    "outdated": "outdated web/api",
    "plan": "plan web",
    "ps": "ps",
    "pull": "pull web app.ini pulled.ini",
    "purge": "purge",
    "push": "push app.ini web",
    "recover": "recover",
    "rollback": "rollback web",
    "restart": "restart web",
    "service-edit": "service edit web",
    "secret-list": "secret list",
    "secret-remove": "secret remove db-password --node rift",
    "secret-set": "secret set db-password --node rift --file ca.pem",
    "service-export": "service export web --format compose",
    "service-import": "service import compose.yaml --dry-run",
    "service-list": "service list",
    "service-show": "service show web",
    "start": "start web",
    "status": "status",
    "stop": "stop web",
    "sync": "sync",
    "timeline": "timeline",
    "top": "top web",
    "undeploy": "undeploy web",
    "whoami": "whoami",
}
# exec and run print what a program prints.
WITHOUT_JSON = {"exec", "run", "node-add", "node-remove", "node-set-state"}
# Their documents are looked at where MCIAS is: login/test_login_command.py.
WITH_MCIAS = {"login", "logout"}


def schema(command: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{command}.json").read_text())
    return found


def closed(value: Any) -> Any:
    """The schema without room for what it does not name: programs may find more one day, but not today."""
    if isinstance(value, list):
        return [closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: closed(each) for key, each in value.items()}
    return {"additionalProperties": False, **found} if "properties" in found else found


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", SUCCESSES)
def test_what_a_command_prints_as_json_is_what_its_schema_says(run: Run, command: str) -> None:
    status, out, err = run(*SUCCESSES[command].split(), "--output", "json")
    assert status == 0, err
    judge = jsonschema.Draft202012Validator(closed(schema(command)), format_checker=jsonschema.FormatChecker())
    is_lines = "one line of it" in schema(command)["title"]
    documents = [json.loads(line) for line in out.splitlines()] if is_lines else [json.loads(out)]
    assert documents
    for document in documents:
        assert document not in ([], {})
        judge.validate(document)


def test_every_command_that_prints_json_has_a_schema() -> None:
    tables = {
        "": COMMANDS,
        "alerts-": ALERT_COMMANDS,
        "jobs-": JOB_COMMANDS,
        "node-": NODE_COMMANDS,
        "image-": IMAGE_COMMANDS,
        "service-": SERVICE_COMMANDS,
        "secret-": SECRET_COMMANDS,
    }
    commands = {f"{group}{name}" for group, table in tables.items() for name in table}
    live = {"dash", "watch"}
    assert {path.stem for path in SCHEMAS.glob("*.json")} == commands - WITHOUT_JSON - live
    assert set(SUCCESSES) == commands - WITHOUT_JSON - WITH_MCIAS - live


def test_the_schemas_are_those_of_the_rows(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make", SCHEMAS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    make.write(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.glob("*.json")}
    committed = {path.name: path.read_text() for path in SCHEMAS.glob("*.json")}
    assert made == committed, "`python docs/schemas/make.py` writes them anew"


# -- the same in other forms


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", SUCCESSES)
def test_yaml_says_what_json_says(run: Run, command: str) -> None:
    words = SUCCESSES[command].split()
    if command in ("node-snapshot", "pull"):
        words.append("--force")
    as_json = run(*words, "--output", "json").out
    as_yaml = yaml.safe_load(run(*words, "--output", "yaml").out)
    is_lines = "one line of it" in schema(command)["title"]
    expected = [json.loads(line) for line in as_json.splitlines()] if is_lines else json.loads(as_json)
    assert alike(as_yaml) == alike(expected)


def alike(value: Any) -> Any:
    """Times as one kind of value; what takes another time each time, left out."""
    if isinstance(value, dict):
        moving = (
            "seconds",
            "sent_bytes",
            "present_bytes",
            "until",
            "from",
            "to",
            "segments",
            "uptime",
            "certificate_expires_at",
            "changed",
        )
        return {key: alike(each) for key, each in value.items() if key not in moving}
    if isinstance(value, list):
        return [alike(each) for each in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).isoformat().replace("+00:00", "Z")
    return value


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("words", [("ps",), ("status",), ("list",), ("events", "--since", "9999d"), ("audit",)])
def test_jsonl_is_a_row_a_line(run: Run, words: tuple[str, ...]) -> None:
    rows = json.loads(run(*words, "--output", "json").out)
    lines = run(*words, "--output", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert rows


@pytest.mark.usefixtures("full")
def test_alerts_and_silences_are_lines_of_their_own(run: Run) -> None:
    alert, silence = map(json.loads, run("alerts", "list", "--output", "jsonl").out.splitlines())
    assert (alert["kind"], silence["by"]) == ("drift", "kyle")


@pytest.mark.usefixtures("full")
def test_wide_has_the_columns_of_the_table_and_more(run: Run) -> None:
    plain, wide = run("ps").out.splitlines(), run("ps", "--output", "wide").out.splitlines()
    assert wide[0].split()[: len(plain[0].split())] == plain[0].split()
    assert wide[0].endswith("IMAGE                        PID   CONTAINER ID  SPEC HASH")
    assert wide[1].endswith("registry.example.net/web:v1  4711  0123456789ab  fedcba987654")


NAMES = {
    "ps": ["web-api", "web-db"],
    "list": ["web"],
    "jobs": ["web/backup"],
    "status": ["web/api", "web/db"],
    "events --since 9999d": ["1", "2"],
    "alerts list": ["7"],
    "audit": ["1"],
    "operations": ["12"],
    "node list": ["rift", "orion"],
    "node list --offline": ["rift", "orion"],
    "node show rift": ["rift"],
    "whoami": ["kyle"],
    "plan web": ["web/api"],
    "service list": ["web"],
    "ls web": ["app.ini"],
    "timeline": ["web/api", "web/db"],
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", NAMES)
def test_quiet_listings_are_names_one_a_line(run: Run, words: str) -> None:
    status, out, _ = run(*words.split(), "-q")
    assert (status, out.splitlines()) == (0, NAMES[words])


CHANGES = [
    *("start web", "restart web", "deploy web", "sync", "purge", "recover", "attach 12", "push app.ini web"),
    "image push web --from image.tar",
]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", CHANGES)
def test_quiet_changes_say_nothing_when_all_is_well(run: Run, words: str) -> None:
    status, out, err = run(*words.split(), "--quiet")
    assert (status, out) == (0, "")
    assert err in ("", "mcpctl: node orion is down in mcp.toml: skipped\n")


@pytest.mark.usefixtures("here")
def test_quiet_changes_say_what_went_wrong(run: Run, full: Node) -> None:
    full.agent.prepared["RestartServiceRequest"] = v1.RestartServiceResponse([STARTED, FAILED])
    status, out, _ = run("restart", "web", "--quiet")
    assert status == 1
    assert "no such image" in out
    assert "api" not in out


# -- errors


@pytest.mark.parametrize("form", ["json", "jsonl", "yaml"])
def test_an_error_is_on_stderr_alone_whatever_the_form(run: Run, full: Node, form: str) -> None:
    full.agent.prepared["LiveCheckRequest"] = GRPCError(Status.PERMISSION_DENIED, "viewers may not")
    status, out, err = run("ps", "--output", form)
    assert (status, out) == (1, "")
    assert err.endswith("mcpctl: node rift: viewers may not\n")


def test_rows_of_the_nodes_that_answer_are_a_whole_document(run: Run, rift: Node, orion: Node) -> None:
    rift.agent.prepared["ListServicesRequest"] = v1.ListServicesResponse(services=[v1.ServiceInfo("web", "rift")])
    orion.cut(for_good=True)
    status, out, err = run("list", "--output", "json")
    assert status == 4
    jsonschema.validate(json.loads(out), schema("list"))
    assert "node orion: " in err
    assert "Connection refused; is mcpd running there? (waited " in err


def test_debug_shows_where_an_error_comes_from_and_the_sentence(run: Run, full: Node) -> None:
    full.agent.prepared["LiveCheckRequest"] = GRPCError(Status.PERMISSION_DENIED, "viewers may not")
    for words in (("--debug", "ps"), ("ps", "--debug"), ("ps", "--all", "--debug")):
        status, out, err = run(*words)
        assert (status, out) == (1, "")
        assert "Traceback" in err
        # What it was made of, too.
        assert "GRPCError" in err
        assert err.endswith("mcpctl: node rift: viewers may not\n")


def test_the_environment_asks_for_debugging_as_well(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_DEBUG", "1")
    monkeypatch.setattr("mcpctl.actions.status.ps", lambda *_: 1 // 0)
    status, _, err = run("ps")
    assert status == 1
    assert "Traceback" in err
    assert "ZeroDivisionError" in err.splitlines()[-2]
    assert err.splitlines()[-1].startswith("Please report it")


def test_what_comes_behind_two_dashes_is_no_option(run: Run, tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "mcp.toml").touch()
    assert "--debug" in run("plan", "--", "--debug").err


# -- tables that fit


def on_a_terminal(folder: Path, columns: int, *words: str, **environment: str) -> list[str]:
    """What somebody sees."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    known = {key: value for key, value in of_a_shell(folder).items() if key not in ("COLUMNS", "LINES")}
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "mcpctl", *words],
            env={**known, "TERM": "xterm", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", **environment},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        shown = b""
        # EIO: everybody who had it open is gone (pty(7)).
        with contextlib.suppress(OSError):
            while chunk := terminal.read(65536):
                shown += chunk
        assert process.wait(DEADLINE_S) == 0
    return shown.decode().replace("\r\n", "\n").splitlines()


LONG = "it exited with 137 and was out of memory " * 5


def test_a_table_fits_a_narrow_terminal_and_its_text_goes_on_below(full: Node, tmp_path: Path) -> None:
    drifting = v1.ServiceInfo("web", "rift", True, [a_component(drift=LONG)])
    full.agent.prepared["GetStatusRequest"] = v1.GetStatusResponse("rift", [drifting])
    header, row, *below = on_a_terminal(tmp_path, 80, "status")
    assert header.split()[-1] == "DRIFT"
    assert "running" in row
    drift = header.index("DRIFT")
    assert {line[:drift].strip() for line in below} == {""}
    assert max(map(len, [row, *below])) <= 80
    assert " ".join(line[drift:] for line in (row, *below)) == LONG.strip()


def test_what_is_wide_or_piped_is_not_cut(run: Run, full: Node, tmp_path: Path) -> None:
    drifting = v1.ServiceInfo("web", "rift", True, [a_component(drift=LONG)])
    full.agent.prepared["GetStatusRequest"] = v1.GetStatusResponse("rift", [drifting])
    assert LONG.strip() in "".join(on_a_terminal(tmp_path, 80, "status", "--output", "wide"))
    assert LONG.strip() in run("status").out


@pytest.mark.usefixtures("full")
def test_times_and_numbers_are_never_cut(tmp_path: Path) -> None:
    row = on_a_terminal(tmp_path, 40, "audit")[1]
    # This year's are shown without it.
    assert row.startswith(render.moment(AT).removeprefix(f"{datetime.now():%Y-}"))


@pytest.mark.parametrize(
    ("widths", "fixed", "columns", "expected"),
    [
        ([10, 20, 30], [False] * 3, 64, [10, 20, 30]),
        ([10, 20, 30], [False] * 3, 54, [10, 20, 20]),
        ([10, 20, 30], [False] * 3, 44, [10, 15, 15]),
        ([10, 20, 30], [False, False, True], 54, [10, 10, 30]),
        ([10, 20, 30], [True] * 3, 10, [10, 20, 30]),
        # No column becomes narrower than its header, or than what says anything.
        ([10, 20, 30], [False] * 3, 10, [8, 8, 12]),
        ([10, 10**6], [False] * 2, 80, [10, 68]),
    ],
)
def test_the_widest_columns_give_first(widths: list[int], fixed: list[bool], columns: int, expected: list[int]) -> None:
    headers = ("A", "B", "A LONG TITLE")[: len(widths)]
    assert render.fitted(headers, widths, fixed, columns) == expected
