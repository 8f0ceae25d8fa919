"""`mcpctl exec`: a program in the running container of a component."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

import msgspec
import structlog
import trio

from mcpd.changes.node import Node
from mcpd.errors import InvalidRequestError, McpdError, NotFoundError, RefusedError, RegistryError
from mcpd.model import Container, RecordedComponent, Target, by_component
from mcpd.registry import sessions as table
from mcpd.runtime.programs import Program
from mcpd.sessions.conversation import Client, Ended, Running, talk
from mcpd.sessions.places import Places
from monitor.model import Observed

log = structlog.get_logger()

# The best first. They are looked for as files: a container may lack a shell to look with.
_SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/zsh", "/usr/bin/zsh", "/bin/ash", "/bin/sh", "/usr/bin/sh")
_DEBUG_SHELLS = ("/busybox/sh",)  # the `debug` images of distroless
_RUNS = (Observed.RUNNING, Observed.HEALTHY, Observed.UNHEALTHY)
_WHY_NOT = {Observed.CREATED: "it has not been started", Observed.EXITED: "it has exited"}
# Whoever restarts podman does so within seconds.
_LOOK_AGAIN_S = 30.0
# To end what a client has left; podman answers within moments, or hangs.
_END_S = 10.0


class Started(NamedTuple):
    """What runs now: the program without its arguments, and its container, by name."""

    program: str
    container: str


class Executions:
    """Programs in the containers of components."""

    def __init__(self, node: Node, places: Places) -> None:
        self._node = node
        self._places = places
        # Those whose caller is there.
        self._open: set[str] = set()

    async def find(self, target: Target, program: Program) -> Execution:
        """What is to be started. Raises NotFoundError, InvalidRequestError, RefusedError, UnavailableError."""
        component, container = await self._container(target)
        if not program.command:
            shell = await self._shell(component, container)
            program = msgspec.structs.replace(program, command=(shell,))
        return Execution(self._node, self._places, container, program, self._open)

    async def keep(self) -> NoReturn:
        """Ends what an mcpd before has left running, and what could not be ended when its caller had gone."""
        while True:
            try:
                left = await table.all_of_them(self._node.registry)
            except McpdError as error:
                log.warning("what operators have left running is not known yet", error=str(error))
                left = ()
            for session in left:
                if session not in self._open:
                    await self._end_left(session)
            await trio.sleep(_LOOK_AGAIN_S)

    async def _end_left(self, session: str) -> None:
        """One that cannot be ended does not keep the others from it."""
        log.info("ending a program that an operator has left running", session=session[:12])
        try:
            with trio.fail_after(_END_S):
                await end(self._node, session)
        except (McpdError, trio.TooSlowError) as error:
            words = str(error) or "podman does not say what runs"
            log.warning("what an operator has left running could not be ended yet", session=session[:12], error=words)

    async def _container(self, target: Target) -> tuple[RecordedComponent, Container]:
        component = await self.component(target)
        name = f"{component.service}/{component.spec.name}"
        containers = await self._node.podman.containers(service=component.service)
        names = {component.spec.name: component.container}
        found = by_component(containers, component.service, names).get(component.spec.name)
        run = f"`mcpctl run {name}` starts a container of its own for a program"
        if found is None:
            raise RefusedError(f"{name} has no container; {run}")
        if found.state not in _RUNS:
            why = _WHY_NOT.get(found.state, f"it is {found.state}")
            if found.state is Observed.PAUSED:
                run = f"`podman unpause {found.name}` on the node lets it go on"
            elif not component.spec.oneshot and not component.spec.is_job:
                run = f"`mcpctl start {name}` starts it, {run}"
            raise RefusedError(f"{name} does not run: {why}; {run}")
        return component, found

    async def component(self, target: Target) -> RecordedComponent:
        """The component that ``target`` names, or the only one of the service that it names.

        Raises NotFoundError, InvalidRequestError.
        """
        service = await self._node.registry.service(target.service)
        if service is None:
            raise NotFoundError(f"no service {target.service} is deployed on {self._node.name}")
        names = ", ".join(each.spec.name for each in service.components)
        if target.component:
            if found := service.component(target.component):
                return found
            raise NotFoundError(f"{service.name} has no component {target.component} here; it has {names}")
        if len(service.components) != 1:
            raise InvalidRequestError(f"{service.name} has several components ({names}); name one: {service.name}/NAME")
        return service.components[0]

    async def _shell(self, component: RecordedComponent, container: Container) -> str:
        for path in _SHELLS + _DEBUG_SHELLS:
            if await self._node.podman.programs.has_file(container.id, path):
                return path
        name = f"{component.service}/{component.spec.name}"
        raise RefusedError(f"{name} has no shell; name a program that it has: mcpctl exec {name} -- PROGRAM")


class Execution:
    """One program, found and not started yet."""

    def __init__(self, node: Node, places: Places, container: Container, program: Program, among: set[str]) -> None:
        """``among``: the sessions that go on."""
        self._open = among
        self._node = node
        self._places = places
        self._container = container
        self._program = program
        self.started = Started(program.command[0], container.name)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        """Starts it. What still runs of it when this is left is ended.

        Raises ExhaustedError, RefusedError, PodmanError, UnavailableError.
        """
        programs, size = self._node.podman.programs, self._program.size
        with self._places.taken("exec"):
            session = await programs.prepare(self._container.id, self._program)
            self._open.add(session)
            try:
                await self._note(session)
                # podman loses sight of what it starts when nobody is attached to it. It has a deadline.
                with trio.CancelScope(shield=True):
                    attached = await programs.start(session, size)
                try:
                    yield Running(
                        attached,
                        resize=lambda to: programs.resize(f"exec/{session}", to),
                        signal=lambda number: programs.signal(session, number),
                        exit_code=lambda: programs.exit_code(session),
                        has_terminal=size is not None,
                    )
                finally:
                    await attached.aclose()
            finally:
                with trio.move_on_after(_END_S, shield=True):
                    await self._end(session)
                self._open.discard(session)

    async def talk(self, running: Running, client: Client) -> Ended:
        """Carries what both say to the end. Raises InvalidRequestError, UnavailableError."""
        return await talk(running, client, self._places.limits)

    async def _note(self, session: str) -> None:
        """For an mcpd that finds it after a crash. Somebody who mends a full disk is not kept from it."""
        try:
            await table.add(self._node.registry, session, self._container.id, datetime.now(UTC))
        except RegistryError as error:
            log.warning("a session could not be recorded", container=self._container.name, error=str(error))

    async def _end(self, session: str) -> None:
        try:
            await end(self._node, session)
        except McpdError as error:
            log.warning("a session may not have ended yet", container=self._container.name, error=str(error))


async def end(node: Node, session: str) -> None:
    """Ends what still runs of a session, and forgets it. Raises UnavailableError, RegistryError."""
    await node.podman.programs.hang_up(session)
    await table.remove(node.registry, session)
