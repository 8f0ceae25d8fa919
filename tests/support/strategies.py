"""Hypothesis strategies: plain values as a file may hold them, and valid services."""

import posixpath
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st

from mcpd.config.settings import Config
from protos.grammar import VOLUME_OPTIONS
from protos.parts import (
    Build,
    ConfigFile,
    Heal,
    Health,
    Log,
    LogDriver,
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
from protos.podman_notation import ULIMITS
from protos.spec import Component, Service

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
# Anything that TOML and protobuf can hold and execve(2) can pass.
arguments = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
env_names = arguments.filter(lambda text: bool(text) and "=" not in text and text == text.strip())
durations = st.timedeltas(timedelta(0), timedelta(days=36525))
positive_durations = st.timedeltas(timedelta(microseconds=1), timedelta(days=36525))
sizes = st.integers(0, 2**62)

_repositories = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)?(/[a-z0-9]+)?", fullmatch=True)
_registries = st.sampled_from(["", "localhost/", "registry.example.net/", "registry.example.net:5000/", "[::1]:5000/"])
_tags = st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
_digests = st.from_regex(r"@sha256:[0-9a-f]{64}", fullmatch=True)
images = st.tuples(_registries, _repositories, st.just("") | _tags, st.just("") | _digests).map("".join)

_folders = st.from_regex(r"(/[A-Za-z0-9._ -]{1,10}){1,3}", fullmatch=True)
_options = st.lists(st.sampled_from(sorted(VOLUME_OPTIONS)), min_size=1, max_size=3).map(
    lambda all_: ":" + ",".join(all_)
)
volumes = st.builds(lambda a, b, c: f"{a}:{b}{c}", _folders | names, _folders, st.just("") | _options)
_ips = st.sampled_from(["", "127.0.0.1:", "[::1]:"])
_protocols = st.sampled_from(["", "/tcp", "/udp"])

_probes = st.one_of(
    st.fixed_dictionaries({"cmd": st.lists(arguments, min_size=1, max_size=3).map(tuple)}),
    st.just({"http": "http://127.0.0.1:8080/healthz"}),
    st.just({"tcp": "127.0.0.1:8080"}),
)


@st.composite
def healths(draw: st.DrawFn) -> Health:
    return Health(
        **draw(_probes),
        interval=draw(positive_durations),
        timeout=draw(positive_durations),
        retries=draw(st.integers(1, 1000)),
        start_period=draw(durations),
        start_interval=draw(st.none() | positive_durations),
    )


labels = st.dictionaries(env_names.filter(lambda text: not text.startswith("mcp.")), arguments, max_size=2)
_words = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
_modes = st.integers(0, 0o777)
_ids = st.integers(0, 2**32 - 2)


def _some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=2, unique_by=repr).map(tuple)


def _of(*texts: str) -> st.SearchStrategy[tuple[str, ...]]:
    return _some(st.sampled_from(texts))


def _mixed(strategy: st.SearchStrategy[Any], table: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """As `protos.validation` leaves a list of strings and tables: in short where that is possible, strings first."""
    both = st.lists(strategy | table, max_size=3)
    short = both.map(lambda found: [each if isinstance(each, str) else each.short() or each for each in found])
    return short.map(lambda found: tuple(sorted(found, key=lambda each: not isinstance(each, str))))


_secrets = st.builds(Secret, names, target=st.none() | _folders | names, uid=_ids, gid=_ids, mode=_modes)
_variables = st.builds(Secret, names, env=env_names)
_mounts = st.builds(Mount, _folders | st.just("/with:colon"), source=st.none() | _folders | names, create=st.booleans())
_aliases = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
_networks = st.builds(Network, names, aliases=_some(_aliases), ip=st.none() | st.just("10.9.8.7"))
_hosts = st.sampled_from(["shop.example.net", "*.example.net", "localhost"])
_paths = st.sampled_from(["/", "/api", "/api/v1"])
_routes = st.lists(
    st.builds(
        Route, _hosts, port=st.integers(0, 65535), name=st.none() | names, path=_paths, listen=st.integers(1, 99)
    ),
    max_size=3,
    unique_by=lambda each: (each.host, each.path, each.listen),
).map(tuple)
_configs = st.builds(ConfigFile, _folders, content=arguments, mode=_modes, uid=_ids, gid=_ids)
_builds = st.builds(
    Build, _words, st.none() | _words, args=st.dictionaries(env_names, arguments, max_size=2), ssh=_of("default")
)


def _apart(component: Component) -> Component:
    """With nothing mounted where something else is."""
    taken: set[str] = set()

    def free(entries: tuple[Any, ...], target: Any) -> tuple[Any, ...]:
        kept = []
        for each in entries:
            place = posixpath.normpath(target(each))
            if place not in taken:
                taken.add(place)
                kept.append(each)
        return tuple(kept)

    return msgspec.structs.replace(
        component,
        volumes=free(component.volumes, lambda each: Mount.of(each).target),
        tmpfs=free(component.tmpfs, lambda each: each.partition(":")[0]),
        configs=free(component.configs, lambda each: each.target),
    )


_resources = st.builds(
    Resources,
    sizes,
    st.just(0.0) | st.floats(0.01, 4096),
    st.integers(0, 2**31 - 1),
    memory_reservation=sizes,
    memory_swap=sizes | st.just(-1),
    cpu_shares=st.integers(0, 262_144),
    cpuset=st.none() | st.just("0-3,6"),
    oom_score_adj=st.integers(-1000, 1000),
)

# What a component may say besides its name and image; each of these few at a time, or an example would take long.
_OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "pull": st.sampled_from(Pull),
    "platform": st.just("linux/arm64"),
    "active": st.booleans(),
    "oneshot": st.booleans(),
    "schedule": st.sampled_from(["0 2 * * *", "*/5 * * * *", "30 4 1,15 * mon-fri"]),
    "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
    "timeout": st.integers(1, 100_000).map(lambda seconds: timedelta(seconds=seconds)),
    "entrypoint": st.lists(arguments, max_size=2).map(tuple),
    "cmd": st.lists(arguments, max_size=3).map(tuple),
    "workdir": _folders,
    "user": st.sampled_from(["0:0", "app", "1000"]),
    "group_add": _of("audio", "44", "keep-groups"),
    "env": st.dictionaries(env_names, arguments, max_size=3),
    "secrets": _mixed(names, _secrets | _variables),
    "configs": _some(_configs),
    "hostname": st.just("web.example.net"),
    "network": names | st.sampled_from(["host", "none", "private"]),
    "networks": _mixed(names, _networks).map(lambda found: tuple({Network.of(e).name: e for e in found}.values())),
    "add_hosts": _of("a.example.net:10.0.0.1", "gateway:host-gateway", "six:fd00::1"),
    "dns": _of("9.9.9.9", "fd00::1"),
    "dns_search": _of("example.net", "."),
    "dns_options": _of("ndots:1", "rotate"),
    "volumes": _mixed(volumes | _folders, _mounts),
    "tmpfs": _of("/run", "/scratch:size=64m,mode=1777"),
    "read_only": st.booleans(),
    "shm_size": sizes,
    "devices": _of("/dev/fuse", "/dev/null:/dev/zero:rw", "nvidia.com/gpu=all"),
    "init": st.booleans(),
    "tty": st.booleans(),
    "interactive": st.booleans(),
    "stop_signal": st.sampled_from(["SIGINT", "15", "RTMIN+3"]),
    "stop_timeout": durations,
    "restart": st.sampled_from(["no", "on-failure", "on-failure:3", "unless-stopped", "always"]),
    "labels": labels,
    "annotations": labels,
    "userns": st.sampled_from(["keep-id:uid=1000,gid=1000", "auto", "host"]),
    "pid": st.just("host"),
    "ipc": st.just("shareable"),
    "cap_add": _of("NET_ADMIN", "cap_sys_time"),
    "cap_drop": _of("ALL", "chown"),
    "privileged": st.booleans(),
    "security_opt": _of("no-new-privileges", "label=disable", "seccomp=unconfined"),
    "ulimits": st.dictionaries(st.sampled_from(sorted(ULIMITS)), st.sampled_from(["1", "1:2", "-1"]), max_size=2),
    "sysctls": st.dictionaries(st.just("net.core.somaxconn"), arguments, max_size=1),
    "settle": st.integers(0, 600_000).map(lambda ms: timedelta(milliseconds=ms)),
    "heal": st.sampled_from(Heal),
    "update": st.just(Update.STOP_FIRST),
    "drain_timeout": st.integers(0, 600_000).map(lambda ms: timedelta(milliseconds=ms)),
    "routes": _routes,
    "build": _builds,
    "health": healths() | st.just(Health(disable=True)),
    "resources": _resources,
    "log": st.builds(Log, st.sampled_from(LogDriver), sizes, st.none() | _words),
}
_MOST_SAID = 6


@st.composite
def components(draw: st.DrawFn, name: str = "api", first_port: int = 8000) -> Component:
    said = draw(st.lists(st.sampled_from(sorted(_OPTIONAL)), max_size=_MOST_SAID, unique=True))
    values = {key: draw(_OPTIONAL[key]) for key in said}
    if values.get("networks"):
        values.pop("network", None)
    if values.get("oneshot"):
        values.pop("schedule", None)
    if values.get("schedule"):
        for key in ("oneshot", "heal", "settle"):
            values.pop(key, None)
    else:
        values.pop("timezone", None)
    ends = bool(values.get("oneshot") or values.get("schedule"))
    if not ends:
        values.pop("timeout", None)
    if ends or values.get("network") == "none":
        values.pop("routes", None)
    said_by_routes = {each.variable for each in values.get("routes", ())}
    if "env" in values:
        values["env"] = {name: text for name, text in values["env"].items() if name not in said_by_routes}
    if ends:
        values.pop("health", None)
        values.pop("restart", None)
    ports = draw(st.lists(st.tuples(_ips, st.integers(1, 65535), _protocols), max_size=2))
    texts = tuple(f"{ip}{first_port + n}:{inside}{how}" for n, (ip, inside, how) in enumerate(ports))
    return _apart(Component(name=name, image=draw(images), ports=texts, **values))


_declared_volumes = st.builds(
    Volume, st.none() | _words, st.dictionaries(arguments, arguments, max_size=1), labels, st.booleans()
)
_declared_networks = st.builds(
    NetworkDeclaration, st.none() | _words, _of("10.9.8.0/24", "fd00::/64"), internal=st.booleans(), labels=labels
)


@st.composite
def services(draw: st.DrawFn) -> Service:
    found = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    made = tuple(draw(components(name, 8000 + 10 * number)) for number, name in enumerate(found))
    return Service(
        name=draw(names),
        node=draw(names),
        components=made,
        active=draw(st.booleans()),
        volumes=draw(st.dictionaries(names, _declared_volumes, max_size=2)),
        networks=draw(st.dictionaries(names, _declared_networks, max_size=2)),
    )


def _keys(*structs: Any) -> list[str]:
    return sorted({name for struct in structs for name in struct.__struct_fields__})


_known_keys = st.sampled_from(
    _keys(Service, Component, Health, Resources, Secret, ConfigFile, Mount, Network, Log, Build, Volume)
)
# Real keys with wrong values find more than random keys do.
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    st.just(date(2026, 1, 1)),
    names,
    images,
    volumes,
    st.sampled_from(["10s", "1m30s", "256MiB", "80:80", "on-failure:3", "alert", "~", "~nobody-has-this-name/x"]),
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=4)
    return lists | st.dictionaries(_known_keys | st.text(max_size=8), inner, max_size=6)


plain = st.recursive(_scalars, _nested, max_leaves=20)
plain_components = st.lists(st.dictionaries(_known_keys, plain, max_size=8), max_size=4)
plain_services = st.fixed_dictionaries({"name": plain, "node": plain, "components": plain_components | plain})


def _tables(struct: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(_keys(struct)), plain, max_size=6)


plain_configs = st.fixed_dictionaries(
    {},
    optional={
        field.name: _tables(field.type) | plain
        for field in msgspec.structs.fields(Config)
        if hasattr(field.type, "__struct_fields__")
    },
)
