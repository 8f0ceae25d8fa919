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
    """Print the completion script for bash.

    For example: `source <(mcpctl completion bash)`
    """
    print(SCRIPTS[Shell.BASH], end="")
    return DONE


def zsh() -> int:
    """Print the completion script for zsh.

    For example: `source <(mcpctl completion zsh)`
    """
    print(SCRIPTS[Shell.ZSH], end="")
    return DONE


def fish() -> int:
    """Print the completion script for fish.

    For example: `mcpctl completion fish | source`
    """
    print(SCRIPTS[Shell.FISH], end="")
    return DONE


def install(
    *,
    shell: Annotated[Shell | None, Parameter(help="The shell. [default: the one in SHELL]")] = None,
) -> int:
    """Install completion for your shell.

    Installs it for you only, so it needs no root, and tells you what is left to do. It stays valid when you upgrade
    mcpctl.

    For example: `mcpctl completion install --shell zsh`
    """
    shell = shell or shells.of_user(os.environ)
    done = shells.install(shell, os.environ, Path.home())
    render.say(f"{done.path}: {'written' if done.is_new else 'already there'}")
    for line in done.advice.splitlines():
        render.say(line)
    return DONE
