"""What viewers are not shown: what programs printed, and hashes that would confirm a guess of a secret value.

Every answer to a viewer passes through here, whatever method made it, and field by field: a message that gets another
field with text in it must have that named below (a test compares with the contract).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from betterproto import Message

from mcpd.identity.required_roles import REQUIRED_ROLE
from mcpd.model import Caller, Role
from mcpd.rpc.methods import FromMemory, Method
from protos import program_output

# Fields that hold sentences, which may quote what a program printed.
SENTENCES = frozenset({"message", "drift", "reason", "detail", "warning", "warnings", "losses"})
# The first line is ours, and says how the alert command ended; what it printed follows.
FIRST_LINE = frozenset({"output_tail"})
# Made of all that is declared, values of environment variables included, and with no salt.
# And the text of configs, which may hold what an environment does.
HASHES = frozenset({"spec_hash", "definition_hash", "plan_id", "diff"})
# Names, notes of operators, and what a definition says beside the values of environment variables.
PLAIN = frozenset(
    {
        *("acked_by", "ack_note", "action", "after", "before", "by", "caller", "component", "container"),
        *("container_id", "desired", "field", "image", "kind", "mcpd_version", "name", "node", "observed", "owner"),
        *("podman_version", "ports", "role", "service", "source", "state", "step", "suppressed_by", "target"),
        *("version", "delivery", "proxy", "host", "path", "mode", "address", "schedule", "timezone"),
        *("driver", "used_by", "outdated", "id", "names", "digests"),
    }
)


def redacted(methods: Mapping[str, Method]) -> dict[str, Method]:
    """The same methods; those that a viewer may call tell a viewer less."""
    return {name: _method(method) if name in _FOR_VIEWERS else method for name, method in methods.items()}


def redacted_memory(methods: Mapping[str, FromMemory]) -> dict[str, FromMemory]:
    """The same answers from memory; a viewer is told less."""
    return {name: _from_memory(method) for name, method in methods.items()}


_FOR_VIEWERS = frozenset(path.rpartition("/")[2] for path, role in REQUIRED_ROLE.items() if role is Role.VIEWER)


def _from_memory(method: FromMemory) -> FromMemory:
    def answer(request: Any, caller: Caller) -> Message | None:
        found = method(request, caller)
        return found if found is None else _told(found, caller)

    return answer


def _method(method: Method) -> Method:
    if inspect.isasyncgenfunction(method):
        streaming = cast(Callable[[Any, Caller], AsyncGenerator[Message | Sequence[Message], None]], method)

        async def stream(request: Any, caller: Caller) -> AsyncGenerator[Any, None]:
            async with aclosing(streaming(request, caller)) as messages:
                async for each in messages:
                    yield _told(each, caller) if isinstance(each, Message) else [_told(one, caller) for one in each]

        return stream

    async def answer(request: Any, caller: Caller) -> Message:
        return _told(await cast(Any, method)(request, caller), caller)

    return answer


def _told(message: Message, caller: Caller) -> Message:
    if caller.role is not Role.ADMIN:
        _hold_back(message)
    return message


def _hold_back(message: Message) -> None:
    """In place: answers are made for one call."""
    for name in list(vars(message)):
        if name in HASHES:
            setattr(message, name, "")
        elif name in SENTENCES | FIRST_LINE:
            value = getattr(message, name)
            several = isinstance(value, list)
            setattr(message, name, [_shown(name, each) for each in value] if several else _shown(name, value))
        else:
            for each in _messages(message.__dict__.get(name)):
                _hold_back(each)


def _shown(name: str, text: str) -> str:
    return text.partition("\n")[0] if name in FIRST_LINE else program_output.without(text)


def _messages(value: Any) -> Iterator[Message]:
    """The messages in a field's value: itself, or those of a list."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, Message):
            yield each
