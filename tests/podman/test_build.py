"""`mcpctl build` and `mcpctl deploy --build`, with real engines, and a real registry with TLS and a password."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.podman.node import COMMAND_DEADLINE_S, Node, run, running
from tests.podman.registry import PASSWORD, USER, Secured, secured
from tests.support.forked_mcpctl import FORKS
from tests.support.waiting import until

DEFINITION = """\
name = "crafted"
node = "NODE"
[[components]]
name = "web"
image = "IMAGE"
stop_timeout = "1s"
[components.build]
context = "../source"
args = { GREETING = "hello" }
secrets = ["id=recipe,src=../source/recipe"]
[[components]]
name = "beside"
image = "localhost/mcp-demo:v1"
"""
CONTAINERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY page /page
CMD ["/bin/busybox", "sleep", "1000"]
"""


class Workstation:
    """Where images are built: an engine with a storage of its own, beside a node."""

    def __init__(self, folder: Path, node: Node, registry: Secured, engine: str) -> None:
        self.node = node
        self.registry = registry
        self.engine = engine
        self.source = node.folder / "source"
        storage = folder / "storage.conf"
        # Without mounts, which would have to be undone.
        storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/run"\n')
        self.auth = folder / "auth.json"
        # What an engine leaves there when it is interrupted.
        (folder / "tmp").mkdir()
        kept = {name: value for name, value in node.environment.items() if not name.startswith("CONTAINER")}
        self.environment = {
            **kept,
            "CONTAINERS_STORAGE_CONF": str(storage),
            "TMPDIR": str(folder / "tmp"),
            "BUILDAH_ISOLATION": "chroot",
            "REGISTRY_AUTH_FILE": str(self.auth),
            "SSL_CERT_FILE": str(registry.ca),
        }

    def mcpctl(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        if words[0] == "build" or "--build" in words:
            words = (*words, "--with", self.engine)
        done = FORKS.run(list(words), self.environment, COMMAND_DEADLINE_S)
        assert done.returncode == status, f"{done.args}\n{done.stdout}\n{done.stderr}"
        return done

    def built(self, *words: str) -> dict[str, Any]:
        (row,) = json.loads(self.mcpctl("build", *words, "--output", "json").stdout)
        return dict(row)

    def login(self, password: str = PASSWORD) -> None:
        self.auth.write_text("{}")
        argv = ["podman", "login", "--username", USER, "--password-stdin", self.registry.address]
        run(argv, env=self.environment, stdin=PASSWORD.encode())
        if password != PASSWORD:
            right, wrong = (_basic(USER, each) for each in (PASSWORD, password))
            self.auth.write_text(self.auth.read_text().replace(right, wrong))

    def define(self, repository: str, tag: str, *, registry: str = "") -> None:
        image = f"{registry or self.registry.address}/{repository}:{tag}"
        self.node.define("crafted", DEFINITION.replace("IMAGE", image))

    def write(self, page: str) -> None:
        self.source.mkdir(exist_ok=True)
        (self.source / "Containerfile").write_text(CONTAINERFILE)
        (self.source / "page").write_text(page)
        (self.source / "recipe").write_text("sesame")
        busybox = shutil.which("busybox")
        assert busybox
        shutil.copy(busybox, self.source / "busybox")

    def page(self) -> str:
        """What the container that runs was built from."""
        return self.node.podman("exec", "crafted-web", "/bin/busybox", "cat", "/page")


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def builder(registry: Secured, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that may pull from the registry."""
    folder = tmp_path_factory.mktemp("building")
    auth = folder / "run/containers/auth.json"
    auth.parent.mkdir(parents=True)
    given = {"SSL_CERT_FILE": str(registry.ca), "XDG_RUNTIME_DIR": str(folder / "run")}
    entry = {"auths": {registry.address: {"auth": _basic(USER, PASSWORD)}}}
    auth.write_text(json.dumps(entry))
    with running(Node(folder / "node", "builder", **given)) as node:
        yield node


@pytest.fixture(params=["podman", "buildah"])
def workstation(request: pytest.FixtureRequest, builder: Node, registry: Secured) -> Iterator[Workstation]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    # podman takes no path of more than 50 characters for what runs.
    with tempfile.TemporaryDirectory(prefix="mcp-b-") as folder:
        made = Workstation(Path(folder), builder, registry, request.param)
        made.login()
        made.write("first")
        yield made
        builder.clear()
        shutil.rmtree(made.source)


def repository(workstation: Workstation, name: str) -> str:
    """The registry is one for all tests, and forgets nothing."""
    return f"{workstation.engine}/{name}"


def test_an_image_is_built_pushed_and_never_overwritten_unasked(workstation: Workstation) -> None:
    name = repository(workstation, "tags")
    workstation.define(name, "1.0")
    row = workstation.built("crafted", "--push")
    image = f"{workstation.registry.address}/{name}:1.0"
    assert (row["image"], row["components"], row["registry"]) == (image, ["crafted/web"], "pushed")
    assert (row["engine"], row["commit"], row["dirty"]) == (workstation.engine, "", False)
    again = workstation.built("crafted/web", "--push")
    assert (again["id"], again["registry"]) == (row["id"], "unchanged")
    workstation.write("second")
    refused = workstation.mcpctl("build", "crafted", "--push", status=1).stderr
    assert f"crafted/web: the registry has another image as {image}: raise the tag" in refused
    assert "it was built and not pushed" in refused
    # What is here is another image now: that is known before anything is built.
    refused = workstation.mcpctl("build", "crafted", "--push", status=1).stderr
    assert "nothing was built" in refused
    assert ": building " not in refused
    forced = workstation.built("crafted", "--push", "--force")
    assert forced["registry"] == "pushed"
    assert forced["id"] != row["id"]
    assert workstation.built("crafted", "--push")["registry"] == "unchanged"


def test_a_wrong_password_is_told_in_words_before_anything_is_built(workstation: Workstation) -> None:
    workstation.define(repository(workstation, "password"), "1.0")
    workstation.login("battery staple")
    refused = workstation.mcpctl("build", "crafted", "--push", status=1).stderr
    assert "refuses the login: wrong user name or password" in refused
    assert "nothing was built" in refused
    assert "staple" not in refused
    # Unasked, the engine says it itself.
    refused = workstation.mcpctl("build", "crafted", "--push", "--force", status=1).stderr
    assert "push ended with exit status" in refused
    assert "was built and not pushed" in refused


def test_a_deploy_that_builds_runs_what_was_built_also_under_a_tag_that_was_overwritten(
    workstation: Workstation,
) -> None:
    workstation.define(repository(workstation, "deployed"), "1.0")
    workstation.mcpctl("deploy", "crafted", "--build")
    assert workstation.page() == "first"
    pids = workstation.node.pids()
    # Nothing has changed: nothing is pushed, pulled into another image, or replaced.
    workstation.mcpctl("deploy", "crafted", "--build")
    assert workstation.node.pids() == pids
    workstation.write("second")
    refused = workstation.mcpctl("deploy", "crafted", "--build", status=1).stderr
    assert "raise the tag" in refused
    assert workstation.node.pids() == pids
    workstation.mcpctl("build", "crafted", "--push", "--force")
    done = workstation.mcpctl("deploy", "crafted", "--build")
    assert "its image was built anew" in done.stdout
    assert workstation.page() == "second"
    assert workstation.node.pids()["crafted-beside"] == pids["crafted-beside"]
    workstation.write("third")
    workstation.define(repository(workstation, "deployed"), "1.1")
    workstation.mcpctl("deploy", "crafted/web", "--build")
    assert workstation.page() == "third"


def test_what_has_no_registry_is_brought_to_the_node_and_replaces_what_had_its_name(workstation: Workstation) -> None:
    name = repository(workstation, "brought")
    workstation.define(name, "dev", registry="localhost")
    done = workstation.mcpctl("deploy", "crafted", "--build", "--output", "json")
    assert all({*json.loads(line)} <= {"operation", "progress", "outcome"} for line in done.stdout.splitlines())
    assert workstation.page() == "first"
    pids = workstation.node.pids()
    workstation.mcpctl("deploy", "crafted", "--build")
    assert workstation.node.pids() == pids
    workstation.write("second")
    done = workstation.mcpctl("deploy", "crafted/web", "--build")
    assert "dev, its image was built anew" in done.stdout
    assert workstation.page() == "second"
    # What runs now is what a deploy without --build leaves alone.
    now = workstation.node.pids()
    assert "unchanged" in workstation.mcpctl("deploy", "crafted").stdout
    assert workstation.node.pids() == now
    assert now["crafted-beside"] == pids["crafted-beside"]


@pytest.mark.parametrize("is_local", [True, False], ids=["localhost", "registry"])
@pytest.mark.parametrize("is_built", [True, False], ids=["built", "plain"])
def test_a_deploy_without_its_image_says_which_command_brings_it(
    builder: Node, registry: Secured, *, is_built: bool, is_local: bool
) -> None:
    image = f"{'localhost' if is_local else registry.address}/nowhere/crafted:1.0"
    text = DEFINITION.replace("IMAGE", image)
    if not is_built:
        text = re.sub(r"\[components.build\]\n(.+ = .+\n)+", "", text)
    builder.define("crafted", text)
    said = builder.mcpctl("deploy", "crafted", status=1).stderr
    why = f"{image} is not on this node, and localhost/ is not an image registry: "
    assert (why if is_local else f"the image registry has no {image}: check the name; ") in said
    assert (
        (
            {
                (
                    True,
                    True,
                ): "`mcpctl deploy crafted/web --build` builds and brings it, `mcpctl image push crafted/web` ",
                (
                    True,
                    False,
                ): "`mcpctl build crafted/web --push` builds and pushes it, `mcpctl deploy crafted/web --build` ",
                (False, True): "`mcpctl image push crafted/web` brings it from your machine",
                (
                    False,
                    False,
                ): "`mcpctl image push crafted/web` brings it from your machine, or push it to the registry",
            }[is_built, is_local]
        )
        in said
    )
    assert ("push it to the registry" in said) is not (is_built or is_local)
    builder.clear()


def test_a_build_that_fails_pushes_and_deploys_nothing(workstation: Workstation) -> None:
    workstation.define(repository(workstation, "failing"), "1.0")
    (workstation.source / "Containerfile").write_text("FROM scratch\nCOPY nothing /\n")
    for command in (("build", "crafted", "--push"), ("deploy", "crafted", "--build")):
        failed = workstation.mcpctl(*command, status=1).stderr
        assert f"crafted/web: {workstation.engine} build ended with exit status" in failed
        assert "pushing" not in failed
    assert workstation.node.json("ps") == []


@pytest.mark.parametrize(
    ("number", "to_all", "ending"),
    [(signal.SIGINT, True, 130), (signal.SIGINT, False, 130), (signal.SIGTERM, False, 143)],
    ids=["terminal", "alone", "terminated"],
)
def test_what_ends_a_build_ends_the_engine_and_waits_for_it(
    workstation: Workstation, number: signal.Signals, ending: int, *, to_all: bool
) -> None:
    """A terminal sends Ctrl-C to all who run there; something else may send a signal to mcpctl alone."""
    workstation.define(repository(workstation, "interrupted"), "1.0")
    sleeping = ["/bin/busybox", "sleep", "54321"]
    lines = f"FROM scratch\nCOPY busybox /bin/busybox\nRUN {json.dumps(sleeping)}\n"
    (workstation.source / "Containerfile").write_text(lines)
    argv = [sys.executable, "-m", "mcpctl", "build", "crafted", "--with", workstation.engine]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv, env=workstation.environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            until(lambda: _running(sleeping), "the build runs a program")
            (os.killpg if to_all else os.kill)(process.pid, number)
            status = process.wait(COMMAND_DEADLINE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        printed = output.read().decode()
    assert status == ending, printed
    words = f"mcpctl: interrupted: {workstation.engine} was ended, "
    assert (words in printed) is (number == signal.SIGINT)
    assert not _running(sleeping)


def _running(argv: Sequence[str]) -> bool:
    """Whether a process has these words, possibly behind others."""
    wanted = b"\0".join(map(os.fsencode, argv)) + b"\0"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == wanted:
                return True
    return False
