"""What git says of the folder that an image is built from: the commit, and what differs from it."""

from __future__ import annotations

import os
import subprocess

import msgspec

# A large tree on a cold disk takes seconds; one that takes longer holds nobody up.
DEADLINE_S = 15.0
# Set by git where it runs us from a hook: they would name its repository, whatever folder we ask about.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
# In `git status --porcelain`, the states whose entry is followed by the name that the file had.
_HAS_OLD_NAME = "RC"


class State(msgspec.Struct, frozen=True):
    """``commit``: whole, "" before the first one. ``changed``: what is changed or untracked below the folder.

    A folder with nothing but untracked files is one entry, which ends in a slash.
    """

    commit: str = ""
    changed: tuple[str, ...] = ()

    @property
    def is_dirty(self) -> bool:
        return bool(self.changed)


def look(folder: str) -> State | None:
    """None: the folder is in no git work tree, or there is no git. Raises TimeoutError.

    Nothing is locked or written: an index that is out of date stays so (git-status(1), BACKGROUND REFRESH).
    """
    told = _git(folder, "status", "--porcelain=v1", "-z", "--untracked-files=normal", "--", ".")
    if told is None:
        return None
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    return State((commit or "").strip(), _names(told))


def _names(told: str) -> tuple[str, ...]:
    """Of ``XY NAME``, each ended by a NUL, relative to the top of the tree."""
    entries = iter(told.split("\0"))
    names = []
    for entry in entries:
        if entry:
            names.append(entry[3:])
            if entry[0] in _HAS_OLD_NAME:
                next(entries, "")
    return tuple(names)


def _git(folder: str, *words: str) -> str | None:
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        done = subprocess.run(
            ("git", "-C", folder, *words),
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"git did not answer within {DEADLINE_S:g} s") from None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
