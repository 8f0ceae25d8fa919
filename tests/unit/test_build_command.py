"""`mcpctl build` and `deploy --build` with a program that stands for the engine: what is run, said, and refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.actions import image_push
from mcpctl.errors import RegistryError
from mcpctl.images.registries import published, tokens
from mcpctl.images.registries.reference import Reference
from protos.mcp import v1
from tests.support.agent import JSON, Node, Run
from tests.support.engines import IMAGE_ID, Engine
from tests.support.offline import run_process

REGISTRY = "registry.example.net"
IMAGE = f"{REGISTRY}/team/api:1.0"
COMPONENT = '[[components]]\nname = "{name}"\nimage = "{image}"\n{more}'
BUILD = '[components.build]\ncontext = "../app"\n'
OTHER_ID = "f" * 64


def define(folder: Path, *components: str, service: str = "web", node: str = "rift") -> Path:
    path = folder / f"services/{service}.toml"
    path.write_text(f'name = "{service}"\nnode = "{node}"\n{"".join(components)}')
    return path


def component(name: str = "api", image: str = IMAGE, more: str = BUILD) -> str:
    return COMPONENT.format(name=name, image=image, more=more)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def podman(programs: Path, deploying: Node, tmp_path: Path) -> Engine:  # noqa: ARG001
    """The engine that is found, and a definition with something to build."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/Dockerfile").write_text("FROM scratch\n")
    define(tmp_path, component())
    return Engine(programs, "podman", image="echo sha256:" + OTHER_ID + "; exit 0")


class Registry:
    """What the registry has under every tag: one answer after the other, the last one for good."""

    def __init__(self, *answers: frozenset[str] | RegistryError | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def ids(self, reference: Reference) -> frozenset[str] | None:
        self.asked.append(str(reference))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, RegistryError):
            raise answer
        return answer


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """It has nothing."""
    made = Registry(None)
    monkeypatch.setattr(published, "ids", made.ids)
    return made


class Bringing:
    def __init__(self) -> None:
        self.brought: list[tuple[str, str, list[str]]] = []
        self.status = 0

    def bring(self, _: object, image: str, target: str, nodes: list[object], __: object, **more: str) -> int:
        assert more == {"engine": "podman", "platform": ""}
        self.brought.append((image, target, [getattr(each, "name", "") for each in nodes]))
        return self.status


@pytest.fixture
def bringing(monkeypatch: pytest.MonkeyPatch) -> Bringing:
    made = Bringing()
    monkeypatch.setattr(image_push, "bring", made.bring)
    return made


# -- build


def test_an_image_is_built_in_the_definitions_folder_and_tagged_as_it_says(
    run: Run, podman: Engine, tmp_path: Path
) -> None:
    status, out, err = run("build", "web")
    assert status == 0
    (call,) = podman.calls
    context = f"{tmp_path}/services/../app"
    assert call.argv == ["build", "--tag", IMAGE, "--iidfile", "FILE", "--file", f"{context}/Dockerfile", context]
    assert call.folder == f"{tmp_path}/services"
    assert err == f"mcpctl: web/api: building {IMAGE} with podman\n"
    assert out == f"{IMAGE}: built with podman in 0s: {IMAGE_ID[:12]}\n"


def test_as_json_a_build_is_a_row_and_the_engines_output_is_on_stderr(podman: Engine, tmp_path: Path) -> None:
    del podman
    done = run_process(tmp_path, "-m", "mcpctl", "build", "web", *JSON)
    (row,) = json.loads(done.out)
    assert row.pop("seconds") >= 0
    assert row == {
        "image": IMAGE,
        "id": IMAGE_ID,
        "components": ["web/api"],
        "engine": "podman",
        "commit": "",
        "dirty": False,
        "registry": "",
    }
    assert "output of build" in done.err
    quiet = run_process(tmp_path, "-m", "mcpctl", "build", "web", "--quiet")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "output of build\n")
    shown = run_process(tmp_path, "-m", "mcpctl", "build", "web")
    assert shown.out.startswith("output of build\n")


def test_an_image_of_several_components_is_built_once(run: Run, podman: Engine, tmp_path: Path) -> None:
    define(tmp_path, component(), component("worker"), component("db", "localhost/db:1"), component("plain", "x:1", ""))
    rows = json.loads(run("build", "web", *JSON).out)
    assert [row["components"] for row in rows] == [["web/api", "web/worker"], ["web/db"]]
    assert [argv[2] for argv in podman.argvs("build")] == [IMAGE, "localhost/db:1"]
    assert [row["components"] for row in json.loads(run("build", "web/worker", *JSON).out)] == [["web/worker"]]


def test_the_platform_of_the_component_is_built_for(run: Run, podman: Engine, tmp_path: Path) -> None:
    define(tmp_path, component(more=f'platform = "linux/arm64"\n{BUILD}'))
    assert run("build", "web").status == 0
    (argv,) = podman.argvs("build")
    assert argv[argv.index("--platform") + 1] == "linux/arm64"


@pytest.mark.parametrize(("made", "builds"), [("linux/amd64", 2), ("linux/arm64", 1), ("?", 1)])
@pytest.mark.parametrize("engine", ["podman", "buildah"])
def test_cached_layers_of_another_platform_are_not_taken(
    run: Run, tmp_path: Path, podman: Engine, engine: str, made: str, builds: int
) -> None:
    folder = podman.folder
    asked = Engine(folder, engine, **{"image" if engine == "podman" else "inspect": f"echo {made}; exit 0"})
    define(tmp_path, component(more=f'platform = "linux/arm64/v8"\n{BUILD}'))
    status, _, err = run("build", "web", "--with", engine)
    assert status == 0
    argvs = asked.argvs("build")
    assert ["--no-cache" in each for each in argvs] == [False, True][:builds]
    assert (f"the cached layers are for {made}: building again without them" in err) == (builds == 2)


def test_secrets_are_named_and_their_values_stay_where_they_are(
    run: Run, podman: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "sesame")
    (tmp_path / "services/token").write_text("sesame")
    define(tmp_path, component(more=f'{BUILD}secrets = ["id=token,src=token", "id=key,env=API_KEY"]\n'))
    status, out, err = run("build", "web", *JSON)
    assert status == 0
    (argv,) = podman.argvs("build")
    assert argv.count("--secret") == 2
    assert "sesame" not in " ".join([*argv, out, err])


@pytest.mark.parametrize("has_buildx", [True, False])
def test_docker_builds_with_buildkit(
    run: Run, podman: Engine, programs: Path, tmp_path: Path, *, has_buildx: bool
) -> None:
    define(tmp_path, component(more=f'{BUILD}ssh = ["default"]\n'))
    docker = Engine(programs, "docker", **({} if has_buildx else {"buildx": "exit 1"}))
    row = json.loads(run("build", "web", "--with", "docker", *JSON).out)[0]
    asked, built = docker.calls
    assert (row["engine"], row["id"]) == ("docker", IMAGE_ID)
    assert asked.argv == ["buildx", "version"]
    assert built.argv[:3] == (["buildx", "build", "--load"] if has_buildx else ["build", "--tag", IMAGE])
    assert built.buildkit == ("" if has_buildx else "1")
    assert podman.calls == []


def test_a_build_that_fails_says_how_and_pushes_nothing(
    run: Run, podman: Engine, programs: Path, registry: Registry
) -> None:
    del registry
    failing = Engine(programs, "podman", build="exit 125")
    del podman
    status, out, err = run("build", "web", "--push", *JSON)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1] == (f"mcpctl: web/api: podman build ended with exit status 125: {IMAGE} was not built")
    assert failing.argvs("push") == []


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            f"{REGISTRY}/api",
            f"{REGISTRY}/api has no tag, so that nobody knows which one runs: write {REGISTRY}/api:1.0",
        ),
        (f"{IMAGE}@sha256:{OTHER_ID}", f"has a digest, which only the built image has: write image = '{IMAGE}'"),
        ("api:1.0", "api:1.0 names no registry: write localhost/api:1.0 for an image that is brought to the node"),
        ("team/api:1.0", "names no registry: write localhost/team/api:1.0"),
    ],
)
@pytest.mark.usefixtures("podman")
def test_an_image_that_cannot_be_a_tag_is_refused_with_what_to_write(
    run: Run, tmp_path: Path, image: str, words: str
) -> None:
    path = define(tmp_path, component(image=image))
    status, out, err = run("build", "web")
    assert (status, out) == (2, "")
    assert f"{path}: web/api: " in err
    assert words in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("web/plain",), "web/plain has no [components.build] in {}, which says how its image is built; add one below"),
        (("web", "none"), "none has no [components.build] in {}/none.toml"),
        ((), "name what to build: `mcpctl build SERVICE`"),
        (("web", "--force"), "--force needs --push"),
        (("web", "--with", "nerdctl"), 'Choose from: "podman", "buildah", "docker"'),
    ],
)
def test_what_cannot_be_built_is_refused(
    run: Run, podman: Engine, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    define(tmp_path, component(), component("plain", "x:1", ""))
    define(tmp_path, component("one", "x:1", ""), service="none")
    status, out, err = run("build", *words)
    assert (status, out) == (2, "")
    assert said.partition(" in {}")[0] in err
    assert podman.calls == []


@pytest.mark.usefixtures("podman")
def test_one_image_cannot_be_built_in_two_ways(run: Run, tmp_path: Path) -> None:
    define(tmp_path, component(), component("worker", more=f'{BUILD}target = "worker"\n'))
    status, _, err = run("build", "web")
    assert status == 2
    assert f"web/api and web/worker build {IMAGE} differently; give one of them another image" in err


# -- git


def commit_all(folder: Path) -> str:
    git = ["git", "-C", str(folder), "-c", "user.name=kyle", "-c", "user.email=kyle@example.net"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "begin"]):
        subprocess.run([*git, *words], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.usefixtures("podman")
def test_a_dirty_tree_is_told_before_the_build_and_again_when_it_was_pushed(
    run: Run, tmp_path: Path, registry: Registry
) -> None:
    del registry
    commit = commit_all(tmp_path / "app")
    (row,) = json.loads(run("build", "web", *JSON).out)
    assert (row["commit"], row["dirty"]) == (commit, False)
    for name in "abcde":
        (tmp_path / "app" / name).touch()
    status, _, err = run("build", "web", "--push")
    lines = err.splitlines()
    assert status == 0
    assert lines[0] == (
        f"mcpctl: web/api: the git tree of {tmp_path}/services/../app is dirty: 5 files or folders are changed or "
        "untracked: a, b, c and 2 more"
    )
    assert lines[1] == f"mcpctl: web/api: building {IMAGE} with podman"
    assert lines[-1] == f"mcpctl: {IMAGE} was pushed from a dirty git tree: commit {commit[:12]} is not all of it"
    (row,) = json.loads(run("build", "web", *JSON).out)
    assert (row["commit"], row["dirty"]) == (commit, True)


# -- build --push


def test_an_image_whose_tag_is_new_is_pushed(run: Run, podman: Engine, registry: Registry) -> None:
    (row,) = json.loads(run("build", "web", "--push", *JSON).out)
    assert row["registry"] == "pushed"
    assert podman.argvs("push") == [["push", IMAGE]]
    assert registry.asked == [IMAGE, IMAGE]


def test_a_tag_that_is_taken_is_refused_before_anything_is_built(run: Run, podman: Engine, registry: Registry) -> None:
    registry.answers = [frozenset({IMAGE_ID})]
    status, out, err = run("build", "web", "--push")
    assert (status, out) == (1, "")
    assert f"mcpctl: web/api: the registry has another image as {IMAGE}: raise the tag in " in err
    assert "or `mcpctl build web/api --push --force` overwrites it; nothing was built" in err
    assert podman.argvs("build") == []


def test_a_tag_that_is_taken_meanwhile_is_not_overwritten(run: Run, podman: Engine, registry: Registry) -> None:
    registry.answers = [None, frozenset({OTHER_ID})]
    status, _, err = run("build", "web", "--push")
    assert status == 1
    assert "overwrites it; it was built and not pushed" in err
    assert podman.argvs("push") == []


def test_what_the_registry_has_already_is_not_pushed_again(run: Run, podman: Engine, registry: Registry) -> None:
    """What is here under the name is what the registry has: the build may have that come out again."""
    registry.answers = [frozenset({OTHER_ID}), frozenset({IMAGE_ID, OTHER_ID})]
    status, out, _ = run("build", "web", "--push")
    assert status == 0
    assert out.endswith(", which its registry has already\n")
    assert podman.argvs("push") == []


def test_force_overwrites_a_tag_and_asks_nobody(run: Run, podman: Engine, registry: Registry) -> None:
    registry.answers = [RegistryError("not to be asked")]
    (row,) = json.loads(run("build", "web", "--push", "--force", *JSON).out)
    assert (row["registry"], registry.asked) == ("pushed", [])
    assert podman.argvs("push") == [["push", IMAGE]]


def test_a_registry_that_does_not_say_is_told_in_its_words(run: Run, podman: Engine, registry: Registry) -> None:
    registry.answers = [RegistryError("the image registry is slow"), tokens.needs_login("r.example")]
    status, _, err = run("build", "web", "--push")
    assert status == 1
    assert err.splitlines()[-2:] == [
        "mcpctl: web/api: the image registry is slow",
        "nothing was built; `mcpctl build web/api --push --force` pushes without asking",
    ]
    # Not asking would be of no use.
    status, _, err = run("build", "web", "--push")
    assert status == 1
    assert err.splitlines()[-2:] == [
        "mcpctl: web/api: the image registry r.example wants a login; there is none: run `podman login r.example`",
        "nothing was built",
    ]
    assert podman.argvs("build") == []


def test_what_has_no_registry_is_not_built_to_be_pushed(run: Run, podman: Engine, tmp_path: Path) -> None:
    define(tmp_path, component(image="localhost/api:1.0"))
    status, _, err = run("build", "web", "--push")
    assert status == 2
    assert "localhost/api:1.0 names no registry that it could be pushed to; `mcpctl image push web/api` brings" in err
    assert podman.calls == []


def test_a_push_that_fails_says_what_was_pushed_before(
    run: Run, podman: Engine, programs: Path, tmp_path: Path, registry: Registry
) -> None:
    del registry, podman
    other = f"{REGISTRY}/team/other:1.0"
    define(tmp_path, component(), component("other", other))
    Engine(programs, "podman", push=f'if [ "$2" = {other} ]; then exit 3; fi')
    status, _, err = run("build", "web", "--push")
    assert status == 1
    assert err.splitlines()[-1] == (
        f"mcpctl: web/other: podman push ended with exit status 3: {other} was built and not pushed; "
        f"pushed before: {IMAGE}"
    )


# -- deploy --build


def deployed(node: Node) -> bool:
    return any(isinstance(each, v1.DeployRequest) for each in node.agent.requests)


def test_a_deploy_builds_pushes_and_names_the_components_that_are_new(
    run: Run, podman: Engine, deploying: Node, tmp_path: Path, registry: Registry, bringing: Bringing
) -> None:
    del registry
    define(tmp_path, component(), component("plain", "x:1", ""), component("worker", more=""))
    status, out, err = run("deploy", "web", "--build")
    assert status == 0, err
    _, request = deploying.agent.requests
    # The worker uses the image that the definition says how to build at another component.
    assert request.built == ["api", "worker"]
    assert podman.argvs("push") == [["push", IMAGE]]
    assert bringing.brought == []
    assert f"mcpctl: {IMAGE}: built with podman in 0s: {IMAGE_ID[:12]}, pushed" in err.splitlines()
    assert out.startswith("COMPONENT")


@pytest.mark.parametrize(("image", "more"), [("localhost/api:1.0", BUILD), (IMAGE, f'pull = "never"\n{BUILD}')])
def test_what_the_node_does_not_pull_goes_to_it_directly(
    run: Run, podman: Engine, deploying: Node, tmp_path: Path, bringing: Bringing, image: str, more: str
) -> None:
    define(tmp_path, component(image=image, more=more))
    assert run("deploy", "web/api", "--build").status == 0
    assert bringing.brought == [(image, "web/api", ["rift"])]
    assert podman.argvs("push") == []
    assert deploying.agent.requests[-1].built == ["api"]


def test_what_could_not_be_brought_is_not_deployed(
    run: Run, podman: Engine, deploying: Node, tmp_path: Path, bringing: Bringing
) -> None:
    del podman
    define(tmp_path, component(image="localhost/api:1.0"))
    bringing.status = 1
    status, _, err = run("deploy", "web", "--build")
    assert status == 1
    assert "localhost/api:1.0 was built, but not brought to every node; nothing was deployed" in err
    assert not deployed(deploying)


def test_several_services_are_built_before_any_is_deployed(
    run: Run, podman: Engine, deploying: Node, tmp_path: Path, bringing: Bringing
) -> None:
    define(tmp_path, component("app", "localhost/app:1.0"), service="app")
    define(tmp_path, component("plain", "x:1", ""), service="plain")
    define(tmp_path, component(image="localhost/app:1.0"))
    assert run("deploy", "web", "plain", "app", "--build").status == 0
    assert len(podman.argvs("build")) == 1
    assert bringing.brought == [("localhost/app:1.0", "web/api", ["rift"])]
    built = {each.service.name: each.built for each in deploying.agent.requests if hasattr(each, "built")}
    assert built == {"web": ["api"], "plain": [], "app": ["app"]}


def test_a_tag_that_is_taken_stops_a_deploy_before_it_builds(
    run: Run, podman: Engine, deploying: Node, registry: Registry
) -> None:
    registry.answers = [frozenset({IMAGE_ID})]
    status, _, err = run("deploy", "web", "--build")
    assert status == 1
    assert "raise the tag" in err
    assert podman.argvs("build") == []
    assert not deployed(deploying)


def test_what_the_node_would_refuse_is_not_built(
    run: Run, podman: Engine, deploying: Node, tmp_path: Path, registry: Registry
) -> None:
    del registry
    define(tmp_path, component())
    deploying.agent.prepared["PlanRequest"] = GRPCError(Status.FAILED_PRECONDITION, "no proxy is set up")
    status, _, err = run("deploy", "web", "--build")
    assert status == 1
    assert "no proxy is set up" in err
    assert podman.argvs("build") == podman.argvs("push") == []
    assert not deployed(deploying)


@pytest.mark.usefixtures("podman", "registry")
def test_as_json_a_deploy_that_builds_prints_the_deploy_alone(tmp_path: Path, run: Run) -> None:
    out = run("deploy", "web", "--build", *JSON).out
    assert [sorted(json.loads(line)) for line in out.splitlines()] == [
        ["operation", "progress"],
        ["operation", "outcome"],
    ]
    del tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("web", "--build", "--dry-run"), "--build cannot be given with --dry-run: what a build makes is not known"),
        (("web", "--build", "--plan", "p1"), "--build cannot be given with --plan"),
        (("web", "--build", "--image", "x:2"), "--build cannot be given with --image: it builds the image that"),
        (("--build", "--yes"), "--build needs a service"),
        (("web", "--with", "podman"), "--with needs --build"),
        (("plain", "--build"), "nothing of plain has a build in its definition; `mcpctl deploy plain` deploys it"),
    ],
)
def test_what_a_deploy_cannot_build_is_refused(
    run: Run, podman: Engine, deploying: Node, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    define(tmp_path, component("plain", "x:1", ""), service="plain")
    status, _, err = run("deploy", *words)
    assert status == 2
    assert said in err
    assert (podman.calls, deploying.agent.requests) == ([], [])


def test_nothing_is_built_for_a_node_that_is_not_active(
    run: Run, podman: Engine, deploying: Node, tmp_path: Path, bringing: Bringing
) -> None:
    del deploying
    config = tmp_path / "mcp.toml"
    config.write_text(config.read_text() + 'state = "down"\n')
    define(tmp_path, component("app", "localhost/app:1.0"), service="app", node="orion")
    define(tmp_path, component(image="localhost/api:1.0"))
    assert "node orion is down, so nothing was sent" in run("deploy", "app", "--build").err
    assert podman.calls == []
    run("deploy", "web", "app", "--build")
    assert [each[0] for each in bringing.brought] == ["localhost/api:1.0"]
