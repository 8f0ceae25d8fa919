"""podman's notations in definitions: each is parsed, or refused at its key with its value and what is allowed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protos import podman_notation as notation
from protos.podman_notation import Device, Tmpfs, Ulimit
from protos.spec import examine_service
from tests.support.builders import definition

NOT_PARSERS = ("named_component",)
PARSERS = [
    function
    for name, function in inspect.getmembers(notation, inspect.isfunction)
    if function.__module__ == notation.__name__ and not name.startswith("_") and name not in NOT_PARSERS
]
texts = st.text() | st.text("0123456789:/.,[]-@=+_ aAsShostcomponentvirg%\0\n", max_size=40)


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=texts)
@example("9" * 5000)
@example("")
@example("component:")
@example("/" + "x" * 5000)
def test_any_text_is_parsed_or_refused_with_a_short_sentence_that_quotes_it(
    parse: Callable[[str], object], text: str
) -> None:
    refusal = None
    try:
        parse(text)
    except ValueError as error:
        refusal = str(error)
    shown = repr(text if len(text) <= 80 else text[:77] + "...")
    assert refusal is None or (shown in refusal and len(refusal) < 600)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (notation.signal, "SIGINT", 2),
        (notation.signal, "int", 2),
        (notation.signal, "15", 15),
        (notation.signal, "SIGRTMIN+3", 37),
        (notation.capability, "net_admin", "CAP_NET_ADMIN"),
        (notation.capability, "CAP_CHOWN", "CAP_CHOWN"),
        (notation.capability, "all", "ALL"),
        (notation.device, "/dev/fuse", Device("/dev/fuse", "/dev/fuse", "rwm")),
        (notation.device, "/dev/a:/dev/b:r", Device("/dev/a", "/dev/b", "r")),
        (notation.device, "/dev/a:rw", Device("/dev/a", "/dev/a", "rw")),
        (notation.device, "nvidia.com/gpu=all", Device("nvidia.com/gpu=all", "", "")),
        (notation.tmpfs, "/run", Tmpfs("/run", ())),
        (notation.tmpfs, "/run:size=64m,mode=1777", Tmpfs("/run", ("size=64m", "mode=1777"))),
        (notation.added_host, "db:10.0.0.1", ("db", "10.0.0.1")),
        (notation.added_host, "db:[fd00::1]", ("db", "fd00::1")),
        (notation.added_host, "host.docker.internal:host-gateway", ("host.docker.internal", "host-gateway")),
        (notation.security_option, "no-new-privileges", ("no-new-privileges", "")),
        (notation.security_option, "no-new-privileges:true", ("no-new-privileges", "true")),
        (notation.security_option, "seccomp=unconfined", ("seccomp", "unconfined")),
        (notation.security_option, "label=type:spc_t", ("label", "type:spc_t")),
        (notation.ulimit, "1024", Ulimit(1024, 1024)),
        (notation.ulimit, "1:2", Ulimit(1, 2)),
        (notation.ulimit, "-1", Ulimit(-1, -1)),
        (notation.ulimit, "5:-1", Ulimit(5, -1)),
        (notation.file_mode, "0440", 0o440),
        (notation.file_mode, "440", 0o440),
        (notation.file_mode, "0o440", 0o440),
        (notation.file_mode, 0o440, 0o440),
    ],
)
def test_it_means_what_podman_takes_it_for(parse: Callable[[Any], object], text: str | int, value: object) -> None:
    assert parse(text) == value


# A value that is wrong, and a part of what is said of it, by key.
WRONG = {
    "pull": ("sometimes", "missing, newer, always, never"),
    "platform": ("arm", "OS/ARCH[/VARIANT]"),
    "oneshot": ("yes", "true or false"),
    "entrypoint": ("sh -c", "a list"),
    "workdir": ("data", "an absolute path"),
    "group_add": (["a b"], "keep-groups"),
    "secrets": ([{"name": "k", "mode": "99"}], "octal"),
    "configs": ([{"target": "/x"}], "exactly one of source and content"),
    "hostname": ("a_b!", "letters, digits, hyphens and dots"),
    "network": ("a b", "host, none or component:NAME"),
    "networks": ([{"name": "a", "ip": "fd00::1"}], "`ip6` is for IPv6"),
    "ports": (["1-3:1-2"], "different lengths"),
    "add_hosts": (["db"], "NAME:IP"),
    "dns": (["nine"], "not an IP address"),
    "dns_search": (["a b"], "a domain"),
    "dns_options": (["n dots"], "resolv.conf(5)"),
    "volumes": ([{"target": "data"}], "an absolute path"),
    "tmpfs": (["run"], "TARGET[:OPTIONS]"),
    "read_only": ("yes", "true or false"),
    "shm_size": ("big", "say 256MiB"),
    "devices": (["fuse"], "VENDOR/CLASS=NAME"),
    "init": (1, "true or false"),
    "tty": ("no", "true or false"),
    "interactive": ("no", "true or false"),
    "stop_signal": ("SIGNOTHING", "say SIGINT"),
    "labels": ({"mcp.service": "x"}, "mcp's own"),
    "annotations": ({"": "x"}, "not the name of a label"),
    "userns": ("mine", "keep-id"),
    "pid": ("shared", "host, private or component:NAME"),
    "ipc": ("shared", "shareable or component:NAME"),
    "cap_add": (["NET-ADMIN"], "say NET_ADMIN"),
    "cap_drop": (["!"], "say NET_ADMIN"),
    "privileged": ("yes", "true or false"),
    "security_opt": (["nothing"], "no-new-privileges"),
    "ulimits": ({"nofile": "2:1"}, "above the hard one"),
    "sysctls": (["x"], "NAME=VALUE"),
    "build": ({"context": ""}, "is empty"),
    "health": ({"disable": True, "tcp": "a:1"}, "remove one of the two"),
    "resources": ({"cpuset": "a"}, "say 0-3,6"),
    "log": ({"driver": "syslog"}, "k8s-file, json-file, journald, none"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_bad_value_is_refused_at_its_key_with_what_is_allowed(key: str) -> None:
    value, said = WRONG[key]
    _, problems = examine_service(definition({"name": "api", key: value}))
    assert problems
    assert all(each.path.startswith(f"components[0].{key}") for each in problems)
    assert any(said in each.message for each in problems), problems


@pytest.mark.parametrize(
    ("first", "second", "path", "said"),
    [
        ({"network": "component:db", "ports": ["80:80"]}, {}, "components[0].ports", "publish them there"),
        ({"network": "component:api"}, {}, "components[0].network", "the component itself"),
        ({"pid": "component:nobody"}, {}, "components[0].pid", "is not a component of this service"),
        ({"network": "a", "networks": ["b"]}, {}, "components[0].networks", "list all of them here"),
        ({"networks": ["host"]}, {}, "components[0].networks[0]", "`network = 'host'`"),
        ({"networks": ["a", {"name": "a", "ip": "10.0.0.1"}]}, {}, "components[0].networks[1]", "a second time"),
        ({"oneshot": True, "restart": "always"}, {}, "components[0].restart", "on-failure[:N]"),
        ({"oneshot": True, "health": {"tcp": "a:1"}}, {}, "components[0].health", "no probe"),
        ({"volumes": ["/a:/data", "/data"]}, {}, "components[0].volumes[1]", "mounts at /data"),
        ({"volumes": ["/a:/x"], "tmpfs": ["/x/"]}, {}, "components[0].tmpfs[0]", "mounts at /x/"),
        ({"secrets": [{"name": "k", "env": "K", "target": "k"}]}, {}, "components[0].secrets[0]", "remove target"),
        (
            {"configs": [{"target": "/x", "source": "a", "content": "b"}]},
            {},
            "components[0].configs[0]",
            "exactly one",
        ),
        ({"configs": [{"target": "/x", "content": "x" * (256 * 1024 + 1)}]}, {}, "components[0].configs[0]", "256 KiB"),
        ({"ports": ["8000-8009:1-10"]}, {"ports": ["8005:80"]}, "components[1].ports[0]", "already publishes"),
        ({"network": "component:db"}, {"depends_on": ["api"]}, "components", "has a cycle"),
    ],
)
def test_what_does_not_go_together_is_refused(
    first: dict[str, Any], second: dict[str, Any], path: str, said: str
) -> None:
    _, problems = examine_service(definition({"name": "api", **first}, {"name": "db", **second}))
    assert [each.path for each in problems] == [path]
    assert said in problems[0].message


@pytest.mark.parametrize(
    ("ports", "others"),
    [(["80"], ["80"]), (["8000-8001:1-2"], ["8002:80"]), (["127.0.0.1::80"], ["127.0.0.1::80"])],
)
def test_ports_that_podman_chooses_or_that_lie_beside_each_other_do_not_meet(
    ports: list[str], others: list[str]
) -> None:
    _, problems = examine_service(definition({"name": "api", "ports": ports}, {"name": "db", "ports": others}))
    assert problems == []


def test_a_table_that_says_no_more_than_a_string_is_the_string_and_strings_come_first() -> None:
    tables = {
        "secrets": [{"name": "b", "env": "B"}, {"name": "a"}],
        "networks": [{"name": "back"}],
        "volumes": [{"target": "/x", "source": "/a:b"}, {"target": "/data", "source": "data", "options": ["ro"]}],
        "ulimits": ["nofile=1:2"],
        "sysctls": {"net.core.somaxconn": 7},
    }
    service, problems = examine_service(definition({"name": "api", **tables}))
    assert problems == []
    assert service
    (found,) = service.components
    assert found.secrets[0] == "a"
    assert found.networks == ("back",)
    assert found.volumes[0] == "data:/data:ro"
    assert [each.source for each in found.mounts] == ["data", "/a:b"]
    assert found.ulimits == {"nofile": "1:2"}
    assert found.sysctls == {"net.core.somaxconn": "7"}
