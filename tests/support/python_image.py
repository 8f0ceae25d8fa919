"""An image with the Python of this machine and `tests.support.visible_app`, made of nothing that is not on it."""

from __future__ import annotations

import functools
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.podman.node import Node
from tests.support import visible_app

PORT = 8080
_APP = "/app.py"
_INTERPRETER = "/usr/bin/python3"
_LIBRARIES = "/lib/of-python"
# ldd(1) loads what it looks at; a second is much.
_LDD_S = 20.0

# What a server never imports, and most of the standard library's size.
_UNUSED_FOLDERS = re.compile(
    "test|tests|idlelib|ensurepip|venv|site-packages|dist-packages|tkinter|turtledemo|lib2to3|pydoc_data|distutils|"
    "unittest|sqlite3|curses|dbm|msilib|multiprocessing|xml|xmlrpc|wsgiref|ctypes|zoneinfo|config-.*"
)
_UNUSED_EXTENSIONS = re.compile(
    "_test|_xxtest|_xxsub|xxlimited|_tkinter|_sqlite3|_curses|_dbm|_gdbm|_codecs_|_multibytecodec|_multiprocessing|"
    "_decimal|_ctypes|_ssl|_elementtree|pyexpat|_crypt|_uuid|_zoneinfo|audioop|ossaudiodev|readline|nis|spwd"
)
# "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)", and the loader alone, without an arrow.
_LIBRARY = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)


def import_python_image(node: Node, reference: str) -> None:
    """Makes the image ``reference`` on a node that does not have it. Its program listens on `PORT`."""
    if node.podman("images", "--quiet", "--filter", f"reference={reference}"):
        return
    # podman import takes one variable from an ENV.
    changes = (
        f'CMD ["{_INTERPRETER}", "{_APP}"]',
        "ENV PYTHONHOME=/usr",
        f"ENV LD_LIBRARY_PATH={_LIBRARIES}",
        "ENV PYTHONDONTWRITEBYTECODE=1",
        f"ENV PORT={PORT}",
    )
    words = [word for change in changes for word in ("--change", change)]
    node.podman("import", "--quiet", *words, "-", reference, stdin=_root_file_system())


@functools.cache
def _root_file_system() -> bytes:
    """A tar archive; root owns all that is in it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, mode in (("tmp", 0o1777), ("etc", 0o755)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for path, inside in _files():
            # A file of its own, also when it is a link here.
            entry = tar.gettarinfo(path.resolve(), inside.lstrip("/"))
            entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            entry.mode |= 0o444
            with path.open("rb") as file:
                tar.addfile(entry, file)
    return archive.getvalue()


def _files() -> Iterator[tuple[Path, str]]:
    """Every file with where it is in the image."""
    version = "python{}.{}".format(*sys.version_info)
    interpreter = Path(sys.base_prefix) / "bin" / version
    standard_library = Path(os.__file__).parent
    yield Path(visible_app.__file__), _APP
    yield interpreter, _INTERPRETER
    binaries = [interpreter]
    for path in _used(standard_library):
        yield path, f"/usr/{sys.platlibdir}/{version}/{path.relative_to(standard_library)}"
        if path.suffix == ".so":
            binaries.append(path)
    for path in _libraries_of(binaries):
        # The interpreter names its loader by a path, and finds everything else by a name.
        is_loader = path.name.startswith("ld-")
        yield path, str(path) if is_loader else f"{_LIBRARIES}/{path.name}"


def _used(standard_library: Path) -> Iterator[Path]:
    tag = f".{sys.implementation.cache_tag}.pyc"
    for folder, folders, files in os.walk(standard_library):
        folders[:] = sorted(each for each in folders if not _UNUSED_FOLDERS.fullmatch(each))
        for name in sorted(files):
            if name.endswith(".so") and _UNUSED_EXTENSIONS.match(name):
                continue
            if name.endswith((".py", ".so", tag)):
                yield Path(folder) / name


def _libraries_of(binaries: list[Path]) -> list[Path]:
    done = subprocess.run(
        ["ldd", *map(str, binaries)],
        capture_output=True,
        text=True,
        timeout=_LDD_S,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    return [Path(each) for each in sorted(set(_LIBRARY.findall(done.stdout)))]
