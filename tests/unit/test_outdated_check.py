"""The weekly check of contrib/systemd: what it makes of mcpctl's answer, and what it tells whom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import DEADLINE_S

SYSTEMD = Path(__file__).parents[2] / "contrib/systemd"
PROGRAM = SYSTEMD / "mcp-outdated.py"
ROW = {
    "node": "rift",
    "service": "web",
    "component": "api",
    "image": "registry.example.net/web:1.2.3",
    "state": "newer",
    "newest_of_major": "1.2.4",
    "newest": "2.0.0",
    "newer": ["2.0.0", "1.2.4"],
    "message": "",
}
_NOTIFY = """\
import json, os, sys
facts = {name: value for name, value in os.environ.items() if name.startswith("MCP_")}
told = {"argv": sys.argv[1:], "environment": facts, "stdin": json.load(sys.stdin)}
with open(os.environ["HOME"] + "/told", "a") as file:
    file.write(json.dumps(told) + "\\n")
"""


class Check:
    """The program, between a mcpctl and a command that a test has made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self.command("notify", _NOTIFY)

    def command(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!{sys.executable} -I\n{text}")
        path.chmod(0o755)

    def mcpctl(self, status: int, rows: list[dict[str, Any]], stderr: str = "") -> None:
        text = f"open({str(self.folder / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        text += f"print({json.dumps(rows)!r})\nprint({stderr!r}, file=sys.stderr)\nsys.exit({status})\n"
        self.command("mcpctl", f"import sys\n{text}")

    def run(self) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder}/bin", "HOME": str(self.folder), "MCP_OUTDATED_PAUSE_S": "0"}
        argv = [sys.executable, "-I", str(PROGRAM), str(self.folder / "bin/notify")]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    @property
    def told(self) -> list[dict[str, Any]]:
        path = self.folder / "told"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(tmp_path)


def test_nothing_newer_is_told_to_nobody(check: Check) -> None:
    check.mcpctl(0, [ROW | {"state": "current"}])
    assert check.run().returncode == 0
    assert check.told == []
    assert check.asked == ["outdated --exit-code --output json"]


def test_something_newer_is_told_in_words(check: Check) -> None:
    current = ROW | {"component": "db", "state": "current"}
    check.mcpctl(3, [ROW, current])
    assert check.run().returncode == 0
    (told,) = check.told
    words = "Images: there is something newer\nweb/api on rift (registry.example.net/web:1.2.3): newer; 1.2.4, 2.0.0"
    assert told["argv"] == [words]
    assert told["stdin"]["reason"] == told["environment"]["MCP_REASON"] == words
    assert (told["environment"]["MCP_KIND"], told["environment"]["MCP_OBSERVED"]) == ("image", "newer")
    # As mcpd's alerts have them, whose command it may be.
    names = {
        "ALERT_ID",
        "NODE",
        "SERVICE",
        "COMPONENT",
        "KIND",
        "DESIRED",
        "OBSERVED",
        "REASON",
        "SINCE",
        "TRANSITIONS",
    }
    assert set(told["environment"]) == {f"MCP_{name}" for name in names}
    assert set(told["stdin"]) == {name.lower() for name in names}


@pytest.mark.parametrize("status", [1, 2, 4, 130])
def test_what_could_not_be_known_is_told_when_it_stays_so(check: Check, status: int) -> None:
    row = ROW | {"state": "unknown", "newest": "", "newest_of_major": "", "message": "cannot be reached"}
    check.mcpctl(status, [row], "mcpctl: node orion: it is away")
    assert check.run().returncode == 0
    (told,) = check.told
    assert told["environment"]["MCP_OBSERVED"] == "unknown"
    (words,) = told["argv"]
    assert words.startswith("Images: it could not be found out what is newer\n")
    assert "cannot be reached" in words
    assert "node orion: it is away" in words
    assert len(check.asked) == 3


def test_no_mcpctl_is_told_too(check: Check) -> None:
    assert check.run().returncode == 0
    assert "mcpctl could not be started: No such file" in check.told[0]["argv"][0]


def test_hostile_words_are_one_argument_and_no_more(check: Check) -> None:
    check.mcpctl(3, [ROW | {"message": f"$(touch {check.folder}/done); `id`\u0000\u001b[2J\n--flag"}])
    assert check.run().returncode == 0
    (words,) = check.told[0]["argv"]
    assert f"$(touch {check.folder}/done); `id`  [2J --flag" in words
    assert not (check.folder / "done").exists()


def test_many_components_make_a_message_that_can_be_read(check: Check) -> None:
    check.mcpctl(3, [ROW | {"component": f"c{number}"} for number in range(500)])
    assert check.run().returncode == 0
    (words,) = check.told[0]["argv"]
    assert len(words) <= 4000
    assert words.splitlines()[-1] == "and 480 more"


def test_a_command_that_fails_fails_the_unit(check: Check) -> None:
    check.mcpctl(3, [ROW])
    check.command("notify", "raise SystemExit(7)")
    done = check.run()
    assert (done.returncode, done.stderr) == (1, f"{check.folder}/bin/notify ended with 7\n")
    (check.folder / "bin/notify").unlink()
    done = check.run()
    assert (done.returncode, done.stderr) == (
        1,
        f"{check.folder}/bin/notify could not be started: No such file or directory\n",
    )


def test_the_units_are_sound(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed, so the units were not checked")
    names = ("mcp-outdated.service", "mcp-outdated.timer")
    for name in names:
        text = (SYSTEMD / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/local/bin/mcp-outdated", "/bin/true"))
    argv = ["systemd-analyze", "verify", "--user", "--man=no", *(str(tmp_path / name) for name in names)]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if "mcp-outdated" in line] == []
    assert os.access(PROGRAM, os.X_OK)
