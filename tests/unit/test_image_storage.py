"""Images out of podman's, buildah's and docker's storage: what is saved on the way, and that nothing of it is left."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mcpctl import config
from mcpctl.actions import image_push
from mcpctl.errors import CliError
from mcpctl.images import scratch as scratches
from mcpctl.images import storage
from mcpctl.images.scratch import scratch
from mcpctl.images.storage import Step, layer_sizes
from mcpctl.nodes import image_push as conversation
from mcpctl.ui.output import How
from protos.mcp import v1
from tests.support.agent import Launch, Node, Run
from tests.support.image_agent import ImageAgent, taking_images
from tests.support.image_engines import Engines
from tests.support.oci_images import image, layer
from tests.support.terminal import Open
from tests.support.waiting import until

NAME = "localhost/web:v1"
WEB = f'name = "web"\nnode = "rift"\n[[components]]\nname = "api"\nimage = "{NAME}"\n'
BASE, APP = layer({"base": os.urandom(300_000)}), layer({"app": os.urandom(100_000)})
MADE = image(BASE, APP)
OF_DOCKER = image(BASE, APP, docker=True)


@pytest.fixture(params=[16 << 20, 0], ids=["at-once", "one-by-one"], autouse=True)
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are saved with the first look at the image, or behind it."""
    monkeypatch.setattr(storage, "_SMALL_BYTES", request.param)


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engines:
    found = Engines(tmp_path / "bin", tmp_path / "engine")
    monkeypatch.setenv("PATH", str(found.folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found.install("podman")
    found.has(MADE, NAME)
    return found


@pytest.fixture
def web(tmp_path: Path) -> Path:
    path = tmp_path / "services/web.toml"
    path.write_text(WEB)
    return path


@pytest.fixture
def taking(rift: Node, web: Path, engines: Engines) -> ImageAgent:  # noqa: ARG001
    return taking_images(rift)


def left(tmp_path: Path) -> list[str]:
    """What is in the folder for what is saved."""
    place = tmp_path / "cache/mcpctl"
    return [each.name for each in place.iterdir()] if place.exists() else []


def push(run: Run, *words: str) -> Any:
    status, out, err = run("image", "push", "web", "--output", "json", *words)
    assert status == 0, err
    return json.loads(out)


def test_all_of_a_first_image_is_saved_and_sent(run: Run, taking: ImageAgent, engines: Engines, tmp_path: Path) -> None:
    push(run)
    assert taking.images == {NAME: MADE.id}
    assert sorted(engines.written) == sorted(MADE.blobs)
    assert left(tmp_path) == []
    assert (tmp_path / "cache/mcpctl").stat().st_mode & 0o777 == 0o700


def test_only_what_the_node_lacks_is_saved(run: Run, taking: ImageAgent, engines: Engines) -> None:
    taking.layers.add(BASE.digest)
    (row,) = push(run)
    assert engines.written == [APP.digest]
    assert (row["sent_bytes"], row["present_bytes"]) == (len(APP.content), len(BASE.content))


def test_of_an_image_that_is_there_nothing_is_saved(run: Run, taking: ImageAgent, engines: Engines) -> None:
    taking.layers.update(MADE.diff_ids)
    push(run)
    assert (engines.written, taking.images) == ([], {NAME: MADE.id})


def test_what_the_node_asks_for_all_the_same_is_saved_then(run: Run, taking: ImageAgent, engines: Engines) -> None:
    taking.layers.update(MADE.diff_ids)
    taking.insists = {BASE.digest, APP.digest}
    push(run)
    assert engines.written == [BASE.digest, APP.digest]
    assert taking.received == len(BASE.content) + len(APP.content)


def test_several_nodes_are_sent_what_was_saved_once(
    run: Run, nodes: tuple[Node, Node], web: Path, engines: Engines
) -> None:
    assert web
    rift, orion = map(taking_images, nodes)
    rift.layers.add(BASE.digest)
    orion.layers.add(APP.digest)
    push(run, "--node", "rift", "--node", "orion")
    assert sorted(engines.written) == sorted(MADE.blobs)
    # The first look at the image may have them already.
    assert len([each for each in engines.calls if "save" in each]) == (1 if storage._SMALL_BYTES else 2)
    assert [each for each, _ in rift.wanted] == [APP.digest]
    assert [each for each, _ in orion.wanted] == [BASE.digest]


def test_without_sizes_all_of_it_is_saved(run: Run, taking: ImageAgent, engines: Engines) -> None:
    taking.layers.add(BASE.digest)
    (engines.here / "history.json").write_text("[]")
    push(run)
    assert sorted(engines.written) == sorted(MADE.blobs)
    assert [each for each, _ in taking.wanted] == [APP.digest]


@pytest.mark.parametrize("engine", ["podman", "buildah", "docker"])
@pytest.mark.parametrize("of_docker", [False, True])
def test_every_engine_has_images(
    run: Run, taking: ImageAgent, engines: Engines, tmp_path: Path, engine: str, of_docker: bool
) -> None:
    engines.install(engine)
    made = OF_DOCKER if of_docker else MADE
    engines.has(made, NAME)
    taking.layers.add(BASE.digest)
    push(run, "--with", engine)
    # Docker's configuration is kept as it is, and so is the image's id.
    assert taking.images == {NAME: made.id}
    assert [each for each, _ in taking.wanted] == [APP.digest]
    assert {each[0] for each in engines.calls} == {engine}
    assert left(tmp_path) == []


def test_a_short_name_is_the_one_that_the_engine_has(run: Run, taking: ImageAgent, engines: Engines, web: Path) -> None:
    web.write_text(WEB.replace(NAME, "web:v1"))
    engines.has(MADE, "registry.example.net/web:v1")
    (engines.here / "names.json").write_text(json.dumps(["web:v1"]))
    push(run)
    assert set(taking.images) == {"registry.example.net/web:v1"}


# -- what is refused


def test_an_image_that_is_not_here_is_pulled_or_built(run: Run, taking: ImageAgent, web: Path) -> None:
    web.write_text(WEB.replace(NAME, "registry.example.net/web:v2"))
    status, _, err = run("image", "push", "web")
    assert status == 1
    assert "podman on this machine has no image registry.example.net/web:v2; `podman pull registry.example" in err
    web.write_text(f'{WEB.replace(NAME, "localhost/web:v2")}[components.build]\ncontext = "."\n')
    status, _, err = run("image", "push", "web")
    assert status == 1
    assert "podman on this machine has no image localhost/web:v2; `mcpctl build web/api` builds it" in err
    for name, words in (
        ("localhost/web", "localhost/web; web/api: localhost/web has no tag, so that nobody knows which one runs"),
        (f"{NAME}@sha256:{'0' * 64}", "web/api: localhost/web:v1@sha256:000"),
    ):
        web.write_text(f'{WEB.replace(NAME, name)}[components.build]\ncontext = "."\n')
        status, _, err = run("image", "push", "web")
        assert status == 1
        assert words in err
        # It would refuse that name, too.
        assert "`mcpctl build" not in err
    web.write_text(WEB.replace(NAME, f"localhost/web:v2@sha256:{'0' * 64}"))
    _, _, err = run("image", "push", "web")
    assert "without the digest, the definition names whatever has this tag here" in err
    web.write_text(WEB.replace(NAME, "localhost/web:v2"))
    status, _, err = run("image", "push", "web")
    assert "no registry has it either; `podman build --tag localhost/web:v2 FOLDER` builds one" in err
    assert (status, taking.requests) == (1, [])


def test_of_several_images_none_is_sent_when_one_is_not_here(run: Run, taking: ImageAgent, web: Path) -> None:
    missing = "registry.example.net/db:1", "localhost/cache:v1"
    more = [f'[[components]]\nname = "c{n}"\nimage = "{each}"\n' for n, each in enumerate(missing)]
    web.write_text(WEB + "".join(more))
    status, out, err = run("image", "push", "web")
    assert (status, out, taking.requests) == (1, "", [])
    assert [line.partition(";")[0].removeprefix("mcpctl: ") for line in err.splitlines()] == [
        "podman on this machine has no image registry.example.net/db:1",
        "podman on this machine has no image localhost/cache:v1",
        "nothing was sent",
    ]


@pytest.mark.usefixtures("plain_asyncio", "engines")
def test_deploy_brings_an_image_by_one_call(
    taking: ImageAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MCP_TOKEN", raising=False)
    settings = config.load(tmp_path / "mcp.toml")
    nodes = [settings.node("rift")]
    assert image_push.bring(settings, NAME, "web/api", nodes, How()) == 0
    assert taking.images == {NAME: MADE.id}
    (start,) = taking.asked(v1.PushImageStart)
    assert (start.service, start.component) == ("web", "api")
    out, err = capsys.readouterr()
    assert out == ""
    assert f"mcpctl: rift: {NAME} is there: " in err
    assert image_push.bring(settings, NAME, "web/api", nodes, How(quiet=True)) == 0
    assert capsys.readouterr() == ("", "")
    with pytest.raises(CliError, match="has no image localhost/other:v1"):
        image_push.bring(settings, "localhost/other:v1", "web/api", nodes, How())


def test_another_platform_is_refused_before_anything_is_saved(run: Run, taking: ImageAgent, engines: Engines) -> None:
    engines.has(MADE, NAME, architecture="s390x")
    status, _, err = run("image", "push", "web")
    assert status == 1
    assert f"{NAME} is for linux/s390x, but linux/" in err
    assert (engines.written, taking.contents) == ([], [])


def test_a_layer_that_takes_longer_to_save_than_a_node_waits_is_sent_then(
    run: Run, taking: ImageAgent, engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_SMALL_BYTES", 0)
    monkeypatch.setattr(conversation, "_PATIENCE_S", 0.2)
    engines.tell("hangs")
    taking.patience_s = 0.1

    def saved() -> None:
        engines.tell("hangs", now=False)
        taking.patience_s = None

    def stalled() -> None:
        taking.stalled = lambda: None
        asyncio.get_running_loop().call_later(2, saved)

    taking.stalled = stalled
    push(run)
    assert taking.images == {NAME: MADE.id}
    assert left(tmp_path) == []


def test_an_engine_that_fails_is_quoted(run: Run, taking: ImageAgent, engines: Engines, tmp_path: Path) -> None:
    engines.tell("fails")
    status, _, err = run("image", "push", "web")
    assert (status, taking.images) == (1, {})
    assert "save exited 125: Error: writing blob: no space left on device" in err
    assert "cannot be reached" not in err
    assert left(tmp_path) == []


def test_a_disk_without_room_is_told_before_it_is_full(
    run: Run, taking: ImageAgent, engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratches, "_places", lambda: [tmp_path / "one", tmp_path / "other"])
    usage = shutil.disk_usage("/")._replace(free=300_000)
    monkeypatch.setattr(scratches.shutil, "disk_usage", lambda _: usage)
    status, _, err = run("image", "push", "web")
    assert (status, taking.contents, engines.written) == (1, [], [])
    assert f"it needs 64.8 MiB for a moment, but {tmp_path / 'one'} has 293.0 KiB free; {tmp_path / 'other'} " in err
    assert "XDG_CACHE_HOME can name another folder" in err


# -- what is left


class Saving(NamedTuple):
    program: Any
    engine: int


def saving(launch: Launch, engines: Engines) -> Saving:
    """A push that is in the middle of saving a layer."""
    engines.tell("hangs")
    program = launch("image", "push", "web")
    until(lambda: (engines.here / "is_hanging").exists() and (engines.here / "is_hanging").read_text() != "")
    return Saving(program, int((engines.here / "is_hanging").read_text()))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing(
    launch: Launch, taking: ImageAgent, engines: Engines, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    held = saving(launch, engines)
    assert len(left(tmp_path)) == 1
    held.program.process.send_signal(number)
    assert held.program.end()[0] == status
    assert left(tmp_path) == []
    # podman, which is killed, leaves the layer that it works on.
    assert (engines.here / "temporary").read_text().startswith(f"{tmp_path}/")
    assert not Path((engines.here / "temporary").read_text()).exists()
    assert not is_running(held.engine)
    assert taking.images == {}


def test_a_save_that_takes_its_time_is_told(on_terminal: Open, taking: ImageAgent, engines: Engines) -> None:
    """Be it of the whole image, or of a layer that a node waits for."""
    engines.tell("hangs")
    program = on_terminal("image", "push", "web")
    program.until(f"mcpctl: {NAME}: saving the layers that are to be sent")
    engines.tell("hangs", now=False)
    assert program.end() == 0
    assert program.shown.count("saving the layers") == 1
    assert set(taking.images) == {NAME}


def test_what_a_killed_one_has_left_is_removed_by_the_next(
    run: Run, launch: Launch, taking: ImageAgent, engines: Engines, tmp_path: Path
) -> None:
    held = saving(launch, engines)
    held.program.process.kill()
    held.program.end()
    assert len(left(tmp_path)) == 1
    engines.tell("hangs", now=False)
    until(lambda: not is_running(held.engine))
    push(run)
    assert left(tmp_path) == []
    assert taking.images == {NAME: MADE.id}


def test_the_folder_of_one_that_lives_is_left_alone(engines: Engines, tmp_path: Path) -> None:
    assert engines
    with scratch(0) as ours:
        (ours / "file").touch()
        with scratch(0):
            assert len(left(tmp_path)) == 2
        scratches.sweep()
        assert (ours / "file").exists()
    assert left(tmp_path) == []


def test_a_folder_that_is_a_link_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "mcpctl").symlink_to(elsewhere)
    monkeypatch.setattr(scratches, "_places", lambda: [tmp_path / "mcpctl", tmp_path / "other"])
    with scratch(0) as folder:
        assert folder.parent == tmp_path / "other"
    assert list(elsewhere.iterdir()) == []


def test_a_folder_of_somebody_elses_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "mcpctl"
    (theirs / "push-1").mkdir(parents=True)
    monkeypatch.setattr(scratches, "_places", lambda: [theirs])
    uid = os.getuid()
    monkeypatch.setattr(scratches.os, "getuid", lambda: uid + 1)
    sweeping = threading.Thread(target=scratches.sweep)
    lock = os.open(theirs, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweeping.start()
        sweeping.join(10)
        assert not sweeping.is_alive()
    finally:
        os.close(lock)
        sweeping.join(10)
    assert (theirs / "push-1").exists()


# -- sizes


def test_a_history_tells_the_sizes_of_layers() -> None:
    assert layer_sizes(["a", "b"], [False, True, False], [Step(7), Step(0), Step(5)]) == {"a": 5, "b": 7}


@pytest.mark.parametrize(
    ("layers", "empty", "sizes"),
    [
        (["a", "b"], [False, True, False], [7, 5]),
        (["a", "b"], [False, False, False], [7, 6, 5]),
        (["a", "a"], [False, False], [7, 5]),
        (["a"], [], []),
    ],
)
def test_a_history_that_does_not_agree_tells_nothing(layers: list[str], empty: list[bool], sizes: list[int]) -> None:
    assert layer_sizes(layers, empty, [Step(each) for each in sizes]) == {}


def test_a_layer_that_is_there_twice_has_one_size() -> None:
    assert layer_sizes(["a", "a"], [False, False], [Step(5), Step(5)]) == {"a": 5}
