"""Random histories of a real node: what `tests/model` does to a pretended podman, done to a real one by mcpctl.

``MCP_REAL_MODEL_STEPS`` is how many steps are taken, ``MCP_REAL_MODEL_SEED`` which history it is. A history that fails
prints its steps.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from mcpctl.definitions.exporting import toml
from monitor.model import Desired
from protos.parts import Health
from protos.spec import Component, Service, examine_service
from protos.validation import plain, read_toml
from tests.model.expected import Expected, Key
from tests.podman.node import Node, told
from tests.support.demo_service import answer
from tests.support.waiting import free_port, until

STEPS = int(os.environ.get("MCP_REAL_MODEL_STEPS", "20"))
SEED = os.environ.get("MCP_REAL_MODEL_SEED", "1")
IMAGES = ("localhost/mcp-demo:v1", "localhost/mcp-demo:v2", "localhost/mcp-demo:v0")
INSIDE = 8080
SERVICES = ("web", "shop")
# Longer than mcpd's grace and a probe's retries together.
WITHIN_S = 60.0


def probe(*argv: str) -> Health:
    return Health(cmd=argv, interval=timedelta(seconds=1), timeout=timedelta(seconds=3), retries=2)


FLAKY = probe("test", "!", "-e", "/tmp/ill")
PROBES = (None, probe("true"), FLAKY)


class World:
    """A node, what its operator's definitions say, and what is to be expected of it."""

    def __init__(self, node: Node, seed: str) -> None:
        self.node = node
        self.draw = random.Random(seed)
        self.ports = (free_port(), free_port())
        self.expected = Expected()
        self.steps: list[str] = []
        for name in SERVICES:
            parts = (Component("api", IMAGES[0], depends_on=("db",)), Component("db", IMAGES[0]))
            self.write(Service(name, node.name, parts))

    def write(self, service: Service) -> None:
        self.node.define(service.name, toml.text(service))

    def read(self, name: str) -> Service:
        """The definition as it is now: `mcpctl start` and `stop` edit it."""
        return _service(self.node.folder / f"services/{name}.toml")

    # -- steps

    def step(self) -> None:
        kinds: Mapping[Callable[[], str], int] = {
            self.deploy: 8,
            self.act: 4,
            self.befall: 6,
            self.sync: 1,
            self.kill_mcpd: 1,
        }
        (kind,) = self.draw.choices(list(kinds), list(kinds.values()))
        self.steps.append(kind())

    def deploy(self) -> str:
        service = self.read(self.draw.choice(SERVICES))
        edit = self.draw.choice(list(EDITS))
        place = self.draw.randrange(len(service.components))
        chosen = service.components[place]
        new = msgspec.structs.replace(chosen, **EDITS[edit](self, chosen))
        parts = tuple(new if each is chosen else each for each in service.components)
        edited = msgspec.structs.replace(service, components=parts)
        self.write(edited)
        before, bystanders = self.running(service.name), self.running(but=service.name)
        done = self.node.mcpctl("deploy", service.name, status=None)
        words = f"deploy {service.name}: {edit} of {chosen.name} -> {done.returncode}"
        if done.returncode:
            assert self.excuses(edited), f"{words}: refused without a reason\n{done.stderr}"
            assert before.items() <= self.running(service.name, ids_only=True).items(), f"{words}\n{done.stderr}"
            self.write(service)
        else:
            self.expected = self.expected.declared(edited)
            left = [each for each in self.actions(service.name) if each != "none"]
            assert not left, f"{words}; a plan after it has {left}"
        assert bystanders == self.running(but=service.name), f"{words} touched what it does not concern"
        return words

    def actions(self, service: str) -> list[str]:
        return [str(each["action"]) for row in self.node.json("plan", service) for each in row["components"]]

    def excuses(self, service: Service) -> bool:
        """Whether a deploy may rightly be refused."""
        others = [key for key in self.expected.wants if key[0] != service.name]
        taken = {port for key in others for port in self.expected.wants[key].spec.ports}
        mine = [port for each in service.components for port in each.ports]
        bad = [each for each in service.components if each.image == IMAGES[2]]
        ill = [each for each in service.components if each.health == FLAKY and self.is_ill((service.name, each.name))]
        down = [each for each in service.components if self.state((service.name, each.name)) not in ("", "running")]
        return bool(bad or ill or down or taken & set(mine) or len(mine) != len(set(mine)))

    def act(self) -> str:
        method = self.draw.choice(("start", "stop", "restart", "undeploy"))
        service = self.draw.choice(SERVICES)
        keys = sorted(self.expected.of(service))
        if not keys:
            return f"{method} {service}: nothing"
        component = self.draw.choice(["", *(key[1] for key in keys)])
        bystanders = self.running(but=service)
        target = f"{service}/{component}" if component else service
        done = self.node.mcpctl(method, target, status=None)
        if method in ("start", "stop"):
            self.expected = self.expected.set_active(service, component, method == "start")
        elif method == "undeploy":
            assert done.returncode == 0, done.stderr
            self.expected = self.expected.without(service, [component] if component else [key[1] for key in keys])
        assert bystanders == self.running(but=service), f"{method} {target} touched what it does not concern"
        return f"{method} {target} -> {done.returncode}"

    def befall(self) -> str:
        what = self.draw.choice(("kill", "stop", "rm", "pause", "unpause", "ill", "start"))
        names = sorted(self.node.containers())
        if not names:
            return f"{what}: nothing"
        name = self.draw.choice(names)
        words = {
            "kill": ("kill", "--signal", "KILL", name),
            "stop": ("stop", "--time", "1", name),
            "rm": ("rm", "--force", "--time", "0", name),
            "pause": ("pause", name),
            "unpause": ("unpause", name),
            "ill": ("exec", name, "touch", "/tmp/ill"),
            "start": ("start", name),
        }
        self.node.podman(*words[what], status=None)
        return f"podman {what} {name}"

    def sync(self) -> str:
        self.node.mcpctl("sync", status=None)
        for name in SERVICES:
            self.expected = self.expected.declared(self.read(name))
        return "sync"

    def kill_mcpd(self) -> str:
        self.node.stop_daemon(signal.SIGKILL)
        self.node.up()
        return "kill mcpd"

    # -- the truth

    def running(self, service: str = "", *, but: str = "", ids_only: bool = False) -> dict[str, str]:
        """Running containers of a service, or of every other one: when they were started, by id."""
        rows = json.loads(self.node.podman("ps", "--format", "json"))
        found = {}
        for each in rows:
            of = (each["Labels"] or {}).get("mcp.service", "")
            if (of == service or not service) and of != but:
                found[each["Id"]] = "" if ids_only or service else str(each["StartedAt"])
        return found

    def state(self, key: Key) -> str:
        """podman's word for the state of its container; empty when there is none."""
        filters = [f"--filter=label=mcp.service={key[0]}", f"--filter=label=mcp.component={key[1]}"]
        found = json.loads(self.node.podman("ps", "--all", *filters, "--format", "json"))
        assert len(found) <= 1, f"{key} has {len(found)} containers"
        return str(found[0]["State"]) if found else ""

    def is_ill(self, key: Key) -> bool:
        if self.state(key) != "running":
            return False
        return not json.loads(self.node.podman("inspect", f"{key[0]}-{key[1]}"))[0]["State"]["Paused"] and (
            "ill" in self.node.podman("exec", f"{key[0]}-{key[1]}", "ls", "/tmp", status=None).split()
        )

    def drifts(self, key: Key) -> bool:
        desired, state = self.expected.desired(key), self.state(key)
        if desired is Desired.STOPPED:
            return state in ("running", "paused")
        is_sick = self.expected.wants[key].spec.health == FLAKY and self.is_ill(key)
        return desired is Desired.RUNNING and (state != "running" or is_sick)

    # -- what must hold

    def check(self) -> None:
        wanted = {key: self.drifts(key) for key in self.expected.wants}
        until(lambda: self._told() == wanted, f"status tells {wanted}; it is {self._told()}", WITHIN_S)
        until(lambda: self._alerted() == {key for key, each in wanted.items() if each}, "an alert a drift", WITHIN_S)
        for key in self.expected.wants:
            for port in self.expected.wants[key].spec.ports if self.state(key) == "running" else ():
                until(lambda: bool(answer(int(port.split(":")[-2]))), f"{key} answers at {port}")  # noqa: B023
        for service in {key[0] for key in self.expected.wants}:
            self._comes_back(service)
        ids = [each["MCP_ALERT_ID"] for name in SERVICES for each in told(self.node, name)]
        assert len(ids) == len(set(ids)) or "kill mcpd" in self.steps, f"told twice: {ids}"
        left = [each for each in self.node.containers() if each.endswith((".next", ".last"))]
        assert not left, f"left behind: {left}"

    def _told(self) -> dict[Key, bool]:
        rows = [each for row in self.node.json("status") for each in row["components"]]
        keys = {(each["service"], each["component"]): each for each in rows}
        return {
            key: bool(keys[key]["drift"]) if key in keys and self._is_true(key, keys[key]) else None  # type: ignore[misc]
            for key in self.expected.wants
        }

    def _is_true(self, key: Key, row: dict[str, Any]) -> bool:
        state = self.state(key)
        words = {"": ("removed", "unknown"), "running": ("running", "healthy", "unhealthy"), "created": ("created",)}
        return row["observed"] in words.get(state, (state,)) and row["desired"] == self.expected.desired(key)

    def _alerted(self) -> set[Key]:
        rows = self.node.json("alerts", "list")["alerts"]
        return {(each["service"], each["component"]) for each in rows if each["component"]}

    def _comes_back(self, service: str) -> None:
        """What an export gives back is what was declared."""
        text = self.node.mcpctl("service", "export", service, "--format", "toml", "--node", self.node.name).stdout
        path = self.node.folder / "exported.toml"
        path.write_text(text)
        found = _service(path)
        wants = {key[1]: want.spec for key, want in self.expected.wants.items() if key[0] == service}
        # That one depends on what was undeployed alone is no part of what is declared.
        for name, spec in wants.items():
            wants[name] = msgspec.structs.replace(spec, depends_on=tuple(sorted({*spec.depends_on} & wants.keys())))
        assert {each.name: plain(each) for each in found.components} == {name: plain(it) for name, it in wants.items()}


def _service(path: Path) -> Service:
    found, problems = examine_service(read_toml(path))
    assert found is not None, problems
    return found


def port_of(world: World, component: Component) -> dict[str, object]:
    port = world.draw.choice(world.ports)
    return {"ports": () if component.ports else (f"127.0.0.1:{port}:{INSIDE}",)}


EDITS: dict[str, Callable[[World, Component], dict[str, object]]] = {
    "nothing": lambda *_: {},
    "image": lambda world, _: {"image": world.draw.choice(IMAGES)},
    "env": lambda world, _: {"env": {"A": str(world.draw.randrange(3))}},
    "port": port_of,
    "probe": lambda world, _: {"health": world.draw.choice(PROBES)},
    "active": lambda _, component: {"active": not component.active},
    "capability": lambda _, component: {"cap_add": () if component.cap_add else ("NET_ADMIN",)},
}


def test_whatever_is_done_to_a_real_node_status_alerts_and_containers_are_as_they_should_be(node: Node) -> None:
    (node.folder / "alerts.jsonl").unlink(missing_ok=True)
    world = World(node, SEED)
    try:
        for _ in range(STEPS):
            world.step()
            world.check()
    except BaseException:
        print(f"MCP_REAL_MODEL_SEED={SEED}", *world.steps, sep="\n  ")
        raise
