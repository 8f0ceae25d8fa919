"""`mcpctl run`: a program in a container of its own, made as the component's is, and gone when it ends.

Labels say what such a container is: nothing else of mcpd takes it for a component's. They also tell an mcpd that starts
after a crash what to do with it: what was detached is watched on, what somebody watched is stopped.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, NoReturn

import structlog
import trio

from mcpd.changes import podman_hints
from mcpd.changes.node import Node
from mcpd.changes.surroundings import provide, surroundings
from mcpd.errors import McpdError, NotFoundError, RefusedError
from mcpd.model import (
    LABEL_DETACHED,
    LABEL_NODE,
    LABEL_RUN,
    LABEL_RUN_BY,
    LABEL_RUN_OF,
    Container,
    RecordedComponent,
    Step,
    Target,
)
from mcpd.runtime.api import NoSuchError, PodmanError
from mcpd.runtime.api_types import Inspected, ever
from mcpd.runtime.attached import Attached
from mcpd.runtime.create import container_spec
from mcpd.runtime.programs import until_ended
from mcpd.sessions.conversation import Client, Ended, Running, talk
from mcpd.sessions.places import Places
from mcpd.sessions.program_name import check_program
from mcpd.sessions.run_spec import CLEAN_UP_S, Asked, longest, of_a_run, unstarted
from monitor.exit_status import exit_words
from monitor.model import Observed
from protos.spec import Component, Service

log = structlog.get_logger()

# What a run is called: nobody types it but from a screen. No letter that looks like a digit.
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_LETTERS_OF_A_NAME = 6
# Whoever is gone does not wait for a program that takes its time to end.
_MAX_STOP = timedelta(seconds=10)
# Detached runs end when they like. How long one is kept after that, for its log.
_WATCH_POLL_S = 2.0
_KEPT = timedelta(hours=1)
_KEPT_POLL_S = 60.0
# In their containers' names.
_RUNS, _ENDED = ".run-", ".ended-"
_WATCH_AGAIN_S = 10.0


class Started(NamedTuple):
    """What runs now: the program without its arguments, its container by name, and what StopRun calls it."""

    program: str
    container: str
    run: str


class Runs:
    """One-off containers."""

    def __init__(self, node: Node, places: Places) -> None:
        self._node = node
        self._places = places
        # Containers by name whose callers are there, and by id those that are watched.
        self._open: set[str] = set()
        self._watched: set[str] = set()
        # There may be others: what is detached now, what could not be removed, and what an mcpd before has left.
        self._has_left = trio.Event()
        self._has_left.set()

    async def keep(self) -> NoReturn:
        """Watches what is detached, and ends what nobody watches any more."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._has_left.wait()
                self._has_left = trio.Event()
                try:
                    is_done = await self._take_up(nursery)
                except McpdError as error:
                    log.warning("runs cannot be looked at; trying again", error=str(error))
                    is_done = False
                if not is_done:
                    self._has_left.set()
                    await trio.sleep(_WATCH_AGAIN_S)
        raise AssertionError("runs until cancelled")

    @asynccontextmanager
    async def running(self, component: RecordedComponent, asked: Asked, caller: str) -> AsyncIterator[_Run]:
        """Makes the container, and starts it; what is not detached is stopped and removed when this is left.

        Raises ExhaustedError, RefusedError, PodmanError, UnavailableError.
        """
        with self._places.taken("run"):
            if asked.detach:
                made = await self._node.podman.runs()
                self._places.check_detached(sum(each.is_active and LABEL_DETACHED in each.labels for each in made))
            run = "".join(secrets.choice(_LETTERS) for _ in range(_LETTERS_OF_A_NAME))
            spec = of_a_run(component.deployed or component.spec, asked)
            name = f"{component.container}{_RUNS}{run}"
            is_kept = False
            self._open.add(name)
            try:
                await self._create(name, component.service, spec, self._labels(component, run, caller, asked))
                program = await self._program(spec, asked)
                attached = None if asked.detach else await self._attach(name, spec, asked)
                try:
                    await self._start(name, spec, asked)
                    is_kept = asked.detach
                    if is_kept:
                        await self._tell(component, f"run {run} began: {program}", caller)
                    yield _Run(self._node, self._places, name, asked, Started(program, name, run), attached)
                finally:
                    if attached:
                        await attached.aclose()
            finally:
                is_gone = False
                if not is_kept:
                    with trio.move_on_after(CLEAN_UP_S, shield=True):
                        is_gone = await self._end(name, spec.stop_timeout)
                self._open.discard(name)
                if not is_gone:
                    self._has_left.set()

    async def stop(self, target: Target, run: str, caller: str) -> None:
        """Raises NotFoundError, RefusedError, PodmanError, UnavailableError."""
        for each in await self._node.podman.runs():
            if each.run == run and each.run_of == target:
                if not each.is_active:
                    raise RefusedError(f"run {run} has ended; `mcpctl logs {target} --run {run}` shows what it printed")
                words = f"stopping run {run}"
                await self._node.tell(target.service, target.component, "run", words, caller)
                await self._node.podman.stop(each.id, _MAX_STOP)
                return
        raise NotFoundError(f"{target} has no run {run}; `mcpctl top {target}` shows those that there are")

    # -- making one

    async def _create(self, name: str, service: str, spec: Component, labels: Mapping[str, str]) -> None:
        alone = Service(service, self._node.name, await self._components(service, spec))
        await self._have_image(service, spec)
        await provide(self._node, alone, spec, _no_journal)
        among = await surroundings(self._node, alone, spec)
        body = container_spec(name, self._node.name, service, spec, "", among)
        # Nobody is to find it by the component's name, nor by the labels that tools go by.
        body["networks"] = {network: {} for network in body.get("networks", {})}
        body["labels"] = dict(labels)
        body["timeout"] = longest(self._places.limits, LABEL_DETACHED in labels)
        try:
            # Else podman may go on to make what nobody knows of then. It has a deadline.
            with trio.CancelScope(shield=True):
                await self._node.podman.create(body)
        except PodmanError as error:
            raise RefusedError(f"the container cannot be made: {error}") from error

    async def _components(self, service: str, spec: Component) -> tuple[Component, ...]:
        """The service's components, whose namespaces it may share."""
        recorded = await self._node.registry.service(service)
        others = [each.spec for each in recorded.components if each.spec.name != spec.name] if recorded else []
        return (spec, *others)

    async def _have_image(self, service: str, spec: Component) -> None:
        platform = spec.platform or ""
        if await self._node.podman.has_image(spec.image, platform):
            return
        try:
            async with aclosing(self._node.podman.pull(spec.image, "missing", platform)) as lines:
                async for _ in lines:
                    pass
        except PodmanError as error:
            raise RefusedError(podman_hints.about_pull(service, spec, str(error))) from error

    def _labels(self, component: RecordedComponent, run: str, caller: str, asked: Asked) -> dict[str, str]:
        labels = {
            LABEL_NODE: self._node.name,
            LABEL_RUN: run,
            LABEL_RUN_OF: f"{component.service}/{component.spec.name}",
            LABEL_RUN_BY: caller,
        }
        return labels | ({LABEL_DETACHED: "true"} if asked.detach else {})

    async def _program(self, spec: Component, asked: Asked) -> str:
        """What is run, without its arguments, which are for nobody to keep."""
        if asked.entrypoint is not None or spec.entrypoint:
            check_program(asked.entrypoint or "")
            return asked.entrypoint or (spec.entrypoint or ("",))[0]
        defaults = (await self._node.podman.image_defaults(spec.image)).config
        words = (*(defaults.entrypoint or ()), *(spec.cmd or defaults.cmd or ()))
        program = next(filter(None, words), "")
        check_program(program)
        return program

    async def _attach(self, name: str, spec: Component, asked: Asked) -> Attached:
        program = asked.program
        try:
            return await self._node.podman.programs.attach(
                name, has_terminal=program.size is not None, has_input=program.has_input
            )
        except PodmanError as error:
            raise unstarted(spec, error, is_typed=asked.is_typed) from error

    async def _start(self, name: str, spec: Component, asked: Asked) -> None:
        try:
            await self._node.podman.start(name)
        except PodmanError as error:
            raise unstarted(spec, error, is_typed=asked.is_typed) from error

    # -- watching one, and its end

    async def _take_up(self, nursery: trio.Nursery) -> bool:
        """Sees to every run whose caller is not there; returns whether no more is to be done. Raises McpdError."""
        is_done = True

        async def end(container: Container) -> None:
            nonlocal is_done
            log.info("stopping a run that nobody watches any more", container=container.name)
            is_done = await self._end(container.id, _MAX_STOP) and is_done

        there = await self._node.podman.runs()
        async with trio.open_nursery() as ends:
            for each in there:
                if each.name in self._open or each.id in self._watched:
                    continue
                if LABEL_DETACHED in each.labels:
                    self._watched.add(each.id)
                    nursery.start_soon(self._watch, each)
                else:
                    ends.start_soon(end, each)
        return is_done

    async def _watch(self, container: Container) -> None:
        try:
            await self._until_gone(container)
        finally:
            self._watched.discard(container.id)

    async def _until_gone(self, container: Container) -> None:
        """Until it has ended, and its log was there for an hour; then removes it."""
        while True:
            pause = _WATCH_AGAIN_S
            try:
                seen = await self._node.podman.inspect(container.id)
                pause = _WATCH_POLL_S
                if seen.observed is Observed.CREATED:
                    # An mcpd was killed before it started it; or the machine went down, of which podman knows no end.
                    if ever(seen.state.started_at):
                        await self._ended(container, "nobody knows how, as when the machine goes down")
                    await self._node.podman.remove(container.id)
                    return
                if seen.observed is Observed.EXITED:
                    await self._has_ended(container, seen)
                    pause = _KEPT_POLL_S
                    if datetime.now(UTC) - (seen.state.finished_at or datetime.now(UTC)) >= _KEPT:
                        await self._node.podman.remove(container.id)
                        return
            except NoSuchError:
                return  # somebody has removed it
            except McpdError as error:
                log.warning("a run cannot be watched at present", container=container.name, error=str(error))
            await trio.sleep(pause)

    async def _has_ended(self, container: Container, seen: Inspected) -> None:
        """Tells of it, once: its name says then that it was told."""
        run = container.run
        if seen.name.endswith(_ENDED + run):
            return
        await self._ended(container, _how_it_ended(seen))
        await self._node.podman.rename(container.id, container.name.removesuffix(_RUNS + run) + _ENDED + run)

    async def _ended(self, container: Container, words: str) -> None:
        of, by = container.run_of, container.labels.get(LABEL_RUN_BY, "")
        words = f"run {container.run} ended: {words}"
        await self._node.tell(of.service, of.component, "run", words, by)

    async def _tell(self, component: RecordedComponent, words: str, caller: str) -> None:
        await self._node.tell(component.service, component.spec.name, "run", words, caller)

    async def _end(self, name: str, stop_timeout: timedelta) -> bool:
        """Stops and removes it; whether it is gone."""
        try:
            await self._node.podman.stop(name, min(stop_timeout, _MAX_STOP))
            await self._node.podman.remove(name)
        except NoSuchError:
            return True
        except McpdError as error:
            log.warning("a run could not be removed yet", container=name, error=str(error))
            return False
        return True


class _Run:
    """One run that has been started. ``attached`` None: it is detached."""

    def __init__(
        self, node: Node, places: Places, container: str, asked: Asked, started: Started, attached: Attached | None
    ) -> None:
        self._node = node
        self._places = places
        self._container = container
        self._asked = asked
        self._attached = attached
        self.started = started

    async def talk(self, client: Client) -> Ended:
        """Carries what both say to the end. Raises InvalidRequestError, UnavailableError."""
        assert self._attached, "nobody talks with what is detached"
        programs = self._node.podman.programs
        size = self._asked.program.size
        if size:
            await programs.resize(f"containers/{self._container}", size)
        running = Running(
            self._attached,
            resize=lambda to: programs.resize(f"containers/{self._container}", to),
            signal=lambda number: programs.kill(self._container, number),
            exit_code=self._exit_code,
            has_terminal=size is not None,
        )
        return await talk(running, client, self._places.limits)

    async def _exit_code(self) -> int:
        async def look() -> int | None:
            seen = await self._node.podman.inspect(self._container)
            return seen.state.exit_code if seen.observed is Observed.EXITED else None

        return await until_ended(look)


def _how_it_ended(seen: Inspected) -> str:
    if seen.state.exit_code < 0 and seen.config.timeout:
        return f"timed out: it ran for {seen.config.timeout} s (max_duration), and was killed"
    return exit_words(seen.state.exit_code, out_of_memory=seen.state.oom_killed)


async def _no_journal(_component: str, _step: Step, _message: str) -> None:
    """What is made for a run stays, as after a deploy, and is removed with its service."""
