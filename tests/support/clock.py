"""A clock that a test sets."""


class Clock:
    """Seconds, from wherever a test begins to count."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
