"""Every key of a component, each with the options of podman-run(1) that ask for the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

from mcpd.runtime.create import LOG_SIZE_LIMIT
from protos.parts import ConfigFile, Health, Log, LogDriver, Mount, Network, Resources, Secret

IMAGE = "localhost/mcp-demo:v1"
# An image that sets all that an image can: see `tests.podman.test_every_key`.
OPINIONATED = "localhost/mcp-opinionated:v1"
NETWORK, OWN, SECRET, OTHER = "every-net", "every", "every-secret", "every-db"
SUBNET = "10.213.77.0/24"
SHELL = ("/bin/sh", "-c", "sleep 600")


class Case(NamedTuple):
    """``said`` in a definition, and the ``words`` of the command line before and after the image.

    ``described``: what a container that was made by the words is declared as, where that is not what was said.
    ``differs``: why it is not compared with what podman run makes.
    """

    said: dict[str, Any]
    words: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    described: dict[str, Any] | None = None
    differs: str = ""
    rootless: bool = False


def _one(key: str, value: Any, *words: str, **more: Any) -> Case:
    return Case({key: value}, words, **more)


CASES: dict[str, Case] = {
    "nothing": Case({}),
    # What it runs.
    "image": _one("image", OPINIONATED),
    "platform": _one("platform", "linux/amd64", "--platform", "linux/amd64"),
    "entrypoint": Case(
        {"entrypoint": ("/bin/sh", "-c", "echo a  b"), "cmd": ("x y",)},
        ("--entrypoint", '["/bin/sh","-c","echo a  b"]'),
        ("x y",),
    ),
    "no entrypoint": Case({"image": OPINIONATED, "entrypoint": (), "cmd": SHELL}, ("--entrypoint", ""), SHELL),
    "the image's entrypoint without its command": Case(
        {"image": OPINIONATED, "entrypoint": ("/bin/sh", "-c")}, ("--entrypoint", '["/bin/sh","-c"]')
    ),
    "another entrypoint with init": Case(
        {"image": OPINIONATED, "entrypoint": ("/bin/busybox",), "cmd": ("sleep", "600"), "init": True},
        ("--entrypoint", "/bin/busybox", "--init"),
        ("sleep", "600"),
    ),
    "cmd": Case({"cmd": SHELL}, (), SHELL),
    "cmd with init": Case({"cmd": SHELL, "init": True}, ("--init",), SHELL),
    "workdir": _one("workdir", "/tmp", "--workdir", "/tmp"),
    "user": _one("user", "1000:5", "--user", "1000:5"),
    "group_add": _one("group_add", ("5", "6"), "--group-add", "5", "--group-add", "6"),
    "keep-groups": _one("group_add", ("keep-groups",), "--group-add", "keep-groups"),
    "env": _one("env", {"A": "x y", "HOME": "/x"}, "--env", "A=x y", "--env", "HOME=/x"),
    "secret": _one("secrets", (SECRET,), "--secret", SECRET),
    "secret as a file": _one(
        "secrets",
        (Secret(SECRET, "/etc/s", uid=5, gid=6, mode=0o400),),
        "--secret",
        f"{SECRET},target=/etc/s,uid=5,gid=6,mode=0400",
    ),
    "secret as a variable": _one("secrets", (Secret(SECRET, env="S"),), "--secret", f"{SECRET},type=env,target=S"),
    "configs": _one(
        "configs",
        (ConfigFile("/etc/app.conf", content="text"),),
        "--volume",
        "{data}/app.conf:/etc/app.conf:ro,z",
        described={"volumes": ("{data}/app.conf:/etc/app.conf:ro,z",)},
    ),
    "init": _one("init", True, "--init"),
    "tty": _one("tty", True, "--tty"),
    "interactive": _one("interactive", True, "--interactive"),
    "stop_signal": _one("stop_signal", "SIGINT", "--stop-signal", "SIGINT"),
    "stop_signal of real time": _one(
        "stop_signal", "RTMIN+3", "--stop-signal", "RTMIN+3", described={"stop_signal": "37"}
    ),
    "stop_timeout": _one("stop_timeout", timedelta(seconds=3), "--stop-timeout", "3"),
    "restart": _one("restart", "on-failure:3", "--restart", "on-failure:3"),
    "depends_on": _one(
        "depends_on", ("db",), "--requires", OTHER, differs="mcpd itself waits for what a component depends on"
    ),
    "health": _one(
        "health",
        Health(("true", "x"), interval=timedelta(seconds=9), timeout=timedelta(seconds=30)),
        "--health-cmd",
        '["true", "x"]',
        "--health-interval",
        "9s",
        differs="mcpd itself runs a component's probe",
    ),
    "no health": Case({"image": OPINIONATED, "health": Health(disable=True)}, ("--no-healthcheck",)),
    # Where it is.
    "hostname": _one("hostname", "web.example.net", "--hostname", "web.example.net"),
    "own network": _one(
        "network", None, "--network", f"{OWN}:alias=x", described={"networks": (Network(OWN, ("x",)),)}, rootless=True
    ),
    "network": _one("network", NETWORK, "--network", NETWORK, rootless=True),
    "networks": Case(
        {"network": None, "networks": (NETWORK, Network(OWN, ("x", "al"), "10.213.78.9"))},
        ("--network", NETWORK, "--network", f"{OWN}:alias=x,alias=al,ip=10.213.78.9"),
        rootless=True,
    ),
    "address": Case(
        {"network": None, "networks": (Network(NETWORK, ("al",), "10.213.77.9"),)},
        ("--network", NETWORK, "--network-alias", "al", "--ip", "10.213.77.9"),
    ),
    "private": _one("network", "private", "--network", "private", rootless=True),
    "bridge": _one("network", "bridge", "--network", "bridge", rootless=True),
    "host": _one("network", "host", "--network", "host", rootless=True),
    "none": _one("network", "none", "--network", "none", rootless=True),
    "slirp4netns": _one("network", "slirp4netns", "--network", "slirp4netns", rootless=True),
    "pasta": _one("network", "pasta", "--network", "pasta", rootless=True),
    "network of another": _one("network", "component:db", "--network", f"container:{OTHER}"),
    "ports": _one(
        "ports",
        ("127.0.0.1:18480:80", "18481:81/udp", "[::1]:18482:82"),
        "-p",
        "127.0.0.1:18480:80",
        "-p",
        "18481:81/udp",
        "-p",
        "[::1]:18482:82",
        rootless=True,
    ),
    "port range": _one("ports", ("18490-18492:90-92",), "--publish", "18490-18492:90-92", rootless=True),
    "a port of podman's choice": _one("ports", ("80", "127.0.0.1::81"), "-p", "80/tcp", "-p", "127.0.0.1::81"),
    "add_hosts": _one("add_hosts", ("a:10.0.0.1",), "--add-host", "a:10.0.0.1"),
    "host-gateway": _one("add_hosts", ("a:host-gateway",), "--add-host", "a:host-gateway"),
    "dns": _one("dns", ("192.0.2.1",), "--dns", "192.0.2.1"),
    "dns_search": _one("dns_search", ("example.net",), "--dns-search", "example.net"),
    "dns_options": _one("dns_options", ("ndots:2",), "--dns-option", "ndots:2"),
    # Its files.
    "folders": _one(
        "volumes",
        ("{data}:/a:ro,z", "{data}:/b:noexec,rslave"),
        "--volume",
        "{data}:/a:ro,z",
        "--volume",
        "{data}:/b:noexec,rslave",
    ),
    "folder in layers": _one("volumes", ("{data}:/a:O",), "--volume", "{data}:/a:O"),
    "folder alone": _one("volumes", ("{data}:/a:bind",), "--volume", "{data}:/a:bind"),
    "folder with a colon": _one(
        "volumes", (Mount("/a", "{data}/x:y", ("ro",)),), "--mount", "type=bind,source={data}/x:y,target=/a,ro"
    ),
    "volume": _one("volumes", ("every-volume:/d:U,Z",), "--volume", "every-volume:/d:U,Z"),
    "anonymous volume": _one("volumes", ("/d",), "--volume", "/d", described={"volumes": None}),
    "tmpfs": _one("tmpfs", ("/t:size=1m,mode=1777", "/u"), "--tmpfs", "/t:size=1m,mode=1777", "--tmpfs", "/u"),
    "read_only": _one("read_only", True, "--read-only"),
    "read_only with mounts": Case(
        {"read_only": True, "volumes": ("{data}:/run",), "tmpfs": ("/tmp:size=1m",)},
        ("--read-only", "--volume", "{data}:/run", "--tmpfs", "/tmp:size=1m"),
    ),
    "shm_size": _one("shm_size", 128 << 20, "--shm-size", "128m"),
    # What it is called by.
    "labels": _one("labels", {"a": "b=c"}, "--label", "a=b=c"),
    "annotations": _one("annotations", {"a": "b"}, "--annotation", "a=b"),
    # What it may do.
    "userns host": _one("userns", "host", "--userns", "host", rootless=True),
    "keep-id": _one("userns", "keep-id", "--userns", "keep-id", rootless=True),
    "keep-id with ids": _one(
        "userns", "keep-id:uid=1000,gid=1000", "--userns", "keep-id:uid=1000,gid=1000", rootless=True
    ),
    "nomap": _one("userns", "nomap", "--userns", "nomap", rootless=True),
    "userns auto": _one("userns", "auto:size=4096", "--userns", "auto:size=4096", rootless=True),
    "pid": _one("pid", "host", "--pid", "host"),
    "pid of another": _one("pid", "component:db", "--pid", f"container:{OTHER}"),
    "ipc": _one("ipc", "private", "--ipc", "private"),
    "ipc host": _one("ipc", "host", "--ipc", "host"),
    "ipc of another": _one("ipc", "component:db", "--ipc", f"container:{OTHER}"),
    "devices": _one(
        "devices", ("/dev/null:/dev/x:r", "/dev/zero"), "--device", "/dev/null:/dev/x:r", "--device", "/dev/zero"
    ),
    "CDI device": _one("devices", ("mcp.test/null=all",), "--device", "mcp.test/null=all"),
    "cap_add": _one("cap_add", ("NET_ADMIN",), "--cap-add", "NET_ADMIN"),
    "cap_drop": Case({"cap_drop": ("ALL",), "cap_add": ("CHOWN",)}, ("--cap-drop", "ALL", "--cap-add", "CHOWN")),
    "privileged": _one("privileged", True, "--privileged"),
    "privileged with less": Case({"privileged": True, "cap_drop": ("CHOWN",)}, ("--privileged", "--cap-drop", "CHOWN")),
    "security_opt": _one(
        "security_opt",
        ("no-new-privileges", "seccomp=unconfined", "label=type:a", "label=level:s0"),
        "--security-opt",
        "no-new-privileges",
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "label=type:a",
        "--security-opt",
        "label=level:s0",
    ),
    "security_opt of Docker": _one(
        "security_opt",
        ("no-new-privileges:true", "label:disable"),
        "--security-opt",
        "no-new-privileges:true",
        "--security-opt",
        "label:disable",
    ),
    "apparmor": _one("security_opt", ("apparmor=unconfined",), "--security-opt", "apparmor=unconfined"),
    "paths": _one(
        "security_opt",
        ("mask=/a:/b", "unmask=/proc/acpi", "proc-opts=hidepid=2"),
        "--security-opt",
        "mask=/a:/b",
        "--security-opt",
        "unmask=/proc/acpi",
        "--security-opt",
        "proc-opts=hidepid=2",
    ),
    "system paths": _one("security_opt", ("systempaths=unconfined",), "--security-opt", "systempaths=unconfined"),
    "ulimits": _one(
        "ulimits", {"nofile": "100:200", "core": "-1"}, "--ulimit", "nofile=100:200", "--ulimit", "core=-1"
    ),
    "sysctls": _one("sysctls", {"net.core.somaxconn": "9"}, "--sysctl", "net.core.somaxconn=9"),
    # What it may use.
    "memory": _one(
        "resources",
        Resources(memory=64 << 20, memory_reservation=32 << 20, memory_swap=100 << 20),
        "--memory",
        "64m",
        "--memory-reservation",
        "32m",
        "--memory-swap",
        "100m",
    ),
    "memory alone": _one("resources", Resources(memory=64 << 20), "--memory", "64m"),
    "memory and any swap": Case(
        {"resources": Resources(memory=64 << 20, memory_swap=-1)}, differs="podman run forgets --memory-swap -1"
    ),
    "cpus": _one(
        "resources",
        Resources(cpus=0.5, cpu_shares=100, cpuset="0", pids=50, oom_score_adj=100),
        *("--cpus", "0.5", "--cpu-shares", "100", "--cpuset-cpus", "0", "--pids-limit", "50", "--oom-score-adj", "100"),
    ),
    "log": _one("log", Log(max_size=5_000_000, tag="x"), "--log-opt", "max-size=5m", "--log-opt", "tag=x"),
    "log to json-file": _one(
        "log",
        Log(LogDriver.JSON_FILE, LOG_SIZE_LIMIT),
        "--log-driver",
        "json-file",
        "--log-opt",
        f"max-size={LOG_SIZE_LIMIT}b",
    ),
    "log to the journal": _one(
        "log", Log(LogDriver.JOURNALD, tag="x"), "--log-driver", "journald", "--log-opt", "tag=x"
    ),
    "no log": _one("log", Log(LogDriver.NONE), "--log-driver", "none"),
    # As somebody would type it.
    "together": Case(
        {
            "image": OPINIONATED,
            "network": None,
            "networks": (Network(NETWORK, ("al",)),),
            "init": True,
            "cap_drop": ("ALL",),
            "read_only": True,
            "tmpfs": ("/run:size=1m",),
            "user": "5",
            "security_opt": ("no-new-privileges",),
            "labels": {"opinion": "mine", "a": "b"},
            "workdir": "/",
            "stop_signal": "SIGTERM",
            "env": {"OPINION": "mine"},
            "resources": Resources(memory=64 << 20, cpus=0.5),
            "health": Health(disable=True),
            "restart": "always",
            "cmd": ("sleep 9",),
            "ports": ("18483:80",),
        },
        (
            *("--network", NETWORK, "--network-alias", "al", "--init", "--cap-drop", "ALL", "--read-only"),
            *("--tmpfs", "/run:size=1m", "--user", "5", "--security-opt", "no-new-privileges"),
            *("--label", "opinion=mine", "--label", "a=b", "--workdir", "/", "--stop-signal", "SIGTERM"),
            *("--env", "OPINION=mine", "--memory", "64m", "--cpus", "0.5", "--no-healthcheck"),
            *("--restart", "always", "-p", "18483:80"),
        ),
        ("sleep 9",),
    ),
}
