"""The command lines that build and push, what they are built from, and what git says of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcpctl.errors import UsageError
from mcpctl.images.building import commands as build
from mcpctl.images.building import context, running, worktree
from mcpctl.images.building.commands import Recipe
from mcpctl.images.engine import Engine, Kind
from mcpctl.images.registries import published
from mcpctl.images.registries.reference import Reference, parse
from mcpctl.images.registries.registry import Manifest
from protos.parts import Build
from tests.support.waiting import until

IMAGE = "registry.example.net/team/web:1.0"
ALL = Build(
    "app",
    "docker/Dockerfile",
    "final",
    {"VERSION": "1.0", "EMPTY": ""},
    ("id=token,src=token.txt", "id=key,env=KEY"),
    ("default",),
)
WORDS = (
    *("--tag", IMAGE, "--iidfile", "/run/id", "--file", "/app/docker/Dockerfile", "--target", "final"),
    *("--platform", "linux/arm64", "--build-arg", "VERSION=1.0", "--build-arg", "EMPTY="),
    *("--secret", "id=token,src=token.txt", "--secret", "id=key,env=KEY", "--ssh", "default", "/app"),
)


def engine(kind: Kind) -> Engine:
    return Engine(kind, f"/usr/bin/{kind}")


def recipe(said: Build = ALL, dockerfile: str = "/app/docker/Dockerfile", platform: str = "linux/arm64") -> Recipe:
    return Recipe(IMAGE, said, "/app", dockerfile, Path("/definitions"), platform)


# -- the command lines


@pytest.mark.parametrize(
    ("kind", "has_buildx", "begins", "environment"),
    [
        (Kind.PODMAN, False, ("build",), {}),
        (Kind.BUILDAH, False, ("build", "--layers"), {}),
        (Kind.DOCKER, True, ("buildx", "build", "--load"), {}),
        (Kind.DOCKER, False, ("build",), {"DOCKER_BUILDKIT": "1"}),
    ],
)
def test_each_engine_is_told_all_that_the_definition_says(
    kind: Kind, begins: tuple[str, ...], environment: dict[str, str], *, has_buildx: bool
) -> None:
    command = build.building(engine(kind), recipe(), Path("/run/id"), has_buildx=has_buildx)
    assert command.argv == (f"/usr/bin/{kind}", *begins, *WORDS)
    assert command.environment == environment


def test_what_is_not_said_is_left_to_the_engine() -> None:
    command = build.building(engine(Kind.PODMAN), recipe(Build("app"), "", ""), Path("/run/id"))
    assert command.argv == ("/usr/bin/podman", "build", "--tag", IMAGE, "--iidfile", "/run/id", "/app")


def test_docker_without_buildx_is_told_to_use_buildkit_only_for_what_needs_it() -> None:
    def environment(said: Build) -> dict[str, str]:
        return dict(build.building(engine(Kind.DOCKER), recipe(said), Path("/run/id")).environment)

    assert environment(Build("app", args={"A": "b"})) == {}
    assert environment(Build("app", ssh=("default",))) == {"DOCKER_BUILDKIT": "1"}
    assert environment(Build("app", secrets=("id=a,src=b",))) == {"DOCKER_BUILDKIT": "1"}


def test_only_docker_is_asked_for_buildx() -> None:
    asked = build.asking_for_buildx(engine(Kind.DOCKER))
    assert asked is not None
    assert asked.argv == ("/usr/bin/docker", "buildx", "version")
    assert build.asking_for_buildx(engine(Kind.PODMAN)) is None
    assert build.asking_for_buildx(engine(Kind.BUILDAH)) is None


def test_an_image_is_inspected_and_pushed_by_its_name() -> None:
    inspect = ("image", "inspect", "--format", "{{.Id}}", IMAGE)
    assert build.asking_for_id(engine(Kind.PODMAN), IMAGE).argv == ("/usr/bin/podman", *inspect)
    assert build.asking_for_id(engine(Kind.DOCKER), IMAGE).argv == ("/usr/bin/docker", *inspect)
    inspect = ("inspect", "--type", "image", "--format", "{{.FromImageID}}", IMAGE)
    assert build.asking_for_id(engine(Kind.BUILDAH), IMAGE).argv == ("/usr/bin/buildah", *inspect)
    assert build.pushing(engine(Kind.BUILDAH), IMAGE).argv == ("/usr/bin/buildah", "push", IMAGE)


def test_an_id_is_its_digits() -> None:
    assert build.plain_id("sha256:abc\n") == build.plain_id("abc") == "abc"


# -- running them


def test_a_command_that_fails_or_is_missing_answers_nothing(tmp_path: Path) -> None:
    assert running.ask(build.Command(("/bin/echo", " an answer "))) == "an answer"
    assert running.ask(build.Command(("/bin/sh", "-c", "echo no; exit 1"))) is None
    assert running.ask(build.Command((str(tmp_path / "nothing"),))) is None


def test_an_end_is_told_in_words(tmp_path: Path) -> None:
    assert running.ended(running.stream(build.Command(("/bin/sh", "-c", "exit 125")), tmp_path)) == (
        "ended with exit status 125"
    )
    killed = build.Command(("/bin/sh", "-c", 'kill -KILL "$$"'))
    assert running.ended(running.stream(killed, tmp_path)) == "was ended by SIGKILL"
    assert running.ended(-64 - 7) == "was ended by signal 71"


_ENGINE = """\
#!/bin/sh
trap 'sleep 0.5; echo ended > {folder}/ended; exit 1' TERM
echo begun > {folder}/begun
for _ in $(seq 200); do sleep 0.1; done
"""
_MCPCTL = """\
from pathlib import Path
from mcpctl.images.building import running
from mcpctl.images.building.commands import Command
running.stream(Command(("{engine}",)), Path("/"))
"""


def test_several_signals_at_once_leave_the_engine_its_time_to_end(tmp_path: Path) -> None:
    program = tmp_path / "engine"
    program.write_text(_ENGINE.format(folder=tmp_path))
    program.chmod(0o755)
    process = subprocess.Popen([sys.executable, "-c", _MCPCTL.format(engine=program)])
    try:
        until((tmp_path / "begun").exists)
        for number in (signal.SIGSTOP, signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
            process.send_signal(number)
        assert process.wait(30) in (129, 143)
        assert (tmp_path / "ended").exists()
    finally:
        process.kill()
        process.wait()


# -- what is built


@pytest.mark.parametrize(
    ("files", "dockerfile", "found"),
    [
        (("Dockerfile", "Containerfile"), None, "Containerfile"),
        (("Dockerfile",), None, "Dockerfile"),
        (("Dockerfile", "docker/web"), "docker/web", "docker/web"),
    ],
)
def test_the_dockerfile_is_the_one_that_is_named_or_the_one_that_podman_takes(
    tmp_path: Path, files: tuple[str, ...], dockerfile: str | None, found: str
) -> None:
    folder = tmp_path / "app"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("FROM scratch\n")
    (tmp_path / "services").mkdir()
    where = context.locate(Build("../app", dockerfile), tmp_path / "services", "web/api")
    assert where == (str(tmp_path / "services/../app"), str(tmp_path / "services/../app" / found))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.net/app.tar.gz",
        "ssh://git@example.net/app.git#main:web",
        "git@example.net:app.git",
        "github.com/a/app",
    ],
)
def test_what_is_fetched_is_given_as_it_is(tmp_path: Path, url: str) -> None:
    assert context.locate(Build(url), tmp_path, "web/api") == (url, "")
    assert context.locate(Build(url, "web/Dockerfile"), tmp_path, "web/api") == (url, "web/Dockerfile")


def test_a_dockerfile_can_be_fetched_too(tmp_path: Path) -> None:
    url = "https://example.net/Dockerfile"
    assert context.locate(Build(".", url), tmp_path, "web/api") == (str(tmp_path), url)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Build("app"), "web/api: build.context: {}/app does not exist; it is relative to the definition"),
        (Build("file"), "web/api: build.context: {}/file is not a folder"),
        (Build("empty"), "web/api: {}/empty has no Containerfile and no Dockerfile; write one, or name another file"),
        (Build("empty", "web"), "web/api: build.dockerfile: {}/empty/web is no file; it is relative to the context"),
    ],
)
def test_what_is_not_there_is_refused_in_words(tmp_path: Path, said: Build, words: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as refused:
        context.locate(said, tmp_path, "web/api")
    assert str(refused.value).startswith(words.format(tmp_path))


# -- what git says


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree with a folder `app`, with everything committed."""
    for name, value in (("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")):
        monkeypatch.setenv(name, value)
    top = tmp_path / "tree"
    for name in ("app/Dockerfile", "app/main.py", "app/old.py", "README", ".gitignore"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"this is {name}, and long enough to be known again\n" * 3)
    (top / ".gitignore").write_text("*.pyc\n")
    git(top, "init", "--quiet")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "--message", "begin")
    return top


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=kyle", "-c", "user.email=kyle@example.net")
    argv = ["git", *who, "-C", str(folder), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def test_a_clean_tree_has_a_commit_and_no_changes(tree: Path) -> None:
    (tree / "app/main.pyc").touch()
    (tree / "README").write_text("changed, but not below the context\n")
    assert worktree.look(str(tree / "app")) == worktree.State(git(tree, "rev-parse", "HEAD"))


def test_changed_untracked_removed_and_renamed_files_are_named(tree: Path) -> None:
    (tree / "app/main.py").write_text("changed\n")
    (tree / "app/new").mkdir()
    (tree / "app/new/a file").touch()
    (tree / "app/Dockerfile").unlink()
    git(tree, "mv", "app/old.py", "app/renamed.py")
    found = worktree.look(str(tree / "app"))
    assert found is not None
    assert found.is_dirty
    assert sorted(found.changed) == ["app/Dockerfile", "app/main.py", "app/new/", "app/renamed.py"]


def test_a_tree_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "Dockerfile").touch()
    assert worktree.look(str(tmp_path)) == worktree.State("", ("Dockerfile",))


def test_without_a_tree_or_without_git_there_is_nothing_to_say(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert worktree.look(str(tmp_path / "elsewhere")) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert worktree.look(str(tree)) is None


def test_a_hook_of_another_repository_changes_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    found = worktree.look(str(tree / "app"))
    assert found is not None
    assert not found.is_dirty


def test_looking_takes_no_lock_and_writes_nothing(tree: Path) -> None:
    """An index whose times are out of date is what git would write anew."""
    index = tree / ".git/index"
    os.utime(tree / "app/main.py", (1, 1))
    before = index.read_bytes(), index.stat().st_mtime_ns
    worktree.look(str(tree / "app"))
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_git_that_does_not_answer_is_not_waited_for(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin/git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(worktree, "DEADLINE_S", 0.1)
    with pytest.raises(TimeoutError, match=r"git did not answer within 0.1 s"):
        worktree.look(str(tree))


# -- what a registry has


IDS = ("a" * 64, "b" * 64)


@pytest.mark.parametrize(
    ("manifests", "ids"),
    [
        ({}, None),
        ({"1.0": Manifest("sha256:x", f"sha256:{IDS[0]}")}, {IDS[0]}),
        (
            {
                "1.0": Manifest("sha256:l", images=("sha256:m", "sha256:n", "sha256:gone")),
                "sha256:m": Manifest("sha256:m", f"sha256:{IDS[0]}"),
                "sha256:n": Manifest("sha256:n", f"sha256:{IDS[1]}"),
            },
            {*IDS},
        ),
    ],
    ids=["nothing", "an image", "images for platforms"],
)
def test_a_tag_means_the_images_that_its_manifests_name(
    monkeypatch: pytest.MonkeyPatch, manifests: dict[str, Manifest], ids: set[str] | None
) -> None:
    class Registries:
        async def __aenter__(self) -> Registries:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def manifest(self, reference: Reference) -> Manifest | None:
            assert reference.name == "registry.example.net/team/web"
            return manifests.get(reference.digest or reference.tag)

    monkeypatch.setattr(published, "Registries", Registries)
    loop = asyncio.DefaultEventLoopPolicy().new_event_loop()
    try:
        assert loop.run_until_complete(published.ids(parse(IMAGE))) == ids
    finally:
        loop.close()
