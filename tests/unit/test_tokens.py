"""Bearer tokens: what the file holds, who is let in, and two writers at once."""

import json
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import trio

from mcpd.errors import ConfigError, ConflictError, InvalidRequestError, NotFoundError, UnauthenticatedError
from mcpd.identity import tokens
from mcpd.identity.tokens import TokenFile
from mcpd.model import Caller, Role
from tests.support.builders import NOW


def caller_of(file: TokenFile, token: str, now: datetime) -> Caller:
    return trio.run(file.caller, token, now)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def test_a_token_lets_its_holder_in_by_name_and_role(path: Path) -> None:
    token = tokens.add(path, "ops", Role.ADMIN, NOW)
    other = tokens.add(path, "board", Role.VIEWER, NOW)
    file = TokenFile(path)
    assert caller_of(file, token, NOW) == Caller("ops", Role.ADMIN)
    assert caller_of(file, other, NOW) == Caller("board", Role.VIEWER)


def test_the_file_holds_a_hash_and_not_the_token(path: Path) -> None:
    token = tokens.add(path, "ops", Role.ADMIN, NOW)
    text = path.read_text()
    assert token not in text
    assert token.removeprefix(tokens.PREFIX) not in text
    assert tokens.digest(token) in text


def test_a_token_can_be_recognized_and_not_guessed(path: Path) -> None:
    made = {tokens.add(path, f"t{number}", Role.VIEWER, NOW) for number in range(5)}
    assert len(made) == 5
    assert all(each.startswith(tokens.PREFIX) and len(each) > 40 for each in made)


def test_the_file_is_readable_by_its_owner_alone(path: Path) -> None:
    tokens.add(path, "ops", Role.ADMIN, NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    tokens.add(path, "board", Role.VIEWER, NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("token", ["", "mcp_", "x" * 43, "ops", "ä"])
def test_a_string_that_is_no_token_lets_nobody_in(path: Path, token: str) -> None:
    tokens.add(path, "ops", Role.ADMIN, NOW)
    with pytest.raises(UnauthenticatedError):
        caller_of(TokenFile(path), token, NOW)


def test_the_hash_itself_lets_nobody_in(path: Path) -> None:
    token = tokens.add(path, "ops", Role.ADMIN, NOW)
    with pytest.raises(UnauthenticatedError):
        caller_of(TokenFile(path), tokens.digest(token), NOW)


def test_without_a_file_nobody_is_let_in(path: Path) -> None:
    assert tokens.load(path) == ()
    with pytest.raises(UnauthenticatedError):
        caller_of(TokenFile(path), "mcp_anything", NOW)


def test_a_token_works_until_the_moment_it_expires(path: Path) -> None:
    token = tokens.add(path, "ops", Role.ADMIN, NOW, timedelta(days=1))
    file = TokenFile(path)
    end = NOW + timedelta(days=1)
    assert caller_of(file, token, end - timedelta(microseconds=1)).name == "ops"
    with pytest.raises(UnauthenticatedError, match=r"ops expired at 2026-03-02 12:00 UTC"):
        caller_of(file, token, end)


def test_a_revoked_token_stops_working_with_the_next_call(path: Path) -> None:
    kept = tokens.add(path, "board", Role.VIEWER, NOW)
    token = tokens.add(path, "ops", Role.ADMIN, NOW)
    file = TokenFile(path)
    assert caller_of(file, token, NOW).name == "ops"
    tokens.revoke(path, "ops")
    with pytest.raises(UnauthenticatedError):
        caller_of(file, token, NOW)
    assert caller_of(file, kept, NOW).name == "board"


def test_an_added_token_works_with_the_next_call(path: Path) -> None:
    file = TokenFile(path)
    with pytest.raises(UnauthenticatedError):
        caller_of(file, "mcp_x", NOW)
    assert caller_of(file, tokens.add(path, "ops", Role.ADMIN, NOW), NOW).name == "ops"


def test_a_removed_file_takes_every_token_back(path: Path) -> None:
    token = tokens.add(path, "ops", Role.ADMIN, NOW)
    file = TokenFile(path)
    caller_of(file, token, NOW)
    path.unlink()
    with pytest.raises(UnauthenticatedError):
        caller_of(file, token, NOW)


BROKEN = {
    "empty": b"",
    "cut off": b'{"tokens": [',
    "not UTF-8": b'{"tokens": "\xff"}',
    "another shape": b'{"tokens": {}}',
    "unknown key": b'{"tokens": [], "more": 1}',
    "unknown role": b'{"tokens":[{"name":"a","role":"root","sha256":"0","created_at":"2026-01-01T00:00:00Z"}]}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_a_configuration_error_with_every_call(path: Path, content: bytes) -> None:
    token = tokens.add(path, "ops", Role.ADMIN, NOW)
    file = TokenFile(path)
    caller_of(file, token, NOW)
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"tokens\.json"):
            caller_of(file, token, NOW)


def test_an_end_without_a_time_zone_is_a_configuration_error(path: Path) -> None:
    token = tokens.add(path, "ops", Role.ADMIN, NOW, timedelta(days=1))
    path.write_text(path.read_text().replace("2026-03-02T12:00:00Z", "2026-03-02T12:00:00"))
    with pytest.raises(ConfigError, match=r"tokens\.json"):
        caller_of(TokenFile(path), token, NOW)


def test_a_path_that_cannot_be_looked_at_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        caller_of(TokenFile(tmp_path / "file" / "tokens.json"), "mcp_x", NOW)


def test_a_broken_file_is_not_written_over(path: Path) -> None:
    path.write_bytes(b"{")
    with pytest.raises(ConfigError):
        tokens.add(path, "ops", Role.ADMIN, NOW)
    assert path.read_bytes() == b"{"


def test_a_name_in_use_is_refused_and_nothing_changes(path: Path) -> None:
    token = tokens.add(path, "ops", Role.ADMIN, NOW)
    before = path.read_bytes()
    with pytest.raises(ConflictError, match="mcpd token revoke ops"):
        tokens.add(path, "ops", Role.VIEWER, NOW)
    assert path.read_bytes() == before
    assert caller_of(TokenFile(path), token, NOW).role is Role.ADMIN


@pytest.mark.parametrize("name", ["", "Ops", "a b", "a/b", "a\n"])
def test_a_token_needs_a_name_by_the_rule(path: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        tokens.add(path, name, Role.ADMIN, NOW)
    assert not path.exists()


def test_revoking_what_is_not_there_says_so(path: Path) -> None:
    tokens.add(path, "ops", Role.ADMIN, NOW)
    with pytest.raises(NotFoundError, match="no token is named nobody"):
        tokens.revoke(path, "nobody")


def test_the_file_can_be_read_by_a_person(path: Path) -> None:
    tokens.add(path, "ops", Role.ADMIN, NOW)
    assert json.loads(path.read_text())["tokens"][0]["name"] == "ops"
    assert len(path.read_text().splitlines()) > 3


ADDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from mcpd.identity import tokens
from mcpd.model import Role
path, prefix, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    tokens.add(path, f"{prefix}{number}", Role.VIEWER, datetime.now(UTC))
"""


def test_processes_that_add_at_once_lose_nothing(path: Path) -> None:
    count = 20
    adders = [
        subprocess.Popen(
            [sys.executable, "-c", ADDER, str(path), prefix, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for prefix in "abc"
    ]
    for each in adders:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in adders:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in adders:
        each.communicate(timeout=20)
        assert each.returncode == 0
    names = {each.name for each in tokens.load(path)}
    assert names == {f"{prefix}{number}" for prefix in "abc" for number in range(count)}
    assert [each.name for each in path.parent.iterdir()] == ["tokens.json"]
