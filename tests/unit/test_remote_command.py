"""Where the program of exec and run begins on the command line."""

from __future__ import annotations

import pytest

from mcpctl.actions.completion.command_table import COMMANDS
from mcpctl.commands.remote_command import RELAYS, SHORT_WITH_VALUE, WITH_VALUE, delimited, is_relay


def test_it_knows_which_options_have_a_value() -> None:
    options = {name: takes for command in RELAYS for name, (takes, _) in COMMANDS[command][1].items()}
    assert {name for name, takes in options.items() if takes and name.startswith("--")} == WITH_VALUE
    short = {name[1:] for name, takes in options.items() if takes and not name.startswith("--")}
    assert short == set(SHORT_WITH_VALUE)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("exec web", "exec web"),
        ("exec web ls -l", "exec web -- ls -l"),
        ("exec web -- ls -l", "exec web -- ls -l"),
        ("exec -it web ls", "exec -it web -- ls"),
        ("exec -itu root web ls -u", "exec -itu root web -- ls -u"),
        ("exec -uroot web ls", "exec -uroot web -- ls"),
        ("exec --user root --env=A=1 web -e B ls", "exec --user root --env=A=1 web -e B -- ls"),
        ("--debug exec web --no-tty ls --debug", "--debug exec web --no-tty -- ls --debug"),
        ("run web --entrypoint sh -d -c true", "run web --entrypoint sh -d -c -- true"),
        ("exec web - x", "exec web -- - x"),
        ("exec web ls -- x", "exec web -- ls -- x"),
        ("run", "run"),
    ],
)
def test_the_program_begins_behind_the_target(typed: str, meant: str) -> None:
    assert is_relay(typed.split())
    assert delimited(typed.split()) == meant.split()


@pytest.mark.parametrize("typed", ["", "logs exec", "deploy run -f", "--help", "help exec"])
def test_other_commands_are_left_alone(typed: str) -> None:
    assert not is_relay(typed.split())
