"""Services as definitions: what is written reads back as the same service."""

import tomllib
from datetime import timedelta

import pytest
from hypothesis import example, given

from mcpctl.definitions import exporting
from mcpctl.definitions.exporting import toml
from mcpctl.definitions.exporting.formats import Format
from protos import grammar
from protos.parts import (
    Build,
    ConfigFile,
    Health,
    Log,
    LogDriver,
    Network,
    NetworkDeclaration,
    Resources,
    Secret,
    Volume,
)
from protos.spec import Service, examine_service
from tests.support.builders import component, service
from tests.support.exports import FULL
from tests.support.strategies import arguments, durations, services, sizes


@given(services())
def test_a_definition_reads_back_as_the_same_service(made: Service) -> None:
    assert examine_service(tomllib.loads(toml.text(made))) == (made, [])


@given(arguments)
@example('"""')
@example("\x7f\x80\u2028\ufeff\U000e0001")
def test_any_string_reads_back(text: str) -> None:
    line = toml.string(text)
    assert tomllib.loads(f"a = {line}") == {"a": text}
    assert line.isprintable()


@given(durations)
def test_any_duration_reads_back(value: timedelta) -> None:
    assert grammar.duration(toml.duration(value)) == value


@given(sizes)
def test_any_size_reads_back(value: int) -> None:
    assert grammar.size(tomllib.loads(f"a = {toml.size(value)}")["a"]) == value


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (10, "10s"), (90, "1m30s"), (0.25, "250ms"), (86400, "1d"), (0.000001, "0.001ms")]
)
def test_durations_are_written_as_people_write_them(seconds: float, text: str) -> None:
    assert toml.duration(timedelta(seconds=seconds)) == text


def test_a_definition_is_readable() -> None:
    assert toml.text(FULL) == (
        'name = "web"\nnode = "rift"\n\n[[components]]\nname = "api"\nimage = "registry.example.net:5000/app:v1"\n'
        'cmd = ["serve", "--name", "a b"]\nuser = "1000:1001"\nenv = { LOG = "info", ODD = "$x" }\n'
        'secrets = ["key"]\nnetwork = "mcpnet"\nports = ["127.0.0.1:8080:80", "53:53/udp"]\n'
        'volumes = ["/srv/web:/data:ro", "cache:/cache"]\nstop_timeout = "2s500ms"\nrestart = "on-failure:3"\n'
        'depends_on = ["db"]\nheal = "restart"\n'
        '[components.health]\ncmd = ["check", "a b"]\ninterval = "1s500ms"\n'
        '[components.resources]\nmemory = "256MiB"\ncpus = 0.5\npids = 77\n'
        '\n[[components]]\nname = "db"\nimage = "postgres:16"\n[components.health]\ncmd = ["pg_isready", "-q"]\n'
    )


def test_long_lists_and_large_environments_have_lines_of_their_own() -> None:
    made = service(component(cmd=("x" * 60, "y" * 60), env=dict.fromkeys(("A", "B", "memory", "a key"), "v")))
    text = toml.text(made)
    assert f'cmd = [\n    "{"x" * 60}",\n    "{"y" * 60}",\n]\n' in text
    assert '[components.env]\nA = "v"\nB = "v"\nmemory = "v"\n"a key" = "v"\n' in text
    assert examine_service(tomllib.loads(text)) == (made, [])


def test_what_has_tables_of_its_own_follows_the_keys() -> None:
    made = service(
        component(
            secrets=("key", Secret("token", env="TOKEN")),
            networks=("front", Network("back", ("a", "b"), "10.89.7.5")),
            labels={"a.b": "c"},
            configs=(ConfigFile("/etc/a", content="one\n\ttwo \\ 'three'\n", mode=0o440), ConfigFile("/b", "b.conf")),
            build=Build(".", args={"A": "b"}),
            resources=Resources(memory_swap=-1, cpuset="0-1"),
            log=Log(LogDriver.JOURNALD, 2**20),
            health=Health(disable=True),
        ),
        volumes={"cache": Volume(driver="nfs"), "any.name": Volume()},
        networks={"back": NetworkDeclaration(subnets=("10.89.7.0/24",), internal=True)},
    )
    assert toml.text(made) == (
        'name = "web"\nnode = "rift"\n\n[[components]]\nname = "api"\nimage = "registry.example.net:5000/app:v1"\n'
        'secrets = ["key", { name = "token", env = "TOKEN" }]\n'
        'networks = ["front", { name = "back", aliases = ["a", "b"], ip = "10.89.7.5" }]\n'
        'labels = { "a.b" = "c" }\n'
        '[[components.configs]]\ntarget = "/etc/a"\n'
        "content = '''\none\n\ttwo \\ 'three'\n'''\n"
        'mode = "0440"\n'
        '[[components.configs]]\ntarget = "/b"\nsource = "b.conf"\n'
        '[components.build]\ncontext = "."\nargs = { A = "b" }\n'
        "[components.health]\ndisable = true\n"
        '[components.resources]\nmemory_swap = -1\ncpuset = "0-1"\n'
        '[components.log]\ndriver = "journald"\nmax_size = "1MiB"\n'
        '\n[volumes.cache]\ndriver = "nfs"\n\n[volumes."any.name"]\n'
        '\n[networks.back]\nsubnets = ["10.89.7.0/24"]\ninternal = true\n'
    )
    assert examine_service(tomllib.loads(toml.text(made))) == (made, [])


@given(arguments)
@example("'''")
@example('"""""\\')
@example("ends with '")
@example('ends with "')
@example(" \r\n \t\x00b".replace("\x00", ""))
def test_any_string_reads_back_from_several_lines(text: str) -> None:
    written = toml.lines(text)
    assert tomllib.loads(f"a = {written}") == {"a": text}
    assert all(line.isprintable() for line in written.replace("\t", "").split("\n"))


def test_a_definition_loses_nothing() -> None:
    assert exporting.export(FULL, Format.TOML).losses == ()
