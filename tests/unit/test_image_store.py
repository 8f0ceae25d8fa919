"""What podman says of its images and of itself, and the folder that a podman of our own has for what it pulls."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trio

from mcpd.runtime import podman_service
from mcpd.runtime.api import Api, NoSuchError, decoded
from mcpd.runtime.image_store import ImageStore


class Answers:
    """podman, with answers by path; counts what it is asked, and how much at once."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.at_once = self.most = 0

    async def ask(self, method: str, path: str, answer: type[Any], **request: Any) -> Any:
        self.asked.append(path)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await trio.sleep(0.001)
        self.at_once -= 1
        if path not in self.answers:
            raise NoSuchError(f"no {path}", 404)
        return decoded(msgspec.json.encode(self.answers[path]), answer, "answered")


def store(answers: Answers) -> ImageStore:
    return ImageStore(cast(Api, answers))


def inspected(*layers: str) -> dict[str, object]:
    return {"RootFS": {"Type": "layers", "Layers": list(layers)}}


async def test_the_layers_of_all_images_are_known_and_asked_for_once() -> None:
    listed = [{"Id": str(number), "Created": number} for number in range(40)]
    answers = Answers({"/images/json": listed} | {f"/images/{n}/json": inspected(f"l{n}", "base") for n in range(40)})
    images = store(answers)
    assert await images.layers() == {"base", *(f"l{n}" for n in range(40))}
    assert 1 < answers.most <= 8
    answers.asked.clear()
    answers.answers["/images/json"] = [*listed[5:], {"Id": "new", "Created": 99}]
    answers.answers["/images/new/json"] = {"RootFS": None}
    assert await images.layers() == {"base", *(f"l{n}" for n in range(5, 40))}
    assert answers.asked == ["/images/json", "/images/new/json"]


async def test_an_image_that_goes_meanwhile_has_no_layers_and_is_asked_for_again() -> None:
    answers = Answers({"/images/json": [{"Id": "a"}, {"Id": "b"}], "/images/a/json": inspected("l")})
    images = store(answers)
    assert await images.layers() == {"l"}
    answers.answers["/images/b/json"] = inspected("m")
    assert await images.layers() == {"l", "m"}


@pytest.mark.parametrize(
    ("host", "machine", "variant"),
    [
        ({"arch": "amd64", "os": "linux"}, "x86_64", ""),
        ({"arch": "arm", "os": "linux"}, "armv7l", "v7"),
        ({"arch": "arm", "os": "linux", "variant": "v6"}, "armv7l", "v6"),
        ({"arch": "amd64"}, "armv7l", ""),
    ],
)
async def test_the_node_says_once_what_it_is(
    monkeypatch: pytest.MonkeyPatch, host: dict[str, str], machine: str, variant: str
) -> None:
    monkeypatch.setattr("os.uname", lambda: type("Uname", (), {"machine": machine}))
    answers = Answers({"/info": {"host": host, "store": {"graphRoot": "/g", "imageCopyTmpDir": "/t"}}})
    images = store(answers)
    found = await images.host()
    assert (found.os, found.architecture, found.variant) == ("linux", host["arch"], variant)
    assert (found.graph_root, found.temporary) == (Path("/g"), Path("/t"))
    await images.host()
    assert answers.asked == ["/info"]


def test_podmans_temporary_folder_is_made_and_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    folder, elsewhere = tmp_path / "podman-tmp", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    assert podman_service._emptied(folder) == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "storage123").mkdir()
    (folder / "storage123/1").write_bytes(b"x")
    (folder / "file").touch()
    (folder / "link").symlink_to(elsewhere)
    assert podman_service._emptied(folder) == folder
    assert list(folder.iterdir()) == []
    assert (elsewhere / "kept").exists()


def test_a_temporary_folder_of_the_operators_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert podman_service._emptied(tmp_path) is None
    assert (tmp_path / "theirs").exists()


def test_podman_does_without_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    (tmp_path / "file").touch()
    assert podman_service._emptied(tmp_path / "file/podman-tmp") is None
