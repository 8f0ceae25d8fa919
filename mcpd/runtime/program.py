"""What a container runs: image, entry point, command, environment and secrets, to podman and back. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mcpd.runtime.inspected import Details
from mcpd.runtime.setting import Context, Made, Part, clipped
from protos import naming
from protos.parts import SECRET_MODE
from protos.spec import Component

# podman shows the ids of secrets that are files, and nothing of those that are variables.
LABEL_SECRET_IDS = "mcp.secret-ids"  # noqa: S105 (a name)
# podman sets these itself; they count only when they were requested.
_PODMANS_OWN = {
    "PATH": ("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
    "TERM": ("xterm",),
    "container": ("podman", "oci"),
    # What the image's passwd says, mostly this.
    "HOME": ("/root", "/"),
    "HOSTNAME": (),
}
# What podman 5 shows in place of a secret's value, under the secret's own name.
_HIDDEN = "*******"


def send_entrypoint(component: Component, _: Context) -> Part:
    # podman's word for none; an empty list would be the image's.
    return {} if component.entrypoint is None else {"entrypoint": list(component.entrypoint) or [""]}


def read_entrypoint(it: Made, _: list[str]) -> list[str] | None:
    return None if _is_images(it) else list(_entrypoint(it))


def read_cmd(it: Made) -> list[str] | None:
    cmd = it.config.cmd or []
    return None if _is_images(it) and cmd == (it.image.config.cmd or []) else cmd


def _is_images(it: Made) -> bool:
    """Whether the entry point is the image's own. podman gives the image's command only to that one."""
    lost_its_command = bool(it.image.config.cmd) and not it.config.cmd
    return _entrypoint(it) == _of_image(it) and not lost_its_command


def _entrypoint(it: Made) -> tuple[str, ...]:
    shown, cmd = it.config.entrypoint, tuple(it.config.cmd or ())
    if not isinstance(shown, str):
        return _without_none(shown or ())
    # podman joins the words with spaces. They are at the beginning of what runs, or the image's.
    argv = it.details.argv
    words, of_image = argv[: len(argv) - len(cmd)], _of_image(it)
    if (*words, *cmd) == argv and " ".join(words) == shown:
        return words
    return of_image if " ".join(of_image) == shown else _without_none((shown,))


def _of_image(it: Made) -> tuple[str, ...]:
    return _without_none(it.image.config.entrypoint or ())


def _without_none(words: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return () if tuple(words) == ("",) else tuple(words)


def read_image(it: Made, _: list[str]) -> str:
    names = (it.details.image_name, *(it.image.repo_tags or ()))
    # An image's id always is a reference.
    return next(filter(naming.is_image_reference, names), it.details.image)


def send_image(component: Component, _: Context) -> Part:
    return {"image": component.image}


def read_platform(it: Made) -> str | None:
    if asked := it.asked("--platform"):
        return asked[-1]
    named = {name: it.asked(f"--{name}") for name in ("os", "arch", "variant")}
    if not any(named.values()):
        return None
    system, arch, variant = (values[-1] if values else "" for values in named.values())
    return "/".join(filter(None, (system or "linux", arch, variant)))


def send_platform(component: Component, _: Context) -> Part:
    words = component.platform.split("/") if component.platform else ()
    return dict(zip(("image_os", "image_arch", "image_variant"), words, strict=False))


def send_env(component: Component, _: Context) -> Part:
    return {"env": dict(component.env)}


def read_env(it: Made, _: list[str]) -> dict[str, str]:
    of_image = set(it.image.config.env or ())
    secrets = [each for each in _secrets(it, []) if "env" in each]
    variables = {each["env"] for each in secrets}
    hidden = {each["name"] for each in secrets}
    found: dict[str, str] = {}
    for entry in it.config.env or ():
        name, _equals, value = entry.partition("=")
        is_secret = name in variables or (name in hidden and value == _HIDDEN)
        if entry not in of_image and not is_secret and _is_asked(it, name, value):
            found[name] = value
    return found


def _is_asked(it: Made, name: str, value: str) -> bool:
    usual = _PODMANS_OWN.get(name)
    if usual is None:
        return True
    if it.command.is_known:
        return any(each.partition("=")[0] == name for each in it.asked("--env", "--env-merge"))
    return bool(usual) and value not in usual


def send_secrets(component: Component, context: Context) -> Part:
    files = [each for each in component.secret_list if not each.env]
    part: dict[str, Any] = {
        "secrets": [
            {
                "Source": each.name,
                "Target": each.target or each.name,
                "Mode": each.mode,
                **({"UID": each.uid} if each.uid else {}),
                **({"GID": each.gid} if each.gid else {}),
            }
            for each in files
        ]
    }
    if variables := {each.env: each.name for each in component.secret_list if each.env}:
        part["secret_env"] = variables
        ids = context.among.secret_ids
        if given := ",".join(f"{name}={ids[name]}" for name in sorted({*variables.values()}) if name in ids):
            part["labels"] = {LABEL_SECRET_IDS: given}
    return part


def read_secret_ids(labels: Mapping[str, str]) -> dict[str, str]:
    """The ids that secrets had when a container was made that has them as variables, by name."""
    return dict(each.split("=", 1) for each in labels.get(LABEL_SECRET_IDS, "").split(",") if "=" in each)


def secrets_of(details: Details) -> frozenset[str]:
    """The names of the secrets that a container was made with, as far as podman tells."""
    config = details.config
    files = [each.name for each in config.secrets or ()]
    asked = [_asked_name(each) for each in details.command.values("--secret")]
    return frozenset([*files, *asked, *read_secret_ids(config.labels or {})])


def _asked_name(word: str) -> str:
    first, *others = word.split(",")
    named = [each.removeprefix("source=") for each in (first, *others) if each.startswith("source=")]
    return named[0] if "=" in first and named else first


def read_secrets(it: Made, losses: list[str]) -> list[dict[str, Any]]:
    return list(_secrets(it, losses))


def _secrets(it: Made, losses: list[str]) -> Iterator[dict[str, Any]]:
    if "secrets" in it.declared:
        yield from ({"name": each} if isinstance(each, str) else each for each in it.declared["secrets"])
    elif it.command.is_known:
        for word in it.asked("--secret"):
            try:
                yield _asked_secret(word)
            except ValueError:
                losses.append(clipped(f"--secret {word}"))
    else:
        for each in it.config.secrets or ():
            # mcpd left the mode to podman once, which shows it as none.
            yield {"name": each.name, "uid": each.uid, "gid": each.gid, "mode": each.mode or SECRET_MODE}


def _asked_secret(word: str) -> dict[str, Any]:
    """``NAME[,type=env][,target=T][,uid=U][,gid=G][,mode=M]``. Raises ValueError for anything else."""
    options = word.split(",")
    first = {} if "=" in options[0] else {"source": options.pop(0)}
    given = first | dict(each.split("=", 1) for each in options if each)
    name, kind, target = given.pop("source", ""), given.pop("type", "mount"), given.pop("target", "")
    if kind == "env" and not given:
        return {"name": name, "env": target or name}
    mode = int(given.pop("mode", f"{SECRET_MODE:o}"), 8)
    ids = {key: int(given.pop(key, given.pop(key.upper(), "0"))) for key in ("uid", "gid")}
    if kind != "mount" or given:
        raise ValueError(word)
    return {"name": name, "mode": mode, **ids, **({"target": target} if target not in ("", name) else {})}
