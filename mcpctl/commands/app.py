"""The command line as cyclopts sees it. Commands are named here and imported when they run."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from importlib import import_module
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
    "login": ("login:login", "Log in to MCIAS and store the token."),
    "logout": ("login:logout", "Revoke the token and delete it."),
    "whoami": ("login:whoami", "Show who you are to the nodes, and when your token expires."),
    "deploy": ("deploy:deploy", "Deploy services or components as their definitions say."),
    "build": (
        "build:build",
        "Build the images of services or components on this machine, and push them.",
    ),
    "plan": ("plan:plan", "Show what a deploy would change, without changing anything."),
    "start": ("lifecycle:start", "Start services or components, and keep them running."),
    "stop": ("lifecycle:stop", "Stop services or components, and keep them stopped."),
    "restart": ("lifecycle:restart", "Restart services or components."),
    "undeploy": ("lifecycle:undeploy", "Remove a service or component from its node."),
    "sync": ("sync:sync", "Send all definitions to the nodes, without recreating containers."),
    "history": ("revisions:history", "List the revisions of a service: what deploys have made of it."),
    "routes": ("routes:routes", "List routes: how the world reaches components, and what the proxy has of them."),
    "maintenance": ("routes:maintenance", "Have the routes of a service answer 503, or lead to it again."),
    "rollback": ("revisions:rollback", "Deploy an earlier revision of a service again."),
    "adopt": ("adopt:adopt", "Bring existing containers under management, without touching them."),
    "purge": ("sync:purge", "Delete the records of components that are not defined and do not run."),
    "recover": ("sync:recover", "Recreate containers that podman has lost, from the nodes' registries."),
    "operations": ("operations:operations", "List operations on the nodes: deploys and other changes."),
    "attach": ("operations:attach", "Follow an operation until it ends."),
    "cancel": ("operations:cancel", "Cancel a running deploy and roll it back."),
    "list": ("status:list_services", "List deployed services."),
    "ps": ("status:ps", "List containers and their current state in podman."),
    "status": ("status:status", "Show what should run, what runs, and where the two differ."),
    "outdated": ("outdated:outdated", "Show for which components the image registries have something newer."),
    "dash": ("dash:dash", "Open a dashboard of the fleet: services, drift, alerts, history and logs."),
    "exec": ("sessions:exec_", "Run a command in the running container of a component: a shell, a dump, a restore."),
    "run": ("sessions:run", "Run a one-off container made as a component's: a migration, a console, a repair."),
    "top": ("top:top", "List the processes of components, and of what run has started beside them."),
    "logs": ("logs:logs", "Show the logs of a service or component."),
    "events": ("events:events", "List events on the nodes."),
    "audit": ("audit:audit", "List the calls that the nodes received: who called what, and the result."),
    "push": ("files:push", "Copy a file or folder to a service's folder on its node."),
    "pull": ("files:pull", "Copy a file or folder from a service's folder on its node."),
    "ls": ("files:ls", "List the files in a service's folder on its node."),
    "diff-file": ("files:diff_file", "Compare a local file with one in a service's folder on its node."),
    "timeline": ("timeline:timeline", "Draw the states of each component over time, with deploys and alerts."),
}
ALERT_COMMANDS = {
    "list": ("alerts:list_alerts", "List open alerts and active silences."),
    "ack": ("alerts:ack", "Acknowledge an alert."),
    "silence": ("alerts:silence", "Silence the alerts of a service or component for a while."),
    "unsilence": ("alerts:unsilence", "End a silence early."),
}
JOB_COMMANDS = {
    "list": ("jobs:list_jobs", "List jobs: when they run next, and how they last ended."),
    "run": ("jobs:run", "Run a job now, beside its schedule."),
}
NODE_COMMANDS = {
    "list": ("node:list_nodes", "List the nodes in the configuration and their status."),
    "show": ("node:show", "Show the details of a node: versions, load, memory, disk."),
    "add": ("node:add", "Add a node to the configuration."),
    "remove": ("node:remove", "Remove a node from the configuration."),
    "snapshot": ("node_snapshot:snapshot", "Download a snapshot of a node's registry."),
    "set-state": ("node:set_state", "Mark a node as active, inactive or down in the configuration."),
}
IMAGE_COMMANDS = {
    "push": ("image:push", "Bring the images of a service to its node, without a registry."),
    "list": ("image:list_images", "List the images on the nodes, and the components and containers that use them."),
    "prune": ("image:prune", "Remove unused images from a node, except the newest ones."),
}
SERVICE_COMMANDS = {
    "list": ("service:list_definitions", "List the definitions on this machine."),
    "show": ("service:show", "Show a definition, with defaults filled in."),
    "edit": ("service:edit", "Edit a definition: check it and show the plan before it is saved."),
    "export": ("service:export", "Export a service as a definition, quadlet, kube or compose file."),
    "import": ("service:import_service", "Create a definition from a compose file."),
}
SECRET_COMMANDS = {
    "set": ("secret:set_", "Set the value of a secret in a node's podman, and create it if it is missing."),
    "list": ("secret:list_secrets", "List the secrets in the nodes' podman, and the components that use them."),
    "remove": ("secret:remove", "Remove a secret that nothing uses from a node's podman."),
}
COMPLETION_COMMANDS = {
    "bash": ("completion:bash", "Print the completion script for bash."),
    "zsh": ("completion:zsh", "Print the completion script for zsh."),
    "fish": ("completion:fish", "Print the completion script for fish."),
    "install": ("completion:install", "Install completion for your shell."),
}
# Commands by the word that they stand behind, "" for none.
_GROUPS = {
    "": COMMANDS,
    "alerts": ALERT_COMMANDS,
    "jobs": JOB_COMMANDS,
    "node": NODE_COMMANDS,
    "image": IMAGE_COMMANDS,
    "service": SERVICE_COMMANDS,
    "secret": SECRET_COMMANDS,
    "completion": COMPLETION_COMMANDS,
}
# The words of groups that are commands, too: they do what the command named here does, with the same arguments.
ALONE = {"jobs": "list"}
_HERE = ("version", "help")


def build(words: list[str]) -> App:
    """The application, for the command line ``words``."""
    app = App(
        name="mcpctl",
        help="Deploy services to your nodes, and see what runs there.",
        version=f"mcpctl {__version__}",
        default_parameter=Parameter(show_default=_shown_default),
        result_action="return_int_as_exit_code_else_zero",
        # `mcpctl.__main__` says what Ctrl-C means.
        suppress_keyboard_interrupt=False,
    )
    node = App(name="node", help="Manage the nodes in the configuration.")
    image = App(name="image", help="Push images to nodes without a registry; list and prune those that are there.")
    alerts = App(name="alerts", help="List, acknowledge and silence alerts.")
    jobs = App(name="jobs", help="List jobs, as jobs list does, or run one now.")
    service = App(name="service", help="List, show, edit, import and export service definitions.")
    app.command(node)
    app.command(image)
    app.command(alerts)
    app.command(jobs)
    app.command(service)
    secret = App(name="secret", help="Set, list and remove the secrets in the nodes' podman.")
    app.command(secret)
    completion = App(name="completion", help="Set up completion for bash, zsh or fish.")
    app.command(completion)
    app.command(version)
    app.command(help_, name="help")
    groups = {
        "": app,
        "alerts": alerts,
        "jobs": jobs,
        "node": node,
        "image": image,
        "service": service,
        "secret": secret,
        "completion": completion,
    }
    for place_in, commands in _GROUPS.items():
        group = groups[place_in]
        for name, (place, summary) in commands.items():
            # A command that is asked for is imported anyway, and shows its whole docstring.
            known = {} if name in words else {"help": summary}
            group.command(f"mcpctl.commands.{place}", name=name, **known)
    for word, name in ALONE.items():
        # What a word does alone cannot be named and imported later.
        if word in words:
            module, _, function = _GROUPS[word][name][0].partition(":")
            groups[word].default(getattr(import_module(f"mcpctl.commands.{module}"), function))
    return app


def _shown_default(default: object) -> str | None:
    """A default as help shows it; None for one that tells nothing, as that a flag is off."""
    if default is None or default is False or default in ("", ()):
        return None
    return str(default)


def version() -> None:
    """Show the version of mcpctl."""
    print(f"mcpctl {__version__}")


def help_(*command: Annotated[str, Parameter(help="The command. [default: list all commands]")]) -> None:
    """Show help for a command, as --help does.

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
    if sys.stdout:  # None where the shell has closed it
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
    # Behind such a word, one that stands alone is an argument.
    if words[:1] and words[0] in ALONE and not [each for each in words[2:3] if not each.startswith("-")]:
        return
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
            return f"{name} takes no value, but you gave {pace!r}; use `--watch --interval SECONDS` to set how often"
    return None


def _usage(app: App, chain: Sequence[str]) -> str:
    """The line of usage of the command, as its help has it."""
    from rich.console import Console

    text = io.StringIO()
    app.help_print(chain, console=Console(file=text, width=_WIDEST, color_system=None))
    lines = (line.strip() for line in text.getvalue().splitlines())
    return next((line for line in lines if line.startswith("Usage:")), "")
