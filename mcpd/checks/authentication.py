"""Checks authentication: the token file, or the MCIAS server."""

from __future__ import annotations

import ssl
import stat
from datetime import datetime
from pathlib import Path

import httpx

from mcpd.checks.finding import Finding, failure, ok, warning
from mcpd.config.settings import AuthMode, Config
from mcpd.errors import ConfigError
from mcpd.identity import tokens
from mcpd.identity.mcias import DEADLINE_S

TOKENS, MCIAS = "tokens", "mcias"


def look_identity(config: Config, now: datetime) -> list[Finding]:
    if config.auth.mode is AuthMode.TOKENS:
        return [look_tokens(config.auth.tokens_path, now)]
    assert config.mcias is not None, "mcpd.config sees to it"
    return [look_mcias(config.mcias.server_url, config.mcias.ca_cert)]


def look_tokens(path: Path, now: datetime) -> Finding:
    add = "mcpd token add NAME --role admin"
    try:
        every = tokens.load(path)
    except ConfigError as error:
        return failure(TOKENS, str(error), f"mv {path} {path}.damaged && {add}")
    good = [each for each in every if not each.is_expired(now)]
    if not good:
        return warning(TOKENS, f"{path} has no valid token, so every call is refused", add)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022:
        return failure(
            TOKENS, f"{path} has mode {mode:04o}: other users can give themselves access", f"chmod 600 {path}"
        )
    expired = f", {len(every) - len(good)} expired" if len(good) < len(every) else ""
    return ok(TOKENS, f"{len(good)} in {path}{expired}")


def look_mcias(url: str, ca_cert: Path | None) -> Finding:
    """Queries the health of MCIAS, without a token."""
    where = f"{url.rstrip('/')}/v1/health"
    mend = f"curl --cacert {ca_cert} {where}" if ca_cert else f"curl {where}"
    try:
        context = ssl.create_default_context(cafile=ca_cert)
        with httpx.Client(verify=context, timeout=DEADLINE_S, trust_env=False) as client:
            status = client.get(where).status_code
    except (httpx.HTTPError, OSError, ValueError) as error:
        return failure(
            MCIAS, f"{url} cannot be queried, so every call is refused: {error or type(error).__name__}", mend
        )
    if status != httpx.codes.OK:
        return failure(MCIAS, f"{url} is not healthy: it answers with status {status}", mend)
    return ok(MCIAS, f"{url} answers")
