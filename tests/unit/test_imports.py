"""What each command imports: a program that runs for 150 ms lives by what it leaves out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mcpd.setup import pki
from tests.support.agent import WEB, of_a_shell
from tests.support.waiting import DEADLINE_S

# What costs more than it is worth where it is not needed.
HEAVY = {
    "cryptography",
    "cyclopts",
    "httpx",
    "jsonschema",
    "multiprocessing",
    "pydoc",
    "rich",
    "structlog",
    "textual",
    "tomlkit",
    "trio",
    "unittest",
    "urllib.request",
    "xml",
    "yaml",
}
# Parsing a command line, which plain ones do without.
PARSED = {"cyclopts"}
ALLOWED: dict[str, set[str]] = {
    "ps": set(),
    "list": set(),
    "status": set(),
    "events": set(),
    "status web": set(),
    "ps --debug": set(),
    "ps --all": PARSED,
    "ps --output json": PARSED,
    "ps --output wide": PARSED,
    "ps --quiet": PARSED,
    "ps --output yaml": PARSED | {"yaml"},
    "alerts list": PARSED,
    "audit": PARSED,
    "deploy web": PARSED,
    "events --since 1h": PARSED,
    "image list": PARSED,
    "image push web": set(),
    "image push web --node rift": PARSED,
    "logs web": PARSED,
    "ls web": PARSED,
    "node list": PARSED,
    "node list --offline": PARSED,
    "node show rift": PARSED,
    "node add new 127.0.0.1:1": PARSED,
    "node add new 127.0.0.1:1 --no-check": PARSED | {"tomlkit"},
    "operations": PARSED,
    "plan web": PARSED,
    "restart web": PARSED,
    "service list": PARSED,
    "stop web": PARSED | {"tomlkit"},
    "sync": PARSED,
    "timeline": PARSED,
    "whoami": PARSED,
}
PROGRAM = """
import json, sys
from mcpctl.__main__ import main
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with a node that is not there."""
    found = tmp_path_factory.mktemp("imports")
    (found / "services").mkdir()
    (found / "ca.pem").write_bytes(pki.make_authority("rift").pem.certificate)
    (found / "token").touch(0o600)
    (found / "token").write_text("secret")
    return found


@pytest.mark.parametrize("words", ALLOWED)
def test_a_command_imports_no_more_than_it_needs(folder: Path, words: str) -> None:
    # Some commands edit these.
    (folder / "mcp.toml").write_text('[[nodes]]\nname = "rift"\naddress = "127.0.0.1:1"\n')
    (folder / "services/web.toml").write_text(WEB)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words.split()],
        env=of_a_shell(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert "a bug in mcpctl" not in done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert (loaded & HEAVY) - ALLOWED[words] == set()
