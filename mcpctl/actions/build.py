"""What `mcpctl build` does: has this machine's podman, buildah or docker build the images of components, and push them.

`mcpctl deploy --build` makes and publishes images with the same functions.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.definitions.definition import Definition
from mcpctl.errors import DONE, CliError, InterruptedByUserError, RegistryAccessError, RegistryError, UsageError
from mcpctl.images import engine, names
from mcpctl.images.building import commands, context, running, worktree
from mcpctl.images.building.commands import Recipe
from mcpctl.images.engine import Engine
from mcpctl.images.registries import published, reference
from mcpctl.ui import render
from mcpctl.ui.cells import full_name
from mcpctl.ui.output import How, structured
from mcpctl.ui.rows.builds import BuildRow
from protos import naming
from protos.spec import Component

# As many names of changed files as tell somebody what they forgot; as much of an id as people compare.
_NAMED = 3
_SHORT = 12
PUSHED, UNCHANGED = "pushed", "unchanged"


class Request(msgspec.Struct, frozen=True):
    """``force``: a tag that its registry has is overwritten, unasked; ``engine``: None for whichever is here."""

    push: bool = False
    force: bool = False
    engine: str | None = None


class Job(msgspec.Struct, frozen=True):
    """One image to build, for ``names`` (SERVICE/COMPONENT), which ``path`` defines. ``is_pulled``: by their node."""

    recipe: Recipe
    names: tuple[str, ...]
    path: Path
    is_pulled: bool

    @property
    def image(self) -> str:
        return self.recipe.image

    @property
    def name(self) -> str:
        return self.names[0]


class Built(msgspec.Struct, frozen=True):
    """What became of a job. ``tree``: what it was built from, where git knows; ``registry``: as the row has it."""

    job: Job
    id: str
    seconds: float
    tree: worktree.State | None
    registry: str = ""

    def row(self, engine: Engine) -> BuildRow:
        tree = self.tree or worktree.State()
        seconds = round(self.seconds, 1)
        return BuildRow(
            *(self.job.image, self.id, self.job.names, engine.name, seconds, tree.commit, tree.is_dirty, self.registry)
        )


def build(settings: Settings, names: Sequence[str], asked: Request, how: How) -> int:
    """Raises CliError."""
    found = definition.find_several(settings, names)
    if wrong := [each for each in found if not buildable(*each)]:
        raise UsageError("\n".join(_without_build(*each) for each in wrong))
    several = jobs(found)
    builder = Builder(asked.engine, how)
    if asked.push:
        check_registries(several)
        if not asked.force:
            builder.check_tags(several)
    built = builder.build(several)
    if asked.push:
        built = builder.publish(built, force=asked.force)
    rows = [each.row(builder.engine) for each in built]
    if how.structured:
        structured(rows, how, rows)
    elif not how.quiet:
        for row in rows:
            render.say(told(row))
    remind(built)
    return DONE


# -- what is to be built


def buildable(found: Definition, component: str) -> list[Component]:
    """The components with a ``build``, of all or of the one that is named."""
    return [each for each in found.service.components if each.build and component in ("", each.name)]


def users(found: Definition, component: str, image: str) -> list[Component]:
    """The components that use an image, of all or of the one that is named, whether or not they say how it is built."""
    return [each for each in found.service.components if each.image == image and component in ("", each.name)]


def jobs(found: Iterable[tuple[Definition, str]]) -> list[Job]:
    """Each image once. Raises UsageError with everything that is wrong."""
    made: dict[str, Job] = {}
    wrong = []
    for one, selected in found:
        for each in buildable(one, selected):
            try:
                job = _job(one, each)
                known = made.setdefault(job.image, job)
                if known.recipe != job.recipe:
                    raise UsageError(
                        f"{known.name} and {job.name} build {job.image} differently; give one of them another image"
                    )
                names = tuple(dict.fromkeys((*known.names, *job.names)))
                made[job.image] = msgspec.structs.replace(
                    known, names=names, is_pulled=known.is_pulled or job.is_pulled
                )
            except UsageError as error:
                wrong.append(str(error))
    if wrong:
        raise UsageError("\n".join(dict.fromkeys(wrong)))
    return list(made.values())


def _job(found: Definition, component: Component) -> Job:
    assert component.build
    name = f"{found.service.name}/{component.name}"
    names.check_buildable(component.image, f"{found.path}: {name}")
    folder = found.path.absolute().parent
    source, dockerfile = context.locate(component.build, folder, name)
    recipe = Recipe(component.image, component.build, source, dockerfile, folder, component.platform or "")
    return Job(recipe, (name,), found.path, component.is_pulled)


def check_registries(several: Iterable[Job]) -> None:
    """Raises UsageError for images that cannot be pushed."""
    if wrong := [each for each in several if each.image.startswith(naming.LOCAL)]:
        raise UsageError(
            "\n".join(
                f"{each.image} names no registry that it could be pushed to; `mcpctl image push {each.name}` brings it "
                "to the node"
                for each in wrong
            )
        )


def _without_build(found: Definition, component: str) -> str:
    name = full_name(found.service.name, component)
    whose = "its image" if component or len(found.service.components) == 1 else "a component's image"
    return (
        f"{name} has no [components.build] in {found.path}, which says how {whose} is built; add one below its "
        'component, with context = "FOLDER", where the Dockerfile is'
    )


# -- building and pushing


class Builder:
    """Builds with one engine. Raises CliError."""

    def __init__(self, wanted: str | None, how: How) -> None:
        self.engine = engine.find(wanted)
        self._how = how
        asking = commands.asking_for_buildx(self.engine)
        self._has_buildx = asking is not None and running.ask(asking) is not None

    def check_tags(self, several: Iterable[Job]) -> None:
        """Before anything is built. Raises CliError when a registry has one, unless it has what is here.

        What is here may come out again, and then need not be pushed.
        """
        for job in several:
            with self._interruptible("nothing was built"):
                there = _ids(job, "nothing was built")
                if there is not None and self._id(job.image) not in there:
                    raise CliError(f"{_taken(job)}; nothing was built")

    def build(self, several: Iterable[Job]) -> list[Built]:
        """One after the other. Raises CliError at the first one that fails, InterruptedByUserError for Ctrl-C."""
        built = []
        for each in several:
            with self._interruptible(f"{each.image} was not built"):
                built.append(self._build(each))
        return built

    def publish(self, several: Sequence[Built], *, force: bool = False) -> list[Built]:
        """Pushes what its registry does not have. Raises CliError, as `build`."""
        done: list[Built] = []
        for each in several:
            try:
                with self._interruptible(f"{each.job.image} was built and not pushed"):
                    registry = self._publish(each, force=force)
            except CliError as error:
                before = ", ".join(it.job.image for it in done if it.registry == PUSHED)
                raise type(error)(f"{error}; pushed before: {before}" if before else str(error)) from None
            done.append(msgspec.structs.replace(each, registry=registry))
        return done

    def _build(self, job: Job) -> Built:
        tree = _tree(job)
        self._note(f"{', '.join(job.names)}: building {job.image} with {self.engine.name}")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mcpctl-build-") as folder:
            id_file = Path(folder) / "id"
            self._make(job, id_file)
            if wrong := self._other_platform(job):
                # podman takes layers that are made of nothing out of its cache, for whatever platform they were.
                self._note(f"{job.name}: the cached layers are for {wrong}: building again without them")
                self._make(job, id_file, is_cached=False)
            made = commands.plain_id(id_file.read_text()) if id_file.exists() else self._id(job.image)
        return Built(job, made, time.monotonic() - began, tree)

    def _make(self, job: Job, id_file: Path, *, is_cached: bool = True) -> None:
        command = commands.building(self.engine, job.recipe, id_file, has_buildx=self._has_buildx, is_cached=is_cached)
        if status := self._run(command, job):
            raise CliError(f"{job.name}: {self.engine.name} build {running.ended(status)}: {job.image} was not built")

    def _other_platform(self, job: Job) -> str:
        """OS/ARCH of the image, if it is not the one that the component wants; "" also where nobody knows."""
        if not (wanted := job.recipe.platform):
            return ""
        made = (running.ask(commands.asking_for_platform(self.engine, job.image)) or "").strip()
        return made if "/" in made and made.split("/") != wanted.split("/")[:2] else ""

    def _publish(self, built: Built, *, force: bool) -> str:
        job = built.job
        there = None if force else _ids(job, f"{job.image} was built and not pushed")
        if there is not None and built.id in there:
            return UNCHANGED
        if there is not None:
            raise CliError(f"{_taken(job)}; it was built and not pushed")
        self._note(f"{', '.join(job.names)}: pushing {job.image}")
        if status := self._run(commands.pushing(self.engine, job.image), job):
            raise CliError(
                f"{job.name}: {self.engine.name} push {running.ended(status)}: {job.image} was built and not pushed"
            )
        return PUSHED

    def _run(self, command: commands.Command, job: Job) -> int:
        return running.stream(command, job.recipe.folder, to_stderr=self._how.structured or self._how.quiet)

    @contextmanager
    def _interruptible(self, state: str) -> Iterator[None]:
        """Says at Ctrl-C what is done; the engine has ended by then."""
        try:
            yield
        except KeyboardInterrupt:
            raise InterruptedByUserError(f"interrupted: {self.engine.name} was ended, {state}") from None

    def _id(self, image: str) -> str:
        """Of the image that has this name here; "" for none."""
        return commands.plain_id(running.ask(commands.asking_for_id(self.engine, image)) or "")

    def _note(self, words: str) -> None:
        if not self._how.quiet:
            render.note(f"mcpctl: {words}")


def told(row: BuildRow) -> str:
    """A row, for people."""
    at_registry = {PUSHED: ", pushed", UNCHANGED: ", which its registry has already", "": ""}[row.registry]
    return f"{row.image}: built with {row.engine} in {render.span(row.seconds)}: {row.id[:_SHORT]}{at_registry}"


def remind(built: Iterable[Built]) -> None:
    """Says again, at the end, what others now have of a tree that was not committed."""
    for each in built:
        if each.registry == PUSHED and each.tree and each.tree.is_dirty:
            render.note(f"mcpctl: {each.job.image} was pushed from a dirty git tree: {_commit(each.tree)}")


def _ids(job: Job, state: str) -> frozenset[str] | None:
    """What the registry has under the tag. ``state``: what is done so far."""
    try:
        return asyncio.run(published.ids(reference.parse(job.image)))
    except RegistryAccessError as error:
        # A push would fail for the same reason.
        raise RegistryError(f"{job.name}: {error}\n{state}") from None
    except RegistryError as error:
        again = f"`mcpctl build {job.name} --push --force` pushes without asking"
        raise RegistryError(f"{job.name}: {error}\n{state}; {again}") from None


def _taken(job: Job) -> str:
    return (
        f"{job.name}: the registry has another image as {job.image}: raise the tag in {job.path}, or "
        f"`mcpctl build {job.name} --push --force` overwrites it"
    )


def _tree(job: Job) -> worktree.State | None:
    """What git knows of what is built; says what is not committed."""
    if context.is_fetched(job.recipe.context):
        return None
    try:
        tree = worktree.look(job.recipe.context)
    except TimeoutError as error:
        render.note(f"mcpctl: {job.name}: whether {job.recipe.context} is committed is not known: {error}")
        return None
    if tree and tree.is_dirty:
        count, more = len(tree.changed), len(tree.changed) - _NAMED
        files = "1 file is" if count == 1 else f"{count} files or folders are"
        names = ", ".join(tree.changed[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        render.note(
            f"mcpctl: {job.name}: the git tree of {job.recipe.context} is dirty: {files} changed or untracked: {names}"
        )
    return tree


def _commit(tree: worktree.State) -> str:
    return f"commit {tree.commit[:_SHORT]} is not all of it" if tree.commit else "it has no commit yet"
