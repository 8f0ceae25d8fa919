"""The pushes that go on: how many may, who may go on with one, and what one that was killed has left."""

from __future__ import annotations

from collections import Counter
from typing import NoReturn
from weakref import WeakValueDictionary

import structlog
import trio

from mcpd.changes.images import endpoint
from mcpd.changes.images.endpoint import redacted
from mcpd.changes.images.push import GONE, Done, Push, Wanted, remove_name
from mcpd.changes.node import Node
from mcpd.errors import ExhaustedError, InvalidRequestError, McpdError, NotFoundError, UnavailableError
from mcpd.model import Caller
from mcpd.runtime.image_store import ImageStore

log = structlog.get_logger()

# A caller whose connection is lost calls again within this, with everything that a flaky network takes.
GRACE_S = 30.0
# podman writes a layer out without a word: 10 GiB at 50 MB/s take 200 s.
PODMAN_SILENCE_S = 300.0
# Each has a pull of podman's, and twice its size on the disk.
MAX_PUSHES = 4
# Between tries to remove what was left, while podman does not answer.
_RETRY_S = 10.0


class Pushes:
    """Of one node. ``grace``: for how long a caller may be gone, in seconds; ``silence``: for how long podman may be
    silent.

    ``received`` bytes, and how pushes ``ended``, are counted since the daemon began.
    """

    def __init__(
        self,
        node: Node,
        store: ImageStore | None = None,
        *,
        grace: float = GRACE_S,
        silence: float = PODMAN_SILENCE_S,
    ) -> None:
        self._node = node
        self._store = store or ImageStore(node.podman.api)
        self._grace = grace
        self._silence = silence
        self._open: dict[str, Push] = {}
        self._names: set[str] = set()
        self._turns = WeakValueDictionary[str, trio.Lock]()
        self._nursery: trio.Nursery | None = None
        self._received = 0
        self.ended: Counter[str] = Counter({"done": 0, "failed": 0, "cancelled": 0})

    async def keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Runs the pushes until cancelled, and removes what an mcpd before has left. Started at once."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                if await self.tidy():
                    break
                await trio.sleep(_RETRY_S)
            await trio.sleep_forever()
        raise AssertionError("it sleeps forever")

    async def begin(self, wanted: Wanted, caller: Caller) -> Push:
        """Raises ExhaustedError, UnavailableError."""
        if self._nursery is None:
            raise UnavailableError("mcpd has not started yet; try again")
        if len(self._open) >= MAX_PUSHES:
            raise ExhaustedError(
                f"{MAX_PUSHES} images are being pushed to {self._node.name} already, which is all that it takes at "
                "once; try again when one is there"
            )
        push = Push(self._node, self._store, wanted, caller, grace=self._grace, silence=self._silence)
        self._open[push.id] = push
        self._nursery.start_soon(self._run, push)
        return push

    def again(self, number: str, wanted: Wanted, caller: Caller) -> Push:
        """The push with this id. Raises NotFoundError, InvalidRequestError."""
        push = self._open.get(number)
        if push is None or push.caller.name != caller.name:
            raise NotFoundError(GONE)
        if push.wanted.reference != wanted.reference:
            raise InvalidRequestError(f"push: this one brings {push.wanted.reference}, not {wanted.reference}")
        return push

    async def tidy(self) -> bool:
        """Removes names that endpoints of earlier pushes have left; whether that was possible."""
        try:
            for name in await self._store.names():
                if endpoint.is_name(name) and name not in self._names:
                    log.info("removing what a push has left that was cut off")
                    await remove_name(self._store, name)
        except McpdError as error:
            log.debug("what pushes have left is not known yet", error=redacted(str(error)))
            return False
        return True

    @property
    def open(self) -> int:
        return len(self._open)

    @property
    def received(self) -> int:
        return self._received + sum(each.received for each in self._open.values())

    async def _run(self, push: Push) -> None:
        names: list[str] = []

        def on_name(name: str) -> None:
            names.append(name)
            self._names.add(name)

        try:
            await push.run(lambda image: self._turns.setdefault(image, trio.Lock()), on_name)
        except Exception:  # a bug of ours in one push must not end the daemon
            log.exception("a push has crashed")
        finally:
            del self._open[push.id]
            self._names.difference_update(names)
            self._received += push.received
            how = "done" if isinstance(push.result, Done) else "failed" if push.result else "cancelled"
            self.ended[how] += 1
