"""The names of pushed images, and the platforms that they are for."""

import pytest

from mcpctl.errors import UsageError
from mcpctl.images import names, platforms
from mcpctl.images.platforms import Platform

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("image", "known", "whole"),
    [
        ("registry.example.net/web:v1", [], "registry.example.net/web:v1"),
        ("registry.example.net:5000/a/web", [], "registry.example.net:5000/a/web:latest"),
        ("localhost/web:v1", ["registry.example.net/web:v1"], "localhost/web:v1"),
        ("web:v1", [], "localhost/web:v1"),
        ("web", ["docker.io/library/web:v1", "docker.io/library/web:latest"], "docker.io/library/web:latest"),
        ("team/web:v1", ["quay.io/team/web:v1"], "quay.io/team/web:v1"),
        ("web:v1", ["quay.io/other-web:v1", "web:v1"], "localhost/web:v1"),
        (f"localhost/web:v1@{DIGEST}", [], f"localhost/web:v1@{DIGEST}"),
    ],
)
def test_a_name_is_made_whole(image: str, known: list[str], whole: str) -> None:
    assert names.whole(image, known) == whole


def test_a_digest_alone_leaves_no_name() -> None:
    with pytest.raises(UsageError, match=f"say quay.io/web:TAG@{DIGEST}"):
        names.whole(f"quay.io/web@{DIGEST}")


@pytest.mark.parametrize(
    ("name", "reference", "same"),
    [
        ("localhost/web:v1", "localhost/web:v1", True),
        ("web:v1", "localhost/web:v1", True),
        ("docker.io/library/web:v1", "docker.io/library/web:v1", True),
        ("v1", "localhost/web:v1", True),
        ("web", "localhost/web:latest", True),
        ("v1", "localhost/web:v10", False),
        ("web:v1", "localhost/other-web:v1", False),
        ("quay.io/web:v1", "localhost/web:v1", False),
    ],
)
def test_what_an_archive_calls_an_image(name: str, reference: str, same: bool) -> None:
    assert names.is_same(name, reference) is same


@pytest.mark.parametrize(
    ("image", "machine", "runs"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64/v1", "linux/amd64", True),
        ("linux/amd64/v3", "linux/amd64", False),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v6", "linux/arm/v7", True),
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/arm/v7", "linux/arm64/v8", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_which_platform_runs_where(image: str, machine: str, runs: bool) -> None:
    assert platforms.runs(platforms.parse(image), platforms.parse(machine)) is runs


def test_an_image_that_does_not_say_its_platform_may_run() -> None:
    assert platforms.runs(Platform("", ""), Platform("linux", "amd64"))
    assert str(Platform("", "")) == "?/?"


@pytest.mark.parametrize(
    ("offered", "machine", "best"),
    [
        (["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v7", 1),
        (["linux/arm/v5", "linux/arm/v8", "linux/arm/v6"], "linux/arm/v7", 2),
        (["linux/amd64", "linux/arm64/v8"], "linux/arm64", 1),
        (["linux/amd64/v2", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
        (["linux/s390x"], "linux/amd64", None),
    ],
)
def test_the_best_of_several_platforms(offered: list[str], machine: str, best: int | None) -> None:
    assert platforms.best([platforms.parse(each) for each in offered], platforms.parse(machine)) == best
