"""Containers that somebody else made come under management untouched, and what is declared of them makes them again."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.podman.node import Node, run, until

IMAGE = "localhost/mcp-demo:v1"
SHELL = ("/bin/sh", "-c", "sleep 600")

# What people type. Each is the container web-x, and may name {data}, a folder.
VARIANTS: dict[str, list[str]] = {
    "nothing": [IMAGE],
    "command": [IMAGE, *SHELL],
    "command of odd words": [IMAGE, "/bin/sh", "-c", "sleep 600", "it's", 'a "b"', "$HOME %h", "two\nlines", ""],
    "entry point": ["--entrypoint", '["/bin/sh","-c"]', IMAGE, "sleep 600"],
    "environment": ["--env", "A=x y", "--env", "B=", "--env", "C=é=1", "--env", "HOME=/data", IMAGE],
    "environment of hostile values": ["--env", "X=$(touch /x)`id`\n;|'\"\\ \x1b[31m", IMAGE],
    "ports": ["-p", "127.0.0.1:18480:80", "-p", "18481:81/udp", "-p", "[::1]:18482:82", IMAGE],
    "port range": ["-p", "127.0.0.1:18490-18492:90-92", IMAGE],
    "folders": ["-v", "{data}:/data:ro", "-v", "{data}:/more:rw,noexec", IMAGE],
    "volumes": ["-v", "web-volume:/data", "-v", "/anonymous", IMAGE],
    "user": ["--user", "1000:1000", IMAGE],
    "restart": ["--restart", "on-failure:3", IMAGE],
    "always": ["--restart", "always", "--stop-timeout", "3", IMAGE],
    "limits": ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", IMAGE],
    "network": ["--network", "web-net", IMAGE],
    "host network": ["--network", "host", IMAGE, *SHELL],
    "no network": ["--network", "none", IMAGE, *SHELL],
    "health": ["--health-cmd", "true || false", "--health-interval", "10s", "--health-retries", "5", IMAGE],
    "secret": ["--secret", "web-secret", IMAGE],
    "secret as a variable": ["--secret", "web-secret,type=env,target=S", IMAGE],
    "confined": ["--cap-drop", "ALL", "--read-only", "--security-opt", "no-new-privileges", "--tmpfs", "/t", IMAGE],
    "init": ["--init", "--entrypoint", "/bin/sh", IMAGE, "-c", "sleep 600"],
    "on the network": ["--network", "web-net:alias=al", "--hostname", "hh", "--add-host", "a:10.0.0.1", IMAGE],
    "limits of all kinds": ["--oom-score-adj", "100", "--cpu-shares", "100", "--shm-size", "128m", IMAGE],
    "labels": ["--label", "a=b", "--annotation", "c=d", "--stop-signal", "SIGKILL", IMAGE],
}


@pytest.fixture
def own(node: Node) -> Iterator[Node]:
    """The shared node, with a network and a secret, and without them afterwards."""
    node.podman("network", "create", "web-net")
    node.podman("secret", "create", "web-secret", "-", stdin=b"x")
    try:
        yield node
    finally:
        node.podman("rm", "--all", "--force", "--volumes", "--time", "0")
        node.podman("secret", "rm", "web-secret")
        node.podman("network", "rm", "--force", "web-net")
        node.podman("volume", "prune", "--force")


def essence(node: Node, container: str) -> dict[str, Any]:
    """All that its program, its neighbours and the kernel can tell of how a container was made."""
    found = node.inspect(container)
    config, host = found["Config"], found["HostConfig"]
    # "HOSTNAME" is the container's id.
    env = sorted(each for each in config["Env"] if not each.startswith("HOSTNAME="))
    mounts = [
        (each["Type"], each.get("Name") or each["Source"], each["Destination"], each["RW"]) for each in found["Mounts"]
    ]
    argv: list[str] = []

    def runs() -> bool:
        # Empty while the runtime gives way to the program.
        argv[:] = [node.podman("exec", container, "/bin/sh", "-c", "cat /proc/1/cmdline")]
        return argv[0] not in ("", "/bin/sh\0-c\0cat /proc/1/cmdline\0")

    until(runs)
    return {
        "image": found["ImageName"],
        "argv": argv[0],
        "env": env,
        "user": config["User"],
        "mounts": sorted(mounts),
        "ports": host["PortBindings"],
        "restart": (host["RestartPolicy"]["Name"] or "no", host["RestartPolicy"]["MaximumRetryCount"]),
        "limits": (host["Memory"], host["NanoCpus"], host["PidsLimit"]),
        "networks": sorted(found["NetworkSettings"].get("Networks") or {}),
        "stop": config["StopTimeout"],
        "secrets": [each["Name"] for each in config.get("Secrets") or ()],
    }


def results(node: Node, *words: str) -> dict[str, str]:
    """What a deploy did to each component."""
    lines = node.mcpctl(*words, "--output", "json").stdout.splitlines()
    outcomes = [json.loads(line).get("outcome") for line in lines]
    return {each["component"]: each["result"] for each in outcomes if each}


@pytest.mark.parametrize("words", VARIANTS.values(), ids=list(VARIANTS))
def test_what_was_adopted_and_exported_changes_nothing_and_makes_the_same_container(
    own: Node, words: list[str]
) -> None:
    data = own.folder / "adopted"
    data.mkdir(exist_ok=True)
    # The demo's program takes no notice of SIGTERM; nobody has to wait for that here.
    patience = () if "--stop-timeout" in words else ("--stop-timeout", "1")
    words = [word.replace("{data}", str(data)) for word in words]
    own.podman("run", "--detach", "--name", "web-x", *patience, *words)
    before, container = essence(own, "web-x"), own.inspect("web-x")["Id"]

    outcomes = own.json("adopt", "web")["outcomes"]
    assert [(each["component"], each["result"]) for each in outcomes] == [("x", "adopted")]
    own.mcpctl("service", "export", "web")
    assert results(own, "deploy", "web") == {"x": "unchanged"}
    assert own.inspect("web-x")["Id"] == container

    assert results(own, "deploy", "web", "--force") == {"x": "replaced"}
    assert own.inspect("web-x")["Id"] != container
    assert essence(own, "web-x") == before


def test_nothing_is_touched_and_all_that_is_managed_is_managed(own: Node) -> None:
    own.podman("run", "--detach", "--name", "web-api", IMAGE)
    own.podman("create", "--name", "web-old", IMAGE)
    pid = own.pids()["web-api"]
    assert own.json("adopt", "web", "--dry-run")["dry_run"]
    assert own.json("list") == []
    own.mcpctl("adopt", "web")
    assert own.pids() == {"web-api": pid}
    desired = {each["component"]: each["desired"] for each in own.json("status")[0]["components"]}
    assert desired == {"api": "running", "old": "stopped"}
    assert [each["result"] for each in own.json("adopt", "web")["outcomes"]] == ["unchanged", "unchanged"]

    # It outlives the daemon, which sees what becomes of it.
    own.stop_daemon(signal.SIGKILL)
    own.up()
    assert own.pids() == {"web-api": pid}
    os.kill(pid, signal.SIGKILL)
    until(lambda: "exited" in [each["kind"] for each in own.json("events", "web/api")])
    own.mcpctl("undeploy", "web", "--node", own.name)
    assert own.containers() == set()


def test_what_belongs_to_another_service_is_left_alone_and_named(own: Node) -> None:
    """`mc` is the beginning of `mc-proxy`, which a definition names; `mc-ledger` is deployed."""
    own.define("mc-proxy", f'name = "mc-proxy"\nnode = "NODE"\n[[components]]\nname = "web"\nimage = "{IMAGE}"\n')
    own.define(
        "mc-ledger", f'name = "mc-ledger"\nnode = "NODE"\n[[components]]\nname = "mc-ledger"\nimage = "{IMAGE}"\n'
    )
    own.mcpctl("deploy", "mc-ledger")
    for name in ("mc", "mc-api", "mc-proxy-web", "mcx", "mc-API"):
        own.podman("run", "--detach", "--name", name, IMAGE)
    before = own.pids()
    found = {each["component"]: (each["result"], each["message"]) for each in own.json("adopt", "mc")["outcomes"]}
    assert {name: result for name, (result, _) in found.items()} == {
        "mc": "adopted",
        "api": "adopted",
        "mc-proxy-web": "skipped",
        "mc-ledger": "skipped",
        "mc-API": "skipped",
    }
    assert "the service mc-proxy" in found["mc-proxy-web"][1]
    assert "mc-ledger/mc-ledger" in found["mc-ledger"][1]
    assert "mc/api already has a container" in found["mc-API"][1]
    assert own.pids() == before


def test_hostile_labels_are_data_and_lie_to_nobody(own: Node) -> None:
    """A container that claims to be another service's component, and one whose labels a shell would act on."""
    trap = own.folder / "trap"
    bait = f"$(touch {trap})`touch {trap}`\n\x1b[2J;'\""
    own.podman("run", "--detach", "--name", "web-liar", "--label", "mcp.service=bank", IMAGE)
    own.podman("run", "--detach", "--name", "web-x", "--label", f"{bait}={bait}", "--env", f"X={bait}", IMAGE)
    answer = own.json("adopt", "web")
    results = {each["component"]: each["result"] for each in answer["outcomes"]}
    assert results == {"x": "adopted", "web-liar": "skipped"}
    assert all(each.isprintable() for each in answer["losses"])
    own.mcpctl("service", "export", "web")
    assert results_of_nothing(own)
    assert not trap.exists()
    own.podman("rm", "--force", "--time", "0", "web-liar")


def results_of_nothing(node: Node) -> bool:
    return set(results(node, "deploy", "web").values()) == {"unchanged"}


# What people ask for and a definition cannot say, and how it is named.
UNSAYABLE = {
    "uts": (["--uts", "host"], "--uts host"),
    "on-failure": (["--health-cmd", "true", "--health-on-failure", "kill"], "--health-on-failure kill"),
    "tz": (["--tz", "UTC"], "--tz UTC"),
    "umask": (["--umask", "0077"], "--umask 0077"),
    "systemd": (["--systemd", "always"], "--systemd always"),
    "unsetenv": (["--unsetenv", "TERM"], "--unsetenv TERM"),
    "mac": (["--network", "web-net", "--mac-address", "92:d0:c6:0a:29:33"], "--mac-address 92:d0:c6:0a:29:33"),
    "image": (["--mount", f"type=image,source={IMAGE},destination=/i"], "a mount of type image at /i"),
    "timeout": (["--timeout", "99"], "--timeout 99"),
    "sdnotify": (["--sdnotify", "ignore"], "--sdnotify ignore"),
    "remove": (["--rm"], "--rm (it goes when it ends)"),
    "cgroupns": (["--cgroupns", "host"], "--cgroupns host"),
    "no-tmpfs": (["--read-only", "--read-only-tmpfs=false"], "--read-only-tmpfs false"),
    "unlimited": (["--pids-limit", "-1"], "--pids-limit -1"),
    "slirp": (["--network", "slirp4netns:mtu=1400"], "--network slirp4netns:mtu=1400"),
    "all-limits": (["--ulimit", "host"], "--ulimit host"),
}


def test_every_option_that_no_definition_can_say_is_named_and_nothing_else(own: Node) -> None:
    for name, (words, _) in UNSAYABLE.items():
        own.podman("create", "--name", f"web-{name}", *words, IMAGE)
    own.podman("create", "--name", "web-plain", IMAGE)
    found = own.json("adopt", "web")["losses"]
    assert sorted(found) == sorted(f"web/{name}: {loss}" for name, (_, loss) in UNSAYABLE.items())


# A container with several of them, as somebody would have typed it.
GIVEN = [
    *("--umask", "0077", "--tz", "UTC", "--sdnotify", "ignore", "--init", "--stop-timeout", "1"),
    *("--entrypoint", "/bin/sh"),
]
LOST = ["--umask 0077", "--tz UTC", "--sdnotify ignore"]


def test_what_would_be_lost_is_listed_and_lost_only_when_that_is_accepted(own: Node) -> None:
    own.podman("run", "--detach", "--name", "web-x", *GIVEN, IMAGE, "-c", "sleep 600")
    own.mcpctl("adopt", "web")
    own.mcpctl("service", "export", "web")
    path = own.folder / "services" / "web.toml"
    # The init that podman puts before the program is no part of what the program is.
    assert "podman-init" not in path.read_text()
    assert 'entrypoint = ["/bin/sh"]' in path.read_text()
    assert 'cmd = ["-c", "sleep 600"]' in path.read_text()
    container = own.inspect("web-x")["Id"]

    # What touches no container loses nothing.
    (plan,) = own.json("plan", "web")
    assert (plan["components"][0]["action"], plan["losses"]) == ("none", [])
    own.mcpctl("restart", "web")
    assert own.inspect("web-x")["Id"] == container

    # Made anew, it would.
    path.write_text(path.read_text() + 'user = "0:0"\n')
    for words in (["plan", "web"], ["deploy", "web", "--dry-run"], ["plan"]):
        (plan,) = own.json(*words)
        assert sorted(plan["losses"]) == sorted(f"web/x: {each}" for each in LOST)
    printed = own.mcpctl("plan", "web").stdout
    assert all(f"web/x: {each}" in printed for each in LOST)
    (pending,) = own.json("sync", "--dry-run")[0]["pending"]
    assert "--accept-loss" in pending["reason"]
    # To have seen it in a plan, or to force, is not to accept it.
    for options in ([], ["--plan", plan["plan_id"]], ["--force"], ["--wait"]):
        refused = own.mcpctl("deploy", "web", *options, status=1).stderr
        assert all(f"web/x: {each}" in refused for each in LOST)
        assert "`mcpctl deploy web --accept-loss`" in refused
    assert own.inspect("web-x")["Id"] == container
    assert own.containers() == {"web-x"}

    # It is accepted, and from then on there is nothing to lose.
    assert results(own, "deploy", "web", "--plan", plan["plan_id"], "--accept-loss") == {"x": "replaced"}
    assert own.inspect("web-x")["Id"] != container
    assert any("without --sdnotify ignore" in each["message"] for each in own.json("events", "web/x"))
    assert own.json("plan", "web", "--force")[0]["losses"] == []
    assert results(own, "deploy", "web", "--force") == {"x": "replaced"}


def test_what_was_adopted_and_is_gone_is_recovered_with_a_word_about_what_it_had(own: Node) -> None:
    own.podman("run", "--detach", "--name", "web-x", "--umask", "0077", "--stop-timeout", "1", IMAGE)
    own.mcpctl("adopt", "web")
    seen = own.inspect("web-x")["Id"]
    until(lambda: any(each["container"] == "web-x" for each in own.json("ps")))
    own.podman("rm", "--force", "--time", "0", "web-x")
    until(lambda: "removed" in [each["kind"] for each in own.json("events", "web/x")])
    rows = [json.loads(line) for line in own.mcpctl("recover", "web", "--output", "json").stdout.splitlines()]
    (outcome,) = [each["outcome"] for each in rows if each.get("outcome")]
    assert outcome["result"] == "created"
    assert "it was adopted" in outcome["message"]
    assert own.inspect("web-x")["Id"] != seen


def test_names_that_are_spelled_otherwise_are_adopted_and_become_ours_with_the_next_deploy(own: Node) -> None:
    for name in ("shop_web_1", "Shop-db", "shop-my_app", "shop_twice", "shop_twice_1"):
        own.podman("run", "--detach", "--name", name, "--stop-timeout", "1", IMAGE)
    before = own.pids()
    answer = own.json("adopt", "shop")
    results_of = {each["component"]: (each["result"], each["message"]) for each in answer["outcomes"]}
    assert {name: result for name, (result, _) in results_of.items()} == {
        "web": "adopted",
        "db": "adopted",
        "my-app": "adopted",
        "shop_twice": "skipped",
        "shop_twice_1": "skipped",
    }
    assert "podman rename shop_twice_1 shop-twice-1" in results_of["shop_twice_1"][1]
    assert "shop/web: the name shop_web_1; the next deploy calls it shop-web" in answer["losses"]
    assert own.pids() == before

    own.mcpctl("service", "export", "shop")
    (plan,) = own.json("plan", "shop")
    assert {each["component"]: each["action"] for each in plan["components"]} == dict.fromkeys(
        ("web", "db", "my-app"), "rename"
    )
    own.mcpctl("deploy", "shop")
    after = own.pids()
    assert {after[name] for name in ("shop-web", "shop-db", "shop-my-app")} == {
        before[name] for name in ("shop_web_1", "Shop-db", "shop-my_app")
    }
    own.podman("rm", "--force", "--time", "0", "shop_twice", "shop_twice_1")


def test_another_components_namespace_is_that_components(own: Node) -> None:
    own.podman("run", "--detach", "--name", "web-db", "--stop-timeout", "1", IMAGE)
    own.podman(
        "run", "--detach", "--name", "web-x", "--stop-timeout", "1", "--network", "container:web-db", IMAGE, *SHELL
    )
    assert own.json("adopt", "web")["losses"] == []
    own.mcpctl("service", "export", "web")
    path = own.folder / "services" / "web.toml"
    assert 'network = "component:db"' in path.read_text()
    assert results(own, "deploy", "web", "--force") == {"db": "replaced", "x": "replaced"}
    shared = own.inspect("web-x")["HostConfig"]["NetworkMode"]
    assert shared == f"container:{own.inspect('web-db')['Id']}"


def test_a_service_that_is_called_like_nothing_is_not_found(own: Node) -> None:
    refused = own.mcpctl("adopt", "ghost", status=2)
    assert "no container on" in refused.stderr
    assert "ghost-*" in refused.stderr


def test_what_compose_has_made_is_adopted_by_its_names(own: Node) -> None:
    compose = shutil.which("podman-compose")
    if compose is None:
        pytest.skip("podman-compose is not installed here")
    folder = own.folder / "compose"
    folder.mkdir(exist_ok=True)
    (folder / "compose.yaml").write_text(
        "services:\n"
        f"  api:\n    image: {IMAGE}\n    container_name: shop-api\n    environment:\n      A: 'x $$y'\n"
        "    ports: ['127.0.0.1:18483:80']\n    volumes: ['data:/data', './conf:/conf:ro']\n    restart: always\n"
        f"  db:\n    image: {IMAGE}\n    container_name: shop-db\n    command: ['/bin/sh', '-c', 'sleep 600']\n"
        f"  web:\n    image: {IMAGE}\n"
        "volumes:\n  data: {}\n"
    )
    (folder / "conf").mkdir(exist_ok=True)
    argv = [compose, "--file", str(folder / "compose.yaml"), "--project-name", "shop"]
    run([*argv, "up", "--detach"], env=own.environment)
    try:
        before = {name: essence(own, name) for name in ("shop-api", "shop-db")}
        outcomes = {each["component"]: each["result"] for each in own.json("adopt", "shop")["outcomes"]}
        # Also what compose called in its own way.
        assert outcomes == dict.fromkeys(("api", "db", "web"), "adopted")
        own.mcpctl("service", "export", "shop")
        assert set(results(own, "deploy", "shop").values()) <= {"unchanged", "updated"}
        results(own, "deploy", "shop", "--force", "--accept-loss")
        assert {name: essence(own, name) for name in before} == before
    finally:
        own.mcpctl("undeploy", "shop", "--node", own.name, status=None)
        run([*argv, "down", "--volumes"], env=own.environment, status=None)
