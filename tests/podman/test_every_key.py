"""Each key makes the container that `podman run` makes, and each container is described as what makes it again.

A case takes a few seconds, so only a share of them is made: every one with MCP_EVERY_KEY_STRIDE=1. Root's podman, an
ordinary user's, and podman 5 have different ones.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mcpctl.definitions import exporting
from mcpctl.definitions.exporting.formats import Format
from mcpd.runtime.create import Surroundings, container_spec
from mcpd.runtime.describe import Description, describe
from mcpd.runtime.inspected import Details, ImageDefaults
from mcpd.runtime.settings import NOT_OF_PODMAN
from protos.fingerprint import spec_hash
from protos.parts import Mount
from protos.spec import Component, Service
from protos.validation import plain
from tests.podman import every_key, quadlet
from tests.podman.every_key import CASES, IMAGE, NETWORK, OPINIONATED, OTHER, OWN, SECRET, Case
from tests.podman.node import Node, run
from tests.podman.rootless import RootlessPodman, rootless_node

CONTAINERFILE = f"""\
FROM {IMAGE}
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["sleep 600"]
WORKDIR /tmp
USER 7
ENV OPINION=strong
LABEL opinion=strong
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=7s CMD ["true"]
"""
CDI = {
    "cdiVersion": "0.5.0",
    "kind": "mcp.test/null",
    "devices": [{"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/null"}]}}],
}
CDI_FILE = Path("/var/run/cdi/mcp-test.json")

STRIDE = int(os.environ.get("MCP_EVERY_KEY_STRIDE", "4"))
# podman 5 is tried in a tree of its own, which is a Debian 13.
_IS_PODMAN_5 = "trixie" in Path("/etc/os-release").read_text()

# Of an inspection, what differs between any two containers.
OF_EACH = frozenset(
    {"Id", "Created", "Name", "State", "CreateCommand", "lockNumber", "GraphDriver", "StaticDir", "OCIConfigPath"}
    | {"ConmonPidFile", "PidFile", "HostsPath", "HostnamePath", "ResolvConfPath", "ContainerIDFile", "Dependencies"}
    # podman remembers there what its command line asked for; nothing comes of it.
    | {"io.kubernetes.cri-o.TTY", "io.kubernetes.cri-o.Created", "io.podman.annotations.userns", "sdNotifyMode"}
    | {"mcp.service", "mcp.component", "mcp.spec-hash", "mcp.node", "mcp.declared"}
)


def share(names: Iterable[str], offset: int) -> list[str]:
    return list(names)[(offset + 2 * _IS_PODMAN_5) % STRIDE :: STRIDE]


def filled(value: Any, data: str) -> Any:
    """With the folder in place of {data}."""
    if isinstance(value, dict):
        return {key: filled(each, data) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(filled(each, data) for each in value)
    if isinstance(value, Mount):
        return msgspec.structs.replace(value, source=filled(value.source, data))
    return value.replace("{data}", data) if isinstance(value, str) else value


class Place:
    """A node's podman, and the folder that containers mount."""

    def __init__(self, node: Node, data: Path) -> None:
        self.data = data
        self.env = dict(node.environment)
        socket = self.env["CONTAINER_HOST"].removeprefix("unix://")
        transport = httpx.HTTPTransport(uds=socket)
        self.api = httpx.Client(transport=transport, base_url="http://podman/v4.0.0/libpod", timeout=60)
        if not isinstance(node, RootlessPodman):
            # Some options are refused where podman speaks to another podman.
            del self.env["CONTAINER_HOST"]

    def podman(self, *words: str, status: int | None = 0, stdin: bytes | None = None) -> tuple[int, str]:
        done = run(["podman", *words], env=self.env, status=status, stdin=stdin)
        return done.returncode, done.stderr.strip()

    def filled(self, value: Any) -> Any:
        return filled(value, str(self.data))

    def component(self, said: dict[str, Any]) -> Component:
        bare = {"name": "x", "image": IMAGE, "network": "private"}
        return Component(**{**bare, **self.filled(said)})

    def create(self, name: str, component: Component) -> str:
        """Why it could not be, if so."""
        among = Surroundings(
            containers={"db": OTHER},
            own_networks=frozenset({OWN}),
            configs={each.target: f"{self.data}/app.conf" for each in component.configs},
        )
        body = container_spec(name, "n1", OWN, component, spec_hash(component), among)
        answer = self.api.post("/containers/create", json=body)
        return "" if answer.is_success else answer.text

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/containers/{name}/json").raise_for_status().json()
        return found

    def settings(self, name: str) -> dict[str, Any]:
        """An inspection, as `essence` has it, with variables by name."""
        found = essence(self.inspect(name))
        found["Config"]["Env"] = dict(each.split("=", 1) for each in found["Config"]["Env"] or ())
        return found

    def infra(self, pod: str) -> str:
        """The container that has what the containers of a Pod share."""
        found = self.api.get(f"/pods/{pod}/json").raise_for_status().json()
        return str(found["InfraContainerID"])

    def described(self, name: str) -> Description:
        details = msgspec.convert(self.inspect(name), type=Details)
        image = self.api.get(f"/images/{details.image}/json").raise_for_status().content
        return describe("x", details, msgspec.json.decode(image, type=ImageDefaults), {self.inspect(OTHER)["Id"]: "db"})

    def remove(self, *names: str) -> None:
        for name in names:
            self.api.delete(f"/containers/{name}", params={"force": "true", "v": "true", "timeout": "0"})


@pytest.fixture(scope="module")
def root(shared_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    shared_node.clear()
    yield from _furnished(Place(shared_node, tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def rootless(shared_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with rootless_node(tmp_path_factory.mktemp("rootless"), shared_node) as node:
        yield from _furnished(Place(node, tmp_path_factory.mktemp("data")))


def _furnished(place: Place) -> Iterator[Place]:
    """With all that the cases name, and without it afterwards."""
    place.data.chmod(0o755)
    (place.data / "app.conf").write_text("text")
    (place.data / "x:y").mkdir()
    (place.data / "Containerfile").write_text(CONTAINERFILE)
    try:
        place.podman("build", "--quiet", "--format", "docker", "--tag", OPINIONATED, str(place.data))
        place.podman("network", "create", "--subnet", every_key.SUBNET, NETWORK)
        place.podman("network", "create", "--subnet", "10.213.78.0/24", OWN)
        place.podman("secret", "create", SECRET, "-", stdin=b"the value")
        place.podman("create", "--name", OTHER, "--ipc", "shareable", IMAGE)
        yield place
    finally:
        place.remove(OTHER)
        place.podman("secret", "rm", SECRET, status=None)
        place.podman("network", "rm", "--force", NETWORK, OWN, status=None)
        place.podman("rmi", "--force", OPINIONATED, status=None)
        place.podman("volume", "rm", "--force", "every-volume", status=None)
        place.api.close()


@pytest.fixture(scope="module")
def device() -> Iterator[None]:
    made = not CDI_FILE.parent.exists()
    CDI_FILE.parent.mkdir(exist_ok=True)
    CDI_FILE.write_text(json.dumps(CDI))
    yield
    CDI_FILE.unlink()
    if made:
        CDI_FILE.parent.rmdir()


def essence(found: dict[str, Any]) -> dict[str, Any]:
    """An inspection without what differs between any two containers, and with lists in order."""
    number, name = found["Id"], found["Name"]

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: kept(each) for key, each in value.items() if key not in OF_EACH} or None
        if isinstance(value, list):
            return [kept(each) for each in value] or None
        if isinstance(value, str):
            return value.replace(number, "ID").replace(number[:12], "ID").replace(name, "NAME")
        return value

    host, config = found["HostConfig"], found["Config"]
    host["LogConfig"].pop("Path")
    host["RestartPolicy"]["Name"] = host["RestartPolicy"]["Name"] or "no"
    # The same mounts are in "Mounts", and there their options have no order.
    host.pop("Binds")
    config["Env"].sort()
    if (config.get("Healthcheck") or {}).get("Test") == ["NONE"]:
        # How often nothing is asked has no meaning.
        config["Healthcheck"] = {"Test": ["NONE"]}
    found["Mounts"].sort(key=lambda mount: str(mount["Destination"]))
    for mount in found["Mounts"]:
        mount["Options"] = sorted(mount["Options"] or ())
        if mount["Type"] == "volume" and len(mount["Name"]) == 64:
            mount["Name"] = mount["Source"] = "anonymous"
    for joined in (found["NetworkSettings"].get("Networks") or {}).values():
        joined["Aliases"] = sorted(set(joined.get("Aliases") or ()) - {number[:12]})
    essential = kept(found)
    assert isinstance(essential, dict)
    return essential


def compared(one: dict[str, Any], other: dict[str, Any], case: Case, version: int) -> None:
    """podman run's, and ours."""
    wanted, made = essence(one), essence(other)
    if "log" not in case.said:
        # Ours is bounded.
        wanted["HostConfig"]["LogConfig"]["Size"] = made["HostConfig"]["LogConfig"]["Size"]
    chosen = [each for each in case.said.get("ports", ()) if each.isdecimal() or "::" in each[:12]]
    if chosen:
        for each in (wanted, made):
            _forget_host_ports(each)
    if case.said.get("userns", "").startswith("auto"):
        # Each container has ids of its own, as many as it asked for.
        for each in (wanted, made):
            mappings = each["HostConfig"]["IDMappings"]
            each["HostConfig"]["IDMappings"] = {key: _sizes(value) for key, value in mappings.items()}
    if case.said.get("read_only") and version >= 5:
        # podman 5 does not list those that it mounts by itself, and does list those that we ask for.
        for target in ("/run", "/tmp", "/var/tmp"):
            if not any(word.startswith(f"{target}:") for word in case.words):
                (made["HostConfig"]["Tmpfs"] or {}).pop(target, None)
        made["HostConfig"]["Tmpfs"] = made["HostConfig"]["Tmpfs"] or None
    assert differences(made, wanted) == {}


def differences(made: Any, wanted: Any, path: str = "") -> dict[str, Any]:
    """What differs, by its path: the made value and the wanted one."""
    if isinstance(made, dict) or isinstance(wanted, dict):
        made, wanted = made or {}, wanted or {}
        return {
            name: pair
            for key in sorted({*made, *wanted})
            for name, pair in differences(made.get(key), wanted.get(key), f"{path}.{key}").items()
        }
    return {} if made == wanted else {path: (made, wanted)}


def _sizes(mappings: list[str]) -> list[str]:
    return [each.rpartition(":")[2] for each in mappings]


def _forget_host_ports(found: dict[str, Any]) -> None:
    for table in (found["HostConfig"]["PortBindings"], found["NetworkSettings"]["Ports"]):
        for bindings in table.values():
            for each in bindings:
                each["HostPort"] = "chosen"


def test_every_key_has_a_case() -> None:
    keys = {key for case in CASES.values() for key in case.said}
    # No option of podman's says what routes do: `tests.podman.test_routes`. Only jobs and oneshots have a timeout, and
    # no container says that it is one: `tests.podman.test_jobs`.
    assert keys | NOT_OF_PODMAN | {"routes", "timeout"} == set(Component.__struct_fields__)


def _examine(place: Place, case: Case) -> None:
    version = int(place.api.get("/version").json()["Version"].split(".")[0])
    try:
        _examine_both(place, case, version)
    finally:
        place.remove("every-cli", "every-x", "every-again")


def _examine_both(place: Place, case: Case, version: int) -> None:
    component = place.component(case.said)
    # 1. Ours says what it was made from.
    refused = place.create("every-x", component)
    if not refused:
        ours = place.described("every-x").component
        text = msgspec.structs.replace(component, configs=(), depends_on=(), health=component.health)
        if component.health and not component.health.disable:
            text = msgspec.structs.replace(text, health=None)
        assert differences(plain(ours), plain(text)) == {}
    if not case.words and not case.cmd and case.differs:
        assert not refused
        pytest.skip(case.differs)
    # 2. podman's own command line makes the same.
    words = [place.filled(each) for each in case.words]
    cmd = [place.filled(each) for each in case.cmd]
    status, said = place.podman("create", "--name", "every-cli", *words, component.image, *cmd, status=None)
    if status:
        pytest.skip(f"podman refuses it here: {said}")
    assert not refused
    if not case.differs:
        compared(place.inspect("every-cli"), place.inspect("every-x"), case, version)
    # 3. That one is described as what was said, nothing is lost, and it is made again.
    found = place.described("every-cli")
    assert found.losses == ()
    if (case.described or {}).get("volumes", "") is not None:
        expected = case.said if case.described is None else {**case.said, **case.described}
        if case.described and "configs" in case.said:
            expected = case.described
        assert differences(plain(found.component), plain(place.component(expected))) == {}
    place.remove("every-x")
    assert place.create("every-again", found.component) == ""
    if not case.differs:
        compared(place.inspect("every-cli"), place.inspect("every-again"), case, version)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", share(CASES, 0))
def test_a_key_makes_what_podman_run_makes_and_comes_back(root: Place, name: str) -> None:
    _examine(root, CASES[name])


@pytest.mark.parametrize("name", share((name for name, case in CASES.items() if case.rootless), 1))
def test_so_it_does_for_an_ordinary_users_podman(rootless: Place, name: str) -> None:
    _examine(rootless, CASES[name])


# What Quadlet itself adds for systemd, which keeps the container in its service.
_OF_THE_SERVICE = ("--cidfile", "--cgroups", "--sdnotify", "--replace", "--rm", "-d")


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", share(CASES, 2))
def test_quadlet_makes_what_podman_run_makes(root: Place, name: str, tmp_path: Path) -> None:
    quadlet.needed()
    case = CASES[name]
    if not case.words and not case.cmd and case.differs:
        pytest.skip(case.differs)
    component = root.component(case.said)
    exported = exporting.export(Service("every", "n1", (component, Component("db", IMAGE))), Format.QUADLET)
    for file in exported.files:
        (tmp_path / file.name).write_text(file.text)
    _podman, _run, *words = quadlet.units(tmp_path)["every-x.service"]
    words = [each for each in words if not each.startswith(_OF_THE_SERVICE)]
    # Both are given the same file.
    words = [each.replace(f"{tmp_path}/every-x-config-0", f"{root.data}/app.conf") for each in words]
    try:
        status, said = root.podman("create", "--name", "every-cli", *_by_hand(root, case), status=None)
        if status:
            pytest.skip(f"podman refuses it here: {said}")
        root.podman("create", *words)
        compared(root.inspect("every-cli"), root.inspect("every-x"), case, 5)
    finally:
        root.remove("every-cli", "every-x")


def _by_hand(place: Place, case: Case) -> list[str]:
    """The words of podman run, without its own restarts, which are systemd's."""
    words = list(case.words)
    if "--restart" in words:
        start = words.index("--restart")
        del words[start : start + 2]
    return [place.filled(each) for each in (*words, case.said.get("image", IMAGE), *case.cmd)]


# What differs of any container in a Pod, and of what podman run remembers and adds by itself: as much swap as memory.
_OF_A_POD = re.compile(r"\.NetworkSettings\.Networks|\.Config\.(Hostname|Healthcheck)|.*\.io\.podman\.|.*\.MemorySwap$")
# It has a name there.
_UNLIKE = {"anonymous volume"}


def _in_a_pod(case: Case, data: str) -> exporting.Exported:
    component = Component(**{"name": "x", "image": IMAGE, **filled(case.said, data)})
    return exporting.export(Service("every", "n1", (component,)), Format.KUBE)


def _is_kept(name: str) -> bool:
    """Whether a Pod says all of a case."""
    return name not in _UNLIKE and not _in_a_pod(CASES[name], "/data").losses


@pytest.fixture(scope="module")
def pods(root: Place) -> Iterator[Place]:
    """Afterwards without what podman makes for its first Pod: an image and a network."""

    def listed(*words: str) -> set[str]:
        return set(run(["podman", *words, "--quiet"], env=root.env).stdout.split())

    images, networks = listed("images"), listed("network", "ls")
    yield root
    root.podman("rmi", "--force", *listed("images") - images)
    root.podman("network", "rm", "--force", *listed("network", "ls") - networks)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", share(filter(_is_kept, CASES), 3))
def test_podman_plays_what_podman_run_makes_where_the_export_tells_no_loss(
    pods: Place, name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    (file,) = _in_a_pod(case, str(pods.data)).files
    (tmp_path / "every.yaml").write_text(file.text)
    try:
        for container, of in (("every-cli", CASES["nothing"]), ("every-again", case)):
            status, said = pods.podman("create", "--name", container, *_by_hand(pods, of), status=None)
            if status:
                pytest.skip(f"podman refuses it here: {said}")
        asked = differences(pods.settings("every-again"), pods.settings("every-cli"))
        pods.podman("kube", "play", "--start=false", str(tmp_path / "every.yaml"))
        own, shared = (differences(pods.settings(each), {}) for each in ("every-x", pods.infra("every")))
        for path, (wanted, _) in asked.items():
            # What containers share belongs to the Pod's own.
            made = [own.get(path, (None, None))[0], *shared.get(path, ())[:1]]
            assert _OF_A_POD.match(path) or wanted in made, path
    finally:
        pods.podman("pod", "rm", "--all", "--force", "--time", "0")
        pods.remove("every-cli", "every-again")
