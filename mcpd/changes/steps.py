"""Which component failed at which step of a deploy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mcpd.errors import McpdError
from mcpd.model import Step


class StepFailedError(Exception):
    """A step for one component did not work. Never leaves a deploy."""

    def __init__(self, component: str, step: Step, cause: McpdError) -> None:
        super().__init__(f"{component or 'the service'} failed at {step}: {cause}")
        self.component = component


@contextlib.contextmanager
def failing_at(component: str, step: Step) -> Iterator[None]:
    try:
        yield
    except McpdError as error:
        raise StepFailedError(component, step, error) from error


def step_failure(error: BaseException) -> StepFailedError | None:
    """The first step that failed, when nothing but failed steps ended the deploy; None for a bug or a cancellation."""
    if isinstance(error, StepFailedError):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    failures, others = error.split(StepFailedError)
    return None if failures is None or others is not None else step_failure(failures.exceptions[0])
