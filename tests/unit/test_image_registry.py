"""What registries are asked, and what is made of their answers: over real sockets, with the oddities of real ones."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from mcpctl.errors import CliError, RegistryError
from mcpctl.images.registries import newness, reference, transport
from mcpctl.images.registries.reference import Reference
from mcpctl.images.registries.registry import MAX_TAGS, Registries, Tags
from tests.support.image_registry import Asked, ImageRegistry, Reply, a_list, a_manifest, digest, serving
from tests.support.waiting import free_port

T = TypeVar("T")

USER, PASSWORD, TOKEN = "operator", "correct horse: battery", "a-token-of-the-registry"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
IMAGE = a_manifest("ab" * 32)
# No parser goes so deep.
NESTED = b"[" * 100_000
# What looks like a URL, and that nobody can be asked by.
NOWHERE = ["https://xn--a.example/token", "https://registry.example:99999/token", "https:///token", "http://[::1"]


async def digest_of(wanted: Reference) -> str | None:
    async with Registries() as registries:
        return await registries.digest(wanted)


pytestmark = pytest.mark.usefixtures("plain_asyncio")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of whoever runs the tests is read: no logins, no CAs, no registries.conf."""
    home = tmp_path / "home"
    (home / ".config/containers").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(home / "registries.conf"))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def plain() -> Iterator[ImageRegistry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def tls(home: Path, tmp_path: Path) -> Iterator[ImageRegistry]:
    """One whose CA is where podman would look for it."""
    folder = tmp_path / "tls"
    folder.mkdir()
    with serving(folder) as registry:
        trusted = home / ".config/containers/certs.d" / registry.address
        trusted.mkdir(parents=True)
        (folder / "ca.crt").rename(trusted / "ca.crt")
        yield registry


def of(registry: ImageRegistry, path: str = "team/web:v1") -> Reference:
    return reference.parse(f"{registry.address}/{path}")


def asking(question: Callable[[Registries], Awaitable[T]]) -> T:
    async def command() -> T:
        async with Registries() as registries:
            return await question(registries)

    return asyncio.run(command())


def refused(wanted: Reference) -> str:
    with pytest.raises(RegistryError) as error:
        asyncio.run(digest_of(wanted))
    said = str(error.value)
    for secret in (PASSWORD, TOKEN, BASIC, BASIC.removeprefix("Basic ")):
        assert secret not in said
    return said


def log_in(home: Path, key: str, user: str = USER, password: str = PASSWORD) -> None:
    auth = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    (home / ".config/containers/auth.json").write_text(json.dumps({"auths": {key: auth}}))


def wants_basic(asked: Asked) -> Reply | None:
    if asked.authorization == BASIC:
        return None
    return Reply(401, headers={"WWW-Authenticate": 'Basic realm="here, there"'})


def gives_tokens(registry: ImageRegistry, realm: str = "") -> Callable[[Asked], Reply | None]:
    """Of itself, to whoever has the password."""
    challenge = f'Bearer realm="{realm or registry.url}/token",service="the service",scope="repository:x:pull"'

    def first(asked: Asked) -> Reply | None:
        if asked.path == "/token":
            good = asked.authorization == BASIC
            return Reply(body=json.dumps({"token": TOKEN}).encode()) if good else Reply(401)
        if asked.authorization == f"Bearer {TOKEN}":
            return None
        return Reply(401, headers={"WWW-Authenticate": challenge})

    return first


# -- digests


def test_a_digest_is_asked_for_by_head_and_a_tag_that_is_not_there_is_none(plain: ImageRegistry) -> None:
    made = plain.put("team/web", "v1", IMAGE)
    assert asyncio.run(digest_of(of(plain))) == made
    assert asyncio.run(digest_of(of(plain, "team/web:v2"))) is None
    assert asyncio.run(digest_of(of(plain, "team/other:v1"))) is None
    assert {each.method for each in plain.asked if "/manifests/" in each.path} == {"HEAD"}
    accepted = next(each for each in plain.asked if each.method == "HEAD").headers["accept"]
    assert "image.index.v1+json" in accepted
    assert "manifest.list.v2+json" in accepted


@pytest.mark.parametrize("status", [400, 405, 501])
def test_a_registry_that_refuses_head_is_asked_by_get(plain: ImageRegistry, status: int) -> None:
    made = plain.put("team/web", "v1", IMAGE)
    plain.first = lambda asked: Reply(status) if asked.method == "HEAD" else None
    assert asyncio.run(digest_of(of(plain))) == made


def test_a_registry_that_does_not_say_the_digest_gives_the_bytes_that_it_is_of(plain: ImageRegistry) -> None:
    plain.first = lambda asked: Reply(body=IMAGE) if "/manifests/" in asked.path else None
    assert asyncio.run(digest_of(of(plain))) == digest(IMAGE)


def test_a_manifest_says_the_id_of_its_image_and_a_list_its_manifests(plain: ImageRegistry) -> None:
    plain.put("team/web", "v1", IMAGE)
    plain.put("team/web", "v2", a_list(IMAGE, b"{}"))
    one = asking(lambda registries: registries.manifest(of(plain)))
    two = asking(lambda registries: registries.manifest(of(plain, "team/web:v2")))
    assert one
    assert (one.digest, one.config, one.images) == (digest(IMAGE), "sha256:" + "ab" * 32, ())
    assert two
    assert two.images == (digest(IMAGE), digest(b"{}"))


def test_what_is_no_manifest_and_what_has_no_end_is_said(plain: ImageRegistry) -> None:
    for body in (b"<html>", NESTED, b'{"manifests": [{"platform": ' + NESTED):
        plain.first = lambda asked, body=body: Reply(body=body) if "/manifests/" in asked.path else None
        with pytest.raises(RegistryError, match="has no manifest"):
            asking(lambda registries: registries.manifest(of(plain)))
    plain.first = lambda asked: Reply(body=b'{"tags": ' + NESTED) if asked.path.endswith("/tags/list") else None
    with pytest.raises(RegistryError, match="does not list tags"):
        asking(lambda registries: registries.tags(of(plain)))
    plain.first = lambda asked: Reply(body=b"x" * (5 << 20)) if asked.method == "GET" else Reply(405)
    assert "more than 4 MiB" in refused(of(plain))


def test_what_is_no_digest_is_never_asked_for(plain: ImageRegistry) -> None:
    made = plain.put(
        "team/web", "v1", a_list(IMAGE, config={"digest": "../../other"}).replace(b"sha256:", b"a\\u0000b:")
    )
    found = asking(lambda registries: registries.manifest(of(plain)))
    assert found
    assert (found.digest, found.config, found.images) == (made, "", ())


# -- tags


def _pages(registry: ImageRegistry, count: int, size: int, link: str) -> None:
    """``count`` tags, ``size`` of them a page."""

    def first(asked: Asked) -> Reply | None:
        if not asked.path.endswith("/tags/list"):
            return None
        start = int(asked.query.get("last", "0"))
        tags = [f"t{number}" for number in range(start, min(start + size, count))]
        more = {"Link": link.format(start + size)} if start + size < count else {}
        return Reply(200, json.dumps({"tags": tags}).encode(), more)

    registry.first = first


@pytest.mark.parametrize(
    "link",
    [
        '</v2/team/web/tags/list?last={}&n=2>; rel="next"',
        "<?last={}>; rel=next",
        '<http://elsewhere.invalid/v2/other/tags/list?last={}>; title="more"; rel="next"',
    ],
)
def test_tags_are_read_page_by_page_from_the_same_registry(plain: ImageRegistry, link: str) -> None:
    _pages(plain, 7, 2, link)
    found = asking(lambda registries: registries.tags(of(plain)))
    assert found == Tags(tuple(f"t{number}" for number in range(7)), complete=True)
    assert {each.path for each in plain.asked} <= {"/v2/", "/v2/team/web/tags/list"}


def test_no_more_tags_are_read_than_can_be_of_use_and_that_is_told(plain: ImageRegistry) -> None:
    _pages(plain, MAX_TAGS + 1, 1000, "<?last={}>; rel=next")
    found = asking(lambda registries: registries.tags(of(plain)))
    assert (len(found.tags), found.complete) == (MAX_TAGS, False)


def test_a_registry_whose_pages_have_no_end_is_left(plain: ImageRegistry) -> None:
    plain.first = lambda asked: (
        Reply(body=b'{"tags": ["v1"]}', headers={"Link": "<?last=v1>; rel=next"}) if "tags" in asked.path else None
    )
    assert asking(lambda registries: registries.tags(of(plain))) == Tags(("v1",), complete=False)
    assert len(plain.asked) < 250


def test_what_can_be_no_tag_is_left_out_and_a_repository_that_is_not_there_is_said(plain: ImageRegistry) -> None:
    plain.first = lambda asked: Reply(body=b'{"tags": ["v1", "\\u001b[2J", ""]}') if "team/web/" in asked.path else None
    assert asking(lambda registries: registries.tags(of(plain))).tags == ("v1",)
    with pytest.raises(RegistryError, match="has no team/other"):
        asking(lambda registries: registries.tags(of(plain, "team/other:v1")))
    plain.first = lambda _: Reply(body=b'{"tags": null}')
    assert asking(lambda registries: registries.tags(of(plain))).tags == ()


# -- logins


def test_a_password_is_sent_when_it_is_asked_for(tls: ImageRegistry, home: Path) -> None:
    made = tls.put("team/web", "v1", IMAGE)
    tls.first = wants_basic
    log_in(home, tls.address)
    assert asyncio.run(digest_of(of(tls))) == made
    assert [each.authorization for each in tls.asked if each.method == "HEAD"] == ["", BASIC]


def test_no_password_and_a_wrong_one_are_told_apart(tls: ImageRegistry, home: Path) -> None:
    tls.first = wants_basic
    remedy = f"`podman login {tls.address}`"
    assert refused(of(tls)) == f"the image registry {tls.address} wants a login; there is none: run {remedy}"
    log_in(home, tls.address, password="wrong")
    assert "refuses the login: wrong user name or password" in refused(of(tls))
    tls.first = gives_tokens(tls)
    assert "refuses the login: wrong user name or password" in refused(of(tls))
    (home / ".config/containers/auth.json").unlink()
    assert "wants a login; there is none" in refused(of(tls))


@pytest.mark.parametrize("by_token", [True, False])
def test_a_login_that_is_refused_is_tried_once_for_all_images(
    tls: ImageRegistry, home: Path, *, by_token: bool
) -> None:
    log_in(home, tls.address, password="wrong")
    tls.first = gives_tokens(tls) if by_token else wants_basic
    wanted = {of(tls, f"team/app{number}:1.{tag}"): () for number in range(10) for tag in range(2)}
    found = asyncio.run(newness.ask(wanted))
    assert [len(each.problems) for each in found.values()] == [1] * len(wanted)
    assert all("refuses the login: wrong user name or password" in each.problems[0] for each in found.values())
    assert len([each for each in tls.asked if each.authorization]) == 1


def test_a_repository_that_a_login_may_not_read_says_nothing_of_the_others(tls: ImageRegistry, home: Path) -> None:
    log_in(home, tls.address)
    tls.put("team/web", "v1", IMAGE)
    usual = gives_tokens(tls)

    def first(asked: Asked) -> Reply | None:
        is_closed = asked.path == "/token" and "closed" in asked.query["scope"]
        return Reply(403) if is_closed else usual(asked)

    tls.first = first
    found = asyncio.run(newness.ask({of(tls, "team/closed:v1"): (), of(tls): ()}))
    assert found[of(tls, "team/closed:v1")].problems
    assert found[of(tls)].digest == digest(IMAGE)


def test_a_token_is_fetched_once_for_a_repository(tls: ImageRegistry, home: Path) -> None:
    made = tls.put("team/web", "v1", IMAGE)
    tls.first = gives_tokens(tls)
    log_in(home, f"{tls.address}/team")

    async def many(registries: Registries) -> list[str | None]:
        return await asyncio.gather(*(registries.digest(of(tls)) for _ in range(5)))

    assert asking(many) == [made] * 5
    (token,) = [each for each in tls.asked if each.path == "/token"]
    assert token.query == {"scope": "repository:team/web:pull", "service": "the service"}
    assert token.authorization == BASIC


def test_an_identity_token_is_exchanged_in_the_body_of_a_post(tls: ImageRegistry, home: Path) -> None:
    made = tls.put("team/web", "v1", IMAGE)
    tls.first = gives_tokens(tls)
    plain_tokens = tls.first

    def first(asked: Asked) -> Reply | None:
        if asked.path == "/token" and asked.method == "POST":
            assert b"grant_type=refresh_token" in asked.body
            assert b"refresh_token=the-identity" in asked.body
            assert not asked.authorization
            return Reply(body=json.dumps({"access_token": TOKEN}).encode())
        return plain_tokens(asked)

    tls.first = first
    content = {"auths": {tls.address: {"auth": BASIC[6:], "identitytoken": "the-identity"}}}
    (home / ".config/containers/auth.json").write_text(json.dumps(content))
    assert asyncio.run(digest_of(of(tls))) == made


def test_a_token_that_is_not_good_any_more_is_replaced(tls: ImageRegistry, home: Path) -> None:
    tls.put("team/web", "v1", IMAGE)
    log_in(home, tls.address)
    good, worn = gives_tokens(tls), threading.Event()

    def first(asked: Asked) -> Reply | None:
        if asked.authorization == f"Bearer {TOKEN}" and worn.is_set():
            worn.clear()
            return good(asked._replace(headers={}))
        return good(asked)

    tls.first = first

    async def twice(registries: Registries) -> str | None:
        await registries.digest(of(tls))
        worn.set()
        return await registries.digest(of(tls))

    assert asking(twice) == digest(IMAGE)
    assert len([each for each in tls.asked if each.path == "/token"]) == 2


@pytest.mark.parametrize(
    "answer",
    [
        *(Reply(200, b"[]"), Reply(200, b"{}"), Reply(200, b'{"token": "a\\nb"}'), Reply(200, b'{"a": ' + NESTED)),
        *(Reply(500, b"{}"), Reply(204)),
    ],
)
def test_what_is_no_token_is_said(tls: ImageRegistry, home: Path, answer: Reply) -> None:
    log_in(home, tls.address)
    usual = gives_tokens(tls)
    tls.first = lambda asked: answer if asked.path == "/token" else usual(asked)
    assert "gives no token" in refused(of(tls))


REALMS = [f'Bearer realm="{each}"' for each in ["not a url", *NOWHERE]]


@pytest.mark.parametrize("challenge", ["", "Negotiate", 'Digest realm="x"', "Bearer", *REALMS])
def test_a_challenge_that_cannot_be_met_is_said(tls: ImageRegistry, home: Path, challenge: str) -> None:
    log_in(home, tls.address)
    tls.first = lambda _: Reply(401, headers={"WWW-Authenticate": challenge})
    assert re.search("of a kind that mcpctl does not know|does not say where it gives tokens", refused(of(tls)))


def test_who_may_not_read_a_repository_is_told(tls: ImageRegistry, home: Path) -> None:
    """As Docker Hub has it: anybody gets a token, and with it a 401 for what is private, or not there."""
    usual = gives_tokens(tls)

    def first(asked: Asked) -> Reply | None:
        if asked.path == "/token":
            return Reply(body=json.dumps({"token": TOKEN}).encode())
        return usual(asked._replace(headers={}))

    tls.first = first
    assert "wants a login for team/web, or has no such repository; there is none" in refused(of(tls))
    log_in(home, tls.address)
    assert "there is no such repository, or the login may not read it" in refused(of(tls))
    tls.first = lambda _: Reply(403)
    assert "there is no such repository, or the login may not read it" in refused(of(tls))


# -- where logins do not go


def test_no_password_goes_over_plain_http_to_another_machine() -> None:
    connection = transport.Connection("registry.example.net:5000", "registry.example.net:5000", may_lack_tls=True)
    url = transport.httpx.URL("http://registry.example.net:5000/v2/")
    with pytest.raises(RegistryError, match="no login over plain HTTP"):
        asyncio.run(connection.send("GET", url, {"Authorization": BASIC}))
    asyncio.run(connection.close())


def test_a_token_server_without_tls_gets_no_password(tls: ImageRegistry, plain: ImageRegistry, home: Path) -> None:
    log_in(home, tls.address)
    tls.first = gives_tokens(tls, realm=plain.url)
    assert "gives tokens over http" in refused(of(tls))
    assert plain.asked == []


def test_a_redirect_to_another_scheme_is_not_followed(tls: ImageRegistry, plain: ImageRegistry, home: Path) -> None:
    log_in(home, tls.address)
    tls.first = lambda asked: wants_basic(asked) or Reply(307, headers={"Location": f"{plain.url}{asked.path}"})
    assert "redirects from https to http, which is not followed" in refused(of(tls))
    assert plain.asked == []


def test_a_redirect_to_another_host_is_followed_without_the_password(plain: ImageRegistry, home: Path) -> None:
    log_in(home, plain.address)
    with serving() as other:
        made = other.put("team/web", "v1", IMAGE)
        plain.first = lambda asked: (
            None
            if asked.path == "/v2/"
            else wants_basic(asked) or Reply(307, headers={"Location": other.url + asked.path})
        )
        assert asyncio.run(digest_of(of(plain))) == made
        assert [each.authorization for each in other.asked] == [""]
    plain.first = lambda asked: Reply(302, headers={"Location": asked.path})
    assert "redirects to no end" in refused(of(plain))


@pytest.mark.parametrize("target", [*NOWHERE, "http://127.0.0.1:99999/", "http://xn--a.example/"])
def test_a_redirect_to_nowhere_is_not_followed(plain: ImageRegistry, target: str) -> None:
    plain.first = lambda _: Reply(302, headers={"Location": target})
    assert f"the image registry {plain.address} " in refused(of(plain))


# -- patience


def test_a_registry_that_is_busy_is_asked_again_as_it_says(
    plain: ImageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plain.put("team/web", "v1", IMAGE)
    pauses = _without_pauses(monkeypatch)
    busy = [Reply(429, headers={"Retry-After": "7"}), Reply(429), Reply(503, headers={"Retry-After": "nonsense"})]
    plain.first = lambda asked: busy.pop(0) if busy and asked.method == "HEAD" else None
    assert asyncio.run(digest_of(of(plain))) == made
    assert pauses == [7.0, 2.0, 4.0]


def test_it_is_left_when_it_stays_busy_or_asks_for_too_much_patience(
    plain: ImageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = _without_pauses(monkeypatch)
    plain.first = lambda asked: Reply(429) if asked.method == "HEAD" else None
    assert "rate limit, HTTP 429): try again later" in refused(of(plain))
    assert len(pauses) == 3
    plain.first = lambda asked: Reply(429, headers={"Retry-After": "3600"}) if asked.method == "HEAD" else None
    assert "try again in 3600 s" in refused(of(plain))
    plain.first = lambda asked: Reply(429, headers={"Retry-After": "9" * 400}) if asked.method == "HEAD" else None
    assert "try again later" in refused(of(plain))
    assert len(pauses) == 3


def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(transport.asyncio, "sleep", sleep)
    return pauses


def test_few_requests_run_at_once(plain: ImageRegistry) -> None:
    running, most, lock, all_there = 0, 0, threading.Lock(), threading.Event()

    def first(asked: Asked) -> Reply | None:
        nonlocal running, most
        if asked.method != "HEAD":
            return None
        with lock:
            running += 1
            most = max(most, running)
            if running == 4:
                all_there.set()
        all_there.wait(10)
        with lock:
            running -= 1
        return None

    plain.first = first

    async def many(registries: Registries) -> None:
        await asyncio.gather(*(registries.digest(of(plain, f"team/web:{number}")) for number in range(12)))

    asking(many)
    assert most == 4


def test_who_has_had_enough_is_left_alone(plain: ImageRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_pauses(monkeypatch)
    plain.first = lambda asked: Reply(429) if asked.method == "HEAD" else None

    async def many(registries: Registries) -> list[object]:
        wanted = (of(plain, f"team/web:{number}") for number in range(50))
        return await asyncio.gather(*map(registries.digest, wanted), return_exceptions=True)

    assert all(isinstance(each, RegistryError) and "HTTP 429" in str(each) for each in asking(many))
    assert len([each for each in plain.asked if each.method == "HEAD"]) <= 16


def test_who_does_not_answer_is_waited_for_once(plain: ImageRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_REQUEST_S", 0.3)
    over = threading.Event()
    plain.first = lambda asked: over.wait(30) and None if asked.method == "HEAD" else None

    async def many(registries: Registries) -> list[object]:
        wanted = (of(plain, f"team/web:{number}") for number in range(50))
        return await asyncio.gather(*map(registries.digest, wanted), return_exceptions=True)

    try:
        said = asking(many)
    finally:
        over.set()
    assert all(isinstance(each, RegistryError) and "did not answer within 0.3 s" in str(each) for each in said)
    assert len([each for each in plain.asked if each.method == "HEAD"]) <= 4


def test_a_connection_that_was_just_closed_is_opened_again(plain: ImageRegistry) -> None:
    made = plain.put("team/web", "v1", IMAGE)
    broken = [True]

    def first(asked: Asked) -> Reply | None:
        if asked.method == "HEAD" and broken:
            broken.pop()
            raise ConnectionAbortedError
        return None

    plain.first = first
    assert asyncio.run(digest_of(of(plain))) == made
    assert broken == []


# -- who is there


def test_a_certificate_that_nobody_vouches_for_says_where_its_ca_belongs(tls: ImageRegistry, home: Path) -> None:
    folder = home / ".config/containers/certs.d" / tls.address
    (folder / "ca.crt").rename(folder / "ca.crt.away")
    assert f"/etc/containers/certs.d/{tls.address}/ca.crt" in refused(of(tls))
    (folder / "ca.crt").write_text("no certificate")
    with pytest.raises(CliError, match=f"{tls.address}/ca.crt is not a CA certificate"):
        asyncio.run(digest_of(of(tls)))
    (folder / "ca.crt").unlink()
    (home / "registries.conf").write_text(f'[[registry]]\nlocation = "{tls.address}"\ninsecure = true\n')
    # It may do without TLS; but nobody is taken for it.
    assert f"/etc/containers/certs.d/{tls.address}/ca.crt" in refused(of(tls))


def test_who_is_not_there_is_said_and_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    away = reference.parse(f"127.0.0.1:{free_port()}/team/web:v1")
    assert "cannot be reached: " in refused(away)
    nobody = reference.parse("registry.invalid/team/web:v1")
    sent: list[str] = []
    once = transport.Connection._once

    async def counted(self: transport.Connection, method: str, *rest: object) -> transport.Answer:
        sent.append(method)
        return await once(self, method, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(transport.Connection, "_once", counted)

    async def many(registries: Registries) -> list[object]:
        return await asyncio.gather(*(registries.digest(nobody) for _ in range(20)), return_exceptions=True)

    said = asking(many)
    assert all(isinstance(each, RegistryError) and "cannot be reached" in str(each) for each in said)
    assert len(sent) <= 4


@pytest.mark.parametrize("host", ["registry.example:99999", "127.0.0.1:99999", "xn--a.example", "xn--a.localhost:5000"])
def test_what_no_server_can_be_called_is_said(host: str) -> None:
    assert f"cannot be reached: {host} is no host and port" in refused(reference.parse(f"{host}/web:v1"))


def test_registries_conf_moves_and_blocks(plain: ImageRegistry, home: Path) -> None:
    made = plain.put("mirror/web", "v1", IMAGE)
    (home / "registries.conf").write_text(
        f'[[registry]]\nprefix = "registry.invalid/team"\nlocation = "{plain.address}/mirror"\n'
        '[[registry]]\nprefix = "registry.invalid/evil"\nblocked = true\n'
    )
    assert asyncio.run(digest_of(reference.parse("registry.invalid/team/web:v1"))) == made
    assert "is blocked by registries.conf" in refused(reference.parse("registry.invalid/evil/web:v1"))
    (home / "registries.conf").write_text("[[registry]\n")
    with pytest.raises(CliError, match=r"registries\.conf is not a registries\.conf"):
        asyncio.run(digest_of(of(plain)))


# -- references


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("team/web", "docker.io/team/web:latest"),
        ("index.docker.io/nginx:1", "docker.io/library/nginx:1"),
        ("localhost/web:v1", "localhost/web:v1"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("registry.example.net/a/b/c:v1", "registry.example.net/a/b/c:v1"),
        ("registry.example.net:5000/a", "registry.example.net:5000/a:latest"),
        ("nginx@sha256:" + "a" * 64, "docker.io/library/nginx@sha256:" + "a" * 64),
        ("nginx:1@sha256:" + "a" * 64, "docker.io/library/nginx:1@sha256:" + "a" * 64),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
    ],
)
def test_a_reference_is_made_whole(text: str, whole: str) -> None:
    assert str(reference.parse(text)) == whole
    assert reference.parse(whole) == reference.parse(text)


def test_which_references_no_registry_can_be_asked_about() -> None:
    assert reference.parse("localhost/web:v1").is_local
    assert not reference.parse("localhost:5000/web:v1").is_local
    assert reference.parse("nginx").host == "registry-1.docker.io"
    with pytest.raises(ValueError, match="not an image reference"):
        reference.parse("a b")


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.8.8", True),
        ("[::1]:5000", True),
        ("128.0.0.1:5000", False),
        ("localhost.example.net", False),
        ("127.0.0.1.example.net:5000", False),
        ("[::2]:5000", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, is_here: bool) -> None:
    assert reference.is_loopback(host) is is_here
