"""Reading a log file as it grows: parts, tails, times, and the new file that conmon begins when one is full."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from mcpd.runtime.logs import MAX_LINE_BYTES, LogLine, _LogFile

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(second: int, text: str, kind: str = "F", stream: str = "stdout") -> bytes:
    when = (START + timedelta(seconds=second)).isoformat(timespec="microseconds").replace("+00:00", "123+00:00")
    return f"{when} {stream} {kind} {text}\n".encode()


def line(second: int, text: str, stream: str = "stdout") -> LogLine:
    return LogLine(START + timedelta(seconds=second), stream, text.encode())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "ctr.log"
    path.touch()
    return path


def append(log: Path, *entries: bytes) -> None:
    with log.open("ab") as file:
        file.write(b"".join(entries))


async def everything(source: _LogFile) -> list[LogLine]:
    found = []
    while lines := await source.read():
        found += lines
    return found


async def test_lines_come_once_as_the_file_grows(log: Path) -> None:
    source = _LogFile(log, None, None)
    assert await source.read() == []
    append(log, entry(1, "one"), entry(2, "two", stream="stderr"))
    assert await everything(source) == [line(1, "one"), line(2, "two", "stderr")]
    append(log, entry(3, ""))
    assert await everything(source) == [line(3, "")]
    assert await everything(source) == []


async def test_half_an_entry_waits_for_its_other_half(log: Path) -> None:
    source, whole = _LogFile(log, None, None), entry(1, "one")
    append(log, whole[:20])
    assert await source.read() == []
    append(log, whole[20:])
    assert await everything(source) == [line(1, "one")]


async def test_the_parts_of_a_long_line_are_one_line_and_streams_do_not_mix(log: Path) -> None:
    append(log, entry(1, "a" * 10, "P"), entry(2, "E", "F", "stderr"), entry(3, "b", "F"))
    assert await everything(_LogFile(log, None, None)) == [line(2, "E", "stderr"), line(3, "a" * 10 + "b")]


async def test_a_line_without_end_is_cut_and_not_kept_for_ever(log: Path) -> None:
    append(log, *(entry(1, "x" * 8192, "P") for _ in range(20)), entry(2, "", "F"))
    found = await everything(_LogFile(log, None, None))
    assert b"".join(each.line for each in found) == b"x" * 8192 * 20
    assert max(len(each.line) for each in found) <= MAX_LINE_BYTES


@pytest.mark.parametrize("count", [0, 1, 3, 5, 9, 200])
async def test_the_tail(log: Path, count: int) -> None:
    lines = [entry(each, f"line {each}") for each in range(5)]
    append(log, *lines[:3], entry(3, "part ", "P"), entry(3, "line 3"), lines[4])
    expected = [*(line(each, f"line {each}") for each in range(3)), line(3, "part line 3"), line(4, "line 4")]
    assert await everything(_LogFile(log, None, count)) == (expected[-count:] if count else [])


async def test_the_tail_of_a_file_of_many_blocks(log: Path) -> None:
    append(log, *(entry(1, f"{each} " + "x" * 200) for each in range(20_000)))
    found = await everything(_LogFile(log, None, 3_000))
    assert [int(each.line.split()[0]) for each in found] == list(range(17_000, 20_000))


async def test_since_a_time_which_is_included(log: Path) -> None:
    append(log, *(entry(each, str(each)) for each in range(5)))
    found = await everything(_LogFile(log, START + timedelta(seconds=3), None))
    assert [each.line for each in found] == [b"3", b"4"]


async def test_the_file_that_follows_a_full_one_is_read_from_its_beginning(log: Path) -> None:
    source = _LogFile(log, None, None)
    append(log, entry(1, "old"))
    assert await everything(source) == [line(1, "old")]
    append(log, entry(2, "last"))
    successor = log.with_name("ctr.log.tmp")
    successor.write_bytes(entry(3, "new"))
    successor.rename(log)
    assert await everything(source) == [line(2, "last"), line(3, "new")]


async def test_it_has_ended_when_the_container_is_gone(log: Path) -> None:
    source = _LogFile(log, None, None)
    append(log, entry(1, "one"))
    assert await everything(source) == [line(1, "one")]
    append(log, entry(2, "last words"))
    await trio.Path(log).unlink()
    assert source.has_ended()
    assert await everything(source) == [line(2, "last words")]


async def test_rubbish_is_no_line(log: Path) -> None:
    append(log, b"rubbish\n", b"\n", b"\0\xff\n", entry(1, "one"), b"2026 stdout F no time\n")
    source = _LogFile(log, None, None)
    assert await everything(source) == [line(1, "one")]
