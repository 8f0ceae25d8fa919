"""The command line as cyclopts sees it. Commands are named here and imported when they run."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from mcpctl import __version__
from mcpctl.commands import suggestions
from mcpctl.errors import UsageError

_HELP = ("--help", "-h")
_WATCH = ("--watch", "-w")
_NUMBER = re.compile(r"[0-9]*\.?[0-9]+")
# No line of usage is longer: it is not broken.
_WIDEST = 1000

# Where each command is, and its line in the list of commands: the first of its docstring, without the import.
COMMANDS = {
    "login": ("login:login", "Log in to MCIAS, and keep the token."),
    "logout": ("login:logout", "Make the token worthless, and forget it."),
    "whoami": ("login:whoami", "Ask the nodes who you are to them, and until when."),
    "deploy": ("changes:deploy", "Make services, or one component of one, run as their definitions say."),
    "plan": ("plan:plan", "Show what a deploy would change, field by field; change nothing."),
    "start": ("changes:start", "Want services or components running, and start them."),
    "stop": ("changes:stop", "Want services or components stopped, and stop them."),
    "restart": ("changes:restart", "Stop and start what should run; change no intent."),
    "undeploy": ("changes:undeploy", "Stop and remove the containers of a service, and forget them."),
    "sync": ("sync:sync", "Tell every node all that is declared; make nothing anew."),
    "adopt": ("adopt:adopt", "Take containers that run already under management, without touching them."),
    "purge": ("sync:purge", "Make the nodes forget what nothing declares and nothing runs."),
    "recover": ("sync:recover", "Make again, from the nodes' registries, the containers that podman has lost."),
    "operations": ("operations:operations", "List what is being changed on the nodes, and what was."),
    "attach": ("operations:attach", "Follow an operation, from its first step to its end."),
    "cancel": ("operations:cancel", "Take a running deploy back: everything is as it was before."),
    "list": ("status:list_services", "List deployed services, from the nodes' registries."),
    "ps": ("status:ps", "Show components as podman sees them now."),
    "status": ("status:status", "Show what should run against what runs, and why they disagree."),
    "dash": ("dash:dash", "Show the fleet on one screen: services, drift, alerts; and of each its history and logs."),
    "logs": ("logs:logs", "Show what a service's components print, in the order of time."),
    "events": ("events:events", "Show what happened, and what happens."),
    "audit": ("audit:audit", "Show who called what on the nodes, and how it ended."),
    "push": ("files:push", "Copy a file to a service's folder on its node."),
    "pull": ("files:pull", "Copy a file from a service's folder on its node."),
    "ls": ("files:ls", "List a service's files on its node."),
    "diff-file": ("files:diff_file", "Compare a file here with one on a service's node."),
    "timeline": ("timeline:timeline", "Draw the states of each component over time, with deploys and alerts."),
}
ALERT_COMMANDS = {
    "list": ("alerts:list_alerts", "List the alerts that are open, and what is silenced."),
    "ack": ("alerts:ack", "Say that you have seen an alert."),
    "silence": ("alerts:silence", "Keep the alerts of a service or component quiet for a while."),
    "unsilence": ("alerts:unsilence", "End a silence before its time."),
}
NODE_COMMANDS = {
    "list": ("node:list_nodes", "List the nodes in the configuration, and how they are."),
    "show": ("node:show", "Show one node: versions, podman, load, memory, disk."),
    "add": ("node:add", "Add a node to the configuration; comments are kept."),
    "remove": ("node:remove", "Remove a node from the configuration. What runs there runs on."),
    "snapshot": (
        "node_snapshot:snapshot",
        "Bring a snapshot of a node's registry here: whole, checked, and readable by you alone.",
    ),
    "set-state": ("node:set_state", "Set a node's state; commands skip nodes that are not active."),
    "prune": ("node_prune:prune", "Remove the images that nothing on a node uses, but for the newest."),
}
SERVICE_COMMANDS = {
    "list": ("service:list_definitions", "List the definitions, also those that are wrong; ask no node."),
    "show": ("service:show", "Show a definition as it is effective, defaults included."),
    "edit": ("service:edit", "Edit a definition: checked, compared with what runs, and replaced as a whole."),
    "export": ("service:export", "Write a service for another program: a definition, quadlet, kube or compose."),
    "import": ("service:import_service", "Make a definition of a compose file."),
}
COMPLETION_COMMANDS = {
    "bash": ("completion:bash", "Print the script for bash."),
    "zsh": ("completion:zsh", "Print the script for zsh."),
    "fish": ("completion:fish", "Print the script for fish."),
    "install": ("completion:install", "Put the script where your shell finds it, and say what is left to do."),
}
# Commands by the word that they stand behind, "" for none.
_GROUPS = {
    "": COMMANDS,
    "alerts": ALERT_COMMANDS,
    "node": NODE_COMMANDS,
    "service": SERVICE_COMMANDS,
    "completion": COMPLETION_COMMANDS,
}
_HERE = ("version", "help")


def build(words: list[str]) -> App:
    """The application, for the command line ``words``."""
    app = App(
        name="mcpctl",
        help="Tells the agents of your nodes what should run, and shows what does.",
        version=f"mcpctl {__version__}",
        result_action="return_int_as_exit_code_else_zero",
        # `mcpctl.__main__` says what Ctrl-C means.
        suppress_keyboard_interrupt=False,
    )
    node = App(name="node", help="The nodes in the configuration.")
    alerts = App(name="alerts", help="What the nodes had to tell, and whether anybody has seen it.")
    service = App(name="service", help="The definitions of your services: what they say, and other notations of it.")
    app.command(node)
    app.command(alerts)
    app.command(service)
    completion = App(name="completion", help="What makes bash, zsh or fish complete mcpctl's command lines.")
    app.command(completion)
    app.command(version)
    app.command(help_, name="help")
    groups = {"": app, "alerts": alerts, "node": node, "service": service, "completion": completion}
    for place_in, commands in _GROUPS.items():
        group = groups[place_in]
        for name, (place, summary) in commands.items():
            # A command that is asked for is imported anyway, and shows its whole docstring.
            known = {} if name in words else {"help": summary}
            group.command(f"mcpctl.commands.{place}", name=name, **known)
    return app


def version() -> None:
    """Show the version."""
    print(f"mcpctl {__version__}")


def help_(*command: Annotated[str, Parameter(help="The command. [default: all of them, in a list]")]) -> None:
    """Show the help of a command, as --help does.

    For example: `mcpctl help deploy`
    """
    raise AssertionError(f"`run` makes --help of it: {command}")


def run(words: list[str]) -> int:
    """Runs the command that ``words`` say and returns its exit status. Raises CliError."""
    words = _asking_for_help(words)
    _check_command(words)
    if complaint := _about_watch(words):
        raise UsageError(complaint)
    app = build(words)
    try:
        status: int = app(words, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        chain = [each for each in error.command_chain or () if each != "mcpctl"]
        hint = f"See `{' '.join(['mcpctl', *chain, '--help'])}`."
        raise UsageError("\n".join(filter(None, (str(error), _usage(app, chain), hint)))) from None
    sys.stdout.flush()
    return status


def _asking_for_help(words: list[str]) -> list[str]:
    """`help` as the option that it is: it may come first, or behind a word that has commands."""
    if words[:1] == ["help"]:
        return [*(each for each in words[1:] if each not in _HELP), "--help"]
    if len(words) == 2 and words[0] in _GROUPS and words[1] == "help":
        return [words[0], "--help"]
    return words


def _check_command(words: list[str]) -> None:
    """Raises UsageError for a command that there is not, with the one that was meant."""
    known = {group: [*commands] for group, commands in _GROUPS.items()}
    known[""] += [*filter(None, _GROUPS), *_HERE]
    if said := suggestions.answer(words, known):
        raise UsageError(said)


def _about_watch(words: list[str]) -> str | None:
    """What to write for `--watch 5`, which used to be its pace, and would now be taken for a service."""
    if words[:1] not in (["status"], ["ps"]):
        return None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, has_value, value = word.partition("=")
        if name in _WATCH and (has_value or _NUMBER.fullmatch(following)):
            pace = value or following
            return f"{name} takes no value, and {pace!r} is one; `--watch --interval SECONDS` says how often"
    return None


def _usage(app: App, chain: Sequence[str]) -> str:
    """The line of usage of the command, as its help has it."""
    from rich.console import Console

    text = io.StringIO()
    app.help_print(chain, console=Console(file=text, width=_WIDEST, color_system=None))
    lines = (line.strip() for line in text.getvalue().splitlines())
    return next((line for line in lines if line.startswith("Usage:")), "")
