"""A program that stands for podman, buildah or docker: it writes down how it was called."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

IMAGE_ID = "0123456789abcdef" * 4
_PROGRAM = """\
#!/bin/sh
{{ printf '%s\\t' "$DOCKER_BUILDKIT" "$PWD" "$@"; echo; }} >> "{log}"
case "$1" in
{cases}
esac
echo "output of $1"
while [ $# -gt 0 ]; do
    [ "$1" = --iidfile ] && echo "sha256:{id}" > "$2"
    shift
done
exit 0
"""


class Call(NamedTuple):
    """``argv`` without the program; the file for the image's id is FILE."""

    buildkit: str
    folder: str
    argv: list[str]


class Engine:
    """``cases``: of a shell's case, what it does at words that are its first ones."""

    def __init__(self, folder: Path, name: str, **cases: str) -> None:
        self.folder = folder
        self._log = folder / f"{name}.log"
        lines = "\n".join(f"{word}) {script} ;;" for word, script in cases.items())
        path = folder / name
        path.write_text(_PROGRAM.format(log=self._log, cases=lines or "nothing) ;;", id=IMAGE_ID))
        path.chmod(0o755)

    @property
    def calls(self) -> list[Call]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [_call(line.split("\t")[:-1]) for line in lines]

    def argvs(self, word: str) -> list[list[str]]:
        """Of the calls with this first word."""
        return [each.argv for each in self.calls if each.argv[0] == word]


def _call(words: list[str]) -> Call:
    buildkit, folder, *argv = words
    if "--iidfile" in argv:
        argv[argv.index("--iidfile") + 1] = "FILE"
    return Call(buildkit, folder, argv)
