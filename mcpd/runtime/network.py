"""Repairs a container's network through podman's command line, since the REST API cannot."""

from __future__ import annotations

import subprocess

import trio

from mcpd.runtime.podman_service import local_environment

# It waits for podman's locks and sets up a few rules.
_DEADLINE_S = 15.0


async def reload(container: str) -> str:
    """Sets up again a running container's addresses and forwarded ports (podman-network-reload(1)).

    Returns why it could not, as for a container of a podman that is not the one of our user, else "".
    """
    argv = ["podman", "network", "reload", container]
    try:
        with trio.fail_after(_DEADLINE_S):
            done = await trio.run_process(
                argv,
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=local_environment(),
            )
    except OSError as error:
        return f"podman cannot be run: {error.strerror}"
    except trio.TooSlowError:
        return f"`{' '.join(argv)}` did not end within {_DEADLINE_S:.0f} s"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"it ended with status {done.returncode}")
