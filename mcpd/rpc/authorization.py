"""Where a role is demanded: when a call begins, and again and again while it lasts (audit S5).

The table of roles is `mcpd.identity.required_roles`.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime

import trio

from mcpd import errors
from mcpd.identity.required_roles import REQUIRED_ROLE, allows
from mcpd.model import Caller, Role
from mcpd.rpc.authentication import Authenticator
from mcpd.rpc.call import Call

# How often the tokens of open calls are checked again. Most answers come from memory.
LOOK_AGAIN_S = 1.0


def required_role(method: str) -> Role | None:
    """The role that an RPC (by its path) needs; None: anybody may call it, without a token."""
    return REQUIRED_ROLE[method]


def refusal(caller: Caller, need: Role) -> errors.ForbiddenError | None:
    """Why ``caller`` may not do what needs this role; None when they may."""
    if allows(caller.role, need):
        return None
    return errors.ForbiddenError(f"{caller.name} is a {caller.role}; this needs the role {need}")


class OpenCalls:
    """The calls that go on. Those that were let in with a token are cut off when it is no longer valid."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._open: set[Call] = set()

    def add(self, call: Call) -> None:
        self._open.add(call)

    def discard(self, call: Call) -> None:
        self._open.discard(call)

    async def look_again(self) -> None:
        """In Trio: cuts off the open calls whose token is no longer valid, or no longer has the role that they need."""
        by_token: defaultdict[str, list[Call]] = defaultdict(list)
        for call in self._open:
            if call.token:
                by_token[call.token].append(call)
        async with trio.open_nursery() as nursery:
            for token, calls in by_token.items():
                nursery.start_soon(self._look_again_at, token, calls)

    async def _look_again_at(self, token: str, calls: list[Call]) -> None:
        try:
            answer: Caller | errors.McpdError = await self._authenticator.again(token, datetime.now(UTC))
        except errors.McpdError as error:
            answer = error
        for call in calls:
            assert call.need, "it was let in by a role"
            why = answer if isinstance(answer, errors.McpdError) else refusal(answer, call.need)
            if why and call in self._open:
                call.cut(why)
