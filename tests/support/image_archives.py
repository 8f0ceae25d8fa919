"""Images in files: layouts and archives as other programs write them, and as nobody should."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import oci_images
from tests.support.oci_images import Image, Layer, digest_of

INDEX = oci_images.OCI_INDEX


def write_tar(path: Path, members: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def blob_name(content: bytes) -> str:
    return f"blobs/{digest_of(content).replace(':', '/')}"


def documents(image: Image) -> dict[str, bytes]:
    """What a layout has of an image, by name."""
    contents = [image.config, *image.blobs.values(), *(content for _, content in image.manifests)]
    return {blob_name(each): each for each in contents}


def layout(images: Mapping[str, Image]) -> dict[str, bytes]:
    """The files of a layout with these images, by their names (an empty one: none)."""
    listed = []
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    for name, image in images.items():
        kind, content = image.manifests[0]
        found: dict[str, Any] = {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
        if name:
            found["annotations"] = {"org.opencontainers.image.ref.name": name}
        listed.append(found)
        files |= documents(image)
    return files | {"index.json": json.dumps({"schemaVersion": 2, "manifests": listed}).encode()}


def docker_archive(images: Mapping[str, Image]) -> dict[str, bytes]:
    """The files of what `docker save` wrote for a decade."""
    entries, files = [], {}
    for name, image in images.items():
        config = f"{image.id}.json"
        names = [f"{number:02}{image.id[:8]}/layer.tar" for number in range(len(image.layers))]
        files[config] = image.config
        files |= {each: layer.content for each, layer in zip(names, image.layers, strict=True)}
        entries.append({"Config": config, "RepoTags": [name] if name else None, "Layers": names})
    return files | {"manifest.json": json.dumps(entries).encode()}


def several_platforms(images: Mapping[tuple[str, str], Image]) -> Image:
    """One image for several architectures and variants: the blobs and manifests of all, behind one index."""
    listed = []
    manifests: list[tuple[str, bytes]] = []
    for (architecture, variant), image in images.items():
        kind, content = image.manifests[-1]
        platform = {"os": "linux", "architecture": architecture} | ({"variant": variant} if variant else {})
        listed.append({"mediaType": kind, "digest": digest_of(content), "size": len(content), "platform": platform})
        manifests.append((kind, content))
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
    layers = tuple(each for image in images.values() for each in image.layers)
    return Image(((INDEX, index), *manifests), b"", layers)


def with_manifest(image: Image, change: Any) -> Image:
    """``change`` is given the manifest as JSON, and changes it."""
    kind, content = image.manifests[-1]
    fields = json.loads(content)
    change(fields)
    return image._replace(manifests=((kind, json.dumps(fields).encode()),))


def foreign(image: Image, position: int) -> Image:
    """The layer at ``position`` is one that its maker wants to be fetched from him."""

    def change(fields: dict[str, Any]) -> None:
        fields["layers"][position] |= {
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "urls": ["https://maker.example.net/layer.tar"],
        }

    return with_manifest(image, change)


def plain(*contents: bytes) -> Sequence[Layer]:
    """Layers that are no tars, which nobody here unpacks."""
    return [Layer(each, digest_of(each)) for each in contents]
