"""What an image is built from: the context and the Dockerfile of a definition's ``build``, or why there is none."""

from __future__ import annotations

import re
from pathlib import Path

from mcpctl.errors import UsageError
from protos.parts import Build

# What the engine fetches itself: a URL, or one of git's own ways to write one (podman-build(1)).
_FETCHED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|git@|github\.com/")
# Without a `dockerfile`, the first of these that is there, as podman has it.
_NAMES = ("Containerfile", "Dockerfile")


def is_fetched(context: str) -> bool:
    """Whether the engine fetches the context from elsewhere."""
    return _FETCHED.match(context) is not None


def locate(build: Build, folder: Path, subject: str) -> tuple[str, str]:
    """The context and the Dockerfile, as whole paths; of a context that is fetched as they are written.

    ``folder`` has the definition; ``subject`` is what it is built for. The Dockerfile is "" where the engine looks for
    it. Raises UsageError when one of them is not there.
    """
    if is_fetched(build.context):
        return build.context, build.dockerfile or ""
    context = folder / build.context
    if not context.is_dir():
        what = "is not a folder" if context.exists() else "does not exist"
        raise UsageError(f"{subject}: build.context: {context} {what}; it is relative to the definition")
    if build.dockerfile is not None and is_fetched(build.dockerfile):
        return str(context), build.dockerfile
    names = (build.dockerfile,) if build.dockerfile is not None else _NAMES
    for name in names:
        if (context / name).is_file():
            return str(context), str(context / name)
    if build.dockerfile is not None:
        raise UsageError(
            f"{subject}: build.dockerfile: {context / build.dockerfile} is no file; it is relative to the context"
        )
    raise UsageError(
        f"{subject}: {context} has no {' and no '.join(_NAMES)}; write one, or name another file in build.dockerfile"
    )
