"""`mcpctl pull -r`: a folder with all that is in it, and nothing beside it."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from protos.mcp import v1
from tests.support.agent import Node, Program, Run
from tests.support.files import LARGE, TEXT, a_file, a_folder, names, parts
from tests.support.waiting import until


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_folder_is_pulled_with_all_that_is_in_it(run: Run, site: Node, web: Path, page: int) -> None:
    site.agent.page = page
    status, out, err = run("pull", "-r", "web", "site")
    assert status == 0
    assert err == "mcpctl: skipped 2, neither files nor folders: site/link, site/pipe\n"
    assert out.startswith("web:site on rift -> site: 3 files, 2 folders, ")
    assert names(web) == ["site", "site/css", "site/css/a.css", "site/css/b.css", "site/index.html"]
    assert (web / "site/css/a.css").read_bytes() == LARGE
    assert stat.S_IMODE((web / "site/css").stat().st_mode) == 0o550
    assert stat.S_IMODE((web / "site/css/b.css").stat().st_mode) == 0o600
    (web / "site/css").chmod(0o750)


def test_the_services_folder_is_pulled_under_the_services_name(run: Run, site: Node, web: Path) -> None:  # noqa: ARG001
    assert run("pull", "-r", "web", ".").status == 0
    assert (web / "web/site/index.html").read_bytes() == TEXT


def test_a_file_is_pulled_with_r_as_well(run: Run, site: Node, web: Path) -> None:  # noqa: ARG001
    assert run("pull", "-r", "web", "site/index.html").status == 0
    assert names(web) == ["index.html"]


def test_existing_files_are_found_before_anything_is_written(run: Run, site: Node, web: Path) -> None:
    (web / "site/css").mkdir(parents=True)
    (web / "site/css/b.css").write_text("mine")
    status, out, err = run("pull", "-r", "web", "site", ".")
    assert (status, out) == (2, "")
    assert "site/css/b.css already exists; nothing was copied; --force overwrites" in err
    assert site.agent.asked(v1.PullFileRequest) == []
    assert run("pull", "-r", "web", "site", ".", "--force").status == 0
    assert (web / "site/css/b.css").read_bytes() == TEXT


@pytest.mark.parametrize("name", ["..", ".", "", "../../evil", "/tmp/evil", "a/b", "nul\0"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_names_that_lead_elsewhere_are_refused_before_anything_is_written(
    run: Run, site: Node, web: Path, name: str, kind: str
) -> None:
    before = names(web.parent)
    site.agent.folders["site/css"].append(v1.FileInfo(name, kind, 1, 0o644))
    status, out, err = run("pull", "-r", "web", "site")
    assert (status, out) == (1, "")
    assert "; nothing was written" in err
    assert site.agent.asked(v1.PullFileRequest) == []
    assert names(web.parent) == before


def test_a_link_here_that_has_a_folders_name_is_not_followed(run: Run, site: Node, web: Path) -> None:  # noqa: ARG001
    (web / "site").mkdir()
    (web / "elsewhere").mkdir()
    (web / "site/css").symlink_to(web / "elsewhere")
    status, _, err = run("pull", "-r", "web", "site", ".", "--force")
    assert status == 1
    assert "site/css is in the way" in err
    assert names(web / "elsewhere") == []


def test_a_listing_without_an_end_is_given_up(run: Run, rift: Node, web: Path) -> None:  # noqa: ARG001
    async def endless(_: v1.ListFilesRequest) -> v1.ListFilesResponse:
        return v1.ListFilesResponse([a_file("a"), a_file("b")], more=True)

    rift.agent.list_files = endless  # type: ignore[method-assign]
    status, _, err = run("ls", "web")
    assert status == 1
    assert "does not advance" in err


def test_a_listing_without_a_bottom_is_given_up(run: Run, rift: Node, web: Path) -> None:
    async def endless(_: v1.ListFilesRequest) -> v1.ListFilesResponse:
        return v1.ListFilesResponse([a_folder("a" * 200), a_file("b")])

    rift.agent.list_files = endless  # type: ignore[method-assign]
    status, _, err = run("pull", "-r", "web", "x")
    assert status == 1
    assert "is too deep" in err
    assert names(web) == []


def test_an_interrupted_folder_keeps_what_is_whole(launch: Callable[..., Program], site: Node, web: Path) -> None:
    site.agent.prepared["PullFileRequest"]["site/css/b.css"] = [*parts()[:2], ...]
    program = launch("pull", "-r", "web", "site")
    until(lambda: any(each.path == "site/css/b.css" for each in site.agent.asked(v1.PullFileRequest)))
    assert program.interrupt()[0] == 130
    assert program.err.endswith("interrupted; 2 of 3 files are complete on this machine, the others were not copied\n")
    assert [name for name in names(web) if ".mcpctl" in name or name.endswith("b.css")] == []
