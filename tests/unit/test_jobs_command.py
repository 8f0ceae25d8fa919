"""`mcpctl jobs`: what is listed of jobs and their runs, and running one now."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.actions import jobs, relocation
from mcpctl.ui import render
from mcpctl.ui.output import How
from mcpctl.ui.rows.jobs import StartedRunRow, job_run_row
from protos.mcp import v1
from tests.support.agent import AT, HOSTILE, WEB, Launch, Node, Run, stripped
from tests.support.answers import a_job, a_run, prepare_jobs
from tests.support.terminal import Open, seen
from tests.support.waiting import until

STARTED = a_run(state="running", ended_at=None, exit_status=None, caller="kyle", due_at=None)
FAILED = a_run(state="failed", exit_status=3, message="it could not reach the server")
BACKUP = WEB + '[[components]]\nname = "backup"\nimage = "x:v1"\nschedule = "0 2 * * *"\n'
LATER = AT + timedelta(days=1)


def answers(*runs: v1.JobRun) -> list[Any]:
    return [v1.RunJobResponse(each) for each in runs]


def prepare_run(node: Node, folder: Path, *prepared: Any) -> None:
    (folder / "services/web.toml").write_text(BACKUP)
    node.agent.prepared["RunJobRequest"] = prepared


# -- list


def test_a_job_is_a_row_with_its_last_run_and_its_next(run: Run, alone: Node) -> None:
    prepare_jobs(alone, a_job(a_run()))
    status, out, err = run("jobs")
    assert (status, err.count("\n")) == (0, 1)
    header, row = out.splitlines()
    assert header.split() == ["NODE", "JOB", "SCHEDULE", "LAST", "RESULT", "TOOK", "NEXT", "STATE"]
    expected = ["rift", "web/backup", "0 2 * * *", render.moment(AT), "succeeded", "1m"]
    assert stripped(row) == [*expected, render.moment(LATER), "scheduled"]


@pytest.mark.parametrize(
    ("job", "shown"),
    [
        (a_job(), f"never  {render.moment(LATER)}  scheduled"),
        (a_job(active=False, next_at=None), "never  stopped"),
        (a_job(FAILED), f"{render.moment(AT)}  failed 3  1m"),
        (a_job(a_run(state="timed-out", exit_status=137)), "timed-out  1m"),
        (a_job(a_run(state="stopped", exit_status=143)), "stopped  1m"),
        (
            a_job(a_run(state="not-started", started_at=None, exit_status=None)),
            f"{render.moment(AT)}  not-started  {render.moment(LATER)}",
        ),
        (a_job(a_run(), timezone="Europe/Berlin"), "0 2 * * * Europe/Berlin"),
        (a_job(timezone=""), "0 2 * * *  never"),
        (a_job(STARTED, FAILED), f"failed 3  1m  {render.moment(LATER)}  running"),
        (a_job(STARTED), f"{render.moment(AT)}  running"),
    ],
)
def test_what_became_of_a_job_is_shown(run: Run, alone: Node, job: v1.JobInfo, shown: str) -> None:
    prepare_jobs(alone, job)
    assert shown in "  ".join(stripped(run("jobs").out.splitlines()[1]))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), v1.ListJobsRequest(runs=2)),
        (("web",), v1.ListJobsRequest("web", runs=2)),
        (("web/backup",), v1.ListJobsRequest("web", "backup", 2)),
        (("list", "web"), v1.ListJobsRequest("web", runs=2)),
        (("list", "run"), v1.ListJobsRequest("run", runs=2)),
        (("list", "list"), v1.ListJobsRequest("list", runs=2)),
        (("web", "--output", "json"), v1.ListJobsRequest("web")),
        (("web", "--runs", "5"), v1.ListJobsRequest("web", "", 5)),
        (("--runs", "5", "--node", "rift"), v1.ListJobsRequest("", "", 5)),
    ],
)
def test_jobs_alone_lists_them_too(run: Run, alone: Node, words: tuple[str, ...], expected: v1.ListJobsRequest) -> None:
    assert run("jobs", *words).status == 0
    assert alone.agent.requests == [expected]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rnu", "web/backup"), "did you mean `mcpctl jobs run web/backup`?"),
        (("start", "web/backup"), "use `mcpctl jobs run web/backup`"),
        (("web", "--runs", "0"), "--runs must be at least 1"),
        (("web/", "--runs", "1"), "web/"),
        (("run",), "TARGET"),
    ],
)
def test_a_wrong_command_line_is_answered(run: Run, alone: Node, words: tuple[str, ...], said: str) -> None:
    status, _, err = run("jobs", *words)
    assert (status, alone.agent.requests) == (2, [])
    assert said in err


def test_the_runs_of_each_job_are_listed_below_it(run: Run, alone: Node) -> None:
    prepare_jobs(alone, a_job(STARTED, a_run(11, missed=2)), a_job(component="report"))
    out = run("jobs", "--runs", "5").out
    title, header, running, older, blank, other, never = out.splitlines()
    assert title == f"web/backup  0 2 * * *, next {render.moment(LATER)}  running"
    assert header.split() == ["RUN", "DUE", "STARTED", "TOOK", "RESULT", "BY", "DETAIL"]
    assert (stripped(running)[:2], stripped(running)[3:]) == (["12", render.moment(AT)], ["running", "kyle"])
    due = f"{render.moment(AT)} and 2 before"
    assert stripped(older) == ["11", due, render.moment(AT), "1m", "succeeded", "mcpd"]
    assert (blank, other.split()[0], never) == ("", "web/report", "never run")


def test_a_run_that_failed_says_why(run: Run, alone: Node) -> None:
    prepare_jobs(alone, a_job(FAILED, timeout=timedelta(minutes=90)))
    assert run("jobs", "--runs", "1").out.splitlines()[2].endswith("failed 3  mcpd  it could not reach the server")
    wide = run("jobs", "--output", "wide").out.splitlines()[1]
    assert "5400s" in wide
    assert wide.endswith("mcpd  it could not reach the server")


def test_jobs_of_several_nodes_name_theirs(run: Run, rift: Node, orion: Node) -> None:
    prepare_jobs(rift, a_job(a_run()))
    prepare_jobs(orion, a_job())
    titles = [line for line in run("jobs", "--runs", "1").out.splitlines() if "web/backup" in line]
    assert [line.split()[:2] for line in titles] == [["rift:", "web/backup"], ["orion:", "web/backup"]]


def test_there_being_none_is_said(run: Run, alone: Node) -> None:
    prepare_jobs(alone)
    for words, said in (((), "no jobs found on rift"), (("web",), "no jobs of web found on rift")):
        status, out, err = run("jobs", *words, "--runs", "3")
        assert (status, out) == (0, "")
        assert said in err


def test_a_job_that_no_node_has_is_told_with_the_one_that_was_meant(run: Run, alone: Node, tmp_path: Path) -> None:
    (tmp_path / "services/web.toml").write_text(BACKUP)
    alone.agent.prepared["ListJobsRequest"] = GRPCError(Status.NOT_FOUND, "there is no such job on rift")
    for what, meant in (("wbe", "; did you mean web?"), ("web/bakcup", "; did you mean web/backup?"), ("web", "")):
        status, out, err = run("jobs", what)
        assert (status, out) == (2, "")
        # A service without jobs may well be deployed.
        assert err.endswith(f"mcpctl: node rift: there is no such job on rift{meant}\n")


def test_a_program_gets_every_run(run: Run, alone: Node) -> None:
    prepare_jobs(alone, a_job(STARTED, FAILED, timeout=timedelta(seconds=90), timezone="Europe/Berlin"))
    (job,) = json.loads(run("jobs", "--runs", "2", "--output", "json").out)
    assert (job["state"], job["timezone"], job["timeout_s"]) == ("running", "Europe/Berlin", 90)
    first, second = job["runs"]
    assert (first["state"], first["due_at"], first["ended_at"], first["exit_status"]) == ("running", None, None, None)
    assert (second["state"], second["exit_status"], second["message"]) == ("failed", 3, FAILED.message)


def test_what_a_node_says_acts_on_no_terminal(run: Run, alone: Node) -> None:
    hostile = a_run(state=HOSTILE, caller=HOSTILE, message=HOSTILE)
    prepare_jobs(alone, a_job(hostile, schedule=HOSTILE, timezone=HOSTILE, component=HOSTILE))
    for words in ((), ("--runs", "1"), ("--quiet",), ("--output", "wide")):
        assert not {"\x1b", "\x9b", "\u2028"} & {*run("jobs", *words).out}


@pytest.mark.parametrize(
    ("result", "colour"),
    [("running", "green"), ("succeeded", "green"), ("failed 3", "red"), ("timed-out", "red"), ("not-started", "red")],
)
def test_what_matters_stands_out(result: str, colour: str) -> None:
    assert render.state_colour(result) == colour
    assert render.state_colour("scheduled") == render.state_colour("stopped") == ""


# -- run


def test_a_run_that_has_started_says_how_to_follow_it(run: Run, alone: Node, tmp_path: Path) -> None:
    prepare_run(alone, tmp_path, *answers(STARTED))
    status, out, _ = run("jobs", "run", "web/backup")
    assert status == 0
    assert out == "node rift: web/backup: run 12 has started: `mcpctl logs web/backup --follow` follows it\n"
    assert alone.agent.requests == [v1.RunJobRequest("web", "backup")]
    assert run("jobs", "run", "web/backup", "--quiet").out == ""


@pytest.mark.parametrize(
    ("ended", "status", "said"),
    [
        (a_run(), 0, "succeeded after 1m"),
        (FAILED, 1, "failed 3 after 1m; it could not reach the server"),
        (a_run(state="timed-out", exit_status=137), 1, "timed-out after 1m"),
        (a_run(state="stopped", exit_status=143), 1, "stopped after 1m"),
        (a_run(state="not-started", started_at=None, message="no image"), 1, "not-started; no image"),
    ],
)
def test_whoever_waits_learns_how_it_ended(
    run: Run, alone: Node, tmp_path: Path, ended: v1.JobRun, status: int, said: str
) -> None:
    prepare_run(alone, tmp_path, *answers(STARTED, ended))
    ran = run("jobs", "run", "web/backup", "--wait")
    assert (ran.status, ran.out) == (status, f"node rift: web/backup: {said}\n")
    assert "web/backup       running  run 12\n" in ran.err
    assert alone.agent.requests == [v1.RunJobRequest("web", "backup", True)]
    quiet = run("jobs", "run", "web/backup", "--wait", "--quiet")
    assert (quiet.status, quiet.out) == (status, ran.out if status else "")
    found = json.loads(run("jobs", "run", "web/backup", "--wait", "--output", "json").out)
    assert (found["node"], found["run"]["state"], found["run"]["message"]) == ("rift", ended.state, ended.message)


def test_one_that_never_started_is_a_failure_without_waiting_too(run: Run, alone: Node, tmp_path: Path) -> None:
    prepare_run(alone, tmp_path, *answers(a_run(state="not-started", started_at=None, message="no image")))
    assert run("jobs", "run", "web/backup")[:2] == (1, "node rift: web/backup: not-started; no image\n")


def test_the_only_job_of_a_service_is_meant_by_its_name(run: Run, alone: Node, tmp_path: Path) -> None:
    prepare_run(alone, tmp_path, *answers(STARTED))
    assert run("jobs", "run", "web").status == 0
    (tmp_path / "services/web.toml").write_text(BACKUP + BACKUP[len(WEB) :].replace("backup", "report"))
    status, _, err = run("jobs", "run", "web")
    assert status == 2
    assert "its jobs are backup, report; give one: `mcpctl jobs run web/backup`" in err
    (tmp_path / "services/web.toml").write_text(WEB)
    assert "none of its components has a schedule" in run("jobs", "run", "web").err
    assert alone.agent.requests == [v1.RunJobRequest("web", "backup")]


def test_without_a_definition_the_node_has_to_be_named(run: Run, alone: Node) -> None:
    alone.agent.prepared["RunJobRequest"] = answers(STARTED)
    status, _, err = run("jobs", "run", "blog/backup")
    assert (status, alone.agent.requests) == (2, [])
    assert "--node NAME" in err
    assert run("jobs", "run", "blog/backup", "--node", "rift").status == 0
    assert run("jobs", "run", "blog/backup", "--node", "orion").status == 1


def test_a_refusal_is_told(run: Run, alone: Node, tmp_path: Path) -> None:
    prepare_run(alone, tmp_path, GRPCError(Status.FAILED_PRECONDITION, "it runs already, since 02:00"))
    status, out, err = run("jobs", "run", "web/backup", "--wait")
    assert (status, out) == (1, "")
    assert "it runs already, since 02:00" in err


@pytest.mark.parametrize("prepared", [(), (STARTED,)])
def test_an_answer_that_breaks_off_is_no_good_end(
    run: Run, alone: Node, tmp_path: Path, prepared: tuple[v1.JobRun, ...]
) -> None:
    prepare_run(alone, tmp_path, *answers(*prepared))
    status, out, err = run("jobs", "run", "web/backup", "--wait")
    assert (status, out) == (1, "")
    assert "the connection closed before the run of web/backup ended" in err
    assert ("continues on rift: `mcpctl logs web/backup --follow` follows it" in err) is bool(prepared)


def test_ctrl_c_ends_the_waiting_and_not_the_run(launch: Launch, alone: Node, tmp_path: Path) -> None:
    prepare_run(alone, tmp_path, *answers(STARTED), ...)
    program = launch("jobs", "run", "web/backup", "--wait")
    until(lambda: "run 12" in program.err)
    assert program.interrupt() == (130, [])
    assert "mcpctl: interrupted; the run of web/backup continues on rift: `mcpctl logs web/backup" in program.err


def test_ctrl_c_before_an_answer_says_that_it_may_run(launch: Launch, alone: Node, tmp_path: Path) -> None:
    prepare_run(alone, tmp_path, ...)
    program = launch("jobs", "run", "web/backup")
    until(lambda: bool(alone.agent.requests))
    assert program.interrupt() == (130, [])
    assert "rift may have started web/backup: `mcpctl jobs list web/backup` shows it" in program.err


def test_a_terminal_shows_how_long_it_runs_and_how_it_ended(on_terminal: Open, alone: Node, tmp_path: Path) -> None:
    prepare_run(alone, tmp_path, *answers(STARTED, FAILED))
    program = on_terminal("jobs", "run", "web/backup", "--wait", NO_COLOR="1")
    assert program.end() == 1
    line, below = (each.split() for each in seen(program.shown)[:2])
    assert line[:7] == ["✗", "web/backup", "failed", "exited", "3;", "it", "could"]
    assert below[-1] == "server"


@pytest.mark.parametrize("stays_drawn", [True, False])
def test_how_it_ended_is_not_said_again_below_what_was_drawn(
    stays_drawn: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "is_seen", lambda _: stays_drawn)
    row = StartedRunRow("rift", "web", "backup", job_run_row(FAILED))
    assert jobs._tell(row, How(), is_drawn=True) == 1
    assert ("could not reach" in capsys.readouterr().out) is not stays_drawn


# -- others that meet jobs


@pytest.mark.parametrize(("desired", "runs"), [("running", True), ("scheduled", True), ("completed", False)])
def test_a_job_counts_as_running_on_the_node_that_it_leaves(
    desired: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its schedule would run it there, too."""
    monkeypatch.setattr(relocation, "word", lambda *_: desired)
    assert relocation._runs(v1.ComponentInfo(observed=v1.ObservedState.EXITED)) is runs
