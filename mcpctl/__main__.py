"""The command line. Commands are named here and imported when they run: such a program lives by its start-up."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

from mcpctl import __version__
from mcpctl.errors import DONE, FAILED, INTERRUPTED, USAGE, CliError

app = App(
    name="mcpctl",
    help="Tells the agents of your nodes what should run, and shows what does.",
    version=f"mcpctl {__version__}",
    result_action="return_int_as_exit_code_else_zero",
)
node = App(name="node", help="The nodes in the configuration.")
app.command(node)

# Where each command is, and its line in `--help`: the first of its docstring, without the import.
COMMANDS = {
    "deploy": ("changes:deploy", "Make a service, or one component of it, run as its definition says."),
    "start": ("changes:start", "Want a service or component running, and start it."),
    "stop": ("changes:stop", "Want a service or component stopped, and stop it."),
    "restart": ("changes:restart", "Stop and start what should run; change no intent."),
    "undeploy": ("changes:undeploy", "Stop and remove a service's containers, and forget them."),
    "list": ("status:list_services", "List deployed services, from the nodes' registries."),
    "ps": ("status:ps", "Show components as podman sees them now."),
    "status": ("status:status", "Show what should run against what runs, and why they disagree."),
    "events": ("status:events", "Show what happened."),
}
NODE_COMMANDS = {
    "list": ("node:list_nodes", "List the nodes in the configuration."),
    "show": ("node:show", "Show one node: versions, podman, load, memory, disk."),
    "add": ("node:add", "Add a node to the configuration; comments are kept."),
    "remove": ("node:remove", "Remove a node from the configuration. What runs there runs on."),
    "set-state": ("node:set_state", "Set a node's state; commands skip nodes that are not active."),
}
for group, commands in ((app, COMMANDS), (node, NODE_COMMANDS)):
    for name, (place, summary) in commands.items():
        group.command(f"mcpctl.commands.{place}", name=name, help=summary)


@app.command
def version() -> None:
    """Show the version."""
    print(f"mcpctl {__version__}")


def main() -> None:
    """The entry point. Exit status as in `mcpctl.errors`."""
    try:
        status = app(print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        status = _failed(f"{error}\nSee `mcpctl --help`.", USAGE)
    except CliError as error:
        status = _failed(str(error), error.status)
    except KeyboardInterrupt:
        status = _failed("interrupted; what a node was doing ends there by itself", INTERRUPTED)
    except BrokenPipeError:
        # The reader had enough (`| head`); and stdout must not be flushed again at exit.
        sys.stdout = None
        status = DONE
    except OSError as error:
        status = _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)
    except Exception as error:
        if os.environ.get("MCP_DEBUG"):
            raise
        status = _failed(f"a bug of mcpctl: {type(error).__name__}: {error}\nMCP_DEBUG=1 shows where it is.", FAILED)
    sys.exit(status)


def _failed(message: str, status: int) -> int:
    print(f"mcpctl: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
