"""What an exit status means, in words. A pure function."""

from __future__ import annotations

import signal

# What a shell, and podman, add to the number of the signal that ended a process (POSIX, 2.8.2 of the shell's volume).
_BY_SIGNAL = 128
# Signals that end nobody unless he wants them to (signal(7)).
_HARMLESS = {
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGURG,
    signal.SIGWINCH,
}
# Also POSIX: what a shell says of a command that it cannot run.
_OF_SHELLS = {126: "its command cannot be executed", 127: "its command was not found"}
# conmon's, for what it has killed since its time was up (podman-run(1), --timeout).
TIMED_OUT = -1


def exit_words(code: int, *, out_of_memory: bool = False) -> str:
    """``exited 137 (SIGKILL)``: the status, and what it means where it means something."""
    if code == TIMED_OUT:
        return "timed out, and was killed"
    meaning = "out of memory" if out_of_memory else _OF_SHELLS.get(code) or _signal_name(code - _BY_SIGNAL)
    return f"exited {code} ({meaning})" if meaning else f"exited {code}"


def _signal_name(number: int) -> str:
    """Empty for what is no signal, or one that kills nobody."""
    try:
        found = signal.Signals(number)
    except ValueError:
        return ""
    return "" if found in _HARMLESS else found.name
