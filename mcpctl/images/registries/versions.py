"""Which tags of a repository are newer versions of a tag. Pure: it goes by the tags alone.

Tags are compared only with those that are written alike: the same prefix, as many numbers, the same suffix. Nothing is
guessed: a tag that says no version has no newer ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

import msgspec

# Words that begin what is not yet a release (Semantic Versioning 2.0, 9, does not name any; these are in use).
_UNRELEASED = (
    "alpha|beta|rc|cr|pre|preview|prerelease|dev|develop|snapshot|nightly|canary|next|milestone|ea|test|unstable|edge"
)
_TAG = re.compile(
    # v, or words before it: `release-`, `bookworm-`, `RELEASE.`
    r"(?P<prefix>[vV]?|[A-Za-z][A-Za-z-]*[-._]?v?)"
    r"(?:(?P<day>\d{4}-\d{2}-\d{2})(?:T(?P<time>\d{2}-?\d{2}-?\d{2})Z)?|(?P<numbers>\d+(?:\.\d+)*))"
    rf"(?:-(?P<semver>(?i:{_UNRELEASED})(?:[.]?\d+)?(?:\.[0-9A-Za-z]+)*)|[.]?(?P<glued>(?i:{_UNRELEASED}|[abc])\.?\d*))?"
    r"(?P<suffix>(?:[-_][0-9A-Za-z._-]*)?)",
    re.ASCII,
)
_VERSION_WORDS = re.compile(r"[vV]?|(?i:version|release|rel|ver)[-._]?v?")
# What a commit is called: as many digits as git shows, with a letter and a digit among them.
_COMMIT = re.compile(r"g?(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}")
# A number alone that is as long may be one, too.
_LONGEST_NUMBER = 6
# Of a suffix, what goes up by itself: Alpine's version, and the number of a rebuild.
_ALPINE = re.compile(r"(?<![0-9A-Za-z])alpine(?P<numbers>[0-9]+(?:\.[0-9]+)*)")
_REBUILD = re.compile(r"(?<=[-_])r?(?P<numbers>[0-9]+)$")
_YEARS = range(1970, 2200)

_Numbers = tuple[int, ...]
# Each identifier, so that tuples compare as Semantic Versioning 2.0, 11.4, says: numbers below words.
_Identifiers = tuple[tuple[int, int, str], ...]


class Version(msgspec.Struct, frozen=True):
    """What a tag says. ``shape``: how it is written; only versions of one shape are compared.

    ``unreleased``: the identifiers of what comes before the release, empty for a release itself. ``style``: how those
    are written. ``rest``: the numbers in its suffix.
    """

    shape: tuple[str, ...]
    numbers: _Numbers
    style: str = ""
    unreleased: _Identifiers = ()
    rest: _Numbers = ()

    @property
    def is_release(self) -> bool:
        return not self.style

    @property
    def key(self) -> tuple[_Numbers, bool, _Identifiers, _Numbers]:
        """Of two with one shape and style, the greater one is the newer one."""
        return self.numbers, self.is_release, self.unreleased, self.rest

    @property
    def is_date(self) -> bool:
        return self.shape[0] != _PLAIN


class Newer(msgspec.Struct, frozen=True):
    """``within``: the newest with the same first number, "" when there is none; ``newest``: the newest of all.

    ``tags``: all, from the newest on.
    """

    within: str = ""
    newest: str = ""
    tags: tuple[str, ...] = ()


_PLAIN, _CALENDAR, _DAY, _COMPACT = "version", "calendar", "day", "compact"


def parse(tag: str) -> Version | None:
    """None for a tag that says no version: a word, a commit, what is not understood."""
    if _COMMIT.fullmatch(tag):
        return None
    found = _TAG.fullmatch(tag)
    if found is None:
        return None
    if found["day"]:
        numbers = _day(found["day"])
        if numbers is None:
            return None
        kind, width = _DAY + ("T" if found["time"] else ""), 3
        numbers += (int(found["time"].replace("-", "")),) if found["time"] else ()
    else:
        numbers = tuple(map(int, found["numbers"].split(".")))
        kind, width = _kind(found["numbers"]), len(numbers)
    if kind == _PLAIN and not _says_version(found["prefix"], found["numbers"]):
        return None
    suffix, rest = _suffix(found["suffix"])
    style = "semver" if found["semver"] else "glued" if found["glued"] else ""
    identifiers = _identifiers(found["semver"] or "") or _split(found["glued"] or "")
    return Version((kind, found["prefix"], str(width), suffix), numbers, style, identifiers, rest)


def is_newer(candidate: Version, version: Version) -> bool:
    """A strict partial order. A release is never older than what is not released."""
    if candidate.shape != version.shape or candidate.key <= version.key:
        return False
    # 1. Whoever runs releases waits for the next release.
    # 2. Whoever does not gets what comes later, in the same notation, and the release.
    return candidate.is_release or candidate.style == version.style


def newer(tag: str, tags: Iterable[str]) -> Newer:
    """Those of ``tags`` that are newer versions of ``tag``."""
    version = parse(tag)
    if version is None:
        return Newer()
    versions = [(each, parse(each)) for each in set(tags)]
    found = sorted(
        ((each.key, name) for name, each in versions if each is not None and is_newer(each, version)), reverse=True
    )
    if not found:
        return Newer()
    same = [name for key, name in found if key[0][0] == version.numbers[0]]
    within = "" if version.is_date or not same else same[0]
    return Newer(within, found[0][1], tuple(name for _, name in found))


def _day(text: str) -> _Numbers | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return (day.year, day.month, day.day)


def _kind(numbers: str) -> str:
    """Versions and dates are never compared, however alike they look."""
    first = numbers.partition(".")[0]
    if len(first) == 4 and int(first) in _YEARS:
        return _CALENDAR
    if len(first) == 8 and int(first[:4]) in _YEARS and _day(f"{first[:4]}-{first[4:6]}-{first[6:]}"):
        return _COMPACT
    return _PLAIN


def _says_version(prefix: str, numbers: str) -> bool:
    """Whether what looks like a version is one: `pr-12` is a number, and `1234567` may be a commit."""
    if "." in numbers:
        return True
    return bool(_VERSION_WORDS.fullmatch(prefix)) and len(numbers) <= _LONGEST_NUMBER


def _suffix(text: str) -> tuple[str, _Numbers]:
    """Its shape, and the numbers that may grow."""
    numbers: list[int] = []

    def taken(match: re.Match[str]) -> str:
        found = match["numbers"].split(".")
        numbers.extend(map(int, found))
        return match[0].replace(match["numbers"], ".".join("#" for _ in found))

    parts = re.split(r"([-_.])", text)
    shape = "".join("commit" if _COMMIT.fullmatch(each) else each for each in parts)
    return _REBUILD.sub(taken, _ALPINE.sub(taken, shape)), tuple(numbers)


def _identifiers(text: str) -> _Identifiers:
    return tuple(_identifier(each) for each in text.split(".")) if text else ()


def _split(text: str) -> _Identifiers:
    """Of a notation without dots, `rc10`: words and numbers."""
    return tuple(_identifier(each) for each in re.findall(r"[A-Za-z]+|\d+", text))


def _identifier(text: str) -> tuple[int, int, str]:
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
