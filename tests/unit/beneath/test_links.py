"""Nothing outside of ROOT/<service>/ is reached, whatever is there: links, devices, pipes."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpd.errors import NotFoundError, RefusedError
from mcpd.files import beneath
from mcpd.files.beneath import Tree, openat2, walk
from mcpd.files.download import Download
from tests.support.service_folder import ACTIONS, NEW, SECRET, TO_SERVICES, Place, opener_of_root

# ------------------------------------------------------------------------------------------------ what is there


def link(name: str, target: str) -> Callable[[Place], str]:
    """Puts a symlink there; ``target`` may speak of {outside}, {web} and {fd}."""

    def make(place: Place) -> str:
        path = place.web / name
        # A descriptor of a file outside, which a magic link could lead to.
        place.held.append(os.open(place.outside / "canary", os.O_RDONLY))
        path.symlink_to(target.format(outside=place.outside, web=place.web, fd=place.held[-1]))
        return name

    return make


def below(name: str, target: str, rest: str) -> Callable[[Place], str]:
    return lambda place: f"{link(name, target)(place)}/{rest}"


def _chain(place: Place) -> str:
    for name, target in (("one", "two"), ("two", "real/three"), ("real/three", str(place.outside / "canary"))):
        (place.web / name).symlink_to(target)
    return "one"


def _fifo(place: Place) -> str:
    os.mkfifo(place.web / "fifo")
    return "fifo"


def _linked_fifo(place: Place) -> str:
    _fifo(place)
    return link("to-fifo", "fifo")(place)


def _socket(place: Place) -> str:
    here = os.open(place.web, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{here}/socket")
    os.close(here)
    return "socket"


def _device(place: Place) -> str:
    try:
        os.mknod(place.web / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root can make a device node")
    return "null"


THERE: dict[str, Callable[[Place], str]] = {
    "file out, absolute": link("l", "{outside}/canary"),
    "file out, relative": link("l", "../../outside/canary"),
    "file out, by a detour": link("l", "real/deep/../../../../outside/canary"),
    "new file out": link("l", "{outside}/new"),
    "neighbour's file": link("l", "../other/file"),
    "absolute, to the inside": link("l", "{web}/file"),
    "root": link("l", "/"),
    "parent": link("l", ".."),
    "itself": link("l", "l"),
    "folder out, its file": below("l", "{outside}", "canary"),
    "folder out, a new file": below("l", "{outside}", "new"),
    "folder out, a new folder": below("l", "{outside}", "new/file"),
    "folder out, deeper": below("l", "{outside}", "inner/canary"),
    "folder out, relative": below("l", "../../outside", "canary"),
    "neighbour": below("l", "../other", "file"),
    "parent, and back": below("l", "..", "web/file"),
    "root, and down": below("l", "/", "etc/hostname"),
    "deep folder out": below("real/deep/l", "../../../../outside", "canary"),
    "chain": _chain,
    "/proc/self/root": below("l", "/proc/self/root", "etc/hostname"),
    "/proc/self/cwd": below("l", "/proc/self/cwd", "new"),
    "/proc/self/fd": link("l", "/proc/self/fd/{fd}"),
    "/proc/thread-self/fd": link("l", "/proc/thread-self/fd/{fd}"),
    "/dev/fd": link("l", "/dev/fd/{fd}"),
    "fifo": _fifo,
    "link to a fifo": _linked_fifo,
    "socket": _socket,
    "device": _device,
    "folder": lambda _: "real",
    "file as folder": lambda _: "file/x",
    "file as folders": lambda _: "file/x/y/z",
}
# To list, a folder or what is no file at all is something to show.
SHOWN = ("fifo", "link to a fifo", "socket", "device", "folder")


@pytest.mark.parametrize(
    ("what", "action"),
    [(what, action) for what in THERE for action in ACTIONS if action != "list" or what not in SHOWN],
)
def test_what_leads_out_or_is_no_file_is_refused(place: Place, what: str, action: str) -> None:
    path = THERE[what](place)
    with place.untouched(), pytest.raises((RefusedError, NotFoundError)) as raised:
        ACTIONS[action](place, path)
    assert str(place.outside) not in str(raised.value)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("target", ["../outside", "/etc", "other", "/proc/self/cwd", "nothing"])
def test_a_services_folder_is_no_symlink(place: Place, target: str, action: str) -> None:
    (place.root / "linked").symlink_to(target)
    with place.untouched(), pytest.raises((RefusedError, NotFoundError)):
        TO_SERVICES[action](place, "linked")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_file_in_a_services_place_is_none(place: Place, action: str) -> None:
    (place.root / "plain").write_bytes(SECRET)
    with place.untouched(), pytest.raises(RefusedError):
        TO_SERVICES[action](place, "plain")


def test_a_fifo_is_listed_without_being_opened(place: Place) -> None:
    """Opening it would wait for somebody to write."""
    assert place.list(_fifo(place)) == ["fifo"]


def test_a_push_never_writes_through_a_hard_link(place: Place) -> None:
    (place.web / "twin").hardlink_to(place.outside / "canary")
    place.push("twin")
    assert (place.outside / "canary").read_bytes() == SECRET
    assert (place.outside / "canary").stat().st_nlink == 1
    assert (place.web / "twin").read_bytes() == NEW


# ---------------------------------------------------------------------------------------------- links that stay inside


@pytest.mark.parametrize("path", ["to-file", "to-folder/file", "up/file", "real/deep/up/file"])
def test_a_symlink_that_stays_inside_works_and_stays(tmp_path: Path, path: str) -> None:
    if opener_of_root() is not openat2:
        pytest.skip("without openat2 no symlink is followed")
    place = Place(tmp_path, openat2)
    for name, target in (
        ("to-file", "real/file"),
        ("to-folder", "real"),
        ("up", "real/deep/.."),
        ("real/deep/up", "../../real"),
    ):
        (place.web / name).symlink_to(target)
    links = {each: each.readlink() for each in place.web.rglob("*") if each.is_symlink()}
    assert place.pull(path) == b"inside"
    place.push(path)
    assert (place.web / "real/file").read_bytes() == NEW
    assert {each: each.readlink() for each in links} == links
    assert sorted(each.name for each in (place.web / "real").iterdir()) == ["deep", "file"]


def test_without_openat2_a_symlink_that_stays_inside_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path, walk)
    (place.web / "to-folder").symlink_to("real")
    (place.web / "to-file").symlink_to("file")
    for path in ("to-folder/file", "to-file"):
        for action in ("push", "pull"):
            with place.untouched(), pytest.raises(RefusedError):
                ACTIONS[action](place, path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_a_kernel_without_openat2_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """ENOSYS: an old one; EPERM: what a seccomp filter answers."""

    def missing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(beneath, "openat2", missing)
    tree = Tree(Place(tmp_path, walk).root)
    download = Download(tree, "web", ("file",))
    download.close()
    assert tree._opener is walk
