"""exec and run: their signatures; what they do is in `mcpctl.actions.sessions`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions import sessions
from mcpctl.actions.sessions import Wanted
from mcpctl.commands.options import COMMON, Common, What
from mcpctl.errors import UsageError

Command = Annotated[str, Parameter(name="COMMAND", help="The program and its arguments.")]
Arguments = Annotated[
    str,
    Parameter(
        name="ARGS",
        help="Arguments of the component's entrypoint. [default: the component's own]",
    ),
]
Interactive = Annotated[
    bool | None,
    Parameter(
        name=("--interactive", "-i"),
        help="Send stdin to the program. [default: if stdin is no terminal, or the program gets one]",
    ),
]
Tty = Annotated[
    bool | None,
    Parameter(name=("--tty", "-t"), help="Give the program a terminal. [default: if stdin and stdout are terminals]"),
]
Env = Annotated[
    tuple[str, ...],
    Parameter(
        name=("--env", "-e"),
        negative="",
        help="Set a variable: KEY=VALUE, or KEY for its value here. Can be given more than once.",
    ),
]
User = Annotated[str, Parameter(name=("--user", "-u"), help="USER[:GROUP]. [default: the component's]")]
Workdir = Annotated[str, Parameter(name=("--workdir", "-w"), help="The working directory. [default: the component's]")]
OnNode = Annotated[str, Parameter(name="--node", help="The node. [default: the node that has the service]")]


def exec_(
    what: What,
    /,
    *command: Command,
    interactive: Interactive = None,
    tty: Tty = None,
    env: Env = (),
    user: User = "",
    workdir: Workdir = "",
    node: OnNode = "",
    common: Common = COMMON,
) -> int:
    """Run a command in the running container of a component: a shell, a dump, a restore.

    Without a command, it opens the best shell that the container has. Write -- before a command. The exit status is
    that of the program; 125 means that mcpctl itself failed. If mcpctl ends or loses the connection, the node ends the
    program. In a `while read` loop, give --no-interactive, or the program reads the lines of the loop.

    For example: `mcpctl exec web/api`, `mcpctl exec db/main -- pg_dump -U app app > app.sql`,
    `tar -c conf | mcpctl exec web/api -- tar -x -C /srv`
    """
    wanted = Wanted(command, interactive, tty, env, user, workdir)
    return sessions.exec_(common.query(what, (node,) if node else ()), wanted)


def run(
    what: What,
    /,
    *args: Arguments,
    entrypoint: Annotated[
        str | None, Parameter(help="The program to run instead of the component's. [default: the component's]")
    ] = None,
    detach: Annotated[
        bool, Parameter(name=("--detach", "-d"), negative="", help="Let it run on the node, and print its name.")
    ] = False,
    stop: Annotated[str, Parameter(name="--stop", help="Stop this run, one that --detach or `mcpctl top` names.")] = "",
    interactive: Interactive = None,
    tty: Tty = None,
    env: Env = (),
    user: User = "",
    workdir: Workdir = "",
    node: OnNode = "",
    common: Common = COMMON,
) -> int:
    """Run a one-off container made as a component's: a migration, a console, a repair.

    It has the image, environment, volumes and networks of the component, and is removed when it ends. status, alerts
    and routes do not see it. The exit status is that of the program; 125 means that mcpctl itself failed. If mcpctl
    ends or loses the connection, the node stops the container, unless --detach was given.

    For example: `mcpctl run web/api -- manage.py migrate`, `mcpctl run web/api --entrypoint /bin/sh`,
    `mcpctl run web/api --detach -- reindex --all`
    """
    query = common.query(what, (node,) if node else ())
    wanted = Wanted(args, interactive, tty, env, user, workdir)
    if stop:
        if detach or entrypoint is not None or wanted != Wanted():
            raise UsageError("--stop stops a run; it takes no command and no other options but --node")
        return sessions.stop(query, stop)
    if detach and (interactive or tty):
        raise UsageError("--detach leaves nobody to talk to; give neither -i nor -t with it")
    return sessions.run(query, wanted, entrypoint, detach=detach)
