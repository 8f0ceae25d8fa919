"""The values that mcpd's rooms hand to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from monitor.model import Desired, Observed, Seen
from protos import naming
from protos.parts import NetworkDeclaration, Volume
from protos.spec import Component, Service

LABEL_SERVICE = "mcp.service"
LABEL_COMPONENT = "mcp.component"
LABEL_SPEC_HASH = "mcp.spec-hash"
LABEL_NODE = "mcp.node"
# Of a container that `mcpctl run` made: what it is called by, SERVICE/COMPONENT, who asked for it, and whether it goes
# on without them.
LABEL_RUN = "mcp.run"
LABEL_RUN_OF = "mcp.run-of"
LABEL_RUN_BY = "mcp.run-by"
LABEL_DETACHED = "mcp.run-detached"

# What a container is called while it waits to take over, and while it waits to be removed or put back. A dot is in no
# name that an operator can declare, so neither can collide.
NEXT = ".next"
LAST = ".last"


class Role(StrEnum):
    """``ADMIN`` may do everything; ``VIEWER`` what changes nothing; of that, no file content, no
    output of programs, and nothing by which a value can be guessed.
    """

    ADMIN = "admin"
    VIEWER = "viewer"


# Who is named for what mcpd does by itself.
MCPD = "mcpd"


class Caller(msgspec.Struct, frozen=True):
    """Who makes a call, after authentication; ``expires_at`` None: the token has no end."""

    name: str
    role: Role
    expires_at: datetime | None = None


OURSELVES = Caller(MCPD, Role.ADMIN)


class Target(msgspec.Struct, frozen=True):
    """A service, or one component of it."""

    service: str
    component: str = ""

    def __str__(self) -> str:
        return f"{self.service}/{self.component}" if self.component else self.service

    def covers(self, component: str) -> bool:
        return not self.component or self.component == component


class Container(msgspec.Struct, frozen=True):
    """A container as podman lists it. ``ports`` are in the notation of a definition file."""

    id: str
    name: str
    image: str
    image_id: str
    state: Observed
    pid: int
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime | None
    ports: tuple[str, ...]
    labels: Mapping[str, str]
    created_at: datetime | None = None
    networks: tuple[str, ...] = ()

    @property
    def service(self) -> str:
        return self.labels.get(LABEL_SERVICE, "")

    @property
    def component(self) -> str:
        return self.labels.get(LABEL_COMPONENT, "")

    @property
    def spec_hash(self) -> str:
        return self.labels.get(LABEL_SPEC_HASH, "")

    @property
    def run(self) -> str:
        """What `mcpctl run` called it; empty: nothing of that made it."""
        return self.labels.get(LABEL_RUN, "")

    @property
    def run_of(self) -> Target:
        """The component that it was made like, by `mcpctl run`."""
        return Target(*self.labels.get(LABEL_RUN_OF, "").partition("/")[::2])

    @property
    def version(self) -> str:
        return naming.version(self.image)

    @property
    def is_settled(self) -> bool:
        """Whether it is nobody's predecessor or replacement in a deploy."""
        return not self.name.endswith((NEXT, LAST))

    @property
    def is_active(self) -> bool:
        """Whether it has a main process, or will have one again without anybody asking."""
        return self.state not in (Observed.CREATED, Observed.EXITED, Observed.REMOVED)

    def seen(self) -> Seen:
        return Seen(self.state, self.image, self.spec_hash, self.exit_code, self.finished_at)


def by_component(containers: Iterable[Container], service: str, names: Mapping[str, str]) -> dict[str, Container]:
    """The service's containers by component. ``names`` are the containers' proper names, by component.

    Of several with the same labels (`podman container clone` makes such) the one with the proper name counts.
    """
    found: dict[str, Container] = {}
    for each in containers:
        is_ours = each.service == service and each.is_settled
        if is_ours and (each.component not in found or each.name == names.get(each.component)):
            found[each.component] = each
    return found


class RecordedComponent(msgspec.Struct, frozen=True):
    """A component as the registry holds it. ``deployed`` is what its container was made from; None: not by a deploy.

    ``definition_hash`` is of ``spec``, made when it is read: status is asked of a thousand of them. ``trouble`` is of a
    job: what is wrong with its runs, in words.
    """

    service: str
    spec: Component
    spec_hash: str
    container: str
    desired: Desired
    observed: Observed
    observed_at: datetime | None
    container_id: str
    deployed: Component | None = None
    definition_hash: str = ""
    trouble: str = ""

    @property
    def specs(self) -> tuple[Component, ...]:
        """What is declared of it, and what its container was made from, where that is known."""
        return (self.spec,) if self.deployed is None else (self.spec, self.deployed)

    @property
    def should_run(self) -> bool:
        """Whether it should run, or have run to its end, or be run by its schedule."""
        return self.desired not in (Desired.STOPPED, Desired.IGNORE)

    @property
    def is_scheduled(self) -> bool:
        """Whether it is a job whose schedule counts."""
        return self.desired is Desired.SCHEDULED


class RecordedService(msgspec.Struct, frozen=True):
    """A service as the registry holds it. ``revision`` grows by one with every change of intent."""

    name: str
    active: bool
    revision: int
    updated_at: datetime
    components: tuple[RecordedComponent, ...]
    volumes: Mapping[str, Volume] = {}
    networks: Mapping[str, NetworkDeclaration] = {}

    def component(self, name: str) -> RecordedComponent | None:
        return next((each for each in self.components if each.spec.name == name), None)

    def as_declared(self, node: str) -> Service:
        """The service as a definition would say it.

        What nobody declares any more is left out; so is that something depends on what was undeployed alone.
        """
        return self._of([each.spec for each in self.components if each.desired is not Desired.IGNORE], node)

    def as_deployed(self, node: str) -> Service | None:
        """As `as_declared`, of what the containers were made from; None when nothing has one."""
        ours = [each for each in self.components if each.desired is not Desired.IGNORE]
        specs = [each.deployed or each.spec for each in ours if each.deployed or each.container_id]
        return self._of(specs, node) if specs else None

    def _of(self, specs: Sequence[Component], node: str) -> Service:
        names = {each.name for each in specs}
        whole = [
            msgspec.structs.replace(each, depends_on=tuple(name for name in each.depends_on if name in names))
            for each in specs
        ]
        return Service(self.name, node, tuple(whole), self.active, self.volumes, self.networks)

    def found_in(self, containers: Iterable[Container]) -> dict[str, Container]:
        """The service's containers by component; see `by_component`."""
        return by_component(containers, self.name, {each.spec.name: each.container for each in self.components})


class Event(msgspec.Struct, frozen=True):
    """One line of the event ledger; ``caller`` is empty for what was merely observed."""

    id: int
    at: datetime
    service: str
    component: str
    kind: str
    message: str
    caller: str


class Result(StrEnum):
    """How an operation on one component ended."""

    UNCHANGED = "unchanged"
    CREATED = "created"
    REPLACED = "replaced"
    STARTED = "started"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    REMOVED = "removed"
    UPDATED = "updated"
    REVERTED = "reverted"
    FAILED = "failed"
    SKIPPED = "skipped"
    ADOPTED = "adopted"


class Outcome(msgspec.Struct, frozen=True):
    component: str
    result: Result
    message: str = ""


class Step(StrEnum):
    """What an operation is doing to a component."""

    PLAN = "plan"
    PULL = "pull"
    NETWORK = "network"
    CREATE = "create"
    STOP = "stop"
    RENAME = "rename"
    START = "start"
    VERIFY = "verify"
    SWITCH = "switch"
    DRAIN = "drain"
    COMMIT = "commit"
    REMOVE = "remove"
    REVERT = "revert"
    CANCEL = "cancel"


class Progress(msgspec.Struct, frozen=True):
    """One step of an operation, as it is taken."""

    at: datetime
    component: str
    step: Step
    message: str


# What an operation tells as it goes.
Report = Progress | Outcome
