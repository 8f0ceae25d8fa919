"""The notations inside strings: each is parsed or refused with a sentence, and nothing else ever happens."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protos import grammar, podman_notation
from protos.grammar import Port, Restart, Volume
from tests.support.strategies import images, volumes

EVERY_PARSER = [
    grammar.name,
    grammar.image,
    grammar.port,
    grammar.volume,
    grammar.user,
    grammar.restart,
    podman_notation.network_of_component,
    grammar.secret,
    grammar.env_name,
    grammar.argument,
    grammar.duration,
    grammar.positive_duration,
    grammar.size,
    grammar.http_url,
    grammar.host_port,
]
# Characters that mean something to some notation come up more often than by chance.
texts = st.text() | st.text("0123456789:/.,[]-@ msdhkMGiB%\0\n", max_size=40) | images | volumes


@pytest.mark.parametrize("parse", EVERY_PARSER, ids=lambda parse: parse.__name__)
@given(text=texts)
@example("9" * 5000)
@example("9" * 5000 + ":80")
@example("9" * 400 + "GiB")
@example("9" * 400 + "d")
def test_any_text_is_parsed_or_refused_with_a_short_sentence(parse: Callable[[str], object], text: str) -> None:
    refusal = None
    try:
        parse(text)
    except ValueError as error:
        refusal = str(error)
    assert refusal is None or 0 < len(refusal) < 600


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("8080:80", Port("", 8080, 80, "tcp")),
        ("127.0.0.1:8080:80", Port("127.0.0.1", 8080, 80, "tcp")),
        ("[::1]:8080:80/udp", Port("::1", 8080, 80, "udp")),
        ("53:53/udp", Port("", 53, 53, "udp")),
        ("1:65535/tcp", Port("", 1, 65535, "tcp")),
        ("80", Port("", 0, 80, "tcp")),
        ("127.0.0.1::80", Port("127.0.0.1", 0, 80, "tcp")),
        ("5000-5009:6000-6009/sctp", Port("", 5000, 6000, "sctp", 10)),
        ("9000-9001/udp", Port("", 0, 9000, "udp", 2)),
    ],
)
def test_a_port_mapping_is_ip_host_container_and_protocol(text: str, port: Port) -> None:
    assert grammar.port(text) == port


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80:",
        ":80",
        "0:80",
        "80:0",
        "65536:80",
        "80:65536",
        "80:80/icmp",
        "host:80:80",
        "80:80\n",
        "-1:80",
        "8080-8090:80",
        "::1:80:80",
    ],
)
def test_no_other_port_mapping_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        grammar.port(text)


@pytest.mark.parametrize("text", ["999.1.1.1:80:80", "[x]:80:80", "1.2.3:80:80"])
def test_a_port_is_published_on_an_ip_address_or_nowhere(text: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        grammar.port(text)


@given(st.from_regex(r"0{0,8}[0-9]{1,8}:0{0,8}[0-9]{1,8}", fullmatch=True))
@example("0000019999999:80")
def test_a_port_that_is_accepted_is_1_to_65535(text: str) -> None:
    try:
        port = grammar.port(text)
    except ValueError:
        return
    assert 1 <= port.host <= 65535
    assert 1 <= port.container <= 65535


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/srv/web:/data", Volume("/srv/web", "/data", ())),
        ("/data", Volume("", "/data", ())),
        ("/srv/web:/data:ro,Z", Volume("/srv/web", "/data", ("ro", "Z"))),
        ("cache:/var/cache:U", Volume("cache", "/var/cache", ("U",))),
    ],
)
def test_a_volume_is_source_target_and_options(text: str, volume: Volume) -> None:
    assert grammar.volume(text) == volume


def test_an_absolute_source_is_a_bind_mount_and_a_name_is_a_volume() -> None:
    assert grammar.volume("/srv/web:/data").is_bind
    assert not grammar.volume("web:/data").is_bind


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":/data",
        "/srv:data",
        "./srv:/data",
        "../srv:/data",
        "~/srv:/data",
        "a b:/data",
        "/a:/b:",
        "/a:/b:ro,",
        "/a:/b:readonly",
        "/a:/b:ro:rw",
        "/a\x00b:/c",
    ],
)
def test_no_other_volume_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match=r"volume|mounts|option"):
        grammar.volume(text)


def test_an_unknown_volume_option_is_told_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'readonly'; known are .*\bro\b"):
        grammar.volume("/a:/b:readonly")


@pytest.mark.parametrize("text", ["0", "0:0", "app", "app:app", "1000:www-data"])
def test_a_user_is_a_name_or_number_and_perhaps_a_group(text: str) -> None:
    assert grammar.user(text) == text


@pytest.mark.parametrize("text", ["", ":", "app:", ":0", "a:b:c", "-x", "a b"])
def test_no_other_user_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="not a user"):
        grammar.user(text)


@pytest.mark.parametrize(
    ("text", "restart"),
    [
        ("no", Restart("no", 0)),
        ("always", Restart("always", 0)),
        ("unless-stopped", Restart("unless-stopped", 0)),
        ("on-failure", Restart("on-failure", 0)),
        ("on-failure:5", Restart("on-failure", 5)),
    ],
)
def test_a_restart_policy_may_limit_its_tries(text: str, restart: Restart) -> None:
    assert grammar.restart(text) == restart


@pytest.mark.parametrize("text", ["", "never", "always:3", "no:1", "on-failure:", "on-failure:-1", "On-failure"])
def test_no_other_restart_policy_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="not a restart policy"):
        grammar.restart(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("250ms", timedelta(milliseconds=250)),
        ("10s", timedelta(seconds=10)),
        ("1m30s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        ("90d", timedelta(days=90)),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, duration: timedelta) -> None:
    assert grammar.duration(text) == duration


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1 s", "1w", "1e3s", ".5s", "10S", "40000d", "9" * 31 + "d"])
def test_no_other_duration_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        grammar.duration(text)


@pytest.mark.parametrize("value", ["0s", "0ms", timedelta(0)])
def test_what_must_last_cannot_last_no_time(value: str | timedelta) -> None:
    with pytest.raises(ValueError, match="longer than zero"):
        grammar.positive_duration(value)


@given(st.integers(0, 10**6))
def test_milliseconds_are_exact(count: int) -> None:
    assert grammar.duration(f"{count}ms") == timedelta(milliseconds=count)


@pytest.mark.parametrize(
    ("value", "total"),
    [("512kB", 512_000), ("256MiB", 2**28), ("1GiB", 2**30), ("1.5 KiB", 1536), ("0B", 0), (4096, 4096)],
)
def test_a_size_is_a_number_with_a_unit_or_bytes(value: str | int, total: int) -> None:
    assert grammar.size(value) == total


@pytest.mark.parametrize("value", ["", "1", "1 mib", "-1B", "1PB", "GiB", "99999999TiB", -1, 2**63])
def test_no_other_size_is_accepted(value: Any) -> None:
    with pytest.raises(ValueError, match="size"):
        grammar.size(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9444", ("127.0.0.1", 9444)),
        ("[::1]:9444", ("::1", 9444)),
        ("node.example.net:443", ("node.example.net", 443)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert grammar.host_port(text) == address


@pytest.mark.parametrize("text", ["", "host", ":80", "[]:80", "::1:80", "host:", "host:0", "host:65536", "a b:80"])
def test_no_other_address_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        grammar.host_port(text)


@pytest.mark.parametrize("text", ["http://127.0.0.1:8080/healthz", "https://[::1]:8443", "http://web?x=1"])
def test_a_url_has_a_scheme_and_a_host(text: str) -> None:
    assert grammar.http_url(text) == text


@pytest.mark.parametrize("text", ["", "127.0.0.1/healthz", "ftp://x/", "http://", "http:///x", "http://a b/"])
def test_no_other_url_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="not a URL"):
        grammar.http_url(text)


@pytest.mark.parametrize("text", ["", "A=B", "A\0", " A", "A\n"])
def test_no_program_could_find_a_variable_of_this_name(text: str) -> None:
    with pytest.raises(ValueError, match="environment variable"):
        grammar.env_name(text)


def test_a_nul_character_is_refused_in_an_argument_and_everything_else_is_kept() -> None:
    assert grammar.argument("--x=ä \n'\"$()") == "--x=ä \n'\"$()"
    with pytest.raises(ValueError, match="NUL"):
        grammar.argument("a\0b")


def test_a_refusal_quotes_a_long_text_only_in_part() -> None:
    with pytest.raises(ValueError, match=r"\.\.\.") as refusal:
        grammar.image("!" * 100_000)
    assert len(str(refusal.value)) < 300
