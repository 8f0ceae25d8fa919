"""What goes into messages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mcpd.rpc.convert import component_info
from mcpd.status.components import live
from monitor.model import Desired
from protos.mcp import v1 as wire
from tests.support.builders import component, container, recorded, recorded_service

NOW = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize("desired", Desired)
def test_every_desired_state_is_one_on_the_wire(desired: Desired) -> None:
    (view,) = live(recorded_service(recorded(desired=desired)), [], NOW)
    sent = wire.ComponentInfo().parse(bytes(component_info(view))).desired
    assert wire.DesiredState(sent).name == desired.name


DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("declared", "runs", "told"),
    [
        # podman keeps no tag beside a digest.
        (f"r.example/web:1.2@{DIGEST}", f"r.example/web@{DIGEST}", f"r.example/web:1.2@{DIGEST}"),
        (f"r.example:5000/web:1.2@{DIGEST}", f"r.example:5000/web@{DIGEST}", f"r.example:5000/web:1.2@{DIGEST}"),
        (f"r.example/web:1.3@sha256:{'cd' * 32}", f"r.example/web@{DIGEST}", f"r.example/web@{DIGEST}"),
        (f"r.example/other:1.2@{DIGEST}", f"r.example/web@{DIGEST}", f"r.example/web@{DIGEST}"),
        ("r.example/web:1.3", "r.example/web:1.2", "r.example/web:1.2"),
    ],
)
def test_a_pinned_image_is_told_with_the_tag_that_its_definition_has(declared: str, runs: str, told: str) -> None:
    spec = component(image=declared)
    (view,) = live(recorded_service(recorded(spec)), [container(spec, image=runs)], NOW)
    assert view.container
    assert component_info(view).image == told
