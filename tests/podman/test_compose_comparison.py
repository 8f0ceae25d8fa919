"""Real compose files: podman-compose's containers and ours are the same, but for what is listed here with its reason.

MCP_COMPOSE_CORPUS is a folder with compose files; MCP_COMPOSE_COMPARED says how many of them are compared (a few by
default, 0 for all).
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from protos.parts import Health
from protos.spec import Service, examine_service
from tests.podman.node import Node, run
from tests.support.compose_comparison import Difference, differences, facts
from tests.support.corpus import files, plausible

CORPUS = os.environ.get("MCP_COMPOSE_CORPUS", "")
COMPARED = int(os.environ.get("MCP_COMPOSE_COMPARED", "6"))
IMAGE = "localhost/mcp-demo:v1"

pytestmark = pytest.mark.skipif(not CORPUS, reason="MCP_COMPOSE_CORPUS names no folder with compose files to compare")


# Differences that are meant, each with its reason.
EXCUSES: dict[str, Callable[[Difference, Any, Any], bool]] = {}


class Compared:
    """What came of it."""

    def __init__(self) -> None:
        self.files = 0
        self.refused_by_compose: dict[str, str] = {}
        self.refused_by_us: dict[str, str] = {}
        self.containers = 0
        self.excused: collections.Counter[str] = collections.Counter()
        self.found: list[tuple[str, Difference]] = []

    def __str__(self) -> str:
        lines = [
            f"{self.files} files, {self.containers} containers compared; {len(self.refused_by_compose)} files that "
            f"podman-compose refuses, {len(self.refused_by_us)} that we do",
            *(f"  we refuse {name}: {why}" for name, why in self.refused_by_us.items()),
            *(f"  podman-compose refuses {name}: {why}" for name, why in self.refused_by_compose.items()),
            *(f"{count:5d}  {reason}" for reason, count in self.excused.most_common()),
            *(f"  {name}: {each}" for name, each in self.found),
        ]
        return "\n".join(lines)


def test_the_containers_of_compose_files_are_those_that_compose_makes(node: Node, tmp_path: Path) -> None:
    chosen = files(Path(CORPUS))
    chosen = sorted(chosen, key=lambda each: hashlib.sha256(each.name.encode()).digest())[: COMPARED or None]
    compared = Compared()
    for each in chosen:
        compare(node, each, compared, tmp_path)
    print(compared)
    assert compared.found == []
    assert compared.containers


def compare(node: Node, file: Path, compared: Compared, scratch: Path) -> None:
    project = f"c{secrets.token_hex(4)}"
    environment = {**plausible(file), **node.environment, "COMPOSE_PROJECT_NAME": project}
    name = str(file.relative_to(CORPUS))
    compared.files += 1
    # A copy: what compose creates beside the file must not be there.
    folder = scratch / project
    shutil.copytree(file.parent, folder)
    copy = folder / file.name
    made: list[Path] = []
    try:
        theirs = by_compose(node, copy, project, environment, made)
        if isinstance(theirs, str):
            compared.refused_by_compose[name] = theirs
            return
        try:
            ours = by_us(node, copy, project, environment)
        except AssertionError as error:
            compared.refused_by_us[name] = _last_lines(str(error))
            return
        judge(name, project, str(folder), theirs, ours, compared)
    finally:
        clear(node, project)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(Path("/srv") / project, ignore_errors=True)
        for path in sorted(made, reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()


def judge(
    name: str, project: str, folder: str, theirs: dict[str, Any], ours: dict[str, Any], compared: Compared
) -> None:
    for component in sorted(theirs.keys() & ours.keys()):
        compared.containers += 1
        one, other = facts(theirs[component], project, folder), facts(ours[component], project)
        other["health check"] = ours[component]["declared probe"]
        for each in differences(component, one, other):
            if reason := excuse(each, theirs[component], ours[component]):
                compared.excused[reason] += 1
            else:
                compared.found.append((name, each))
    for component in sorted(theirs.keys() ^ ours.keys()):
        compared.found.append((name, Difference(component, "exists", component in theirs, component in ours)))


def excuse(difference: Difference, theirs: Any, ours: Any) -> str:
    """Why a difference is right; "" when it is not."""
    return next((reason for reason, is_it in EXCUSES.items() if is_it(difference, theirs, ours)), "")


# -- both sides


def by_compose(
    node: Node, file: Path, project: str, environment: dict[str, str], made: list[Path]
) -> dict[str, Any] | str:
    """podman-compose's containers by service; its last words when it refuses the file.

    ``made`` gets the folders of this machine that both create, since containers mount them.
    """
    argv = [sys.executable, "-m", "podman_compose", "--in-pod=false", "-p", project, "-f", str(file)]
    done = run([*argv, "config"], env=environment, status=None)
    while missing := re.search(r"RuntimeError: volume \[([^]]+)\] not defined in top level", done.stderr):
        declare_volume(file, missing[1])
        done = run([*argv, "config"], env=environment, status=None)
    if done.returncode == 0:
        services = yaml.safe_load(done.stdout).get("services", {})
        made += missing_folders(services)
        have_images(node, services, project)
        done = run([*argv, "up", "--no-start", "--no-build", "--pull=never"], env=environment, status=None)
    found = inspected(node, f"label=io.podman.compose.project={project}", "com.docker.compose.service")
    return _last_lines(done.stderr) or "it made nothing" if done.returncode or not found else found


def declare_volume(file: Path, name: str) -> None:
    """What some collections leave to whoever takes their files, and compose insists on."""
    text = file.read_text()
    line = f"  {name}: {{}}\n"
    has_some = re.search(r"(?m)^volumes:[ \t]*\n", text)
    file.write_text(text[: has_some.end()] + line + text[has_some.end() :] if has_some else f"{text}\nvolumes:\n{line}")


def by_us(node: Node, file: Path, project: str, environment: dict[str, str]) -> dict[str, Any]:
    argv = ["mcpctl", "service", "import", str(file), "--name", project, "--node", node.name]
    run(argv, env={**environment, "MCP_CONFIG": node.environment["MCP_CONFIG"]})
    definition = node.folder / "services" / f"{project}.toml"
    text = definition.read_text()
    for image in re.findall(r'(?m)^image = "([^"@]+)"', text):
        node.podman("tag", IMAGE, image, status=None)
    # What is not to run is created and not started, as compose is asked to.
    definition.write_text(re.sub(r"(?m)^(node = .*)$", r"\1\nactive = false", text, count=1))
    for secret in re.findall(r"needs the secret (\S+),", node.mcpctl("deploy", project, status=None).stderr):
        node.podman("secret", "create", "--replace", secret, "-", stdin=b"x", status=None)
    node.mcpctl("deploy", project)
    service, _ = examine_service(tomllib.loads(definition.read_text()))
    assert service
    found = inspected(node, f"label=mcp.service={project}", "mcp.component")
    return {name: {**each, "declared probe": service_probe(service, name)} for name, each in found.items()}


def service_probe(service: Service, name: str) -> Health | None:
    component = service.component(name)
    return component.probe if component else None


def inspected(node: Node, label: str, by: str) -> dict[str, Any]:
    ids = node.podman("ps", "--all", "--quiet", "--filter", label).split()
    found = json.loads(node.podman("container", "inspect", *ids)) if ids else []
    return {each["Config"]["Labels"][by].replace("_", "-").lower(): each for each in found}


def missing_folders(services: dict[str, Any]) -> list[Path]:
    mounts = (mount for each in services.values() for mount in each.get("volumes") or ())
    sources = {each.get("source") if isinstance(each, dict) else each.partition(":")[0] for each in mounts}
    places = [Path(each) for each in sources if each and each.startswith("/")]
    return [path for place in places for path in (place, *place.parents) if not path.exists()]


def have_images(node: Node, services: dict[str, Any], project: str) -> None:
    """One small image, under every name that the file has."""
    for key, each in services.items():
        for image in (each.get("image"), *(f"localhost/{project}{mark}{key}" for mark in "_-")):
            if image and "@" not in image:
                for full in full_names(image):
                    node.podman("tag", IMAGE, full, status=None)


def full_names(image: str) -> list[str]:
    first, slash, _ = image.partition("/")
    if slash and (first == "localhost" or any(each in first for each in ".:")):
        return [image]
    return [image, f"docker.io/{image}" if slash else f"docker.io/library/{image}"]


def clear(node: Node, project: str) -> None:
    ids = node.podman("ps", "--all", "--quiet", "--filter", f"label=io.podman.compose.project={project}").split()
    if ids:
        node.podman("rm", "--force", "--time", "0", "--volumes", *ids, status=None)
    node.mcpctl("undeploy", project, "--node", node.name, status=None)
    (node.folder / "services" / f"{project}.toml").unlink(missing_ok=True)
    for kind in ("volume", "network"):
        names = node.podman(kind, "ls", "--format", "{{.Name}}").split()
        for name in (each for each in names if each.startswith(project)):
            node.podman(kind, "rm", "--force", name, status=None)
    kept = {IMAGE, "localhost/mcp-demo:v2", "localhost/mcp-demo:broken"}
    for image in set(node.podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()) - kept:
        if not image.startswith("<none>"):
            node.podman("untag", image, image, status=None)


def _last_lines(text: str) -> str:
    return " / ".join(line for line in text.splitlines()[-6:] if line.strip())[:400]
