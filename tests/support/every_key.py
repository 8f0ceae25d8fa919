"""Every key of a definition, with values for it: a service that says one of them and nothing else; and one of all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mcpctl.definitions import definition
from protos.parts import (
    Build,
    ConfigFile,
    Heal,
    Health,
    Log,
    LogDriver,
    Mode,
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
from protos.spec import Component, Service
from tests.support.builders import component, service
from tests.support.definition_files import settings_in, write

_EXAMPLE = Path(__file__).parents[2] / "docs/examples/every-key.toml"
_BESIDE_EXAMPLE = {"shop.env": "LEVEL=debug\n", "web.conf": "listen 80;\n"}

_SECOND = timedelta(seconds=1.5)
_DECLARED = NetworkDeclaration(subnets=("10.89.7.0/24",))

# Tables of a definition as they are before a key is said, and values for each key, all of them other than that.
BASES: dict[type[msgspec.Struct], tuple[msgspec.Struct, ...]] = {
    Component: (component(),),
    Health: (Health(cmd=("check",)),),
    Resources: (Resources(),),
    Network: (Network("front"),),
    Route: (Route("shop.example.net"),),
    Secret: (Secret("key"),),
    ConfigFile: (ConfigFile("/etc/app.conf", content="a\n"),),
    # In the short and in the long notation.
    Mount: (Mount("/data", "/srv/web"), Mount("/data", "/srv/web", create=True)),
    Log: (Log(),),
    Build: (Build("/src"),),
    Volume: (Volume(driver="local"),),
    NetworkDeclaration: (_DECLARED,),
    Service: (service(component(), component("db")),),
}
SAMPLES: dict[type[msgspec.Struct], dict[str, tuple[Any, ...]]] = {
    Component: {
        "name": ("other",),
        "image": ("x:v2",),
        "pull": (Pull.NEWER, Pull.ALWAYS, Pull.NEVER),
        "platform": ("linux/arm64",),
        "active": (False,),
        "oneshot": (True,),
        "schedule": ("0 2 * * *", "*/5 8-18 * * mon-fri"),
        "timezone": ("Europe/Berlin",),
        "timeout": (timedelta(hours=1),),
        "entrypoint": ((), ("/bin/x", "a b")),
        "cmd": (("serve",),),
        "workdir": ("/a b",),
        "user": ("1000", "1000:1000", "app"),
        "group_add": (("44",), ("audio",), ("keep-groups",)),
        "env": ({"A": "b"},),
        "env_file": (("web.env",), ("/etc/web.env",)),
        "secrets": (("key",), (Secret("key", target="/a"),), (Secret("key", env="KEY"),)),
        "configs": ((ConfigFile("/a", content=""),), (ConfigFile("/a", "web.conf"),)),
        "hostname": ("web", "web.example.net"),
        "network": ("front", "host", "none", "bridge", "private", "component:db"),
        "networks": (("front",), (Network("front", ("a",)),), ("front", "back")),
        "ports": (("80",), ("80:80",), ("127.0.0.1:80-81:80-81/udp",)),
        "add_hosts": (("a:10.0.0.1",), ("a:host-gateway",)),
        "dns": (("9.9.9.9",),),
        "dns_search": (("example.net",),),
        "dns_options": (("ndots:1",), ("rotate",)),
        "volumes": (("/a",), ("cache:/a",), ("/srv:/a:ro",), (Mount("/a:b", "/srv"),)),
        "tmpfs": (("/run",), ("/run:size=64m",), ("/run:mode=1777",)),
        "read_only": (True,),
        "shm_size": (2**26,),
        "devices": (("/dev/fuse",), ("/dev/fuse:/dev/x:r",), ("nvidia.com/gpu=all",)),
        "init": (True,),
        "tty": (True,),
        "interactive": (True,),
        "stop_signal": ("SIGINT",),
        "stop_timeout": (timedelta(0), timedelta(seconds=2.5)),
        "restart": ("on-failure", "on-failure:3", "unless-stopped", "always"),
        "labels": ({"a": "b"}, {"a": "$x y"}),
        "annotations": ({"a": "b"}, {"a b": "c"}),
        "userns": ("keep-id:uid=1000,gid=1000", "auto", "host"),
        "pid": ("host", "component:db"),
        "ipc": ("host", "none", "private", "shareable", "component:db"),
        "cap_add": (("NET_ADMIN",),),
        "cap_drop": (("ALL",),),
        "privileged": (True,),
        "security_opt": (
            ("no-new-privileges",),
            ("no-new-privileges=false",),
            ("label=disable",),
            ("label=type:spc_t",),
            ("seccomp=unconfined",),
            ("unmask=ALL",),
        ),
        "ulimits": ({"nofile": "1000"}, {"nofile": "1000:2000"}, {"nproc": "-1"}),
        "sysctls": ({"net.ipv4.ip_local_port_range": "1024 65535"},),
        "depends_on": (("db",),),
        "settle": (_SECOND,),
        "update": (Update.STOP_FIRST, Update.START_FIRST),
        "drain_timeout": (_SECOND,),
        "heal": (Heal.ALERT,),
        "build": (Build("/src"),),
        "routes": ((Route("a.b"),),),
        "health": (
            Health(disable=True),
            Health(cmd=("check",)),
            Health(http="http://127.0.0.1/"),
            Health(tcp="127.0.0.1:80"),
        ),
        "resources": (Resources(memory=2**20),),
        "log": (Log(LogDriver.JOURNALD),),
    },
    Health: {
        "cmd": (("other",), ("a b", "c")),
        "http": ("http://127.0.0.1/",),
        "tcp": ("127.0.0.1:80",),
        "interval": (_SECOND,),
        "timeout": (_SECOND,),
        "retries": (7,),
        "start_period": (_SECOND,),
        "start_interval": (_SECOND,),
        "disable": (True,),
    },
    Resources: {
        "memory": (2**26,),
        "cpus": (0.5, 0.0125),
        "pids": (77,),
        "memory_reservation": (2**25,),
        "memory_swap": (2**27, -1),
        "cpu_shares": (512,),
        "cpuset": ("0-1",),
        "oom_score_adj": (500, -500),
    },
    Route: {
        "host": ("other.example.net",),
        "port": (8080,),
        "name": ("site",),
        "mode": (Mode.GRPC, Mode.TLS),
        "path": ("/api",),
        "listen": (8443,),
    },
    Network: {"name": ("back",), "aliases": (("a",),), "ip": ("10.89.7.5",), "ip6": ("fd00::5",)},
    Secret: {
        "name": ("other",),
        "target": ("file", "/a/file"),
        "env": ("KEY",),
        "uid": (1000,),
        "gid": (1000,),
        "mode": (0o440,),
    },
    ConfigFile: {
        "target": ("/etc/other.conf", "/etc/a:b"),
        "source": ("web.conf",),
        "content": ("b\n",),
        "mode": (0o440,),
        "uid": (1000,),
        "gid": (1000,),
    },
    Mount: {
        "target": ("/other", "/c:d"),
        "source": (None, "cache", "/srv/other"),
        "options": (("ro",), ("z",), ("Z",), ("U",), ("O",), ("rslave",), ("noexec",), ("idmap",)),
        "create": (True, False),
    },
    Log: {"driver": (LogDriver.JSON_FILE, LogDriver.JOURNALD, LogDriver.NONE), "max_size": (2**20,), "tag": ("web",)},
    Build: {
        "context": ("/other", "web"),
        "dockerfile": ("Other",),
        "target": ("final",),
        "args": ({"A": "b"},),
        "secrets": (("id=a,src=/a",), ("id=a,type=env,env=A",), ("a",)),
        "ssh": (("default",),),
    },
    Volume: {"driver": ("nfs",), "options": ({"type": "tmpfs"},), "labels": ({"a": "b"},), "external": (True,)},
    NetworkDeclaration: {
        "driver": ("macvlan",),
        "subnets": (("10.89.8.0/24",), ()),
        "gateway": ("10.89.7.1",),
        "internal": (True,),
        "ipv6": (True,),
        "options": ({"mtu": "1400"},),
        "labels": ({"a": "b"},),
        "external": (True,),
    },
    Service: {
        "name": ("other",),
        "node": ("orion",),
        "components": ((component(),),),
        "active": (False,),
        "volumes": ({"cache": Volume(driver="nfs")},),
        "networks": ({"web": _DECLARED},),
    },
}


# What a key of a component says something about.
_NEEDED: dict[str, dict[str, Any]] = {"timezone": {"schedule": "0 2 * * *"}, "timeout": {"oneshot": True}}


class Variation(NamedTuple):
    """Two services that differ in one key, and the value that one of them has for it."""

    key: str
    value: Any
    without: Service
    said: Service

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r}"


def variations() -> Iterator[Variation]:
    for of, samples in SAMPLES.items():
        pairs = [(key, value) for key, values in samples.items() for value in values]
        for base, (key, value) in itertools.product(BASES[of], pairs):
            if isinstance(base, Component):
                base = msgspec.structs.replace(base, **_NEEDED.get(key, {}))
            said = _saying(base, key, value)
            if said != base:
                yield Variation(f"{of.__name__}.{key}", value, _with(base), _with(said))


def _saying(base: msgspec.Struct, key: str, value: Any) -> msgspec.Struct:
    # Of the probes, there is one.
    others = {"cmd": ()} if isinstance(base, Health) and key in ("http", "tcp", "disable") else {}
    return msgspec.structs.replace(base, **others, **{key: value})


def _with(struct: msgspec.Struct) -> Service:
    if isinstance(struct, Service):
        return struct
    if isinstance(struct, Volume):
        return service(component(volumes=("cache:/cache",)), volumes={"cache": struct})
    if isinstance(struct, NetworkDeclaration):
        return service(component(network="front"), networks={"front": struct})
    made = struct if isinstance(struct, Component) else component(**_of_component(struct))
    return service(made, component("db"))


def _of_component(struct: msgspec.Struct) -> dict[str, Any]:
    keys = {Health: "health", Resources: "resources", Log: "log", Build: "build"}
    lists = {Network: "networks", Secret: "secrets", ConfigFile: "configs", Mount: "volumes", Route: "routes"}
    if type(struct) in keys:
        return {keys[type(struct)]: struct}
    return {lists[type(struct)]: (struct,)}


def example(folder: Path) -> Service:
    """docs/examples/every-key.toml, read in ``folder``."""
    settings = settings_in(folder)
    for name, content in _BESIDE_EXAMPLE.items():
        (settings.services_dir / name).write_text(content)
    write(settings, _EXAMPLE.read_text(), "shop")
    return definition.load(settings, "shop").service
