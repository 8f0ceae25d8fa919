"""completion bash|zsh|fish|install: what makes a shell complete mcpctl's command lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mcpctl.actions.completion import shells
from mcpctl.actions.completion.shells import SCRIPTS, Shell
from mcpctl.errors import DONE
from mcpctl.ui import render


def bash() -> int:
    """Print the script for bash.

    For example: `source <(mcpctl completion bash)`
    """
    print(SCRIPTS[Shell.BASH], end="")
    return DONE


def zsh() -> int:
    """Print the script for zsh.

    For example: `source <(mcpctl completion zsh)`
    """
    print(SCRIPTS[Shell.ZSH], end="")
    return DONE


def fish() -> int:
    """Print the script for fish.

    For example: `mcpctl completion fish | source`
    """
    print(SCRIPTS[Shell.FISH], end="")
    return DONE


def install(
    *,
    shell: Annotated[Shell | None, Parameter(help="The shell. [default: the one that SHELL names]")] = None,
) -> int:
    """Put the script where your shell finds it, and say what is left to do.

    For you alone: it needs no root. The script stays right when mcpctl is upgraded.

    For example: `mcpctl completion install --shell zsh`
    """
    shell = shell or shells.of_user(os.environ)
    done = shells.install(shell, os.environ, Path.home())
    render.say(f"{done.path}: {'written' if done.is_new else 'is there already'}")
    for line in done.advice.splitlines():
        render.say(line)
    return DONE
