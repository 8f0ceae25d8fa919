"""Reading a log file as it grows: parts, tails, times, and the new file that conmon begins when one is full."""

import io
import random
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from mcpd.runtime.logfile import BLOCK_BYTES, MAX_LINE_BYTES, LogFile, LogLine, Tail

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


async def everything(source: LogFile) -> list[LogLine]:
    found = []
    while lines := await source.read():
        found += lines
    return found


async def test_lines_come_once_as_the_file_grows(log: Path) -> None:
    source = LogFile(log, None, None)
    assert await source.read() == []
    append(log, entry(1, "one"), entry(2, "two", stream="stderr"))
    assert await everything(source) == [line(1, "one"), line(2, "two", "stderr")]
    append(log, entry(3, ""))
    assert await everything(source) == [line(3, "")]
    assert await everything(source) == []


async def test_half_an_entry_waits_for_its_other_half(log: Path) -> None:
    source, whole = LogFile(log, None, None), entry(1, "one")
    append(log, whole[:20])
    assert await source.read() == []
    append(log, whole[20:])
    assert await everything(source) == [line(1, "one")]


async def test_the_parts_of_a_long_line_are_one_line_and_streams_do_not_mix(log: Path) -> None:
    append(log, entry(1, "a" * 10, "P"), entry(2, "E", "F", "stderr"), entry(3, "b", "F"))
    assert await everything(LogFile(log, None, None)) == [line(2, "E", "stderr"), line(3, "a" * 10 + "b")]


async def test_a_line_without_end_is_cut_and_not_kept_for_ever(log: Path) -> None:
    append(log, *(entry(1, "x" * 8192, "P") for _ in range(20)), entry(2, "", "F"))
    found = await everything(LogFile(log, None, None))
    assert b"".join(each.line for each in found) == b"x" * 8192 * 20
    assert max(len(each.line) for each in found) <= MAX_LINE_BYTES


@pytest.mark.parametrize("count", [0, 1, 3, 5, 9, 200])
async def test_the_tail(log: Path, count: int) -> None:
    lines = [entry(each, f"line {each}") for each in range(5)]
    append(log, *lines[:3], entry(3, "part ", "P"), entry(3, "line 3"), lines[4])
    expected = [*(line(each, f"line {each}") for each in range(3)), line(3, "part line 3"), line(4, "line 4")]
    assert await everything(LogFile(log, None, count)) == (expected[-count:] if count else [])


async def test_the_tail_of_a_file_of_many_blocks(log: Path) -> None:
    append(log, *(entry(1, f"{each} " + "x" * 200) for each in range(20_000)))
    found = await everything(LogFile(log, None, 3_000))
    assert [int(each.line.split()[0]) for each in found] == list(range(17_000, 20_000))


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.counted = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.counted += len(data)
        return data


def search(content: bytes, count: int) -> tuple[Counting, int]:
    """Looks for the last ``count`` lines: the file, and how often was looked."""
    file, looks = Counting(content), 0
    tail = Tail(file, count)
    while not tail.is_found:
        tail.look(file)
        looks += 1
    return file, looks


@pytest.mark.parametrize("kind", ["P", "F"])
@pytest.mark.parametrize("mebibytes", [4, 16])
def test_no_byte_is_read_twice_to_find_the_last_lines_and_none_is_kept(kind: str, mebibytes: int) -> None:
    size = 8192 if kind == "P" else 20
    content = entry(1, "x" * size, kind) * (mebibytes * 1024 * 1024 // len(entry(1, "x" * size, kind)))
    tracemalloc.start()
    try:
        file, looks = search(content, 10_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert file.counted == len(content)
    assert looks == -(-len(content) // BLOCK_BYTES)
    assert peak - len(content) < 16 * BLOCK_BYTES  # what is copied at once does not grow with the file


def test_a_few_last_lines_cost_no_more_in_a_long_file() -> None:
    for content in (entry(1, "x" * 100) * 100_000, entry(1, "x" * 8192, "P") * 4_000):
        file, looks = search(content, 3)
        assert (file.counted, looks) == (BLOCK_BYTES, 1)


def test_another_streams_lines_are_not_searched_for_ever_for_the_beginning_of_one() -> None:
    content = entry(1, "a", "P") + entry(1, "b", "P", "stderr") * 400_000 + entry(2, "c")
    file, _ = search(content, 1)
    assert file.counted < len(content) / 2


@pytest.mark.parametrize("count", [1, 2, 3, 50])
async def test_a_log_without_any_end_of_line_has_last_lines_all_the_same(log: Path, count: int) -> None:
    append(log, *(entry(1, f"{each:4}" + "x" * 8188, "P") for each in range(2000)))
    source = LogFile(log, None, count)
    found = await everything(source) + source.unfinished()
    assert len(found) == count
    text = b"".join(each.line for each in found)
    assert len(text) == count * MAX_LINE_BYTES
    assert text.startswith(f"{2000 - count * 8:4}x".encode())
    assert source.unfinished() == []


async def test_a_line_that_has_no_end_yet_is_a_line(log: Path) -> None:
    append(log, entry(1, "one"), entry(2, "Pass", "P"), entry(2, "word: ", "P"), entry(3, "E", "P", "stderr"))
    source = LogFile(log, None, 2)
    assert await everything(source) == []
    assert source.unfinished() == [line(2, "Password: "), line(3, "E", "stderr")]
    source = LogFile(log, None, 3)
    assert await everything(source) == [line(1, "one")]
    append(log, entry(4, "secret"))
    assert await everything(source) == [line(4, "Password: secret")]


async def test_an_entry_that_is_half_written_when_the_tail_is_looked_for_comes_whole(log: Path) -> None:
    whole = entry(2, "two", stream="stderr")
    for count in (0, 1):
        await trio.Path(log).write_bytes(entry(1, "one") + whole[:30])
        source = LogFile(log, None, count)
        assert await everything(source) == [line(1, "one")] * count
        append(log, whole[30:])
        assert await everything(source) == [line(2, "two", "stderr")]


def random_log(seed: int, most_parts: int) -> bytes:
    """Lines of two streams, their parts mixed up, of all lengths; each has an end."""
    dice = random.Random(seed)
    entries, left = [], {"stdout": 0, "stderr": 0}
    for number in range(dice.randrange(2, 120)):
        stream = dice.choice(["stdout", "stderr"])
        left[stream] = left[stream] or dice.choice([1, 1, 2, 4, most_parts])
        left[stream] -= 1
        text = f"{number} " * dice.choice([1, 40, 1600]) if left[stream] else f"end {number}"
        entries.append(entry(number, text, "P" if left[stream] else "F", stream))
    return b"".join(entries + [entry(200, "last", "F", stream) for stream, parts in left.items() if parts])


@pytest.mark.parametrize("seed", range(40))
async def test_the_tail_is_the_end_of_the_whole(log: Path, seed: int) -> None:
    append(log, random_log(seed, 7))
    all_lines = await everything(LogFile(log, None, None))
    for count in (1, 2, 7, 30, 200):
        found = await everything(LogFile(log, None, count))
        assert found == all_lines[-count:]


@pytest.mark.parametrize("seed", range(40))
async def test_the_tail_of_lines_that_come_in_parts_has_as_many_and_ends_as_the_whole(log: Path, seed: int) -> None:
    append(log, random_log(seed, 40))
    all_lines = await everything(LogFile(log, None, None))
    for count in (1, 2, 7, 30, 200):
        found = await everything(LogFile(log, None, count))
        assert len(found) <= count
        assert len(found) == min(count, len(all_lines))
        for stream in ("stdout", "stderr"):
            text, whole = (b"".join(it.line for it in each if it.stream == stream) for each in (found, all_lines))
            assert whole.endswith(text)


async def test_parts_that_lie_between_another_streams_lines_are_found(log: Path) -> None:
    append(log, entry(1, "old"), entry(2, "a", "P"), entry(2, "E", stream="stderr"), entry(2, "b"))
    assert await everything(LogFile(log, None, 1)) == [line(2, "ab")]
    assert await everything(LogFile(log, None, 2)) == [line(2, "E", "stderr"), line(2, "ab")]


async def test_a_line_of_very_many_parts_is_put_together_in_one_place(log: Path) -> None:
    append(log, *(entry(1, "x", "P") for _ in range(MAX_LINE_BYTES + 1)), entry(2, "y"))
    found = await everything(LogFile(log, None, None))
    assert [len(each.line) for each in found] == [MAX_LINE_BYTES, 2]


async def test_what_is_no_entry_is_not_kept_however_long_it_is(log: Path) -> None:
    append(log, b"x" * (5 * BLOCK_BYTES), b"\n", *(entry(each, str(each)) for each in range(3)))
    for tail in (None, 2, 9):
        source = LogFile(log, None, tail)
        assert [each.line for each in await everything(source)] == [b"0", b"1", b"2"][-(tail or 9) :]
    source = LogFile(log, None, None)
    for _ in range(4):
        source._slice()
        assert len(source._rest) <= BLOCK_BYTES


@pytest.mark.parametrize("tail", [None, 10_000_000])
async def test_who_has_left_is_read_for_no_longer(log: Path, tail: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is a turn of its own: cancelled during one, there is no other. None of them has a line to tell."""
    append(log, *(entry(1, "x" * 1000) for _ in range(10_000)))
    source = LogFile(log, START + timedelta(days=1), tail)
    slices, inner = 0, source._slice

    with trio.CancelScope() as scope:

        def counted() -> Any:
            nonlocal slices
            slices += 1
            if slices == 3:
                trio.from_thread.run_sync(scope.cancel)
            return inner()

        monkeypatch.setattr(source, "_slice", counted)
        await source.read()
    assert scope.cancelled_caught
    assert slices == 3


@pytest.mark.parametrize("tail", [None, 2])
async def test_without_following_it_is_read_as_far_as_it_was(log: Path, tail: int | None) -> None:
    append(log, entry(1, "one"), entry(2, "two"))
    source = LogFile(log, None, tail, follow=False)
    found = await source.read()
    append(log, entry(3, "three"))
    while lines := await source.read():
        found += lines
        append(log, entry(4, "for ever"))
    assert found == [line(1, "one"), line(2, "two")]


async def test_since_a_time_which_is_included(log: Path) -> None:
    append(log, *(entry(each, str(each)) for each in range(5)))
    found = await everything(LogFile(log, START + timedelta(seconds=3), None))
    assert [each.line for each in found] == [b"3", b"4"]


async def test_the_file_that_follows_a_full_one_is_read_from_its_beginning(log: Path) -> None:
    source = LogFile(log, None, None)
    append(log, entry(1, "old"))
    assert await everything(source) == [line(1, "old")]
    append(log, entry(2, "last"))
    successor = log.with_name("ctr.log.tmp")
    successor.write_bytes(entry(3, "new"))
    successor.rename(log)
    assert await everything(source) == [line(2, "last"), line(3, "new")]


async def test_it_has_ended_when_the_container_is_gone(log: Path) -> None:
    source = LogFile(log, None, None)
    append(log, entry(1, "one"))
    assert await everything(source) == [line(1, "one")]
    append(log, entry(2, "last words"))
    await trio.Path(log).unlink()
    assert source.has_ended()
    assert await everything(source) == [line(2, "last words")]


async def test_rubbish_is_no_line(log: Path) -> None:
    append(log, b"rubbish\n", b"\n", b"\0\xff\n", entry(1, "one"), b"2026 stdout F no time\n")
    source = LogFile(log, None, None)
    assert await everything(source) == [line(1, "one")]
