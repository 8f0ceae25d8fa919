"""Checks the clock and the alert command."""

from __future__ import annotations

import ctypes
import os
from datetime import datetime
from pathlib import Path

from mcpd.checks.finding import Finding, failure, ok, warning

CLOCK, SYNC, ALERT = "clock", "clock synchronised", "alert command"

# A clock outside this range is wrong: this code is newer, and certificates do not last that long.
_FIRST_YEAR, _LAST_YEAR = 2025, 2100
# A bit in `status` of adjtimex(2), from linux/timex.h: the clock is not synchronized.
STA_UNSYNC = 0x40


class _Timex(ctypes.Structure):
    """The start of struct timex; what follows is larger than any version of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


def look_clock(now: datetime) -> list[Finding]:
    return [judge_clock(now), judge_sync(clock_status())]


def judge_clock(now: datetime) -> Finding:
    if not _FIRST_YEAR <= now.year <= _LAST_YEAR:
        words = f"it says {now:%Y-%m-%d}: no certificate is valid at that time, and events get the wrong time"
        return failure(CLOCK, words, "timedatectl set-ntp true")
    return ok(CLOCK, f"{now:%Y-%m-%d %H:%M} UTC")


def judge_sync(status: int) -> Finding:
    """``status`` as adjtimex(2) gives it."""
    if status & STA_UNSYNC:
        words = "no: it drifts, and certificates and tokens then expire at the wrong time"
        return warning(SYNC, words, "apt-get install systemd-timesyncd && timedatectl set-ntp true")
    return ok(SYNC, "the kernel says so")


def clock_status() -> int:
    """Only reads the clock's status (modes 0). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    timex = _Timex()
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(timex.status)


def look_alert_command(argv: tuple[str, ...]) -> list[Finding]:
    """Names only the program: its arguments may hold a secret."""
    mend = 'alert_command = ["/path/to/program"] in [monitor]; see README.md'
    if not argv:
        return [warning(ALERT, "not configured: only `mcpctl alerts` shows alerts", mend)]
    program = Path(argv[0])
    if not program.is_file():
        return [warning(ALERT, f"{program} does not exist: alerts cannot be delivered", mend)]
    if not os.access(program, os.X_OK, effective_ids=True):
        words = f"{program} cannot be executed by this user: alerts cannot be delivered"
        return [warning(ALERT, words, f"chmod +x {program}")]
    return [ok(ALERT, str(program))]
