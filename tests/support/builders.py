"""Builders: a valid value of each kind, of which a test names only what it is about."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcpd.changes.config_files import ConfigFiles
from mcpd.model import (
    LABEL_COMPONENT,
    LABEL_NODE,
    LABEL_SERVICE,
    LABEL_SPEC_HASH,
    Container,
    RecordedComponent,
    RecordedService,
)
from monitor.model import Desired, Observed
from protos.fingerprint import spec_hash
from protos.spec import Component, Service

# Of a node whose components have no configs: nothing can be written below it.
NO_CONFIGS = ConfigFiles(Path("/dev/null/configs"))

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
IMAGE = "registry.example.net:5000/app:v1"


def component(name: str = "api", **overrides: Any) -> Component:
    return Component(**{"name": name, "image": IMAGE, **overrides})


def service(*components: Component, **overrides: Any) -> Service:
    return Service(**{"name": "web", "node": "rift", "components": components or (component(),), **overrides})


def container(of: Component | None = None, *, service: str = "web", **overrides: Any) -> Container:
    """The running container that mcpd would have made of ``of``. ``service`` empty: somebody else's, unlabelled."""
    of = of or component()
    labels = {
        LABEL_SERVICE: service,
        LABEL_COMPONENT: of.name,
        LABEL_SPEC_HASH: spec_hash(of),
        LABEL_NODE: "rift",
    }
    fields = {
        "id": f"id-of-{service}-{of.name}",
        "name": f"{service}-{of.name}",
        "image": of.image,
        "image_id": "sha256:0",
        "state": Observed.RUNNING,
        "pid": 1000,
        "exit_code": None,
        "started_at": NOW,
        "finished_at": None,
        "ports": of.ports,
        "labels": labels if service else {},
    }
    return Container(**{**fields, **overrides})


def recorded(of: Component | None = None, **overrides: Any) -> RecordedComponent:
    of = of or component()
    fields = {
        "service": "web",
        "spec": of,
        "spec_hash": spec_hash(of),
        "container": f"web-{of.name}",
        "desired": Desired.RUNNING,
        "observed": Observed.RUNNING,
        "observed_at": NOW,
        "container_id": "",
    }
    return RecordedComponent(**{**fields, **overrides})


def recorded_service(*components: RecordedComponent, **overrides: Any) -> RecordedService:
    fields = {"name": "web", "active": True, "revision": 1, "updated_at": NOW, "components": components}
    return RecordedService(**{**fields, **overrides})


def definition(*components: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    """A service as it stands in a file; components without an image get one."""
    listed = [{"image": IMAGE, **each} for each in components or ({"name": "api"},)]
    return {"name": "web", "node": "rift", "components": listed, **overrides}
