"""The sample images: busybox, made on this machine of nothing that is not on it."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from contrib.demonstration.node import Node
from contrib.demonstration.output import Failure

IMAGE = "localhost/mcp-demo"
COMMANDS = {"v1": "/bin/serve", "v2": "/bin/serve", "broken": "/bin/broken"}

_SERVE = """\
#!/bin/sh
# The kernel ignores a signal to process 1 that it has no handler for; without the trap a stop would take its timeout.
trap 'kill "$httpd"; exit 0' TERM INT
httpd -f -p "${PORT:-8080}" -h /www &
httpd=$!
wait "$httpd"
"""
_BROKEN = """\
#!/bin/sh
echo 'broken: cannot open /etc/broken.conf: No such file or directory' >&2
exit 1
"""
_USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUPS = "root:x:0:\nnogroup:x:65534:\n"


def build_images(node: Node) -> None:
    """Makes the images that the node does not have. Raises Failure when podman cannot."""
    for tag, command in COMMANDS.items():
        known = subprocess.run(["podman", "image", "exists", f"{IMAGE}:{tag}"], env=node.environment, check=False)
        if known.returncode == 0:
            continue
        argv = ["podman", "import", "--quiet", "--change", f'CMD ["{command}"]', "-", f"{IMAGE}:{tag}"]
        done = subprocess.run(argv, env=node.environment, input=_root_of(tag), capture_output=True, check=False)
        if done.returncode:
            raise Failure(f"podman could not make {IMAGE}:{tag}:\n{done.stderr.decode(errors='replace').rstrip()}")


def _root_of(tag: str) -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Failure("busybox is missing, of which the sample images are made")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    return root_file_system(tag, Path(busybox).read_bytes(), applets)


def root_file_system(tag: str, busybox: bytes, applets: list[str]) -> bytes:
    """A tar archive with busybox, its ``applets`` as links, and a web server whose answer is ``tag``; root owns it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in (".", "bin", "etc", "tmp", "www", "var", "root"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name, content, mode in (
            ("bin/busybox", busybox, 0o755),
            ("bin/serve", _SERVE.encode(), 0o755),
            ("bin/broken", _BROKEN.encode(), 0o755),
            ("etc/passwd", _USERS.encode(), 0o644),
            ("etc/group", _GROUPS.encode(), 0o644),
            ("www/index.html", f"{tag}\n".encode(), 0o644),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
        for name in applets:
            if name != "busybox":
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
    return archive.getvalue()
