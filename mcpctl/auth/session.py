"""The token of one command: from its file, renewed in time, replaced by a login where that needs nobody (audit S3).

Whatever happens, MCIAS is asked a bounded number of times: a login that does not help is not repeated, and many nodes
that want another token get the same one.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from enum import Enum

from mcpctl.auth import credentials
from mcpctl.auth.credentials import Account
from mcpctl.errors import CliError, MciasUnreachableError, UsageError
from mcpctl.ui import render

# With less than this part of its life left, a token is renewed.
_LAST_PART = 1 / 5
# A command that follows something for days may need another login; one that ends sooner never makes two.
_LOGIN_APART_S = 900.0
# MCIAS that is down is down for all nodes of a command; who follows asks again, as it does with nodes.
_OUTAGE_S = 10.0
# A renewal is a courtesy, which must not hold up a command whose token is good.
_RENEWAL_PATIENCE_S = 3.0
_RENEWAL_APART_S = 60.0


class Step(Enum):
    USE = "use"
    RENEW = "renew"
    LOG_IN = "log in"
    GIVE_UP = "give up"


def step(token: str | None, account: Account, now: float) -> Step:
    """What is to be done before ``token`` is used, at ``now`` (Unix seconds)."""
    # 1. There is none.
    if token is None:
        return Step.LOG_IN if account.is_unattended else Step.GIVE_UP
    # 2. Its end is not known, or nobody could do anything about it: a node will say.
    life = credentials.lifetime(token)
    if life is None or account.server is None:
        return Step.USE
    # 3. It has ended.
    if now >= life.end:
        return Step.LOG_IN if account.is_unattended else Step.GIVE_UP
    # 4. It ends soon.
    if life.start is not None and life.end - now < (life.end - life.start) * _LAST_PART:
        return Step.RENEW
    return Step.USE


class Session:
    """Used by one command, from as many threads as it has nodes. What blocks says so."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._lock = threading.Lock()
        # What MCIAS gave us in this command, whatever became of the file.
        self._token: str | None = None
        self._no_login_before = 0.0
        self._failure: CliError | None = None
        self._no_renewal_before = 0.0

    def at_hand(self) -> str | None:
        """The token, when nothing is to be done before it is used. Raises UsageError for a file that is not used."""
        token = self._current()
        return token if self._step(token) is Step.USE else None

    def token(self, node: str) -> str:
        """The token, for the node that is called so. Blocks.

        Raises UsageError when somebody must log in; MciasError, MciasUnreachableError when it was tried in vain.
        """
        with self._lock:
            token = self._current()
            what = self._step(token)
            if what is Step.LOG_IN:
                return self._log_in()
            if token is None:
                remedy = "; run `mcpctl login`" if self.account.server else ""
                raise credentials.no_token(node, self.account.token_path, remedy=remedy)
            if what is Step.GIVE_UP:
                raise UsageError(f"{self._ended(token)}; run `mcpctl login`")
            return self._renewed(token) if what is Step.RENEW else token

    def another(self, refused: str) -> str | None:
        """A token to try instead of one that a node refused; None when there is none. Blocks.

        Raises as `token` does.
        """
        with self._lock:
            # 1. It was replaced meanwhile: for another node, or by another mcpctl.
            for token in (self._token, credentials.token(self.account.token_path)):
                if token not in (None, refused):
                    return token
            # 2. Nothing helps: nobody can log in, or the one who did was refused.
            if not self.account.is_unattended or (self._is_resting() and self._failure is None):
                return None
            # 3. A login may.
            return self._log_in()

    def _current(self) -> str | None:
        return self._token or credentials.token(self.account.token_path)

    def _step(self, token: str | None) -> Step:
        now = time.monotonic()
        what = step(token, self.account, time.time())
        if what is Step.RENEW and now < self._no_renewal_before:
            return Step.USE
        # MCIAS gave it to us just now: our clock is wrong, and the node's may be right.
        if what is Step.LOG_IN and self._token is not None and self._is_resting() and self._failure is None:
            return Step.USE
        return what

    def _is_resting(self) -> bool:
        return time.monotonic() < self._no_login_before

    def _log_in(self) -> str:
        if self._is_resting() and self._failure is not None:
            raise self._failure
        self._failure = None
        try:
            token = self._asked_for_a_login()
        except CliError as error:
            self._failure = error
            raise
        finally:
            apart = _OUTAGE_S if isinstance(self._failure, MciasUnreachableError) else _LOGIN_APART_S
            self._no_login_before = time.monotonic() + apart
        return self._kept(token)

    def _asked_for_a_login(self) -> str:
        # Most commands find a token that is good, and do without HTTP.
        from mcpctl.auth import mcias

        server, username, password_file = self.account.server, self.account.username, self.account.password_file
        assert server is not None
        assert username is not None
        assert password_file is not None
        try:
            return mcias.login(server, username, credentials.password(password_file)).token
        except mcias.WrongCredentialsError as error:
            raise mcias.WrongCredentialsError(f"{error}; correct {password_file}, or run `mcpctl login`") from None

    def _renewed(self, token: str) -> str:
        from mcpctl.auth import mcias

        assert self.account.server is not None
        try:
            return self._kept(mcias.renew(self.account.server, token, _RENEWAL_PATIENCE_S).token)
        except CliError as error:
            render.note(f"mcpctl: the token expires {_moment(token)} and could not be renewed: {error}")
            return token
        finally:
            # Not before: who asks meanwhile waits for the new token, because the old one is worthless then.
            self._no_renewal_before = time.monotonic() + _RENEWAL_APART_S

    def _kept(self, token: str) -> str:
        self._token = token
        try:
            credentials.keep(self.account.token_path, token)
        except OSError as error:
            path = self.account.token_path
            render.note(f"mcpctl: the new token is used but not stored: {path} cannot be written: {error.strerror}")
        return token

    def _ended(self, token: str) -> str:
        return f"the token in {self.account.token_path} expired {_moment(token)}"


def _moment(token: str) -> str:
    """When it ends, for people."""
    life = credentials.lifetime(token)
    try:
        return f"at {render.moment(datetime.fromtimestamp(life.end, UTC))}" if life else "at an unknown time"
    except (OverflowError, ValueError, OSError):
        return "at an invalid time"
