"""Nothing outside of ROOT/<service>/ is reached, whatever a path says; and the folders made on its way."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mcpd.errors import InvalidRequestError, NotFoundError, RefusedError
from mcpd.files.beneath import Tree
from mcpd.files.download import Download
from tests.support.service_folder import ACTIONS, NEW, TO_SERVICES, Place

# Refused by what they say, whatever is there.
PATHS = [
    *("..", "../x", "a/..", "a/../x", "a/../../x", "a/b/../../../x", "../web/file", "../other/file", "../" * 100 + "x"),
    *("a/../../../../../../etc/passwd", ".", "./x", "x/.", "a/./x", "./..", "/", "//", "/etc/passwd", "//x", "/../x"),
    *(
        "/proc/self/root/etc/passwd",
        "/srv/web/file",
        "a//b",
        "a///b",
        "x//",
        "",
        "\0",
        "a\0b",
        "file\0",
        "x\0/../..",
        "\0/x",
    ),
    *(
        "a\nb",
        "\x1b[2J",
        "a\tb",
        "\x7f",
        "a\r",
        "x" * 256,
        "é" * 128,
        "x" * 5000,
        "a/" * 2500 + "x",
        ("n" * 255 + "/") * 17,
    ),
    *("a/" + "x" * 256 + "/b", "\udcff", "a/\ud800"),
]
# What a folder's path may end with, and a file's not.
SLASHED = ["file/", "a/x/", "file//"]
# Names like any others: they stay inside.
LITERAL = [
    *(
        "%2e%2e",
        "%2e%2e/x",
        "..%2fx",
        "%2e%2e%2fetc%2fpasswd",
        "%00",
        "..%00/x",
        "\u2025/x",
        "\uff0e\uff0e/x",
        "\u3002\u3002/x",
    ),
    *(
        "\u2024\u2024/x",
        "..\\x",
        "a\\..\\..\\x",
        "...",
        ".../x",
        "~root/x",
        "$HOME/x",
        "-rf",
        "; rm -rf x",
        "*",
        " ",
        ".. ",
        " ../x",
    ),
    *("\u200b../x", "..\u200b/x", "..;/x", "\u2215etc\u2215passwd", "n" * 255, "é" * 127),
]
SERVICES = [
    "..",
    ".",
    "a/b",
    "/etc",
    "",
    "A",
    "-a",
    "a-",
    "a" * 64,
    "web/../other",
    "web/",
    "wéb",
    "we b",
    "web\0",
    "../etc",
]


# ------------------------------------------------------------------------------------------------ what paths say


# To list, an empty path is the service's folder.
@pytest.mark.parametrize(
    ("path", "action"),
    [(path, action) for path in PATHS for action in ACTIONS if (path, action) != ("", "list")],
    ids=lambda value: ascii(value)[:40],
)
def test_a_path_that_is_no_plain_name_below_is_refused(place: Place, path: str, action: str) -> None:
    with place.untouched(), pytest.raises(InvalidRequestError) as raised:
        ACTIONS[action](place, path)
    sentence = str(raised.value)
    assert len(sentence) < 300
    assert sentence.isprintable()


@pytest.mark.parametrize("action", ["push", "pull"])
@pytest.mark.parametrize("path", SLASHED)
def test_a_files_path_does_not_end_with_a_slash(place: Place, path: str, action: str) -> None:
    with place.untouched(), pytest.raises(InvalidRequestError, match=r"slash"):
        ACTIONS[action](place, path)


@pytest.mark.parametrize("path", LITERAL, ids=lambda path: ascii(path)[:40])
def test_what_only_looks_like_a_way_out_is_a_name(place: Place, path: str) -> None:
    outside = {key: value for key, value in place.everything().items() if not key.startswith(str(place.web))}
    place.push(path)
    assert place.pull(path) == NEW
    assert (place.web / path).read_bytes() == NEW
    after = {key: value for key, value in place.everything().items() if not key.startswith(str(place.web))}
    assert after == outside


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("service", SERVICES, ids=ascii)
def test_what_is_no_services_name_is_refused(place: Place, service: str, action: str) -> None:
    with place.untouched(), pytest.raises(InvalidRequestError, match="is not the name of a service"):
        TO_SERVICES[action](place, service)


# ------------------------------------------------------------------------------------------------ folders


def test_folders_are_made_on_the_way_for_everybody_to_enter(place: Place) -> None:
    os.umask(before := os.umask(0))
    place.push("certs/2026/cert.pem", service="new")
    made = [place.root / "new", place.root / "new/certs", place.root / "new/certs/2026"]
    assert [stat.S_IMODE(each.stat().st_mode) for each in made] == [0o755 & ~before] * 3
    assert (made[-1] / "cert.pem").read_bytes() == NEW


def test_a_root_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"create it, or set files\.root"):
        Download(Tree(tmp_path / "nowhere"), "web", ("x",))


@pytest.mark.parametrize("action", ["pull", "list"])
def test_a_service_without_a_folder_is_not_found(place: Place, action: str) -> None:
    with place.untouched(), pytest.raises(NotFoundError, match="nobody has no folder"):
        TO_SERVICES[action](place, "nobody")
