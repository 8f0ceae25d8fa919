"""Programs that act as podman, buildah and docker do with one image, which they keep in a folder."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.image_archives import docker_archive, layout, write_tar
from tests.support.oci_images import ARCHITECTURE, Image

_PROGRAM = f"""#!{sys.executable}
import json, os, shutil, sys, time
from pathlib import Path
name, words, here = Path(sys.argv[0]).name, sys.argv[1:], Path({{here!r}})
with (here / "calls").open("a") as calls:
    calls.write(json.dumps([name, *words]) + chr(10))
def end(status, text):
    print(text, file=sys.stderr)
    sys.exit(status)
def save_layout(to):
    for source in sorted((here / "layout").rglob("*")):
        target = to / source.relative_to(here / "layout")
        if source.is_dir() or target.exists() and target.stat().st_size == source.stat().st_size:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.stat().st_size > 1500:
            if (here / "fails").exists():
                end(125, "Error: writing blob: no space left on device")
            if (here / "hangs").exists():
                (Path(os.environ["TMPDIR"]) / "of-podman").write_bytes(b"a layer")
                (here / "temporary").write_text(os.environ["TMPDIR"])
            parent = os.getppid()
            while (here / "hangs").exists() and os.getppid() == parent:
                (here / "is_hanging").write_text(str(os.getpid()))
                time.sleep(0.01)
            with (here / "written").open("a") as file:
                file.write(source.name + chr(10))
        shutil.copy(source, str(target) + ".part")
        os.rename(str(target) + ".part", target)
looks = words[:1] == ["inspect"] or words[:2] == ["image", "inspect"]
if looks and words[-1] not in json.loads((here / "names.json").read_text()):
    end(125, "Error: inspecting object: " + words[-1] + ": image not known")
elif looks:
    print((here / (name + ".json")).read_text())
elif words[0] == "history":
    print((here / "history.json").read_text())
elif words[0] == "push":
    kind, _, to = words[-1].partition(":")
    if kind == "oci":
        save_layout(Path(to))
    else:
        shutil.copy(here / "image.tar", to)
elif words[0] == "save":
    to = words[words.index("--output") + 1]
    if "oci-dir" in words:
        save_layout(Path(to))
    else:
        shutil.copy(here / "image.tar", to)
"""


class Engines(NamedTuple):
    """``folder`` has the programs, ``here`` what they know."""

    folder: Path
    here: Path

    def install(self, *names: str) -> None:
        self.folder.mkdir(exist_ok=True)
        for name in names:
            (self.folder / name).write_text(_PROGRAM.replace("{here!r}", repr(str(self.here))))
            (self.folder / name).chmod(0o755)

    def has(self, image: Image, name: str, architecture: str = ARCHITECTURE) -> None:
        """From now on ``image`` is the one."""
        shutil.rmtree(self.here, ignore_errors=True)
        self.here.mkdir()
        for file, content in layout({"": image}).items():
            (self.here / "layout" / file).parent.mkdir(parents=True, exist_ok=True)
            (self.here / "layout" / file).write_bytes(content)
        write_tar(self.here / "image.tar", docker_archive({name: image}))
        kind, manifest = image.manifests[0]
        size = sum(map(len, image.blobs.values()))
        inspected: dict[str, Any] = {
            "Id": image.id,
            "RepoTags": [name],
            "Os": "linux",
            "Architecture": architecture,
            "Size": size,
            "ManifestType": kind,
            "RootFS": {"Type": "layers", "Layers": image.diff_ids},
            "History": [*({} for _ in image.layers), {"empty_layer": True}],
        }
        for engine in ("podman", "docker"):
            self._write(f"{engine}.json", [inspected])
        config = {"architecture": architecture, "os": "linux", "rootfs": {"diff_ids": image.diff_ids}}
        described = {"FromImageID": image.id, "FromImage": name, "OCIv1": config, "Manifest": manifest.decode()}
        self._write("buildah.json", described)
        steps = [{"size": len(each.content)} for each in image.layers]
        self._write("history.json", [{"size": 0}, *reversed(steps)])
        self._write("names.json", [name, image.id])

    def _write(self, name: str, value: Any) -> None:
        (self.here / name).write_text(json.dumps(value))

    @property
    def calls(self) -> list[list[str]]:
        path = self.here / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def written(self) -> list[str]:
        """The digests of layers that were saved, in order."""
        path = self.here / "written"
        return [f"sha256:{line}" for line in path.read_text().splitlines()] if path.exists() else []

    def tell(self, what: str, *, now: bool = True) -> None:
        """``hangs``: while it saves a layer; ``fails``: when it does."""
        if now:
            (self.here / what).touch()
        else:
            (self.here / what).unlink()
