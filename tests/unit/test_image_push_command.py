"""`mcpctl image push`: what is sent to which node, over connections that break, and what is said of it."""

import asyncio
import gzip
import hashlib
import json
import os
import signal
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.nodes import image_push as conversation
from protos.mcp import v1
from tests.support.agent import JSON, Launch, Node, Run
from tests.support.image_agent import ImageAgent, taking_images
from tests.support.image_archives import docker_archive, layout, several_platforms, write_tar
from tests.support.oci_images import ARCHITECTURE, OCI_INDEX, Image, image, layer
from tests.support.waiting import until

MIB = 2**20
NAME = "localhost/web:v1"
WEB = f'name = "web"\nnode = "rift"\n[[components]]\nname = "api"\nimage = "{NAME}"\n'
BASE, APP = layer({"base": os.urandom(3 * MIB)}), layer({"app": os.urandom(MIB)})
MADE = image(BASE, APP)

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outages are short here."""
    monkeypatch.setattr(conversation, "_FIRST_WAIT_S", 0.01)


@pytest.fixture
def web(tmp_path: Path) -> Path:
    path = tmp_path / "services/web.toml"
    path.write_text(WEB)
    return path


@pytest.fixture
def taking(rift: Node, web: Path) -> ImageAgent:  # noqa: ARG001
    return taking_images(rift)


@pytest.fixture
def archive(tmp_path: Path) -> str:
    return str(write_tar(tmp_path / "image.tar", layout({NAME: MADE})))


def push(run: Run, archive: str, *words: str) -> Any:
    status, out, err = run("image", "push", "web", "--from", archive, "--output", "json", *words)
    assert status == 0, err
    return json.loads(out)


def test_a_first_push_sends_all_of_it(run: Run, taking: ImageAgent, archive: str) -> None:
    (row,) = push(run, archive)
    size = sum(map(len, MADE.blobs.values()))
    assert taking.images == {NAME: MADE.id}
    assert (row["node"], row["reference"], row["id"]) == ("rift", NAME, MADE.id)
    assert (row["sent_bytes"], row["present_bytes"], row["total_bytes"]) == (taking.received, 0, size)
    assert taking.wanted == [(BASE.digest, 0), (APP.digest, 0)]
    (start,) = taking.asked(v1.PushImageStart)
    assert (start.service, start.component, start.push) == ("web", "api", "")
    assert sorted(start.layers) == sorted(MADE.diff_ids)
    assert taking.contents[0].unpacked_bytes == size
    assert taking.largest == 512 * 1024


def test_who_runs_an_earlier_image_of_that_name_is_told(run: Run, taking: ImageAgent, archive: str) -> None:
    def used(component: str, container: str = "") -> v1.ImageUser:
        return v1.ImageUser("web", component, container, bool(container))

    named = [used("api"), used("new"), used("job", "web-job"), v1.ImageUser("", "", "by-hand", True)]
    listed = [
        v1.ImageInfo(id=MADE.id, names=[NAME], users=named),
        v1.ImageInfo(id="ab", users=[used("api", "web-api")]),
    ]
    taking.prepared["ListImagesRequest"] = v1.ListImagesResponse(listed)
    status, out, err = run("image", "push", "web", "--from", archive)
    assert status == 0
    # Of what names it, and not of what has no container or one of it.
    told = "rift: web/api runs another image, which had this name before; `mcpctl deploy web/api --force` recreates it"
    assert [each for each in err.splitlines() if "runs another" in each] == [f"mcpctl: {told}"]
    assert run("image", "push", "web", "--from", archive, *JSON).err.count("runs another") == 0
    # The image is there, whatever else a node does not say.
    taking.prepared["ListImagesRequest"] = GRPCError(Status.UNAVAILABLE, "podman does not answer")
    assert run("image", "push", "web", "--from", archive).status == 0
    assert out.startswith("rift: ")


def test_only_what_is_missing_is_sent(run: Run, taking: ImageAgent, archive: str) -> None:
    taking.layers.add(BASE.digest)
    (row,) = push(run, archive)
    assert taking.wanted == [(APP.digest, 0)]
    assert row["present_bytes"] == len(BASE.content)
    assert row["sent_bytes"] == taking.received <= len(APP.content) + 1000
    assert taking.contents[0].unpacked_bytes == len(APP.content)


def test_what_the_node_asks_for_all_the_same_is_sent(run: Run, taking: ImageAgent, archive: str) -> None:
    taking.layers.update({BASE.digest, APP.digest})
    taking.insists.add(APP.digest)
    (row,) = push(run, archive)
    assert taking.wanted == [(APP.digest, 0)]
    assert row["present_bytes"] == len(BASE.content)


def test_what_shrinks_is_compressed_and_what_does_not_is_sent_as_it_is(
    run: Run, taking: ImageAgent, tmp_path: Path
) -> None:
    text = layer({"text": b"the same again and again\n" * 100_000})
    (row,) = push(run, str(write_tar(tmp_path / "x.tar", layout({NAME: image(text)}))))
    assert taking.compressed
    assert row["sent_bytes"] < len(text.content) / 10
    taking.compressed = 0
    push(run, str(write_tar(tmp_path / "y.tar", layout({NAME: MADE}))))
    assert taking.compressed == 0


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_layers_travel_as_they_are(run: Run, taking: ImageAgent, tmp_path: Path, compression: str) -> None:
    made = image(layer({"a": b"a" * 100_000}, compression), layer({}, compression))
    push(run, str(write_tar(tmp_path / "x.tar", layout({NAME: made}))))
    assert taking.images == {NAME: made.id}
    assert {each for each, _ in taking.wanted} == set(made.blobs)


def test_of_a_list_the_nodes_own_manifest_is_sent(run: Run, taking: ImageAgent, tmp_path: Path) -> None:
    arm, here = image(BASE, architecture="arm64"), image(APP, architecture="amd64")
    both = several_platforms({("arm64", ""): arm, ("amd64", ""): here})
    files = layout({NAME: both}) | layout({"": arm}) | layout({"": here})
    taking.platform = ("linux", "arm64", "v8")
    push(run, str(write_tar(tmp_path / "x.tar", files | layout({NAME: both}))))
    assert taking.contents[0].manifests[0].media_type == OCI_INDEX
    assert taking.images == {NAME: arm.id}
    assert taking.wanted == [(BASE.digest, 0)]


def test_an_archive_of_docker_is_sent(run: Run, taking: ImageAgent, tmp_path: Path) -> None:
    made = image(BASE, APP, docker=True)
    push(run, str(write_tar(tmp_path / "x.tar", docker_archive({NAME: made}))))
    assert taking.images == {NAME: made.id}
    (manifest,) = taking.contents[0].manifests
    assert json.loads(manifest.content) == json.loads(made.manifests[0][1])


# -- connections that break


def test_a_lost_connection_goes_on_where_it_was(run: Run, taking: ImageAgent, archive: str) -> None:
    taking.breaks_at = [MIB, 2 * MIB, 3 * MIB + MIB // 2]
    status, _, err = run("image", "push", "web", "--from", archive)
    assert status == 0
    assert taking.images == {NAME: MADE.id}
    starts = taking.asked(v1.PushImageStart)
    assert [each.push for each in starts] == ["", "push-1", "push-1", "push-1"]
    assert len(taking.contents) == 1
    offsets = [offset for digest, offset in taking.wanted if digest == BASE.digest]
    assert offsets[0] == 0
    assert all(before < after for before, after in pairwise(offsets))
    assert taking.received <= sum(map(len, MADE.blobs.values())) + 3 * 512 * 1024
    assert err.count("trying again for 60 s") == 3


def test_a_node_that_has_forgotten_the_push_gets_it_anew(run: Run, taking: ImageAgent, archive: str) -> None:
    taking.breaks_at, taking.forgets = [len(BASE.content) + MIB // 2], True
    push(run, archive)
    assert taking.images == {NAME: MADE.id}
    assert [each.push for each in taking.asked(v1.PushImageStart)] == ["", "push-1", ""]
    # What it has whole is not sent again.
    assert taking.wanted == [(BASE.digest, 0), (APP.digest, 0), (APP.digest, 0)]


def test_a_node_that_does_not_come_back_is_given_up(
    run: Run, taking: ImageAgent, rift: Node, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_PATIENCE_S", 0.3)
    taking.breaks_at = [MIB]
    cut = taking.break_connection

    def gone() -> None:
        cut()
        assert rift._server
        rift._server.close()

    taking.break_connection = gone
    status, _, err = run("image", "push", "web", "--from", archive)
    assert status == 4
    assert "given up after 0.3 s. The layers that the node has whole need not be sent again" in err


def test_a_node_that_breaks_off_again_and_again_is_given_up(
    run: Run, taking: ImageAgent, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_PATIENCE_S", 0.5)
    taking.breaks_at, taking.forgets = [number * MIB for number in range(1, 10_000)], True
    status, _, err = run("image", "push", "web", "--from", archive)
    assert (status, NAME in taking.images) == (4, False), err


def test_a_node_that_is_not_there_is_not_tried_again(run: Run, rift: Node, web: Path, archive: str) -> None:
    assert web
    rift.cut(for_good=True)
    status, _, err = run("image", "push", "web", "--from", archive)
    assert status == 4
    assert "trying again" not in err


@pytest.mark.parametrize("status", [Status.FAILED_PRECONDITION, Status.RESOURCE_EXHAUSTED, Status.INVALID_ARGUMENT])
@pytest.mark.parametrize("message", ["PushImageStart", "PushImageContent"])
def test_what_a_node_refuses_is_not_tried_again(
    run: Run, taking: ImageAgent, archive: str, status: Status, message: str
) -> None:
    taking.refusals_of[message] = [GRPCError(status, "there is no room for it")]
    ended, _, err = run("image", "push", "web", "--from", archive)
    assert ended != 0
    assert err.count("there is no room for it") == 1
    assert len(taking.asked(v1.PushImageStart)) == 1


def test_another_id_than_was_sent_is_told(run: Run, taking: ImageAgent, archive: str) -> None:
    taking.wrong_id = "ab" * 32
    status, _, err = run("image", "push", "web", "--from", archive)
    assert status == 1
    assert f"as the image {'ab' * 32}, but {MADE.id} was sent" in err


@pytest.mark.parametrize(
    "strange", [v1.BlobWanted("sha256:../../etc/passwd"), v1.BlobWanted(BASE.digest, len(BASE.content) + 1)]
)
def test_a_node_gets_nothing_but_the_image(run: Run, taking: ImageAgent, archive: str, strange: v1.BlobWanted) -> None:
    taking.strange = strange
    status, _, err = run("image", "push", "web", "--from", archive)
    assert status == 1
    assert f"it asks for {strange.digest} from byte {strange.offset} on, which the image does not have" in err


def test_a_node_that_asks_without_an_end_is_left(run: Run, taking: ImageAgent, archive: str) -> None:
    taking.floods = 10_000
    status, _, err = run("image", "push", "web", "--from", archive)
    assert status == 1
    assert "it asks for more than 8 layers before it has got one" in err


def test_a_layer_that_lies_is_refused_by_the_node_once(run: Run, taking: ImageAgent, tmp_path: Path) -> None:
    files = layout({NAME: MADE})
    name = f"blobs/sha256/{BASE.digest.removeprefix('sha256:')}"
    files[name] = files[name][:-1] + b"x"
    status, _, err = run("image", "push", "web", "--from", str(write_tar(tmp_path / "x.tar", files)))
    assert (status, taking.images) == (2, {})
    assert f"what came as {BASE.digest} is something else" in err
    assert len(taking.asked(v1.PushImageStart)) == 1


def test_a_file_that_is_cut_off_while_it_is_sent(run: Run, taking: ImageAgent, archive: str) -> None:
    whole = Path(archive).read_bytes()
    taking.breaks_at = [MIB]
    taking.break_connection = lambda: os.truncate(archive, MIB)
    status, _, err = run("image", "push", "web", "--from", archive)
    assert status == 1
    assert "image.tar has become shorter while it was read" in err
    assert len(whole) > MIB


# -- platforms


def test_another_platform_is_refused_before_anything_is_sent(run: Run, taking: ImageAgent, archive: str) -> None:
    taking.platform = ("linux", "riscv64", "")
    status, _, err = run("image", "push", "web", "--from", archive)
    assert status == 1
    assert f"is for linux/{ARCHITECTURE}, but linux/riscv64 is needed" in err
    assert taking.contents == []


def test_the_platform_that_a_definition_demands_counts(run: Run, taking: ImageAgent, archive: str, web: Path) -> None:
    web.write_text(f'{WEB}platform = "linux/{ARCHITECTURE}"\n')
    taking.platform = ("linux", "riscv64", "")
    push(run, archive)
    assert taking.images == {NAME: MADE.id}


# -- several nodes and several images


def test_several_nodes_get_it_at_once(run: Run, nodes: tuple[Node, Node], web: Path, archive: str) -> None:
    assert web
    rift, orion = map(taking_images, nodes)
    orion.layers.add(BASE.digest)
    rows = push(run, archive, "--node", "rift", "--node", "orion")
    assert [each["node"] for each in rows] == ["rift", "orion"]
    assert rift.images == orion.images == {NAME: MADE.id}
    assert [len(rift.wanted), len(orion.wanted)] == [2, 1]


def test_a_node_that_fails_does_not_keep_the_others_from_it(
    run: Run, nodes: tuple[Node, Node], web: Path, archive: str
) -> None:
    assert web
    rift, orion = map(taking_images, nodes)
    rift.platform = ("linux", "riscv64", "")
    status, out, err = run("image", "push", "web", "--from", archive, "--node", "rift", "--node", "orion")
    assert status == 4
    assert out.startswith(f"orion: {NAME} is there: ")
    assert "but linux/riscv64 is needed" in err
    assert orion.images == {NAME: MADE.id}


def test_a_slow_preparation_does_not_keep_a_node_waiting(
    run: Run, taking: ImageAgent, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[bool] = []

    async def wait(preparing: asyncio.Future[Any]) -> None:
        """The first time it is not ready; the next time it is."""
        if not waits:
            waits.append(True)
            return
        await preparing

    monkeypatch.setattr(conversation, "_until_ready", wait)
    push(run, archive)
    assert taking.images == {NAME: MADE.id}
    assert [each.push for each in taking.asked(v1.PushImageStart)] == ["", ""]


def test_an_archive_is_of_one_image(run: Run, taking: ImageAgent, web: Path, archive: str) -> None:
    web.write_text(f'{WEB}[[components]]\nname = "db"\nimage = "localhost/db:v1"\n')
    status, _, err = run("image", "push", "web", "--from", archive)
    assert (status, taking.requests) == (2, [])
    assert "is one image, but web has 2: give one of web/api, web/db" in err
    assert push_one(run, archive, "web/db")
    assert set(taking.images) == {"localhost/db:v1"}


def push_one(run: Run, archive: str, target: str) -> bool:
    return run("image", "push", target, "--from", archive).status == 0


def test_from_and_with_exclude_each_other(run: Run, archive: str) -> None:
    status, _, err = run("image", "push", "web", "--from", archive, "--with", "podman")
    assert status == 2
    assert "give one of the two" in err


def test_a_digest_alone_is_no_name(run: Run, taking: ImageAgent, web: Path, archive: str) -> None:
    web.write_text(WEB.replace(NAME, f"localhost/web@sha256:{'0' * 64}"))
    status, _, err = run("image", "push", "web", "--from", archive)
    assert (status, taking.requests) == (2, [])
    assert "has a digest and no tag" in err


# -- what is said


def test_people_are_told_in_a_line(run: Run, taking: ImageAgent, archive: str) -> None:
    taking.layers.add(BASE.digest)
    status, out, err = run("image", "push", "web/api", "--from", archive)
    assert status == 0
    assert out.startswith(f"rift: {NAME} is there: 1.0 MiB sent, 3.0 MiB were there, in ")
    assert err == f"mcpctl: rift: {NAME}: 1.0 MiB of 4.0 MiB to send\n"
    status, out, _ = run("image", "push", "web/api", "--from", archive)
    assert out.startswith(f"rift: {NAME} is there: nothing was sent, 4.0 MiB were there, in ")
    assert run("image", "push", "web", "--from", archive, "--quiet")[:] == (0, "", "")


# -- memory


def test_a_large_image_does_not_take_memory(
    run: Run, taking: ImageAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200 MiB; tracemalloc sees what Python allocates, in this process, the node's half included."""
    large = tmp_path / "folder"
    made = huge(large, 200 * MIB)
    monkeypatch.setattr(taking, "keeps_content", False)
    tracemalloc.start()
    try:
        (row,) = push(run, str(large))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taking.images == {NAME: made}
    assert row["total_bytes"] == 200 * MIB
    assert peak < 16 * MIB


def huge(folder: Path, size: int) -> str:
    """A layout with a layer of nothing, which takes no room on the disk. Returns the image's id."""
    digest = hashlib.sha256()
    for _ in range(size // MIB):
        digest.update(bytes(MIB))
    small = image(layer({}))
    blank = small.layers[0]._replace(diff_id=f"sha256:{digest.hexdigest()}")
    config = small.config.replace(small.diff_ids[0].encode(), blank.diff_id.encode())
    fields = json.loads(small.manifests[0][1])
    config_digest = hashlib.sha256(config).hexdigest()
    fields["config"] |= {"digest": f"sha256:{config_digest}", "size": len(config)}
    fields["layers"][0] |= {"digest": blank.diff_id, "size": size}
    manifest = json.dumps(fields).encode()
    files = layout({NAME: Image(((fields["mediaType"], manifest),), config, ())})
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with (folder / "blobs/sha256" / digest.hexdigest()).open("wb") as file:
        file.truncate(size)
    return config_digest


def test_a_gzip_layer_says_what_it_takes_unpacked(run: Run, taking: ImageAgent, tmp_path: Path) -> None:
    made = image(layer({"a": b"a" * 100_000}, "gzip"))
    push(run, str(write_tar(tmp_path / "x.tar", layout({NAME: made}))))
    assert taking.contents[0].unpacked_bytes == len(gzip.decompress(made.layers[0].content))


# -- signals


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (signal.SIGTERM, 143, "ended by SIGTERM; the layers that a node has whole"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
        (signal.SIGINT, 130, "interrupted: no node has the image by its name yet"),
    ],
)
def test_a_signal_ends_it_in_words(
    taking: ImageAgent, archive: str, launch: Launch, number: signal.Signals, status: int, words: str
) -> None:
    taking.hangs_at = MIB
    program = launch("image", "push", "web", "--from", archive)
    until(lambda: taking.received >= MIB)
    program.process.send_signal(number)
    ended, _ = program.end()
    assert ended == status
    assert words in program.err


def test_two_signals_at_once_end_it_as_one_does(taking: ImageAgent, archive: str, launch: Launch) -> None:
    taking.hangs_at = MIB
    program = launch("image", "push", "web", "--from", archive)
    until(lambda: taking.received >= MIB)
    for number in (signal.SIGSTOP, signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
        program.process.send_signal(number)
    status, _ = program.end()
    assert status in (129, 143)
    assert "the layers that a node has whole" in program.err


def test_what_whoever_starts_it_ignores_stays_ignored(taking: ImageAgent, archive: str, launch: Launch) -> None:
    taking.hangs_at = MIB
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        program = launch("image", "push", "web", "--from", archive)
    finally:
        signal.signal(signal.SIGHUP, before)
    until(lambda: taking.received >= MIB)
    for number in (signal.SIGHUP, signal.SIGTERM):
        program.process.send_signal(number)
    status, _ = program.end()
    assert (status, "ended by SIGTERM" in program.err) == (143, True)
