"""Hypothesis strategies: plain values as a file may hold them, and valid services."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st

from mcpd.config import Config
from protos.grammar import VOLUME_OPTIONS
from protos.spec import Component, Heal, Health, Resources, Service

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
    )


@st.composite
def components(draw: st.DrawFn, name: str = "api", first_port: int = 8000) -> Component:
    ports = draw(st.lists(st.tuples(_ips, st.integers(1, 65535), _protocols), max_size=3))
    return Component(
        name=name,
        image=draw(images),
        active=draw(st.booleans()),
        network=draw(st.none() | names),
        user=draw(st.none() | st.sampled_from(["0:0", "app", "1000"])),
        restart=draw(st.sampled_from(["no", "on-failure", "on-failure:3", "unless-stopped", "always"])),
        ports=tuple(f"{ip}{first_port + n}:{inside}{how}" for n, (ip, inside, how) in enumerate(ports)),
        volumes=tuple(draw(st.lists(volumes, max_size=3))),
        cmd=tuple(draw(st.lists(arguments, max_size=3))),
        env=draw(st.dictionaries(env_names, arguments, max_size=3)),
        secrets=tuple(draw(st.lists(names, max_size=2))),
        stop_timeout=draw(durations),
        settle=draw(st.none() | st.integers(0, 600_000).map(lambda ms: timedelta(milliseconds=ms))),
        heal=draw(st.none() | st.sampled_from(Heal)),
        health=draw(st.none() | healths()),
        resources=Resources(draw(sizes), draw(st.just(0.0) | st.floats(0.01, 4096)), draw(st.integers(0, 2**31 - 1))),
    )


@st.composite
def services(draw: st.DrawFn) -> Service:
    found = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    made = tuple(draw(components(name, 8000 + 10 * number)) for number, name in enumerate(found))
    return Service(name=draw(names), node=draw(names), components=made, active=draw(st.booleans()))


def _keys(*structs: Any) -> list[str]:
    return sorted({name for struct in structs for name in struct.__struct_fields__})


_known_keys = st.sampled_from(_keys(Service, Component, Health, Resources))
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
