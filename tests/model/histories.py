"""Random histories by their seeds, and the shortest one that still fails."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

from .definitions import NAMES, SERVICES, Edit
from .runs import DetachedRun
from .secrets import RemoveSecret, SetSecret
from .steps import (
    BEFALLS,
    Act,
    Adopt,
    Befall,
    ClockStep,
    Daemonic,
    Deploy,
    Forget,
    Listen,
    Maintain,
    Outage,
    ProxyChangedByHand,
    ProxyFails,
    ProxyStarts,
    Recover,
    Rollback,
    RunByHand,
    RunJob,
    Silence,
    Snapshot,
    Step,
    Sync,
    Write,
)

LENGTH = 40
# Longer than any history: one that ends is told of some time later.
_DAY_S = 86_400
_OFTEN = {
    Edit.PROBE: 5,
    Edit.PORT: 3,
    Edit.IMAGE: 3,
    Edit.NONE: 2,
    Edit.ROUTES: 8,
    Edit.ENV: 3,
    Edit.SCHEDULE: 5,
    Edit.SECRETS: 5,
}
_METHODS = ("StartService", "StopService", "RestartService", "UndeployService")
Make = Callable[[random.Random], Step]


def _service(draw: random.Random) -> str:
    # Mostly the same two, so that things meet.
    (found,) = draw.choices(SERVICES, (4, 3, 1))
    return found


def _is(draw: random.Random, share: float) -> bool:
    return draw.random() < share


def _fuse(draw: random.Random) -> int | None:
    return draw.randrange(60) if _is(draw, 0.15) else None


def _edit(draw: random.Random) -> Edit:
    # What meets other things comes more often.
    (found,) = draw.choices(list(Edit), [_OFTEN.get(each, 1) for each in Edit])
    return found


def _deploy(draw: random.Random) -> Step:
    return Deploy(
        _service(draw),
        edit=_edit(draw),
        place=draw.randrange(4),
        value=draw.randrange(12),
        force=_is(draw, 0.15),
        alone=_is(draw, 0.3),
        accept_losses=_is(draw, 0.3),
        fuse=_fuse(draw),
    )


def _act(draw: random.Random) -> Step:
    place = draw.randrange(4) if _is(draw, 0.5) else None
    (method,) = draw.choices(_METHODS, (4, 3, 3, 1))
    return Act(_service(draw), method, place=place, fuse=_fuse(draw))


# What happens, and how often.
_KINDS: tuple[tuple[int, Make], ...] = (
    (12, _deploy),
    (6, _act),
    (2, lambda draw: Rollback(_service(draw), draw.randrange(4), fuse=_fuse(draw))),
    (8, lambda draw: Befall(_service(draw), draw.choice((*BEFALLS, "ill")), place=draw.randrange(4))),
    (2, lambda draw: Write(_service(draw), _edit(draw), draw.randrange(4), draw.randrange(12))),
    (2, lambda _: Sync()),
    (3, lambda draw: RunJob(_service(draw), draw.randrange(4), wait=_is(draw, 0.7), fuse=_fuse(draw))),
    (1, lambda draw: Forget(_service(draw), purge=_is(draw, 0.5))),
    (2, lambda draw: Recover(_service(draw))),
    (
        2,
        lambda draw: RunByHand(
            _service(draw),
            draw.choice(NAMES),
            capability=_is(draw, 0.4),
            port=_is(draw, 0.3),
            beyond=_is(draw, 0.4),
        ),
    ),
    (2, lambda draw: Adopt(_service(draw), keeps_definition=_is(draw, 0.4))),
    (1, lambda draw: Silence(_service(draw), draw.choice((0, 60, _DAY_S)))),
    (1, lambda draw: Outage(draw.choice((0, 1, 30)))),
    (2, lambda draw: Daemonic(kill=_is(draw, 0.7), seconds=draw.choice((0, 30)))),
    (1, lambda draw: ClockStep(draw.randrange(-3, 4))),
    (1, lambda _: Listen()),
    (1, lambda draw: Maintain(_service(draw), on=_is(draw, 0.4), fuse=_fuse(draw))),
    (1, lambda draw: ProxyFails(draw.choice(("down", "hangs", "mute")))),
    (2, lambda _: ProxyStarts()),
    (1, lambda draw: ProxyChangedByHand(draw.randrange(12))),
    (4, lambda draw: SetSecret(draw.choice(("key", "token")), fuse=_fuse(draw))),
    (1, lambda draw: RemoveSecret(draw.choice(("key", "token")))),
    (2, lambda draw: DetachedRun(_service(draw), draw.randrange(4), fuse=_fuse(draw))),
    (1, lambda draw: Snapshot(back=_is(draw, 0.5))),
)


def history(seed: int) -> list[Step]:
    draw = random.Random(seed)
    weights, kinds = zip(*_KINDS, strict=True)
    return [make(draw) for make in draw.choices(kinds, weights, k=LENGTH)]


def shortest(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """A history made of ``steps`` that still fails, and of which nothing can be left out, or said shorter."""
    found = list(steps)
    size = max(1, len(found) // 2)
    while size:
        begin = 0
        while begin < len(found):
            shorter = found[:begin] + found[begin + size :]
            if fails(shorter):
                found = shorter
            else:
                begin += size
        size //= 2
    for index in range(len(found)):
        for simpler in _simpler(found[index]):
            trial = [*found[:index], simpler, *found[index + 1 :]]
            if fails(trial):
                found = trial
    return found


def _simpler(step: Step) -> Iterator[Step]:
    """With one of its fields as it is by default."""
    for field in dataclasses.fields(step):  # type: ignore[arg-type]
        if field.default is not dataclasses.MISSING and getattr(step, field.name) != field.default:
            yield dataclasses.replace(step, **{field.name: field.default})  # type: ignore[type-var]
