"""Where logins for registries are found: the files of podman and docker, and credential helpers."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.errors import CliError, UsageError
from mcpctl.images import programs
from mcpctl.images.registries import credentials, reference, tokens
from mcpctl.images.registries.credentials import Login

pytestmark = pytest.mark.usefixtures("plain_asyncio")

WEB = "registry.example.net:5000/team/sub/web:v1"


def _auth(user: str, password: str = "secret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def _find(image: str, *files: Path) -> Login | None:
    return asyncio.run(credentials.find(reference.parse(image), files))


def _write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _helper(folder: Path, name: str, script: str) -> None:
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_the_longest_key_counts(tmp_path: Path) -> None:
    keys = ["registry.example.net:5000", "registry.example.net:5000/team", "registry.example.net:5000/team/sub/web"]
    auths = {key: _auth(f"user{number}") for number, key in enumerate(keys)}
    file = _write(tmp_path / "auth.json", {"auths": auths})
    for number in (2, 1, 0):
        assert _find(WEB, file) == Login(f"user{number}", "secret")
        del auths[keys[number]]
        _write(file, {"auths": auths})
    assert _find(WEB, file) is None
    _write(file, {"auths": {"registry.example.net:5000/tea": _auth("x"), "registry.example.net": _auth("y")}})
    assert _find(WEB, file) is None


@pytest.mark.parametrize("key", ["docker.io", "https://index.docker.io/v1/", "index.docker.io", "docker.io/library"])
def test_dockers_own_registry_has_several_names(tmp_path: Path, key: str) -> None:
    assert _find("nginx", _write(tmp_path / "config.json", {"auths": {key: _auth("me")}})) == Login("me", "secret")


def test_the_first_file_that_has_a_login_counts(tmp_path: Path) -> None:
    host = "registry.example.net:5000"
    empty = _write(tmp_path / "a", "")
    other = _write(tmp_path / "b", {"auths": {"elsewhere": _auth("x")}})
    one, two = (_write(tmp_path / name, {"auths": {host: _auth(name)}}) for name in "cd")
    assert _find(WEB, tmp_path / "missing", empty, other, one, two) == Login("c", "secret")


def test_the_files_are_podmans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    own = ["/run/user/7/containers/auth.json", "/home/me/.config/containers/auth.json", "/home/me/.docker/config.json"]
    assert [str(each) for each in credentials.locations()] == own
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert credentials.locations() == [tmp_path / "auth.json"]


def test_a_password_with_colons_and_dockers_padding_is_whole(tmp_path: Path) -> None:
    auths = {"auths": {"registry.example.net:5000": _auth("me", "a:b:ü\0")}}
    found = _find(WEB, _write(tmp_path / "auth.json", auths))
    assert found == Login("me", "a:b:ü")
    assert "a:b" not in repr(found)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"auths": 5}', '{"auths": {"x": {"auth": ["planted"]}}}', "\x00planted", '{"x": ' + "[" * 100_000],
)
def test_a_damaged_file_is_named_and_not_shown(tmp_path: Path, content: str) -> None:
    file = _write(tmp_path / "auth.json", content)
    with pytest.raises(UsageError, match=f"{file} is not a file of registry logins") as error:
        _find(WEB, file)
    assert "planted" not in str(error.value)


@pytest.mark.parametrize("auth", ["not base64 planted", base64.b64encode(b"planted").decode(), "/w=="])
def test_a_damaged_login_is_named_and_not_shown(tmp_path: Path, auth: str) -> None:
    file = _write(tmp_path / "auth.json", {"auths": {"registry.example.net:5000": {"auth": auth}}})
    with pytest.raises(UsageError, match=r"the login of registry\.example\.net:5000 is damaged") as error:
        _find(WEB, file)
    assert auth not in str(error.value)


def test_a_helper_is_asked_through_stdin(tmp_path: Path, helpers: Path) -> None:
    script = f'read host; echo "$1 $# $host" >> {tmp_path}/asked; echo \'{{"Username": "me", "Secret": "s e"}}\''
    _helper(helpers, "good", script)
    host = "registry.example.net:5000"
    own = _write(tmp_path / "a", {"credHelpers": {host: "good"}, "auths": {host: _auth("other")}})
    assert _find(WEB, own) == Login("me", "s e")
    store = _write(tmp_path / "b", {"credsStore": "good", "auths": {host: {}}})
    assert _find(WEB, store) == Login("me", "s e")
    assert (tmp_path / "asked").read_text() == f"get 1 {host}\n" * 2


def test_a_helper_may_have_an_identity_token_or_nothing(tmp_path: Path, helpers: Path) -> None:
    host = "registry.example.net:5000"
    file = _write(tmp_path / "a", {"credHelpers": {host: "good"}})
    _helper(helpers, "good", 'echo \'{"Username": "<token>", "Secret": "identity"}\'')
    assert _find(WEB, file) == Login(identity_token="identity")
    _helper(helpers, "good", "echo 'credentials not found in native keychain'; exit 1")
    assert _find(WEB, file) is None


@pytest.mark.parametrize(
    "script", ["echo planted; exit 1", "echo '{\"Secret\": 5}'", "exec cat /dev/zero", "exec 0<&-; exit 3"]
)
def test_a_helper_that_fails_is_named_and_not_quoted(tmp_path: Path, helpers: Path, script: str) -> None:
    _helper(helpers, "bad", script)
    file = _write(tmp_path / "a", {"credHelpers": {"registry.example.net:5000": "bad"}})
    with pytest.raises(UsageError, match="the credential helper docker-credential-bad did not give the login") as error:
        _find(WEB, file)
    assert "planted" not in str(error.value)


def test_a_helper_that_is_not_there_or_whose_name_is_a_path_is_said(tmp_path: Path, helpers: Path) -> None:  # noqa: ARG001
    host = "registry.example.net:5000"
    with pytest.raises(UsageError, match="docker-credential-missing, which does not start"):
        _find(WEB, _write(tmp_path / "a", {"credHelpers": {host: "missing"}}))
    with pytest.raises(UsageError, match="whose name is none"):
        _find(WEB, _write(tmp_path / "a", {"credHelpers": {host: "../../evil"}}))


def test_a_helper_that_says_nothing_is_ended(tmp_path: Path, helpers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_HELPER_S", 0.3)
    _helper(helpers, "slow", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    with pytest.raises(UsageError, match=r"did not answer within 0\.3 s"):
        _find(WEB, _write(tmp_path / "a", {"credHelpers": {"registry.example.net:5000": "slow"}}))
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_what_a_helper_or_an_engine_has_started_is_not_waited_for(
    tmp_path: Path, helpers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script's child has its pipes, and lives on when the script is killed."""
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! >> {pids}; wait"
    _helper(helpers, "slow", script)
    monkeypatch.setattr(credentials, "_HELPER_S", 0.5)
    file = _write(tmp_path / "auth.json", '{"credsStore": "slow"}')
    began = time.monotonic()
    try:
        with pytest.raises(UsageError, match="did not answer within"):
            _find(WEB, file)
        with pytest.raises(CliError, match="did not end within"):
            asyncio.run(programs.run(["/bin/sh", "-c", script], 0.5))
        assert time.monotonic() - began < 30
    finally:
        for pid in pids.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


# -- challenges


def test_challenges_are_read_as_rfc_7235_has_them() -> None:
    header = 'Bearer realm="https://auth.example.net/token",service="a, b",scope="x:y:pull,push", Basic realm="\\"q\\""'
    bearer, basic = tokens.challenges([header])
    assert (bearer.scheme, bearer.parameters["service"], bearer.parameters["scope"]) == (
        "bearer",
        "a, b",
        "x:y:pull,push",
    )
    assert basic == ("basic", {"realm": '"q"'})
    assert [each.scheme for each in tokens.challenges(["Negotiate", "BASIC realm=x"])] == ["negotiate", "basic"]
    assert tokens.challenges(["", "="]) == []


@given(st.text(max_size=200) | st.text(alphabet='Bearer realm="\\, x', max_size=200))
def test_no_header_is_too_strange(text: str) -> None:
    tokens.challenges([text])
