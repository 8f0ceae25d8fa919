"""What the log looks like to a program, and to the journal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging, os, sys
from mcpd.node import daemon_log
if sys.argv[1] == "journal":
    stream = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{stream.st_dev}:{stream.st_ino}"
elif sys.argv[1] == "another":
    os.environ["JOURNAL_STREAM"] = "1:1"
daemon_log.set_up()
import structlog
log = structlog.get_logger()
log.info("began", node="rift")
log.warning("odd")
log.error("failed", text="two\\nlines")
logging.getLogger("library").warning("its own")
logging.getLogger("library").info("not told")
"""


def lines(tmp_path: Path, where: str) -> list[str]:
    path = tmp_path / "log"
    with path.open("wb") as out:
        environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
        subprocess.run([sys.executable, "-c", SCRIPT, where], stderr=out, env=environment, check=True, timeout=60)
    return path.read_text().splitlines()


@pytest.mark.parametrize("where", ["file", "another"])
def test_a_program_reads_one_json_document_a_line(tmp_path: Path, where: str) -> None:
    found = [json.loads(each) for each in lines(tmp_path, where)]
    assert [(each["level"], each["event"]) for each in found] == [
        ("info", "began"),
        ("warning", "odd"),
        ("error", "failed"),
        ("warning", "its own"),
    ]
    assert found[0]["node"] == "rift"
    assert found[0]["timestamp"].endswith("Z")


def test_the_journal_gets_priorities(tmp_path: Path) -> None:
    found = lines(tmp_path, "journal")
    assert [each[:3] for each in found] == ["<6>", "<4>", "<3>", "<4>"]
    assert json.loads(found[2][3:])["text"] == "two\nlines"
