"""The images that a model's node knows of, and how the programs in them behave."""

from __future__ import annotations

from typing import NamedTuple


class Image(NamedTuple):
    """``dies_after`` seconds its program ends with ``code``; None: it runs. ``dies_once``: only in its first run.

    ``present``: it is on the node from the start; ``pulls``: a registry has it.
    """

    id: str
    dies_after: float | None = None
    code: int = 0
    dies_once: bool = False
    present: bool = True
    pulls: bool = False


IMAGES: dict[str, Image] = {"registry.example.net/app:v3": Image("a3", present=False, pulls=True)} | {
    f"localhost/{name}": image
    for name, image in {
        "app:v1": Image("a1"),
        "app:v2": Image("a2"),
        "app:crash": Image("ac", dies_after=0.01, code=1),
        # Longer than a new component is watched: the deploy is done, and then it dies.
        "app:late": Image("al", dies_after=5.0, code=3, dies_once=True),
        "app:gone": Image("ag", present=False),
        "job:ok": Image("j0", dies_after=1.0),
        "job:fails": Image("j1", dies_after=1.0, code=2),
    }.items()
}
V1, V2, V3 = "localhost/app:v1", "localhost/app:v2", "registry.example.net/app:v3"
JOB = "localhost/job:ok"


def works(image: str) -> bool:
    """Whether a deploy of something long-running with it can succeed."""
    return image in (V1, V2, V3, "localhost/app:late")


def completes(image: str) -> bool:
    """Whether a oneshot with it can succeed."""
    return image == JOB
