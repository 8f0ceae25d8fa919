"""Configs on the node: written once, kept as long as anything needs them, and never more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mcpd.changes.config_files import ConfigFiles
from mcpd.errors import RefusedError
from protos.parts import ConfigFile
from tests.support.builders import component

ONE = ConfigFile("/etc/one", content="first\n")


def files(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


def written(place: str) -> tuple[str, int]:
    path = Path(place)
    return path.read_text(), path.stat().st_mode & 0o777


async def test_a_config_is_written_with_its_mode_and_only_the_daemon_may_look_for_it(tmp_path: Path) -> None:
    kept = ConfigFiles(tmp_path / "configs")
    api = component(configs=(ONE, ConfigFile("/etc/two", content="grüß", mode=0o400)))
    await kept.put("web", api)
    places = kept.places("web", api)
    assert written(places["/etc/one"]) == ("first\n", 0o444)
    assert written(places["/etc/two"]) == ("grüß", 0o400)
    assert (tmp_path / "configs").stat().st_mode & 0o777 == 0o700


async def test_another_text_mode_or_owner_is_another_file(tmp_path: Path) -> None:
    kept = ConfigFiles(tmp_path)
    several = [
        ONE,
        ConfigFile("/etc/one", content="second\n"),
        ConfigFile("/etc/one", content="first\n", mode=0o400),
        ConfigFile("/etc/one", content="first\n", uid=7),
        ConfigFile("/etc/one", content="first\n", gid=7),
    ]
    places = {kept.places("web", component(configs=(each,)))["/etc/one"] for each in several}
    assert len(places) == len(several)


async def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    kept, api = ConfigFiles(tmp_path), component(configs=(ONE,))
    await kept.put("web", api)
    (file,) = files(tmp_path)
    before = file.stat().st_ino
    await kept.put("web", api)
    assert file.stat().st_ino == before


async def test_only_what_is_needed_is_kept_and_an_empty_folder_goes(tmp_path: Path) -> None:
    kept = ConfigFiles(tmp_path / "configs")
    old, new = component(configs=(ONE,)), component(configs=(ConfigFile("/etc/one", content="second\n"),))
    for each in (old, new, component("db", configs=(ONE,))):
        await kept.put("web", each)
    await kept.put("other", old)
    await kept.keep("web", [new])
    left = {str(each.relative_to(tmp_path / "configs").parent) for each in files(tmp_path)}
    assert left == {"web/api", "other/api"}
    await kept.keep("web", [])
    await kept.keep("other", [])
    assert not (tmp_path / "configs").exists()
    await kept.keep("web", [])


async def test_a_folder_that_cannot_be_written_refuses_with_the_config_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "configs").touch()
    with pytest.raises(RefusedError, match=r"the config /etc/one cannot be written to .*: File exists"):
        await ConfigFiles(tmp_path / "configs").put("web", component(configs=(ONE,)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away without podman")
async def test_its_owner_is_the_one_that_is_declared(tmp_path: Path) -> None:
    kept, api = ConfigFiles(tmp_path), component(configs=(ConfigFile("/etc/one", content="x", uid=12, gid=34),))
    await kept.put("web", api)
    (file,) = files(tmp_path)
    assert (file.stat().st_uid, file.stat().st_gid) == (12, 34)
