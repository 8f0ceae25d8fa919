"""Which tags are newer versions of a tag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.images.registries import versions


def _newer(tag: str, *tags: str) -> tuple[str, ...]:
    return versions.newer(tag, tags).tags


@pytest.mark.parametrize(
    ("tag", "later"),
    [
        ("1.25", "1.26"),
        ("1.25.3", "1.25.4"),
        ("1.25.3", "1.26.0"),
        ("1.9.0", "1.10.0"),
        ("v1.9", "v1.10"),
        ("16", "17"),
        ("22.04", "24.04"),
        ("1.08", "1.9"),
        ("1.25.3-alpine", "1.25.4-alpine"),
        ("1.25.3-alpine3.9", "1.25.3-alpine3.10"),
        ("1.25.3-alpine3.19", "1.25.4-alpine3.18"),
        ("1.25.3-debian-12-r9", "1.25.3-debian-12-r10"),
        ("1.2.3-abc1234", "1.2.4-12ab34c"),
        ("1.2.3-rc.1", "1.2.3-rc.2"),
        ("1.2.3-rc.9", "1.2.3-rc.10"),
        ("1.2.3-alpha", "1.2.3-alpha.1"),
        ("1.2.3-alpha.1", "1.2.3-alpha.beta"),
        ("1.2.3-rc.1", "1.2.3"),
        ("1.2.3-rc.1-alpine", "1.2.3-alpine"),
        ("3.13.0rc9", "3.13.0rc10"),
        ("3.13.0a1-slim", "3.13.0b1-slim"),
        ("17beta1", "17"),
        ("2024-01-15", "2024-02-01"),
        ("20240115", "20240201"),
        ("2024.01.15", "2024.02.01"),
        ("2024.1", "2024.10"),
        ("2024.1.3", "2024.1.35"),
        ("bookworm-20240115", "bookworm-20240201"),
        ("RELEASE.2024-01-15T10-00-00Z", "RELEASE.2024-01-15T10-00-01Z"),
        ("2022-latest", "2025-latest"),
        ("release-1.2", "release-1.3"),
        ("1." + "9" * 100, "2." + "0" * 100),
    ],
)
def test_a_later_version_is_newer_and_the_earlier_one_is_not(tag: str, later: str) -> None:
    assert _newer(tag, later) == (later,)
    assert _newer(later, tag) == ()


@pytest.mark.parametrize(
    ("tag", "other"),
    [
        ("1.25", "1.26.0"),
        ("1.25.3", "1.26"),
        ("1.25", "v1.26"),
        ("1.25", "1.26-alpine"),
        ("1.25-bookworm", "1.26-trixie"),
        ("1.25-alpine", "1.26"),
        ("1.25-arm32v6", "1.26-arm64v8"),
        ("1.25-jdk17", "1.25-jdk21"),
        ("1.25", "2024.1"),
        ("1.25.3", "2024.01.15"),
        ("16", "20240115"),
        ("16", "2024"),
        ("1.2", "20240115.1"),
        ("2024-01-15", "20240201"),
        ("2024.1", "2024.2.1"),
        ("1.2.3", "1.3.0-rc.1"),
        ("1.2.3", "1.3.0rc1"),
        ("1.2.3-rc.1", "1.2.3rc2"),
        ("1.08", "1.8"),
        ("bookworm-20240115", "trixie-20250115"),
        ("pr-12", "pr-13"),
        ("1234567", "7654321"),
        ("12ab34c", "99ffee1"),
        ("latest", "stable"),
        ("latest", "1.2.3"),
        ("2024-13-45", "2024-14-45"),
    ],
)
def test_what_is_written_otherwise_or_says_no_version_is_not_compared(tag: str, other: str) -> None:
    assert _newer(tag, other) == ()
    assert _newer(other, tag) == ()


def test_the_order_of_semantic_versioning_is_that_of_its_own_example() -> None:
    order = ["alpha", "alpha.1", "alpha.beta", "beta", "beta.2", "beta.11", "rc.1"]
    tags = [*(f"1.0.0-{each}" for each in order), "1.0.0"]
    for position, tag in enumerate(tags):
        assert list(_newer(tag, *tags)) == tags[position + 1 :][::-1]


def test_the_newest_of_the_same_first_number_and_the_newest_of_all_are_told() -> None:
    found = versions.newer("1.25.3", ["1.25.4", "1.27.1", "1.3.0", "2.0.1", "2.0.0", "latest", "1.25.3"])
    assert (found.within, found.newest) == ("1.27.1", "2.0.1")
    assert found.tags == ("2.0.1", "2.0.0", "1.27.1", "1.25.4")
    assert versions.newer("1.25.3", ["2.0.0"]) == versions.Newer("", "2.0.0", ("2.0.0",))
    # The year is no first number of a version.
    assert versions.newer("2024.1", ["2024.2"]).within == ""


_NUMBER = st.one_of(st.integers(0, 30), st.integers(1990, 2030), st.integers(0, 10**30)).map(str)
_DOTTED = st.tuples(st.sampled_from(("", "0")), st.lists(_NUMBER, min_size=1, max_size=4)).map(
    lambda pair: pair[0] + ".".join(pair[1])
)
_DATES = st.dates().flatmap(lambda day: st.sampled_from((day.isoformat(), day.strftime("%Y%m%d"), f"{day:%Y.%m.%d}")))
_BEFORE = st.sampled_from(("", "-rc.1", "-rc.2", "-rc.10", "-alpha", "-beta.x", "rc1", "rc10", "b2", ".dev3"))
_SUFFIXES = st.sampled_from(("", "-alpine", "-alpine3.9", "-alpine3.10", "-bookworm", "-r1", "-2", "-abc1234", "_x"))
_PREFIXES = st.sampled_from(("", "v", "release-", "bookworm-", "pr-"))
_WRITTEN = st.tuples(_PREFIXES, st.one_of(_DOTTED, _DATES), _BEFORE, _SUFFIXES).map("".join)
_ANY = st.one_of(_WRITTEN, st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}", fullmatch=True))


def _is_newer(candidate: str, tag: str) -> bool:
    return bool(_newer(tag, candidate))


@given(_ANY, _ANY, _ANY)
def test_newer_is_a_strict_partial_order(one: str, two: str, three: str) -> None:
    assert not _is_newer(one, one)
    assert not (_is_newer(one, two) and _is_newer(two, one))
    if _is_newer(two, one) and _is_newer(three, two):
        assert _is_newer(three, one)


@given(_PREFIXES, _SUFFIXES, st.lists(st.tuples(*[st.integers(0, 40)] * 3), min_size=3, max_size=3))
def test_three_versions_of_one_shape_are_ordered_by_their_numbers(
    prefix: str, suffix: str, numbers: list[tuple[int, ...]]
) -> None:
    tags = [prefix + ".".join(map(str, each)) + suffix for each in numbers]
    for mine, tag in zip(numbers, tags, strict=True):
        later = [other for theirs, other in zip(numbers, tags, strict=True) if theirs > mine]
        assert set(_newer(tag, *tags)) == set(later)


@given(_WRITTEN, st.lists(_WRITTEN))
def test_a_release_is_never_told_what_is_not_one(tag: str, tags: list[str]) -> None:
    mine = versions.parse(tag)
    found = versions.newer(tag, tags)
    assert tag not in found.tags
    assert set(found.tags) <= set(tags)
    assert found.newest in (*found.tags, "")
    for each in found.tags:
        other = versions.parse(each)
        assert mine
        assert other
        assert other.is_release or not mine.is_release
        assert other.shape == mine.shape


@given(_ANY)
def test_no_tag_is_too_strange(tag: str) -> None:
    versions.parse(tag)


@pytest.mark.parametrize("tag", ["-" * 128, "a-" * 64, "1." * 64, "1-" * 64, "9" * 128, "aaaa" * 32 + "!", "rc" * 64])
def test_no_tag_takes_long(tag: str) -> None:
    others = [f"{tag[:120]}{number}" for number in range(10_000)]
    assert set(versions.newer(tag, others).tags) <= set(others)
