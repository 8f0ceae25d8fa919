"""That the model notices: faults that users once met, and some of routes, put back one at a time, make one fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any
from unittest import mock

import pytest
import trio

from mcpd.changes import losses, ports, secret_use
from mcpd.changes.images import inventory
from mcpd.changes.rollback import _Restoration
from mcpd.registry.store import Registry
from mcpd.routing.router import Router
from mcpd.runtime.secret_store import SecretStore
from monitor import watch
from monitor.sources.health import Patient
from monitor.state import State

from .definitions import Edit
from .machine import play
from .secrets import SetSecret
from .steps import Act, Adopt, Befall, Daemonic, Deploy, ProxyFails, ProxyStarts, RunByHand, Step


@contextmanager
def probe_changes_are_ignored() -> Iterator[None]:
    """A probe that was changed in place was not asked: the old one was, for good."""
    first: dict[tuple[str, object], Patient] = {}
    patients = watch._patients

    def as_it_began(*arguments: Any) -> Iterator[Patient]:
        for each in patients(*arguments):
            yield first.setdefault((each.container, each.started_at), each)

    with (
        mock.patch.object(watch, "_patients", as_it_began),
        mock.patch.object(State, "reprobed", return_value=[]),
        mock.patch.object(State, "_is_answer", return_value=True),
    ):
        yield


@contextmanager
def taken_ports_are_ignored() -> Iterator[None]:
    """A deploy on another's port was tried, failed, and left the other one without its port."""

    async def none_taken(*_: Any, **__: Any) -> tuple[str, ...]:
        return ()

    async def not_mended(*_: Any) -> str:
        return "as before"

    with mock.patch.object(ports, "taken", none_taken), mock.patch.object(ports, "_mended", not_mended):
        yield


@contextmanager
def losses_are_ignored() -> Iterator[None]:
    """An adopted container lost what its definition does not say, without a word."""

    async def nothing(*_: Any) -> tuple[str, ...]:
        return ()

    with mock.patch.object(losses, "_losses", nothing):
        yield


@contextmanager
def withdrawals_are_forgotten() -> Iterator[None]:
    """What is about to be stopped went on getting what is new."""
    with mock.patch.object(Router, "withdraw"):
        yield


@contextmanager
def nothing_is_given_back() -> Iterator[None]:
    """A deploy that was cut off after the proxy had its container removed that one, and only then told the proxy."""

    async def not_yet(*_: Any) -> None:
        await trio.lowlevel.checkpoint()

    with mock.patch.object(_Restoration, "_give_back_routes", not_yet):
        yield


@contextmanager
def who_answers_is_forgotten() -> Iterator[None]:
    """An mcpd that starts knows nobody who has answered before, and asks probes first."""

    async def nobody(_: Registry) -> dict[str, datetime]:
        await trio.lowlevel.checkpoint()
        return {}

    with mock.patch.object(Registry, "admitted", nobody):
        yield


@contextmanager
def nobody_is_asked_first() -> Iterator[None]:
    """What has just started got visitors before its probe was asked."""

    with mock.patch.object(Router, "_is_admitted", return_value=True):
        yield


@contextmanager
def changes_of_secrets_are_forgotten() -> Iterator[None]:
    """A container kept the value that a secret had when it was made, and nobody heard of it."""
    with mock.patch.object(secret_use, "changed", return_value=()):
        yield


@contextmanager
def what_was_begun_with_a_secret_is_forgotten() -> Iterator[None]:
    """A daemon that was killed while it replaced a secret left the node without it."""

    async def nothing(*_: Any) -> None:
        await trio.lowlevel.checkpoint()

    with mock.patch.object(SecretStore, "_finish", nothing):
        yield


@contextmanager
def images_are_used_by_containers_alone() -> Iterator[None]:
    """An image that was declared could be pruned once its container was gone, and nobody could start it again."""
    with mock.patch.object(inventory, "references", return_value=frozenset()):
        yield


Fault = Callable[[], Any]
HISTORIES: dict[Fault, tuple[Step, ...]] = {
    probe_changes_are_ignored: (
        Deploy("web", Edit.PROBE, value=1),
        Deploy("web", Edit.PROBE, value=2),
        Befall("web", "ill"),
    ),
    taken_ports_are_ignored: (Deploy("web", Edit.PORT), Deploy("shop", Edit.PORT)),
    losses_are_ignored: (
        RunByHand("web", "api", beyond=True),
        Adopt("web"),
        Deploy("web", Edit.IMAGE, value=2, accept_losses=True),
    ),
    withdrawals_are_forgotten: (Deploy("web", Edit.ROUTES), Act("web", "RestartService")),
    nothing_is_given_back: (
        Deploy("web", Edit.ROUTES, value=1),
        ProxyFails("mute"),
        Deploy("web", Edit.ENV, value=1),
        ProxyStarts(),
    ),
    who_answers_is_forgotten: (
        Deploy("web", Edit.PROBE, value=2),
        Deploy("web", Edit.ROUTES, value=1),
        Befall("web", "ill"),
        Daemonic("kill"),
    ),
    changes_of_secrets_are_forgotten: (Deploy("web", Edit.SECRETS, value=1), SetSecret("key"), Deploy("web")),
    # Its fuse burns until the old value has gone, and the new one is not there yet.
    what_was_begun_with_a_secret_is_forgotten: (Deploy("web", Edit.SECRETS), SetSecret("key", fuse=12)),
    images_are_used_by_containers_alone: (Deploy("web"), Act("web", "StopService"), Befall("web", "removed")),
    nobody_is_asked_first: (
        Deploy("web", Edit.PROBE, value=2),
        Deploy("web", Edit.ROUTES, value=1),
        Befall("web", "ill"),
        Act("web", "RestartService"),
    ),
}


@pytest.mark.parametrize("fault", HISTORIES)
def test_a_fault_that_is_put_back_is_noticed(fault: Fault) -> None:
    play(*HISTORIES[fault])
    with ExitStack() as stack:
        stack.enter_context(fault())
        with pytest.raises(AssertionError):
            play(*HISTORIES[fault])
