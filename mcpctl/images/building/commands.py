"""The command lines that build an image, tell its id, and push it: podman's, buildah's and docker's. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from mcpctl.images.engine import Engine, Kind
from protos.parts import Build


class Recipe(msgspec.Struct, frozen=True):
    """How one image is made. ``context`` and ``dockerfile``: as `mcpctl.images.building.context.locate` returns them.

    ``folder``: where the engine runs, so that relative paths in ``build.secrets`` and ``build.ssh`` begin at the
    definition; ``platform``: OS/ARCH[/VARIANT], "" for this machine's.
    """

    image: str
    build: Build
    context: str
    dockerfile: str
    folder: Path
    platform: str = ""


class Command(msgspec.Struct, frozen=True):
    """``environment``: what is set beside the operator's own."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = {}


def building(
    engine: Engine, recipe: Recipe, id_file: Path, *, has_buildx: bool = False, is_cached: bool = True
) -> Command:
    """Builds and tags the image, and writes its id to ``id_file``. ``is_cached``: out of earlier layers, where it can.

    Values of secrets are in no command line: the engine reads them where ``secrets`` says. ``has_buildx``: of docker,
    whose own build understands secrets and ssh only with BuildKit.
    """
    said = recipe.build
    words = ["--tag", recipe.image, "--iidfile", str(id_file)]
    words += ["--file", recipe.dockerfile] if recipe.dockerfile else []
    words += ["--target", said.target] if said.target else []
    words += ["--platform", recipe.platform] if recipe.platform else []
    words += [] if is_cached else ["--no-cache"]
    words += _each("--build-arg", (f"{name}={value}" for name, value in said.args.items()))
    words += [*_each("--secret", iter(said.secrets)), *_each("--ssh", iter(said.ssh)), recipe.context]
    if engine.kind is Kind.BUILDAH:
        # The only one that builds everything anew unless it is told otherwise.
        return Command((engine.path, "build", "--layers", *words))
    if engine.kind is Kind.PODMAN:
        return Command((engine.path, "build", *words))
    if has_buildx:
        return Command((engine.path, "buildx", "build", "--load", *words))
    # Where buildx is missing, docker from 23 on builds without BuildKit or not at all: only what needs it demands it.
    return Command((engine.path, "build", *words), {"DOCKER_BUILDKIT": "1"} if said.secrets or said.ssh else {})


def asking_for_buildx(engine: Engine) -> Command | None:
    """Ends with 0 where docker has buildx; None: another engine needs none."""
    return Command((engine.path, "buildx", "version")) if engine.kind is Kind.DOCKER else None


def asking_for_id(engine: Engine, image: str) -> Command:
    """Prints the id of an image that is here; fails where it is not."""
    if engine.kind is Kind.BUILDAH:
        return Command((engine.path, "inspect", "--type", "image", "--format", "{{.FromImageID}}", image))
    return Command((engine.path, "image", "inspect", "--format", "{{.Id}}", image))


def asking_for_platform(engine: Engine, image: str) -> Command:
    """Prints OS/ARCH of an image that is here."""
    if engine.kind is Kind.BUILDAH:
        form = "{{.OCIv1.OS}}/{{.OCIv1.Architecture}}"
        return Command((engine.path, "inspect", "--type", "image", "--format", form, image))
    return Command((engine.path, "image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", image))


def pushing(engine: Engine, image: str) -> Command:
    """Pushes to the registry that the reference names, with the login that the engine knows."""
    return Command((engine.path, "push", image))


def plain_id(text: str) -> str:
    """An image's id without its algorithm, whether or not the engine says it."""
    return text.strip().removeprefix("sha256:")


def _each(option: str, values: Iterator[str]) -> Iterator[str]:
    for value in values:
        yield option
        yield value
