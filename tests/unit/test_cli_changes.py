"""The commands that change nodes, or say what would change, against agents that answer as the test prepared."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.ui import render
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, WEB, Node, Program, Run, of_a_shell, stripped
from tests.support.waiting import DEADLINE_S, until

DB = '[[components]]\nname = "db"\nimage = "y:v1"\n'
HEADERS = ["NODE", "SERVICE", "COMPONENT", "RESULT", "DETAIL"]
JSON = ("--output", "json")
# Above the steps of a deploy: what to give to `attach` and `cancel`.
ANNOUNCED = "mcpctl: node rift: the deploy of web is operation 12"


@pytest.fixture
def web(nodes: tuple[Node, Node], tmp_path: Path) -> Path:  # noqa: ARG001
    """The definition of a service with one component, on rift."""
    path = tmp_path / "services/web.toml"
    path.write_text(WEB)
    return path


def define(folder: Path, name: str, node: str = "rift") -> Path:
    path = folder / f"services/{name}.toml"
    path.write_text(WEB.replace("web", name).replace("rift", node))
    return path


def outcome(component: str = "api", result: v1.Result = v1.Result.REPLACED, message: str = "v1 -> v2") -> Any:
    return v1.ComponentOutcome(component, result, message)


def step(message: str = "pulling x:v1", name: str = "pull", component: str = "api") -> v1.Progress:
    return v1.Progress(component, name, message, AT)


# -- plan


def a_plan(*components: v1.ComponentPlan, warnings: tuple[str, ...] = ()) -> v1.PlanResponse:
    return v1.PlanResponse("p1", list(components), list(warnings))


def a_change(field: str = "image", before: str = "x:v1", after: str = "x:v2", source: str = "definition") -> Any:
    return v1.FieldChange(field, before, after, source)


REPLACED = v1.ComponentPlan(
    "api",
    "replace",
    "image changed",
    [a_change(), a_change("user", "", "0:0"), a_change("heal", "restart", "", "node")],
)
PLANNED = a_plan(REPLACED, v1.ComponentPlan("db", "none", "as declared"), warnings=("web/old is left as it is",))
PRINTED = """\
web/api: replace (image changed)
    image: x:v1 -> x:v2   (definition)
    + user: 0:0   (definition)
    - heal: restart   (node)
web/db: unchanged (as declared)
1 to replace, 1 unchanged
plan p1: `mcpctl deploy web --plan p1` applies exactly this
"""


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("words", [("plan", "web"), ("deploy", "web", "--dry-run")], ids=" ".join)
def test_a_plan_has_each_component_and_each_changed_field(run: Run, rift: Node, words: tuple[str, ...]) -> None:
    rift.agent.prepared["PlanRequest"] = PLANNED
    status, out, err = run(*words)
    assert (status, out) == (0, PRINTED)
    assert err == "mcpctl: node rift: web/old is left as it is\n"
    (request,) = rift.agent.requests
    assert (request.service.name, request.component, request.force) == ("web", "", False)


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("words", [("plan", "web"), ("deploy", "web", "--dry-run")], ids=" ".join)
def test_a_plan_lists_what_adopted_containers_would_lose(run: Run, rift: Node, words: tuple[str, ...]) -> None:
    losses = ["web/api: --cap-add CAP_NET_ADMIN", "web/api: --label a"]
    rift.agent.prepared["PlanRequest"] = v1.PlanResponse("p1", [REPLACED], losses=losses)
    lines = run(*words).out.splitlines()
    assert [line.strip() for line in lines[-3:-1]] == losses
    assert lines[-1] == "plan p1: `mcpctl deploy web --accept-loss --plan p1` applies exactly this"
    (document,) = json.loads(run(*words, *JSON).out)
    assert document["losses"] == losses


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("words", [("plan", "web"), ("deploy", "web", "--dry-run")], ids=" ".join)
def test_as_json_a_plan_is_a_list_of_documents(run: Run, rift: Node, words: tuple[str, ...]) -> None:
    rift.agent.prepared["PlanRequest"] = PLANNED
    (document,) = json.loads(run(*words, *JSON).out)
    components = document.pop("components")
    assert document == {
        "node": "rift",
        "service": "web",
        "plan_id": "p1",
        "warnings": ["web/old is left as it is"],
        "losses": [],
    }
    assert components[0]["changes"][0] == {
        "field": "image",
        "before": "x:v1",
        "after": "x:v2",
        "source": "definition",
    }
    assert components[1] == {"component": "db", "action": "none", "reason": "as declared", "changes": []}


@pytest.mark.usefixtures("web")
def test_on_a_terminal_actions_have_colours(run: Run, rift: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "colourful", lambda: True)
    actions = {"create": 32, "replace": 33, "rename": 33, "update": 33, "stop": 31, "none": 90}
    rift.agent.prepared["PlanRequest"] = a_plan(*(v1.ComponentPlan("api", each, "") for each in actions))
    lines = run("plan", "web").out.splitlines()
    words = {"none": "unchanged"}
    assert lines[: len(actions)] == [
        f"web/api: \x1b[{code}m{words.get(each, each)}\x1b[0m" for each, code in actions.items()
    ]


@pytest.mark.usefixtures("web")
def test_the_command_that_a_plan_names_does_what_was_planned(run: Run, rift: Node) -> None:
    words = ("web/api", "--image", "x:v9", "--force")
    rift.agent.prepared["PlanRequest"] = a_plan()
    rift.agent.prepared["PlanRequest"].plan_id = "p2"
    out = run("deploy", *words, "--dry-run").out
    assert (
        out.splitlines()[-1] == "plan p2: `mcpctl deploy web/api --image x:v9 --force --plan p2` applies exactly this"
    )
    (request,) = rift.agent.requests
    assert (request.component, request.force) == ("api", True)
    assert request.service.components[0].image == "x:v9"


@pytest.mark.usefixtures("web")
def test_a_plan_without_an_id_names_no_command(run: Run, rift: Node) -> None:
    """As a viewer's is, which compares less than a deploy does."""
    rift.agent.prepared["PlanRequest"] = v1.PlanResponse(warnings=["web: values are not compared"])
    status, out, err = run("plan", "web")
    assert (status, out) == (0, "nothing to do\n")
    assert err == "mcpctl: node rift: web: values are not compared\n"


@pytest.mark.usefixtures("web")
def test_a_plan_is_bound_to_nothing(run: Run, rift: Node) -> None:
    status, _, err = run("deploy", "web", "--dry-run", "--plan", "p1")
    assert status == 2
    assert "--dry-run" in err
    assert rift.agent.requests == []


def test_without_a_service_each_one_is_planned(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail", "orion")
    status, out, err = run("plan")
    assert (status, err) == (0, "")
    assert re.findall(r"mcpctl deploy (\w+) ", out) == ["mail", "web"]
    asked = rift.agent.asked(v1.PlanRequest) + orion.agent.asked(v1.PlanRequest)
    assert [each.service.name for each in asked] == ["web", "mail"]
    assert [each["service"] for each in json.loads(run("plan", *JSON).out)] == ["mail", "web"]


def test_a_service_on_a_node_that_is_not_active_is_skipped_and_said(run: Run, alone: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail", "orion")
    status, out, err = run("plan", *JSON)
    assert status == 0
    assert [each["service"] for each in json.loads(out)] == ["web"]
    assert err == "mcpctl: mail: node orion is down: skipped\n"
    assert len(alone.agent.requests) == 1


def test_what_is_no_definition_is_said_and_the_rest_is_planned(run: Run, rift: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail").write_text("immage")
    status, out, err = run("plan")
    assert status == 1
    assert "deploy web" in out
    assert str(tmp_path / "services/mail.toml") in err
    assert len(rift.agent.requests) == 1


def test_plans_of_the_nodes_that_answer_are_shown_with_status_4(
    run: Run, rift: Node, orion: Node, tmp_path: Path
) -> None:
    for name, node in (("a", "orion"), ("b", "orion"), ("web", "rift")):
        define(tmp_path, name, node)
    orion.cut(for_good=True)
    status, out, err = run("plan")
    assert status == 4
    assert re.findall(r"mcpctl deploy (\w+) ", out) == ["web"]
    assert err.count("node orion") == 1
    assert len(rift.agent.asked(v1.PlanRequest)) == 1


@pytest.mark.parametrize("words", [("plan",), ("plan", "web")], ids=" ".join)
def test_when_no_node_answers_the_error_is_the_answer(run: Run, rift: Node, web: Path, words: tuple[str, ...]) -> None:
    rift.cut(for_good=True)
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert "node rift" in err
    assert web.exists()


def test_a_plan_that_is_refused_is_a_failure_beside_others(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail", "orion")
    orion.agent.prepared["PlanRequest"] = GRPCError(Status.FAILED_PRECONDITION, "the port is taken")
    status, out, err = run("plan")
    assert status == 1
    assert "deploy web" in out
    assert err == "mcpctl: node orion: the port is taken\n"
    assert rift.agent.requests != []


def test_a_node_that_does_not_answer_is_asked_once(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    for name, node in (("a", "orion"), ("b", "orion"), ("web", "rift")):
        define(tmp_path, name, node)
    orion.agent.prepared["PlanRequest"] = GRPCError(Status.UNAVAILABLE, "podman does not answer")
    assert run("plan").status == 4
    assert [len(each.agent.asked(v1.PlanRequest)) for each in (rift, orion)] == [1, 1]


def test_a_refusal_weighs_more_than_a_node_that_is_away(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    for name, node in (("a", "orion"), ("b", "rift"), ("web", "rift")):
        define(tmp_path, name, node)
    orion.cut(for_good=True)
    rift.agent.refusals = [GRPCError(Status.FAILED_PRECONDITION, "the port is taken")]
    status, out, _ = run("plan")
    assert status == 1
    assert "deploy web" in out


@pytest.mark.usefixtures("rift")
def test_without_a_definition_there_is_nothing_to_plan(run: Run, tmp_path: Path) -> None:
    status, out, err = run("plan")
    assert (status, out) == (2, "")
    assert str(tmp_path / "services") in err


# -- deploy


def reports(*events: Any, completed: bool = True) -> list[Any]:
    """A deploy's stream; what is no report is as the double takes it."""
    made = [_report(each) for each in events]
    return [*made, v1.DeployResponse("12", completed=v1.Completed())] if completed else made


def _report(event: Any) -> Any:
    if isinstance(event, v1.Progress):
        return v1.DeployResponse("12", progress=event)
    return v1.DeployResponse("12", outcome=event) if isinstance(event, v1.ComponentOutcome) else event


@pytest.fixture
def deploying(rift: Node, web: Path) -> Node:  # noqa: ARG001
    """A node on which a deploy works."""
    rift.agent.prepared["DeployRequest"] = reports(step(), outcome())
    return rift


@pytest.mark.usefixtures("deploying")
def test_a_deploy_says_its_steps_and_lists_its_outcomes(run: Run) -> None:
    status, out, err = run("deploy", "web")
    assert status == 0
    assert out == "COMPONENT  RESULT    DETAIL\napi        replaced  v1 -> v2\n"
    assert err == f"{ANNOUNCED}\napi              pull     pulling x:v1\n"


@pytest.mark.usefixtures("deploying")
def test_as_json_each_report_of_a_deploy_is_a_line(run: Run) -> None:
    status, out, err = run("deploy", "web", *JSON)
    assert (status, err) == (0, "")
    progress = {"component": "api", "step": "pull", "message": "pulling x:v1", "at": "2026-03-01T12:00:00Z"}
    assert [json.loads(line) for line in out.splitlines()] == [
        {"operation": "12", "progress": progress},
        {"operation": "12", "outcome": {"component": "api", "result": "replaced", "message": "v1 -> v2"}},
    ]


def test_a_deploy_sends_what_was_asked_for(run: Run, deploying: Node) -> None:
    assert run("deploy", "web/api", "--plan", "p1", "--force", "--wait").status == 0
    (request,) = deploying.agent.requests
    assert (request.component, request.plan_id, request.force, request.wait) == ("api", "p1", True, True)
    assert not request.accept_losses
    assert run("deploy", "web/api", "--plan", "p1", "--accept-loss").status == 0
    assert deploying.agent.requests[-1].accept_losses


def test_a_plan_that_holds_no_longer_is_a_failure_in_the_agents_words(run: Run, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = GRPCError(Status.ABORTED, "plan p1 holds no longer: make another")
    status, out, err = run("deploy", "web", "--plan", "p1")
    assert (status, out) == (1, "")
    assert err == "mcpctl: node rift: plan p1 holds no longer: make another\n"


def test_outcomes_of_a_deploy_that_fails_are_listed(run: Run, deploying: Node) -> None:
    failed = GRPCError(Status.FAILED_PRECONDITION, "api failed at verify")
    deploying.agent.prepared["DeployRequest"] = reports(outcome(result=v1.Result.REVERTED), failed, completed=False)
    status, out, err = run("deploy", "web")
    assert status == 1
    assert "reverted" in out
    assert err == f"{ANNOUNCED}\nmcpctl: node rift: api failed at verify\n"


# -- deploy --image


@pytest.mark.parametrize("target", ["web", "web/api"])
def test_another_image_is_sent_and_what_the_file_says_is_said(
    run: Run, deploying: Node, web: Path, target: str
) -> None:
    status, _, err = run("deploy", target, "--image", "x:v2")
    assert status == 0
    assert err.splitlines()[0] == (
        f"mcpctl: web/api: deploying x:v2; {web} still says x:v1, and the next deploy goes back to it unless you edit "
        "the file"
    )
    assert [each.image for each in deploying.agent.requests[0].service.components] == ["x:v2"]
    assert web.read_text() == WEB


def test_only_the_components_image_is_another(run: Run, deploying: Node, web: Path) -> None:
    web.write_text(WEB + DB)
    assert run("deploy", "web/db", "--image", "y:v2").status == 0
    assert [each.image for each in deploying.agent.requests[0].service.components] == ["x:v1", "y:v2"]


@pytest.mark.usefixtures("deploying")
def test_an_image_that_the_file_says_too_is_no_reason_to_warn(run: Run) -> None:
    assert "says" not in run("deploy", "web/api", "--image", "x:v1").err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("web/api", "--image", "X Y"), "--image: 'X Y' is not an image reference"),
        (("web", "--image", "x:v2"), "web has api, db: give web/COMPONENT"),
        (("web/nobody", "--image", "x:v2"), "no component 'nobody'"),
    ],
)
def test_an_image_that_cannot_be_used_is_not_sent(
    run: Run, deploying: Node, web: Path, words: tuple[str, ...], part: str
) -> None:
    web.write_text(WEB + DB)
    status, out, err = run("deploy", *words)
    assert (status, out) == (2, "")
    assert part in err
    assert deploying.agent.requests == []


# -- a deploy that is not followed to its end


def test_a_stream_that_ends_early_says_how_to_follow_on(run: Run, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), completed=False)
    status, _, err = run("deploy", "web")
    assert status == 1
    assert err.splitlines()[2:] == [
        "mcpctl: node rift: the connection closed before the deploy of web ended",
        "operation 12 continues on the node until it completes or rolls back: "
        "`mcpctl attach 12 --node rift` follows it",
    ]


def test_with_one_node_it_needs_no_name(run: Run, alone: Node, web: Path) -> None:
    alone.agent.prepared["DeployRequest"] = reports(step(), completed=False)
    assert "`mcpctl attach 12` follows it" in run("deploy", "web").err
    assert web.exists()


def test_a_refusal_has_nothing_to_follow(run: Run, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = GRPCError(Status.UNAVAILABLE, "podman does not answer")
    assert run("deploy", "web").err == "mcpctl: node rift: podman does not answer\n"


Launch = Callable[..., Program]


def test_a_connection_that_breaks_says_how_to_follow_on(launch: Launch, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), ...)
    program = launch("deploy", "web")
    until(lambda: "pulling" in program.err, "it deploys")
    deploying.cut()
    assert program.end() == (1, [])
    assert "the connection to" in program.err
    assert "`mcpctl attach 12 --node rift` follows it" in program.err


def test_ctrl_c_leaves_the_operation_and_says_how_to_follow_it(launch: Launch, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), ...)
    program = launch("deploy", "web")
    until(lambda: "pulling" in program.err, "it deploys")
    assert program.interrupt() == (130, [])
    assert program.err.splitlines()[2:] == [
        "mcpctl: interrupted; operation 12 continues on rift: `mcpctl attach 12 --node rift` follows it again, "
        "`mcpctl cancel 12 --node rift` rolls it back"
    ]


def test_ctrl_c_before_anything_is_known_says_what_is(launch: Launch, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(...)
    program = launch("deploy", "web")
    until(lambda: deploying.agent.requests, "it is sent")
    assert program.interrupt() == (130, [])
    assert program.err == "mcpctl: interrupted; an operation that a node has begun continues there\n"


def test_a_reader_that_has_enough_is_not_taken_for_a_node_that_broke(deploying: Node, tmp_path: Path) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(*[step("x" * 1000)] * 500)
    command = [sys.executable, "-m", "mcpctl", "deploy", "web", *JSON]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=of_a_shell(tmp_path), stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""


# -- deploy on a terminal


class OnTerminal:
    """The program with a terminal as its stderr."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        command = [sys.executable, "-m", "mcpctl", *words]
        environment = {**of_a_shell(folder), "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environment}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=theirs)
        os.close(theirs)
        self._ours = ours
        self.shown = ""

    def until(self, part: str) -> None:
        while part not in self.shown:
            assert select.select([self._ours], [], [], DEADLINE_S)[0], f"it shows no {part!r}: {self.shown!r}"
            self.shown += os.read(self._ours, 65536).decode()

    def type(self, text: str) -> None:
        """The terminal echoes it."""
        os.write(self._ours, text.encode())

    def end(self) -> int:
        # EIO: what was written is read, and nobody has the terminal open any more (pty(7)).
        with contextlib.suppress(OSError):
            self.until("never")
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._ours)


Open = Callable[..., OnTerminal]


@pytest.fixture
def on_terminal(tmp_path: Path, launch: Launch) -> Iterator[Open]:  # noqa: ARG001
    with contextlib.ExitStack() as stack:
        yield lambda *words, **environment: stack.enter_context(
            contextlib.closing(OnTerminal(tmp_path, *words, **environment))
        )


def seen(shown: str) -> list[str]:
    """The lines that are on the terminal in the end."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9]*[A-Za-z]|[^\x1b]", shown):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token.endswith("A") and token != "A":
            row -= int(token[2:-1])
            assert row >= 0
        elif token in ("\x1b[K", "\x1b[J"):
            lines[row] = lines[row][:column]
            if token == "\x1b[J":
                del lines[row + 1 :]
        elif not token.startswith("\x1b"):
            lines[row] = f"{lines[row]:{column}}"[:column] + token + lines[row][column + 1 :]
            column += 1
    return [line for line in lines if line]


@pytest.mark.usefixtures("deploying")
def test_on_a_terminal_a_component_is_one_line_that_ends_as_its_result(on_terminal: Open) -> None:
    program = on_terminal("deploy", "web")
    assert program.end() == 0
    announced, line = seen(program.shown)
    assert announced == ANNOUNCED
    assert line.startswith("✓ api  replaced   v1 -> v2 ")
    assert "\x1b[32m✓\x1b[0m" in program.shown
    assert "pulling x:v1" in program.shown
    assert program.shown.endswith("\r\n\x1b[J")


@pytest.mark.usefixtures("deploying")
def test_a_dumb_terminal_gets_plain_lines(on_terminal: Open) -> None:
    program = on_terminal("deploy", "web", TERM="dumb")
    assert program.end() == 0
    assert program.shown == f"{ANNOUNCED}\r\napi              pull     pulling x:v1\r\n"


@pytest.mark.usefixtures("deploying")
def test_json_draws_nothing(on_terminal: Open) -> None:
    program = on_terminal("deploy", "web", *JSON)
    assert program.end() == 0
    assert program.shown == ""


def test_an_error_comes_below_the_drawing(on_terminal: Open, deploying: Node) -> None:
    failed = GRPCError(Status.FAILED_PRECONDITION, f"api failed at verify{HOSTILE}")
    deploying.agent.prepared["DeployRequest"] = reports(step(HOSTILE), failed, completed=False)
    program = on_terminal("deploy", "web", NO_COLOR="1")
    assert program.end() == 1
    _, first, second, *_ = seen(program.shown)
    assert first.startswith("▸ api  pull ")
    assert second.startswith("mcpctl: node rift: api failed at verify")
    escapes = set(re.findall(r"\x1b.[^A-Za-z]*.", program.shown))
    assert escapes <= {"\x1b[K", "\x1b[J", "\x1b[1A"}


def test_ctrl_c_leaves_whole_lines_on_the_terminal(on_terminal: Open, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), ...)
    program = on_terminal("deploy", "web")
    program.until("pulling")
    program.type("^C")
    program.process.send_signal(signal.SIGINT)
    assert program.end() == 130
    assert "^C" in program.shown
    _, first, *rest = seen(program.shown)
    assert first.startswith("▸ api  pull ")
    assert "".join(rest).startswith("mcpctl: interrupted; operation 12 continues on rift")


def test_the_seconds_go_on_while_nothing_happens(on_terminal: Open, deploying: Node) -> None:
    deploying.agent.prepared["DeployRequest"] = reports(step(), ...)
    on_terminal("deploy", "web").until(" 1s")


# -- sync


def service(name: str = "web", *outcomes: Any, pending: tuple[Any, ...] = (), error: str = "") -> v1.ServiceOutcome:
    return v1.ServiceOutcome(name, list(outcomes), list(pending), error)


def synced(node: Node, *services: v1.ServiceOutcome) -> None:
    node.agent.prepared["SyncRequest"] = v1.SyncResponse(list(services))


def test_each_node_is_told_all_of_its_own_definitions(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    for name in ("web", "mail"):
        define(tmp_path, name)
    status, _, err = run("sync")
    assert (status, err) == (0, "mcpctl: nothing to do\n")
    assert [[each.name for each in request.services] for request in rift.agent.requests] == [["mail", "web"]]
    assert orion.agent.asked(v1.SyncRequest) == [v1.SyncRequest()]
    assert run("sync", "--dry-run", "--node", "rift").status == 0
    assert [each.dry_run for each in rift.agent.requests] == [False, True]
    assert len(orion.agent.asked(v1.SyncRequest)) == 1


@pytest.mark.usefixtures("web")
def test_sync_lists_outcomes_and_what_a_deploy_would_change(run: Run, rift: Node) -> None:
    stopped = outcome(result=v1.Result.STOPPED, message="declared so")
    synced(rift, service("web", stopped, pending=(REPLACED,)), service("mail", outcome("db")))
    status, out, _ = run("sync")
    assert status == 0
    header, first, second, *rest = out.splitlines()
    assert stripped(header) == HEADERS
    assert stripped(first) == ["rift", "web", "api", "stopped", "declared so"]
    assert stripped(second) == ["rift", "mail", "db", "replaced", "v1 -> v2"]
    assert rest == [
        "",
        "these components still need a deploy:",
        "  web/api: replace (image changed)",
        "run `mcpctl deploy web`",
    ]


@pytest.mark.usefixtures("web")
def test_as_json_sync_is_a_list_of_services(run: Run, rift: Node) -> None:
    synced(rift, service("web", outcome(), pending=(v1.ComponentPlan("db", "create", "new"),), error="why"))
    status, out, _ = run("sync", *JSON)
    assert status == 1
    assert json.loads(out) == [
        {
            "node": "rift",
            "service": "web",
            "outcomes": [{"component": "api", "result": "replaced", "message": "v1 -> v2"}],
            "pending": [{"component": "db", "action": "create", "reason": "new", "changes": []}],
            "error": "why",
        }
    ]


@pytest.mark.usefixtures("web")
def test_a_service_that_could_not_be_synced_is_a_failure(run: Run, rift: Node) -> None:
    synced(rift, service(error="held by operation 3"))
    status, out, _ = run("sync")
    assert status == 1
    assert out.splitlines()[1].split() == ["rift", "web", "failed", "held", "by", "operation", "3"]


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("result", [v1.Result.FAILED, v1.Result.REVERTED])
def test_a_component_that_could_not_be_synced_is_a_failure(run: Run, rift: Node, result: v1.Result) -> None:
    synced(rift, service("web", outcome(result=result)))
    assert run("sync").status == 1


def test_one_bad_definition_and_nothing_is_sent(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    for name in ("bad", "worse"):
        define(tmp_path, name).write_text("nonsense = 1\n")
    status, out, err = run("sync")
    assert (status, out) == (2, "")
    assert str(tmp_path / "services/bad.toml") in err
    assert str(tmp_path / "services/worse.toml") in err
    assert "nothing was sent" in err
    assert rift.agent.requests + orion.agent.requests == []


def test_definitions_that_disagree_are_not_sent(run: Run, rift: Node, tmp_path: Path) -> None:
    define(tmp_path, "a").write_text(WEB.replace("web", "a").replace("api", "b-c"))
    define(tmp_path, "a-b").write_text(WEB.replace("web", "a-b").replace("api", "c"))
    status, _, err = run("sync")
    assert status == 2
    assert err.count("its container name a-b-c is also that of") == 2
    assert rift.agent.requests == []


@pytest.mark.parametrize("command", ["sync", "purge"])
def test_without_the_folder_of_definitions_nothing_is_taken_for_undeclared(
    run: Run, rift: Node, tmp_path: Path, command: str
) -> None:
    (tmp_path / "services").rmdir()
    status, _, err = run(command)
    assert status == 2
    assert f"{tmp_path / 'services'} does not exist" in err
    assert rift.agent.requests == []


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("command", ["sync", "purge", "recover"])
def test_nodes_that_are_not_active_are_skipped_and_said(run: Run, alone: Node, orion: Node, command: str) -> None:
    alone.agent.prepared["RecoverRequest"] = [v1.RecoverResponse(completed=v1.Completed())]
    status, _, err = run(command)
    assert status == 0
    assert "node orion is down in mcp.toml: skipped" in err
    status, out, err = run(command, "--node", "orion")
    assert (status, out) == (1, "")
    assert "mcpctl node set-state orion active" in err
    assert (len(alone.agent.requests), orion.agent.requests) == (1, [])


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("command", ["sync", "purge", "recover"])
def test_the_nodes_that_answer_are_enough_for_status_4(run: Run, rift: Node, orion: Node, command: str) -> None:
    recovered(rift, outcome())
    synced(rift, service("web", outcome()))
    purged(rift, service("web", outcome()))
    orion.cut(for_good=True)
    status, out, err = run(command)
    assert status == 4
    assert "replaced" in out
    assert "node orion" in err


# -- purge


def purged(node: Node, *services: v1.ServiceOutcome) -> None:
    node.agent.prepared["PurgeRequest"] = v1.PurgeResponse(list(services))


def test_purge_names_every_service_that_has_a_definition(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    define(tmp_path, "web")
    define(tmp_path, "mail", "orion")
    define(tmp_path, "broken").write_text("nonsense")
    define(tmp_path, "renamed").write_text(WEB.replace("web", "former"))
    assert run("purge", "old/api", "--dry-run").status == 0
    expected = v1.PurgeRequest("old", "api", True, ["broken", "former", "mail", "renamed", "web"])
    assert rift.agent.requests == orion.agent.requests == [expected]


REMOVED = outcome("old", v1.Result.REMOVED, "forgotten")
LEFT = outcome("api", v1.Result.SKIPPED, "it runs")


def test_purge_lists_what_became_of_each(run: Run, rift: Node) -> None:
    purged(rift, service("web", REMOVED, LEFT))
    status, out, _ = run("purge")
    assert status == 0
    assert [stripped(line) for line in out.splitlines()] == [
        HEADERS,
        ["rift", "web", "old", "removed", "forgotten"],
        ["rift", "web", "api", "skipped", "it runs"],
    ]
    (shown,) = json.loads(run("purge", *JSON).out)
    assert (shown["node"], shown["service"]) == ("rift", "web")
    assert [each["result"] for each in shown["outcomes"]] == ["removed", "skipped"]


@pytest.mark.parametrize(
    ("words", "found", "status"),
    [
        ((), service("web", LEFT), 0),
        (("web",), service("web", LEFT), 1),
        (("web",), service("web", REMOVED), 0),
        (("web",), service("web", outcome(result=v1.Result.FAILED)), 1),
        ((), service("web", error="held"), 1),
        (("web/api",), service("web", error="held"), 1),
    ],
)
def test_purge_fails_when_what_was_named_is_left(
    run: Run, rift: Node, words: tuple[str, ...], found: v1.ServiceOutcome, status: int
) -> None:
    purged(rift, found)
    assert run("purge", *words).status == status


def test_a_service_that_only_one_node_knows_is_purged_there(run: Run, rift: Node, orion: Node) -> None:
    unknown = GRPCError(Status.NOT_FOUND, "old is not known")
    purged(rift, service("old", REMOVED))
    orion.agent.prepared["PurgeRequest"] = unknown
    assert run("purge", "old").status == 0
    rift.agent.prepared["PurgeRequest"] = unknown
    assert run("purge", "old").status == 2


# -- recover


def recovered(node: Node, *outcomes: Any, completed: bool = True) -> None:
    stream: list[Any] = [v1.RecoverResponse("7", "web", progress=step("creating web-api", "create"))]
    stream += [v1.RecoverResponse("7", "web", outcome=each) for each in outcomes]
    node.agent.prepared["RecoverRequest"] = stream + [v1.RecoverResponse(completed=v1.Completed())] * completed


CREATED = outcome(result=v1.Result.CREATED, message="from x:v1")


def test_all_nodes_recover_and_each_line_says_where(run: Run, rift: Node, orion: Node) -> None:
    recovered(rift, CREATED)
    recovered(orion, outcome(result=v1.Result.UNCHANGED, message=""))
    status, out, err = run("recover", "web", "--dry-run")
    assert status == 0
    assert sorted(err.splitlines()) == [
        "orion: web/api   create   creating web-api",
        "rift: web/api    create   creating web-api",
    ]
    header, *rows = map(stripped, out.splitlines())
    assert header == HEADERS
    assert sorted(rows) == [["orion", "web", "api", "unchanged"], ["rift", "web", "api", "created", "from x:v1"]]
    assert rift.agent.requests == orion.agent.requests == [v1.RecoverRequest(True, "web")]


def test_one_node_needs_no_name_in_each_line(run: Run, rift: Node, orion: Node) -> None:
    recovered(rift, CREATED)
    assert run("recover", "--node", "rift").err == "web/api          create   creating web-api\n"
    assert orion.agent.requests == []


def test_as_json_each_report_of_a_recovery_is_a_line(run: Run, rift: Node) -> None:
    recovered(rift, CREATED)
    lines = [json.loads(line) for line in run("recover", "--node", "rift", *JSON).out.splitlines()]
    assert [sorted(line) for line in lines] == [
        ["node", "operation", "progress", "service"],
        ["node", "operation", "outcome", "service"],
    ]
    assert {(line["node"], line["service"], line["operation"]) for line in lines} == {("rift", "web", "7")}


def test_a_component_that_is_not_recovered_is_a_failure(run: Run, rift: Node) -> None:
    recovered(rift, CREATED, outcome("db", v1.Result.FAILED, "no image"))
    status, out, _ = run("recover", "--node", "rift")
    assert status == 1
    assert "no image" in out


def test_a_recovery_that_is_cut_off_is_said_beside_what_is_known(run: Run, rift: Node, orion: Node) -> None:
    recovered(rift, CREATED, completed=False)
    recovered(orion)
    status, out, err = run("recover")
    assert status == 4
    assert "created" in out
    assert "mcpctl: node rift: the connection closed before the recovery ended (waited " in err


def test_ctrl_c_leaves_a_recovery_and_says_where_to_look(launch: Launch, rift: Node, orion: Node) -> None:
    rift.agent.prepared["RecoverRequest"] = [v1.RecoverResponse("7", "web", progress=step()), ...]
    recovered(orion)
    program = launch("recover")
    until(lambda: "rift: web/api" in program.err, "it recovers")
    assert program.interrupt() == (130, [])
    assert "`mcpctl operations --running` lists them" in program.err


# -- operations


def an_operation(number: int = 12, **values: Any) -> v1.OperationInfo:
    fields = {"service": "web", "component": "api", "kind": "deploy", "caller": "kyle", "started_at": AT}
    return v1.OperationInfo(**{"id": number, "state": "running", "step": "pull", **fields, **values})


def listed(node: Node, *operations: v1.OperationInfo) -> None:
    node.agent.prepared["ListOperationsRequest"] = v1.ListOperationsResponse(node.agent.node, list(operations))


def test_operations_are_a_row_each(run: Run, alone: Node) -> None:
    ended = {"state": "reverted", "ended_at": AT + timedelta(seconds=65), "message": "no image"}
    started = datetime.now(UTC) - timedelta(hours=2, seconds=30)
    listed(alone, an_operation(11, **ended, component=""), an_operation(12, started_at=started))
    status, out, _ = run("operations")
    assert status == 0
    header, first, second = map(stripped, out.splitlines())
    assert header == ["NODE", "ID", "OPERATION", "TARGET", "BY", "STARTED", "TOOK", "STATE", "STEP/DETAIL"]
    assert first == ["rift", "11", "deploy", "web", "kyle", render.moment(AT), "1m5s", "reverted", "no image"]
    assert second == ["rift", "12", "deploy", "web/api", "kyle", render.moment(started), "2h", "running", "pull"]


def test_operations_of_several_nodes_come_oldest_first(run: Run, rift: Node, orion: Node) -> None:
    listed(rift, an_operation(1), an_operation(2, started_at=AT + timedelta(hours=2)))
    listed(orion, an_operation(9, started_at=AT + timedelta(hours=1)))
    shown = json.loads(run("operations", *JSON).out)
    assert [(each["node"], each["id"]) for each in shown] == [("rift", 1), ("orion", 9), ("rift", 2)]
    assert shown[0] == {
        "node": "rift",
        "id": 1,
        "service": "web",
        "component": "api",
        "kind": "deploy",
        "caller": "kyle",
        "started_at": "2026-03-01T12:00:00Z",
        "ended_at": None,
        "state": "running",
        "step": "pull",
        "message": "",
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), v1.ListOperationsRequest(limit=20)),
        (("web", "--running", "--limit", "3"), v1.ListOperationsRequest("web", True, 3)),
    ],
)
def test_a_node_is_asked_for_the_operations_that_are_wanted(
    run: Run, alone: Node, words: tuple[str, ...], expected: v1.ListOperationsRequest
) -> None:
    assert run("operations", *words).status == 0
    assert alone.agent.requests == [expected]


# -- attach


def watched(node: Node, *events: Any, completed: bool = True) -> None:
    stream: list[Any] = [v1.WatchOperationResponse(operation=an_operation())]
    for each in events:
        field = {v1.Progress: "progress", v1.ComponentOutcome: "outcome"}.get(type(each))
        stream.append(v1.WatchOperationResponse(**{field: each}) if field else each)
    stream += [v1.WatchOperationResponse(completed=v1.Completed())] * completed
    node.agent.prepared["WatchOperationRequest"] = stream


def test_an_operation_is_followed_to_its_end(run: Run, alone: Node) -> None:
    watched(alone, step(), outcome())
    status, out, err = run("attach", "12")
    assert status == 0
    assert out == "COMPONENT  RESULT    DETAIL\napi        replaced  v1 -> v2\n"
    assert err.splitlines() == [
        f"mcpctl: node rift: operation 12: deploy web/api by kyle; running, since {render.moment(AT)}",
        "api              pull     pulling x:v1",
    ]
    assert alone.agent.requests == [v1.WatchOperationRequest(12)]


def test_as_json_the_first_line_is_the_operation(run: Run, alone: Node) -> None:
    watched(alone, step())
    first, second = map(json.loads, run("attach", "12", *JSON).out.splitlines())
    assert first["operation"] == second["operation"] == "12"
    assert (first["info"]["id"], first["info"]["kind"], first["info"]["node"]) == (12, "deploy", "rift")
    assert second["progress"]["step"] == "pull"


def test_an_operation_that_fails_is_a_failure(run: Run, alone: Node) -> None:
    watched(alone, GRPCError(Status.FAILED_PRECONDITION, "api failed at pull"), completed=False)
    status, _, err = run("attach", "12")
    assert status == 1
    assert err.splitlines()[-1] == "mcpctl: node rift: api failed at pull"


def test_an_attach_that_is_cut_off_says_how_to_do_it_again(run: Run, alone: Node) -> None:
    watched(alone, completed=False)
    status, _, err = run("attach", "12")
    assert status == 1
    assert "the connection closed before operation 12 ended" in err
    assert "`mcpctl attach 12` follows it" in err


def test_with_several_nodes_attach_says_that_it_needs_one(run: Run, rift: Node, orion: Node) -> None:
    status, out, err = run("attach", "12")
    assert (status, out) == (2, "")
    assert "each node numbers its own operations, and 2 nodes are active (rift, orion); give --node NAME" in err
    watched(orion)
    assert run("attach", "12", "--node", "orion").status == 0
    assert (rift.agent.requests, len(orion.agent.requests)) == ([], 1)


@pytest.mark.parametrize("number", ["0", "99999999999999999999"])
def test_what_is_no_id_of_an_operation_is_not_sent(run: Run, alone: Node, number: str) -> None:
    status, _, err = run("attach", number)
    assert status == 2
    assert f"{number} is not a valid operation ID" in err
    assert alone.agent.requests == []


def test_an_operation_is_drawn_as_a_deploy_is(on_terminal: Open, alone: Node) -> None:
    watched(alone, step(), outcome())
    program = on_terminal("attach", "12")
    assert program.end() == 0
    lines = seen(program.shown)
    assert lines[-1].startswith("✓ api  replaced   v1 -> v2 ")
    assert lines[0].startswith("mcpctl: node rift: operation 12: deploy web/api by kyle")


# -- what nodes say cannot move the cursor


@pytest.mark.parametrize(
    "words", [("plan", "web"), ("deploy", "web"), ("sync",), ("purge",), ("recover",), ("operations",), ("attach", "1")]
)
def test_what_a_node_says_cannot_move_the_cursor(run: Run, alone: Node, web: Path, words: tuple[str, ...]) -> None:
    planned = v1.ComponentPlan(HOSTILE, HOSTILE, HOSTILE, [a_change(*[HOSTILE] * 4)])
    told = [step(HOSTILE, HOSTILE, HOSTILE), outcome(HOSTILE, message=HOSTILE)]
    found = v1.ServiceOutcome(HOSTILE, [told[1]], [planned], HOSTILE)
    alone.agent.prepared["PlanRequest"] = v1.PlanResponse(HOSTILE, [planned], [HOSTILE], [HOSTILE])
    alone.agent.prepared["DeployRequest"] = reports(*told)
    synced(alone, found)
    purged(alone, found)
    alone.agent.prepared["RecoverRequest"] = [
        v1.RecoverResponse(HOSTILE, HOSTILE, progress=told[0]),
        v1.RecoverResponse(HOSTILE, HOSTILE, outcome=told[1]),
        v1.RecoverResponse(completed=v1.Completed()),
    ]
    fields = ("service", "component", "kind", "caller", "state", "step", "message")
    hostile = an_operation(**dict.fromkeys(fields, HOSTILE))
    listed(alone, hostile)
    watched(alone, *told)
    alone.agent.prepared["WatchOperationRequest"][0] = v1.WatchOperationResponse(operation=hostile)
    _, out, err = run(*words)
    assert "one" in out + err
    assert (out + err).replace("\n", "").isprintable()
    assert web.exists()
