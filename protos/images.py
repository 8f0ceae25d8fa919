"""What images are made of, as both ends and image registries name it.

Sources: OCI image-spec (manifest.md, image-index.md, descriptor.md), and Docker's "Image Manifest V 2, Schema 2".
"""

from __future__ import annotations

import hashlib
import re

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
# Of one image, and of those for several platforms.
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
LISTS = frozenset({OCI_INDEX, DOCKER_LIST})

# Of one image: more than any builder makes.
MAX_LAYERS = 1000
# Of a manifest or a configuration: as much as podman takes (containers/image, internal/iolimits).
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def is_digest(text: str) -> bool:
    """Whether it is one that images can be pushed with: other algorithms than SHA-256 are registered, and unused."""
    return _DIGEST.fullmatch(text) is not None
