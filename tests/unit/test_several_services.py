"""Several services in one command, all of them, and a definition that is named by its file."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import JSON, WEB, Launch, Node, Program, Run, of_a_shell, stripped
from tests.support.changes import define, outcome, reports, step
from tests.support.waiting import DEADLINE_S, until

STARTED = [outcome(result=v1.Result.STARTED, message="")]


@pytest.fixture
def fleet(rift: Node, orion: Node, tmp_path: Path) -> tuple[Node, Node]:
    """web and blog on rift, shop on orion; every deploy works."""
    define(tmp_path, "web")
    define(tmp_path, "blog")
    define(tmp_path, "shop", "orion")
    for node in (rift, orion):
        node.agent.prepared["DeployRequest"] = reports(step(), outcome())
        node.agent.prepared["PlanRequest"] = a_plan("replace")
    return rift, orion


def a_plan(action: str) -> v1.PlanResponse:
    return v1.PlanResponse("p1", [v1.ComponentPlan("api", action, "why")])


def deployed(*nodes: Node) -> list[str]:
    return [each.service.name for node in nodes for each in node.agent.asked(v1.DeployRequest)]


def set_state(folder: Path, name: str, state: str) -> None:
    path = folder / "mcp.toml"
    path.write_text(path.read_text().replace(f'name = "{name}"\n', f'name = "{name}"\nstate = "{state}"\n'))


# -- deploy of several


def test_each_of_several_is_deployed_and_has_its_line(run: Run, fleet: tuple[Node, Node]) -> None:
    status, out, err = run("deploy", "web", "shop", "blog/api", "web")
    assert status == 0
    assert deployed(*fleet) == ["web", "blog", "shop"]
    assert [each.component for each in fleet[0].agent.asked(v1.DeployRequest)] == ["", "api"]
    lines = out.splitlines()
    assert [stripped(line)[:4] for line in lines[1:4]] == [
        ["rift", "web", "api", "replaced"],
        ["orion", "shop", "api", "replaced"],
        ["rift", "blog", "api", "replaced"],
    ]
    assert lines[4:] == ["3 done"]
    assert "mcpctl: node orion: the deploy of shop is operation 12" in err
    assert "orion: shop/api" in err


def test_one_that_fails_stops_no_other(run: Run, fleet: tuple[Node, Node]) -> None:
    rift, orion = fleet
    failed = GRPCError(Status.FAILED_PRECONDITION, "deploy of web: api failed at verify\n    panic")
    rift.agent.refusals_of["DeployRequest"] = [failed]
    status, out, err = run("deploy", "web", "blog", "shop")
    assert status == 1
    assert deployed(rift, orion) == ["web", "blog", "shop"]
    assert out.splitlines()[-1] == "1 failed, 2 done"
    assert "panic" in err


def test_a_node_that_is_down_is_asked_once_and_the_rest_is_done(run: Run, fleet: tuple[Node, Node]) -> None:
    rift, orion = fleet
    rift.cut(for_good=True)
    status, out, err = run("deploy", "web", "blog", "shop")
    assert status == 4
    assert deployed(orion) == ["shop"]
    assert out.splitlines()[-1] == "1 failed, 1 skipped, 1 done"
    assert err.count("cannot be reached") == 1


def test_what_is_on_a_node_that_is_not_active_is_skipped_and_said(
    run: Run, fleet: tuple[Node, Node], tmp_path: Path
) -> None:
    set_state(tmp_path, "orion", "down")
    status, _, err = run("deploy", "web", "shop")
    assert status == 4
    assert deployed(*fleet) == ["web"]
    assert "mcpctl: shop: node orion is down: skipped" in err


def test_of_several_all_that_is_wrong_is_said_and_nothing_is_sent(run: Run, fleet: tuple[Node, Node]) -> None:
    status, _, err = run("deploy", "web", "bolg", "web/apii")
    assert status == 2
    assert "did you mean blog?" in err
    assert "did you mean web/api?" in err
    assert deployed(*fleet) == []


def test_as_json_each_report_says_what_it_is_of(run: Run, fleet: tuple[Node, Node]) -> None:
    assert fleet
    out = run("deploy", "web", "shop", *JSON).out
    assert '"node":"orion","service":"shop"' in out
    assert '"node":"rift","service":"web"' in out


# -- deploy of all


def test_without_a_terminal_all_are_deployed_only_with_yes(run: Run, fleet: tuple[Node, Node]) -> None:
    status, out, err = run("deploy")
    assert (status, out) == (2, "")
    assert "`mcpctl deploy --yes` deploys without asking" in err
    assert deployed(*fleet) == []
    status, out, _ = run("deploy", "--yes")
    assert status == 0
    assert sorted(deployed(*fleet)) == ["blog", "shop", "web"]
    assert "web/api: replace (why)" in out
    # What was shown is what is done.
    assert {each.plan_id for each in fleet[0].agent.asked(v1.DeployRequest)} == {"p1"}


def test_one_bad_definition_and_none_is_deployed(run: Run, fleet: tuple[Node, Node], tmp_path: Path) -> None:
    (tmp_path / "services/bad.toml").write_text("name = 1\n")
    status, _, err = run("deploy", "--yes")
    assert status == 2
    assert "nothing was sent" in err
    assert deployed(*fleet) == []


@pytest.mark.parametrize(("typed", "names"), [("y\n", ["blog", "shop", "web"]), ("\n", []), ("no\n", [])])
def test_on_a_terminal_it_asks(fleet: tuple[Node, Node], tmp_path: Path, typed: str, names: list[str]) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    command = [sys.executable, "-m", "mcpctl", "deploy"]
    done = subprocess.run(
        command, env={**of_a_shell(tmp_path), "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    os.close(theirs)
    shown = everything(ours)
    os.close(ours)
    assert "Deploy these? [y/N]" in shown
    assert "web/api" in shown
    assert sorted(deployed(*fleet)) == names
    assert done.returncode == (0 if names else 1)
    assert (b"nothing was deployed" in done.stderr) is not bool(names)


def everything(terminal: int) -> str:
    """What was written to a terminal that nobody has open any more."""
    found = b""
    # The other end is closed: behind what is left there is an error.
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 100_000):
            found += part
    return found.decode()


# -- start and stop of several


def test_several_are_stopped_and_their_files_say_so(run: Run, fleet: tuple[Node, Node], tmp_path: Path) -> None:
    for node in fleet:
        node.agent.prepared["StopServiceRequest"] = v1.StopServiceResponse(
            [outcome(result=v1.Result.STOPPED, message="")]
        )
    status, out, _ = run("stop", "web", "shop")
    assert status == 0
    assert [stripped(line)[:4] for line in out.splitlines()[1:3]] == [
        ["rift", "web", "api", "stopped"],
        ["orion", "shop", "api", "stopped"],
    ]
    assert all("active = false" in (tmp_path / f"services/{name}.toml").read_text() for name in ("web", "shop"))


def test_of_several_what_could_not_be_told_is_settled_later(run: Run, fleet: tuple[Node, Node]) -> None:
    rift, orion = fleet
    orion.agent.prepared["StartServiceRequest"] = v1.StartServiceResponse(STARTED)
    rift.cut(for_good=True)
    status, _, err = run("start", "web", "shop")
    assert status == 4
    assert "`mcpctl sync` applies it" in err


# -- a definition by its file


@pytest.mark.parametrize("text", ["web.toml", "services/web.toml", "./services/web.toml"])
def test_a_file_of_the_folder_is_the_service(
    run: Run, fleet: tuple[Node, Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run("deploy", text)
    assert (status, "sync" in err) == (0, False)
    assert deployed(*fleet) == ["web"]


def test_a_file_elsewhere_is_read_from_there_and_said(run: Run, fleet: tuple[Node, Node], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere/web.toml"
    other.write_text(WEB.replace("x:v1", "x:v2"))
    status, _, err = run("deploy", str(other))
    assert status == 0
    assert fleet[0].agent.asked(v1.DeployRequest)[0].service.components[0].image == "x:v2"
    assert f"not the file that `mcpctl sync` uses for this service, which is {tmp_path}/services/web.toml" in err


def test_a_file_that_is_not_there_is_an_error_of_usage(run: Run, fleet: tuple[Node, Node]) -> None:
    status, _, err = run("deploy", "./wbe.toml")
    assert status == 2
    assert "no such file; did you mean web?" in err
    assert deployed(*fleet) == []


# -- Ctrl-C


def test_ctrl_c_of_several_says_what_goes_on_and_what_was_not_begun(launch: Launch, fleet: tuple[Node, Node]) -> None:
    for node in fleet:
        node.agent.prepared["DeployRequest"] = reports(step(), ...)
    program: Program = launch("deploy", "web", "blog", "shop")
    until(lambda: program.err.count("pulling") == 2, "both nodes are at it")
    assert program.interrupt()[0] == 130
    assert "`mcpctl cancel 12 --node orion` rolls it back" in program.err
    assert "`mcpctl cancel 12 --node rift` rolls it back" in program.err
    assert "not started: blog" in program.err
