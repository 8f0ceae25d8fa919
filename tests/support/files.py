"""Builders: files as a node lists and sends them."""

import hashlib
from pathlib import Path

from mcpctl.nodes.transfer import local
from protos.mcp import v1
from tests.support.agent import AT

TEXT = b"listen = 80\n"
# Three chunks, and the last one is not full.
LARGE = bytes(range(256)) * 2500


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def a_file(name: str, content: bytes = TEXT, mode: int = 0o640) -> v1.FileInfo:
    return v1.FileInfo(name, "file", len(content), mode, AT, "0:0")


def a_folder(name: str, mode: int = 0o750) -> v1.FileInfo:
    return v1.FileInfo(name, "folder", 4096, mode, AT, "0:0")


def a_link(name: str, target: str = "/etc/passwd") -> v1.FileInfo:
    return v1.FileInfo(name, "symlink", 0, 0o777, AT, "0:0", target)


def parts(content: bytes = TEXT, mode: int = 0o640, *, chunk: int = local.CHUNK_BYTES) -> list[v1.PullFileResponse]:
    """What a good node sends."""
    header = v1.FileHeader("web", "conf/app.ini", len(content), mode)
    chunks = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    return [
        v1.PullFileResponse(header=header),
        *(v1.PullFileResponse(chunk=each) for each in chunks),
        v1.PullFileResponse(sha256=hashlib.sha256(content).digest()),
    ]


GOOD = parts()


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
