"""What `mcpd check` says of the tokens."""

from __future__ import annotations

import json
from pathlib import Path

from mcpd.checks import authentication, finding
from mcpd.checks.finding import Status
from mcpd.config import settings as config
from tests.support.findings import NOW, status


def test_the_token_that_init_makes_is_good_and_not_shown(folder: Path, settings: config.Config) -> None:
    found = authentication.look_identity(settings, NOW)
    assert status(found) is Status.OK
    shown = finding.as_json(found)
    assert (folder / "admin.token").read_text().strip() not in shown
    (kept,) = json.loads(settings.auth.tokens_path.read_text())["tokens"]
    assert kept["sha256"] not in shown


def test_token_files_that_let_nobody_or_anybody_in_are_told(settings: config.Config) -> None:
    path = settings.auth.tokens_path
    path.chmod(0o666)
    assert status(authentication.look_tokens(path, NOW)) is Status.FAILURE
    path.chmod(0o600)
    kept = json.loads(path.read_text())
    kept["tokens"][0]["expires_at"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(kept))
    assert status(authentication.look_tokens(path, NOW)) is Status.WARNING
    path.write_text("no json, but secret")
    found = authentication.look_tokens(path, NOW)
    assert status(found) is Status.FAILURE
    assert "secret" not in found.words
    path.unlink()
    assert status(authentication.look_tokens(path, NOW)) is Status.WARNING
