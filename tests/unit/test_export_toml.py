"""Services as definitions: what is written reads back as the same service."""

import tomllib
from datetime import timedelta

import pytest
from hypothesis import example, given

from mcpctl.definitions import exporting
from mcpctl.definitions.exporting import toml
from mcpctl.definitions.exporting.formats import Format
from protos import grammar
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
        'network = "mcpnet"\nuser = "1000:1001"\nrestart = "on-failure:3"\n'
        'ports = ["127.0.0.1:8080:80", "53:53/udp"]\nvolumes = ["/srv/web:/data:ro", "cache:/cache"]\n'
        'cmd = ["serve", "--name", "a b"]\nenv = { LOG = "info", ODD = "$x" }\nsecrets = ["key"]\n'
        'depends_on = ["db"]\nstop_timeout = "2s500ms"\nheal = "restart"\n'
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


def test_a_definition_loses_nothing() -> None:
    assert exporting.export(FULL, Format.TOML).losses == ()
