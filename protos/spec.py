"""The definition of a service: frozen types that both ends share, each field with its rule.

`mcpctl` reads them from definition files, `mcpd` from requests; both check them here, so that neither trusts the
other. Field order is the order in which a definition file lists them. The tables in it are in `protos.parts`; what
fields of one service may not say together is in `protos.agreement`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from protos import agreement, grammar, naming, podman_notation, route_agreement, scheduling
from protos.fields import Argument, Duration, Image, InsidePath, Labels, Name, Resource, Size, pairs
from protos.parts import (
    Build,
    ConfigFile,
    Heal,
    Health,
    Log,
    Mount,
    Network,
    NetworkDeclaration,
    Pull,
    Resources,
    Route,
    Secret,
    Update,
    Volume,
)
from protos.validation import Problem, Rule, checked, examine, plain

# As in podman-run(1): the time from SIGTERM to SIGKILL.
DEFAULT_STOP_TIMEOUT = timedelta(seconds=10)
# What most requests are done within; connections that are held open (WebSocket) are cut off after it.
DEFAULT_DRAIN_TIMEOUT = timedelta(seconds=30)
# A deploy locks its service while it watches it, so it must end.
MAX_WAIT = timedelta(minutes=10)


# What mcpd chooses for a route that names no port; inside a container they are all free.
_FIRST_CHOSEN_PORT = 8080


def _wait(value: str | timedelta) -> timedelta:
    total = grammar.duration(value)
    if total > MAX_WAIT:
        raise ValueError(f"{value!s} is too long to wait for: at most {MAX_WAIT // timedelta(minutes=1)}m")
    return total


class RoutePort(NamedTuple):
    """A port of a component that routes go to: what it is called, its number inside, and the variables that say it.

    The name is the number, where the definition has it: only then nobody needs to be told.
    """

    name: str
    number: int
    variables: tuple[str, ...]


class Component(msgspec.Struct, frozen=True, omit_defaults=True):
    """One container, as declared. Keys are podman-run(1)'s long options, in the plural where they are lists or tables.

    Components of a service find each other by their names: one that names no network joins the service's own, which is
    called like the service.

    `heal = "restart"` makes mcpd start a container that should run and has ended, and restart one that is unhealthy:
    its probe has failed `retries` times after the start period, and still fails after the node's `drift_grace`. mcpd
    does so at once, then with pauses that grow from 1s to 5m, and records an event each time. It does not act on a
    component that a person stopped or paused, that an operation is working on, or, within `drift_grace`, that podman
    itself restarts. `heal = "alert"` heals nothing.

    `settle` counts from the start of a container, in a deploy, `start`, `restart` and `recover`. By default, a
    container with a probe is up when it is healthy; one without a probe must stay up for 0.5s, or for 20ms if there was
    no container before.

    `oneshot = true` is for a program that does its work and ends, say a migration. Components that depend on it wait
    until it has exited with status 0; any other status fails the deploy. It runs again in every deploy that changes
    something of its service, and never by itself.

    `schedule = "0 2 * * *"` makes it a job: a deploy makes its container, and mcpd starts that one whenever it is due.
    No run begins while another goes on, and what was missed is made up for once. It has no probe, routes or restart
    policy, and nothing can depend on it.

    ``name``: the container is called SERVICE-NAME, or just SERVICE if the only component has the service's name.
    ``image``: the image that it runs. The tag is the component's version.
    ``pull``: when the image is pulled for a new container: `missing`, `newer`, `always` or `never`.
    ``platform``: the image's platform, ``linux/arm64``. Default: the node's.
    ``active``: whether it should run when its service should.
    ``oneshot``: true: it runs to its end.
    ``schedule``: when mcpd runs it: minute, hour, day of month, month, day of week, as in crontab(5). It is a job then.
    ``timezone``: the time zone of its schedule, ``Europe/Berlin``. Default: UTC.
    ``timeout``: how long a job or a oneshot may run before podman kills it; whole seconds. Default: no limit.
    ``entrypoint``: the program that the container starts; an empty list for none. Default: the image's.
    ``cmd``: its arguments. Default: the image's.
    ``workdir``: the folder in the container that it starts in. Default: the image's.
    ``user``: the user that it runs as, in the container's own ids. Default: the image's.
    ``group_add``: more groups of that user; `keep-groups` for those of mcpd's user.
    ``env``: environment variables, in addition to the image's.
    ``env_file``: files with environment variables beside the definition, in Docker Compose's notation; `env` wins.
    ``secrets``: podman secrets, each a file in /run/secrets unless more is said.
    ``configs``: text files that are part of the definition.
    ``hostname``: the container's own host name. Default: podman's, the start of its id.
    ``network``: the network that it joins: a podman network, `host`, `none` or `component:NAME`.
    ``networks``: several networks, or one with more than its name. Default: the service's own.
    ``ports``: the ports that it publishes on the node.
    ``add_hosts``: more lines of its /etc/hosts, ``NAME:IP``; `host-gateway` stands for the node's address.
    ``dns``: the name servers that it asks. Default: podman's.
    ``dns_search``: the domains that it searches.
    ``dns_options``: options of its resolv.conf(5).
    ``volumes``: the folders of the node and the volumes that it mounts.
    ``tmpfs``: file systems in memory that it mounts.
    ``read_only``: true: its root file system is read-only; /run, /tmp and /var/tmp are in memory.
    ``shm_size``: the size of its /dev/shm. Default: podman's, 65536kB.
    ``devices``: devices of the node, and those of the Container Device Interface: ``nvidia.com/gpu=all``.
    ``init``: true: podman's init is its first process, forwards signals and reaps processes.
    ``tty``: true: it has a terminal.
    ``interactive``: true: its standard input stays open.
    ``stop_signal``: the signal that ends it. Default: the image's, or SIGTERM.
    ``stop_timeout``: the time from that signal to SIGKILL.
    ``restart``: podman's restart policy, which podman applies by itself when the container ends.
    ``labels``: labels of the container; those that begin with `mcp.` are mcp's own.
    ``annotations``: annotations of the container, for its runtime.
    ``userns``: its user namespace: `host`, `keep-id`, `auto` or `nomap`. Default: podman's.
    ``pid``: its PID namespace: `host`, `private` or `component:NAME`. Default: private.
    ``ipc``: its IPC namespace: `host`, `none`, `private`, `shareable` or `component:NAME`. Default: podman's.
    ``cap_add``: capabilities that it has besides podman's default ones, ``NET_ADMIN``.
    ``cap_drop``: capabilities that it does not have, ``ALL``.
    ``privileged``: true: it has every capability and device, and no confinement.
    ``security_opt``: options of its confinement, ``no-new-privileges``, ``seccomp=unconfined``.
    ``ulimits``: limits of its processes (setrlimit(2)), ``nofile = "4096:8192"``.
    ``sysctls``: kernel settings of its namespaces, ``"net.core.somaxconn" = "1024"``.
    ``depends_on``: components of this service that must be up before it: started, healthy, or done if oneshot.
    ``settle``: how long it must stay up to count as started, 10m at most; with a probe it must also be healthy.
    ``update``: `start-first` or `stop-first`: whether a deploy starts the new container beside the old one, which then
        finishes what it has begun. Default: `start-first` with routes, if two can run at a time; else `stop-first`.
    ``drain_timeout``: how long an old container may take to finish what it has begun, after the proxy has the new one;
        10m at most.
    ``heal``: what mcpd does when it should run but has ended or is unhealthy. Default: the node's `heal`.
    ``build``: how its image is built.
    ``routes``: how the world reaches it.
    ``health``: its probe.
    ``resources``: its limits.
    ``log``: where what it prints goes.
    """

    name: Name
    image: Image
    pull: Pull = Pull.MISSING
    platform: Annotated[str, checked(podman_notation.platform)] | None = None
    active: bool = True
    oneshot: bool = False
    schedule: Annotated[str, checked(scheduling.schedule)] | None = None
    timezone: Annotated[str, checked(scheduling.timezone)] | None = None
    timeout: Annotated[timedelta, Rule(scheduling.timeout, (str, timedelta))] | None = None
    entrypoint: tuple[Argument, ...] | None = None
    cmd: tuple[Argument, ...] = ()
    workdir: InsidePath | None = None
    user: Annotated[str, checked(grammar.user)] | None = None
    group_add: tuple[Annotated[str, checked(podman_notation.group)], ...] = ()
    env: Mapping[Annotated[str, checked(grammar.env_name)], Argument] = {}
    env_file: tuple[Argument, ...] = ()
    secrets: tuple[Annotated[str, checked(grammar.secret)] | Secret, ...] = ()
    configs: tuple[ConfigFile, ...] = ()
    hostname: Annotated[str, checked(podman_notation.host_name)] | None = None
    network: Annotated[str, checked(podman_notation.network_of_component)] | None = None
    networks: tuple[Resource | Network, ...] = ()
    ports: tuple[Annotated[str, checked(grammar.port)], ...] = ()
    add_hosts: tuple[Annotated[str, checked(podman_notation.added_host)], ...] = ()
    dns: tuple[Annotated[str, checked(podman_notation.dns_server)], ...] = ()
    dns_search: tuple[Annotated[str, checked(podman_notation.dns_domain)], ...] = ()
    dns_options: tuple[Annotated[str, checked(podman_notation.dns_option)], ...] = ()
    volumes: tuple[Annotated[str, checked(grammar.volume)] | Mount, ...] = ()
    tmpfs: tuple[Annotated[str, checked(podman_notation.tmpfs)], ...] = ()
    read_only: bool = False
    shm_size: Size = 0
    devices: tuple[Annotated[str, checked(podman_notation.device)], ...] = ()
    init: bool = False
    tty: bool = False
    interactive: bool = False
    stop_signal: Annotated[str, checked(podman_notation.signal)] | None = None
    stop_timeout: Duration = DEFAULT_STOP_TIMEOUT
    restart: Annotated[str, checked(grammar.restart)] = "no"
    labels: Labels = {}
    annotations: Labels = {}
    userns: Annotated[str, checked(podman_notation.user_namespace)] | None = None
    pid: Annotated[str, checked(podman_notation.process_namespace)] | None = None
    ipc: Annotated[str, checked(podman_notation.ipc_namespace)] | None = None
    cap_add: tuple[Annotated[str, checked(podman_notation.capability)], ...] = ()
    cap_drop: tuple[Annotated[str, checked(podman_notation.capability)], ...] = ()
    privileged: bool = False
    security_opt: tuple[Annotated[str, checked(podman_notation.security_option)], ...] = ()
    ulimits: Annotated[Mapping[str, str], pairs(podman_notation.ulimit_name, podman_notation.ulimit)] = {}
    sysctls: Annotated[Mapping[str, str], pairs(podman_notation.sysctl_name, grammar.argument)] = {}
    depends_on: tuple[Name, ...] = ()
    settle: Annotated[timedelta, Rule(_wait, (str, timedelta))] | None = None
    update: Update | None = None
    drain_timeout: Annotated[timedelta, Rule(_wait, (str, timedelta))] = DEFAULT_DRAIN_TIMEOUT
    heal: Heal | None = None
    build: Build | None = None
    routes: tuple[Route, ...] = ()
    health: Health | None = None
    resources: Resources = Resources()
    log: Log = Log()

    @property
    def version(self) -> str:
        return naming.version(self.image)

    @property
    def is_pulled(self) -> bool:
        """Whether a registry is ever asked for its image; otherwise somebody builds, loads or brings it."""
        return self.pull is not Pull.NEVER and not self.image.startswith(naming.LOCAL)

    @property
    def probe(self) -> Health | None:
        """The probe that it declares; an image's own is not known here."""
        return None if self.health is None or self.health.disable or self.ends else self.health

    @property
    def is_job(self) -> bool:
        """Whether its schedule runs it."""
        return self.schedule is not None

    @property
    def ends(self) -> bool:
        """Whether it does its work and ends: a oneshot, or a job."""
        return self.oneshot or self.is_job

    @property
    def mounts(self) -> tuple[Mount, ...]:
        return tuple(map(Mount.of, self.volumes))

    @property
    def secret_list(self) -> tuple[Secret, ...]:
        return tuple(map(Secret.of, self.secrets))

    @property
    def shares_with(self) -> frozenset[str]:
        """The components whose namespaces it joins."""
        named = map(podman_notation.named_component, (self.network, self.pid, self.ipc))
        return frozenset(filter(None, named))

    @property
    def waits_for(self) -> frozenset[str]:
        """The components that must be up before it."""
        return self.shares_with | frozenset(self.depends_on)

    @property
    def network_mode(self) -> str:
        """``host``, ``none``, ``component:NAME`` or another mode; "" when it joins networks."""
        is_mode = self.network in podman_notation.NETWORK_MODES or podman_notation.named_component(self.network)
        return self.network or "" if is_mode else ""

    @property
    def route_ports(self) -> tuple[RoutePort, ...]:
        """The ports that its routes go to, each once; those that mcpd chooses from 8080 on, where none is declared."""
        taken = {each.port for each in self.routes}
        free = (number for number in range(_FIRST_CHOSEN_PORT, 65536) if number not in taken)
        found: dict[str, RoutePort] = {}
        for each in self.routes:
            before = found.get(each.port_name)
            number = before.number if before else each.port or next(free)
            said = (*(before.variables if before else ()), *filter(None, (each.variable,)))
            found[each.port_name] = RoutePort(each.port_name, number, tuple(dict.fromkeys(said)))
        return tuple(found.values())

    def joins(self, service: str) -> tuple[Network, ...]:
        """The podman networks that it joins, as a component of ``service``; none when it has a `network_mode`."""
        if self.networks:
            return tuple(map(Network.of, self.networks))
        if self.network_mode:
            return ()
        return (Network(self.network or naming.own_network(service)),)


class Service(msgspec.Struct, frozen=True, omit_defaults=True):
    """A service, as its definition declares it.

    ``name``: the name of its file, without .toml.
    ``node``: the node that it runs on.
    ``components``: its containers.
    ``active``: the authoritative desired state (audit E3): whether it should run.
    ``volumes``: more about volumes that components mount, by name.
    ``networks``: more about networks that components join, by name.
    """

    name: Name
    node: Name
    components: tuple[Component, ...]
    active: bool = True
    volumes: Mapping[Resource, Volume] = {}
    networks: Mapping[Resource, NetworkDeclaration] = {}

    @property
    def component_names(self) -> tuple[str, ...]:
        return tuple(component.name for component in self.components)

    def component(self, name: str) -> Component | None:
        return next((component for component in self.components if component.name == name), None)

    def container(self, component: str) -> str:
        return naming.container_name(self.name, component, self.component_names)

    def wants_running(self, component: Component) -> bool:
        return self.active and component.active

    def starts_first(self, component: Component) -> bool:
        """Whether a deploy starts a new container of ``component`` beside the old one."""
        if component.update is not None:
            return component.update is Update.START_FIRST
        return bool(component.routes) and not self.alone(component)

    def alone(self, component: Component) -> str:
        """Why no two containers of ``component`` can run at a time; "": they can."""
        return route_agreement.alone(plain(component), [plain(each) for each in self.components])

    def joined_networks(self) -> Iterator[str]:
        """The podman networks that its components join, each once."""
        yield from dict.fromkeys(each.name for component in self.components for each in component.joins(self.name))


def examine_service(data: Any) -> tuple[Service | None, list[Problem]]:
    """A service from plain values, or all problems: of each field, and between fields."""
    service, problems = examine(data, Service)
    components = data.get("components") if isinstance(data, dict) else None
    if isinstance(components, (list, tuple)):
        problems += agreement.disagreements([each if isinstance(each, dict) else {} for each in components])
    return (None if problems else service), problems
