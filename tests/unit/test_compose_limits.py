"""Compose files that would not end, and any others: imported, or refused with sentences that say where."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.definitions.importing import compose_file
from mcpctl.definitions.importing.compose_file import ComposeError
from protos.spec import examine_service
from protos.validation import plain
from tests.support.compose import QUICK_S, imported, refused


def bomb(item: str) -> str:
    lines = ["a0: &a0 {k: v}" if "<<" in item else "a0: &a0 [x, x]"]
    for level in range(1, 40):
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {item % aliases}")
    return "\n".join(lines)


@pytest.mark.parametrize("item", ["[%s]", "{<<: [%s]}"])
def test_aliases_of_aliases_are_bounded(item: str) -> None:
    started = time.monotonic()
    assert "stands for more than 100000 values" in refused(bomb(item))
    assert time.monotonic() - started < QUICK_S


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "an alias holds itself"),
        ("a: " + "[" * 5000, "nested"),
        ("a: " + "[" * 100 + "]" * 100, "nested"),
        ("a: " + "x" * 2**20, "longer than 1 MiB"),
        ("services: {a: {image: x, volumes: [" + "'/x'," * 20_000 + "]}}", "services"),
        ("services: {a: {image: x, ports: [" + ",".join(f"'{each}'" for each in range(1, 1000)) + "]}}", ""),
    ],
    ids=range(6),
)
def test_what_would_not_end_is_refused_or_ends(text: str, message: str) -> None:
    started = time.monotonic()
    assert message in said_of(lambda: imported(text).service.name + " services")
    assert time.monotonic() - started < QUICK_S


def test_merge_keys_are_weaker_than_what_stands_there_and_the_first_is_the_strongest() -> None:
    text = "a: &a {x: 1, y: 1, z: 1}\nb: &b {y: 2, z: 2, w: 2}\nc: {z: 3, <<: [*a, *b]}"
    assert compose_file.documents(text)[0]["c"] == {"x": "1", "y": "1", "z": "3", "w": "2"}


# -- anything in the shape of a compose file

_words = st.sampled_from(
    (
        *("", "a", "b", "A_b", "x:1", "80", "80:80", "1-3:1-3", "127.0.0.1:80:80", "./x", "~/x", "../x", "/x", "/x:/y"),
        *("v:/y:ro", "./x:/y", "true", "no", "$A", "${A:-b}", "$", "${", "host", "service:a", "container:b", "30s"),
        *("on-failure:3", "-1", "0", "1.5", "512m", "A=1", "=", "a=b", "nvidia", "all", "linux/arm64", "10.0.0.0/24"),
        *("10.0.0.1", "::1", "a:10.0.0.1", "default", "none", "external", "always", "NET_ADMIN", "SIGINT", "'", "*"),
        *("/dev/x:/dev/y:rwm", "service_healthy", "service_completed_successfully", "bind", "tmpfs", "volume"),
    )
)
_scalars = (
    _words | st.none() | st.integers(-2, 70_000) | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=6)
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words | st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_NESTED = {
    "healthcheck": ("test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"),
    "deploy": ("replicas", "resources", "restart_policy", "mode", "labels"),
    "build": ("context", "dockerfile", "args", "target", "secrets", "ssh", "labels", "dockerfile_inline"),
    "logging": ("driver", "options"),
    "extends": ("service", "file"),
    "volumes": ("type", "source", "target", "read_only", "bind", "volume", "tmpfs", "content"),
    "ports": ("target", "published", "protocol", "host_ip"),
    "secrets": ("source", "target", "mode", "uid"),
    "configs": ("source", "target", "mode", "gid"),
    "devices": ("source", "target", "permissions"),
    "gpus": ("driver", "count", "device_ids", "capabilities"),
    "env_file": ("path", "required", "format"),
    "ulimits": ("nofile", "nproc"),
}
_PLAIN = (
    *("image", "command", "entrypoint", "environment", "user", "restart", "networks", "network_mode", "depends_on"),
    *(
        "stop_grace_period",
        "mem_limit",
        "cpus",
        "pids_limit",
        "container_name",
        "hostname",
        "domainname",
        "init",
        "tty",
    ),
    *("labels", "annotations", "extra_hosts", "dns", "dns_search", "dns_opt", "tmpfs", "read_only", "shm_size"),
    *("sysctls", "cap_add", "security_opt", "userns_mode", "pid", "ipc", "links", "volumes_from", "platform", "scale"),
    *("pull_policy", "profiles", "runtime", "privileged", "group_add", "stop_signal", "working_dir", "label_file"),
    *("cpuset", "cpu_quota", "memswap_limit", "oom_score_adj", "expose", "provider", "x-y", "odd", "blkio_config"),
)


def _shaped(key: str) -> st.SearchStrategy[Any]:
    """What may stand there: anything; and where tables or lists of them may, such that are nearly right."""
    if key not in _NESTED:
        return _values | st.lists(_words, max_size=3) | st.dictionaries(_words, _scalars, max_size=3)
    table = st.dictionaries(st.sampled_from(_NESTED[key]), _values | _words, max_size=4)
    return _values | table | st.lists(table | _words, max_size=3)


_keys = st.sampled_from((*_NESTED, *_PLAIN))
_pairs = _keys.flatmap(lambda key: st.tuples(st.just(key), _shaped(key)))
_services = st.lists(_pairs, max_size=5).map(lambda pairs: {"image": "x:v1", **dict(pairs)}) | _values
_declared = st.fixed_dictionaries(
    {},
    optional={
        kind: st.dictionaries(_words, st.dictionaries(st.sampled_from(keys), _values, max_size=3) | _values, max_size=3)
        for kind, keys in {
            "volumes": ("name", "external", "driver", "driver_opts", "labels"),
            "networks": ("name", "external", "driver", "driver_opts", "ipam", "internal", "enable_ipv6"),
            "secrets": ("name", "external", "file", "environment"),
            "configs": ("name", "external", "file", "environment", "content"),
        }.items()
    }
    | {"name": _scalars, "include": _values, "x-y": _values, "models": _values},
)


@given(st.dictionaries(st.sampled_from(("a", "b", "A_b")) | st.text(max_size=5), _services, max_size=3), _declared)
def test_anything_is_imported_or_refused_with_sentences_that_say_where(
    listed: dict[str, Any], others: dict[str, Any]
) -> None:
    text = yaml.safe_dump({"services": listed, **others})
    try:
        found = imported(text)
    except ComposeError as error:
        for line in str(error).split("\n"):
            assert re.match(r"\S.*: \S", line) or "is not a compose file" in line or "more than" in line, line
        return
    assert examine_service(plain(found.service)) == (found.service, [])
    for each in (*found.losses, *found.warnings):
        assert each.path
        assert each.message


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    assert said_of(lambda: compose_file.documents(text)) != ""


def said_of(attempt: Callable[[], object]) -> str:
    """What came of it, or why nothing did."""
    try:
        return repr(attempt())
    except ComposeError as error:
        return str(error)
