"""Files that are whole or not there."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from protos import atomic


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_write_makes_and_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    atomic.write(path, b"one", mode=atomic.PRIVATE)
    assert path.read_bytes() == b"one"
    atomic.write(path, b"two", mode=atomic.PRIVATE)
    assert path.read_bytes() == b"two"
    assert names_in(tmp_path) == ["a"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("mode", [atomic.PRIVATE, atomic.PUBLIC])
@pytest.mark.parametrize("write", [atomic.write, atomic.create])
def test_the_mode_is_the_one_asked_for_whatever_the_umask(tmp_path: Path, write: object, mode: int, umask: int) -> None:
    assert callable(write)
    before = os.umask(umask)
    try:
        write(tmp_path / "a", b"x", mode=mode)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a") == mode


def test_a_write_tightens_the_mode_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    path.chmod(0o666)
    atomic.write(path, b"two", mode=atomic.PRIVATE)
    assert mode_of(path) == 0o600


def test_a_reader_that_has_the_old_file_open_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    atomic.write(path, b"old", mode=atomic.PRIVATE)
    with path.open("rb") as reader:
        atomic.write(path, b"new", mode=atomic.PRIVATE)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_create_leaves_alone_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        atomic.create(path, b"other", mode=atomic.PRIVATE)
    assert path.read_bytes() == b"mine"
    assert names_in(tmp_path) == ["a"]


def test_create_makes_a_file_with_one_name(tmp_path: Path) -> None:
    atomic.create(tmp_path / "a", b"x", mode=atomic.PRIVATE)
    assert names_in(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_nlink == 1


@pytest.mark.parametrize("write", [atomic.write, atomic.create])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, write: object) -> None:
    assert callable(write)
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write(tmp_path / "a", b"x", mode=atomic.PRIVATE)
    assert names_in(tmp_path) == ["a"]


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.write(tmp_path / "none" / "a", b"x", mode=atomic.PRIVATE)


WRITER = """
import itertools, sys
from pathlib import Path
from protos import atomic
path = Path(sys.argv[1])
for number in itertools.count():
    atomic.write(path, b"%d" % (number % 10) * 100_000, mode=atomic.PRIVATE)
    if number == 0:
        print("ready", flush=True)
"""


def test_a_reader_sees_whole_contents_only_even_when_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        seen = [path.read_bytes() for _ in range(300)]
    finally:
        writer.kill()
        writer.communicate()
    for content in (*seen, path.read_bytes()):
        assert len(content) == 100_000
        assert len(set(content)) == 1
