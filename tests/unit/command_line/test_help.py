"""Help, and what is said of a wrong command line."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from mcpctl import __version__
from mcpctl.commands.app import (
    ALERT_COMMANDS,
    COMMANDS,
    COMPLETION_COMMANDS,
    IMAGE_COMMANDS,
    JOB_COMMANDS,
    NODE_COMMANDS,
    SECRET_COMMANDS,
    SERVICE_COMMANDS,
)
from tests.support.agent import Run
from tests.support.offline import CONFIG

ALL = {(name,): entry for name, entry in COMMANDS.items()}
ALL |= {("node", name): entry for name, entry in NODE_COMMANDS.items()}
ALL |= {("image", name): entry for name, entry in IMAGE_COMMANDS.items()}
ALL |= {("alerts", name): entry for name, entry in ALERT_COMMANDS.items()}
ALL |= {("jobs", name): entry for name, entry in JOB_COMMANDS.items()}
ALL |= {("service", name): entry for name, entry in SERVICE_COMMANDS.items()}
ALL |= {("secret", name): entry for name, entry in SECRET_COMMANDS.items()}
GROUPS = ("node", "image", "alerts", "jobs", "service", "secret")
COMPLETION = [("completion", name) for name in COMPLETION_COMMANDS]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_a_summary_is_the_first_line_of_the_commands_docstring(words: tuple[str, ...]) -> None:
    place, summary = ALL[words]
    module, _, function = place.partition(":")
    found = getattr(importlib.import_module(f"mcpctl.commands.{module}"), function)
    assert summary == (inspect.getdoc(found) or "").splitlines()[0]


@pytest.mark.parametrize(
    "words", [(), ("node",), ("alerts",), ("jobs",), ("service",), ("secret",), *ALL], ids=" ".join
)
def test_every_command_has_help(run: Run, words: tuple[str, ...]) -> None:
    status, out, err = run(*words, "--help")
    assert (status, err) == (0, "")
    assert "Usage: mcpctl" in out
    if words in ALL:
        # Wrapped to the terminal's width.
        assert ALL[words][1] in " ".join(out.split())
        assert "--config" in out
        assert "--output" in out
        assert "For example" in out


@pytest.mark.parametrize(
    ("words", "table"),
    [
        ((), COMMANDS),
        (("node",), NODE_COMMANDS),
        (("image",), IMAGE_COMMANDS),
        (("alerts",), ALERT_COMMANDS),
        (("jobs",), JOB_COMMANDS),
        (("service",), SERVICE_COMMANDS),
        (("secret",), SECRET_COMMANDS),
    ],
)
def test_help_lists_every_command_with_its_summary(
    run: Run, words: tuple[str, ...], table: dict[str, tuple[str, str]]
) -> None:
    shown = run(*words, "--help").out
    for name in table:
        assert re.search(rf"^\W*{name}\s+\S", shown, re.MULTILINE)


@pytest.mark.parametrize("words", [("version",), ("help", "deploy"), *ALL, *COMPLETION], ids=" ".join)
def test_help_shows_only_defaults_that_tell_something(run: Run, words: tuple[str, ...]) -> None:
    shown = " ".join(run(*words, "--help").out.replace("│", " ").split())
    assert "Usage: mcpctl" in shown
    assert not re.search(r"""\[default: (""|''|\(\)|\[\]|False|None|none|)\]""", shown)
    # One that is said in words is not said again.
    assert not re.search(r"\[default: [^]]*\] \[default: ", shown)


def test_the_version_is_shown(run: Run) -> None:
    assert run("version") == (0, f"mcpctl {__version__}\n", "")
    assert run("--version") == (0, f"mcpctl {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("deplyo", "web"), ("deplyo", "deploy")),
        (("node", "lst"), ("lst", "list")),
        (("ps", "--al"), ("--al", "--all")),
        (("deploy",), ("--yes", "mcpctl plan")),
        (("start",), ("`mcpctl start SERVICE`",)),
        (("stop",), ("`mcpctl stop SERVICE`",)),
        (("restart",), ("`mcpctl restart SERVICE`",)),
        (("deploy", "a", "b", "--image", "x:v1"), ("--image", "one service")),
        (("deploy", "--plan", "p1", "--yes"), ("--plan", "one service")),
        (("cancel",), ("ID",)),
        (("cancel", "0"), ("0", "operation")),
        (("deploy", "web", "more"), ("more",)),
        (("list", "--output", "xml"), ("xml", "table", "json")),
        (("node", "set-state", "rift", "up"), ("up", "active", "inactive", "down")),
        (("events", "--limit", "0"), ("--limit",)),
        (("events", "--since", "yesterday"), ("--since", "yesterday", "2h")),
        (("status", "--at", "yesterday"), ("--at", "yesterday", "2h")),
        (("timeline", "--since", "yesterday"), ("--since", "yesterday", "2h")),
        (("push", "nowhere.ini", "web"), ("nowhere.ini",)),
        (("pull", "web"), ("PATH",)),
        (("pull", "web", "/etc/passwd"), ("/etc/passwd", "starts with /")),
        (("ls", "web", "--limit", "0"), ("--limit",)),
        (("diff-file", "app.ini"), ("SERVICE",)),
        (("alerts", "lst"), ("lst", "list")),
        (("alerts", "list", "--limit", "0"), ("--limit",)),
        (("alerts", "ack"), ("ID",)),
        (("alerts", "ack", "seven"), ("seven",)),
        (("operations", "--limit", "0"), ("--limit",)),
        (("operations", "web/api"), ("web/api", "service")),
        (("attach",), ("ID",)),
        (("attach", "seven"), ("seven",)),
        (("plan", "a/b/c"), ("a/b/c",)),
        (("purge", "a/b/c"), ("a/b/c",)),
        (("recover", "web/api"), ("web/api", "service")),
        (("sync", "--node", "rfit"), ("rfit", "did you mean rift?")),
        (("alerts", "silence", "web"), ("--reason",)),
        (("ps", "a/b/c"), ("a/b/c",)),
        (("ps", "--interval", "5"), ("--interval", "--watch")),
        (("undeploy", "--foo", "web"), ("Usage: mcpctl undeploy [OPTIONS] TARGET", "See `mcpctl undeploy --help`.")),
        (("node", "show"), ("Usage: mcpctl node show", "See `mcpctl node show --help`.")),
        (("ps", "Web!"), ("Web!", "lower-case")),
        (("deploy", "a/b/c"), ("a/b/c",)),
        (("ps", "--node", "rfit"), ("rfit", "did you mean rift?")),
        (("node", "add", "rift", "127.0.0.1:1"), ("rift", "already")),
        (("node", "add", "Rift!", "127.0.0.1:1"), ("Rift!",)),
        (("node", "add", "new", "127.0.0.1"), ("127.0.0.1", "HOST:PORT")),
        (("node", "remove", "rfit"), ("did you mean rift?",)),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_with_2_and_says_what_is_meant(
    run: Run, folder: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("mcpctl: ")
    assert [part for part in parts if part not in err] == []
    assert (folder / "mcp.toml").read_text() == CONFIG
