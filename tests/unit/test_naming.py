"""Names, container names, and the version that an image reference says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import naming
from tests.support.strategies import images, names


@pytest.mark.parametrize("text", ["a", "0", "web", "web-1", "a--b", "a" * 63])
def test_lower_case_letters_digits_and_inner_hyphens_make_a_name(text: str) -> None:
    assert naming.is_name(text)


@pytest.mark.parametrize(
    "text", ["", "-a", "a-", "A", "a_b", "a.b", "a b", "a\n", "ä", "a/b", "..", "a" * 64, "\u0661"]
)
def test_anything_else_is_not_a_name(text: str) -> None:
    assert not naming.is_name(text)


def test_a_container_is_called_after_its_service_and_component() -> None:
    assert naming.container_name("web", "api", ["api", "db"]) == "web-api"


def test_the_only_component_with_its_services_name_gives_the_container_the_bare_name() -> None:
    assert naming.container_name("web", "web", ["web"]) == "web"


def test_a_component_with_its_services_name_among_others_gets_the_long_name() -> None:
    assert naming.container_name("web", "web", ["web", "db"]) == "web-web"


def test_an_only_component_with_another_name_gets_the_long_name() -> None:
    assert naming.container_name("web", "api", ["api"]) == "web-api"


@given(names, st.lists(names, min_size=1, unique=True))
def test_no_two_components_of_a_service_share_a_container_name(service: str, components: list[str]) -> None:
    made = [naming.container_name(service, each, components) for each in components]
    assert len(set(made)) == len(components)


def test_a_registry_port_is_not_taken_for_a_tag() -> None:
    assert naming.version("registry.example.net:5000/team/app") == "latest"


def test_a_reference_without_its_tag_keeps_port_and_digest() -> None:
    digest = "sha256:" + "0" * 64
    assert naming.without_tag(f"r.example:5000/web:1.2@{digest}") == f"r.example:5000/web@{digest}"
    assert naming.without_tag("r.example:5000/web:1.2") == "r.example:5000/web"
    assert naming.without_tag("r.example:5000/web") == "r.example:5000/web"


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("app", "latest"),
        ("app:v1.7.0", "v1.7.0"),
        ("registry.example.net:8443/app:v1.7.0", "v1.7.0"),
        ("localhost/app:dev", "dev"),
        ("[::1]:5000/app", "latest"),
        ("[::1]:5000/app:2", "2"),
        ("app@sha256:" + "0123456789abcdef" * 4, "sha256:0123456789ab"),
        ("registry.example.net:5000/app:v2@sha256:" + "f" * 64, "sha256:ffffffffffff"),
    ],
)
def test_the_version_is_the_tag_or_the_short_digest_or_latest(reference: str, version: str) -> None:
    assert naming.is_image_reference(reference)
    assert naming.version(reference) == version


@given(images)
def test_every_image_reference_says_a_version_without_a_slash(reference: str) -> None:
    assert naming.is_image_reference(reference)
    version = naming.version(reference)
    assert version
    assert "/" not in version
    assert version == "latest" or version in reference


@pytest.mark.parametrize(
    "text",
    ["", "App", "app:", "app:ta g", "app:-x", "app@sha256:12", "/app", "app/", "a//b", "app\n", "https://x/app"],
)
def test_what_podman_would_refuse_is_no_image_reference(text: str) -> None:
    assert not naming.is_image_reference(text)


@pytest.mark.parametrize("text", ["a" * 256, "app:" + "x" * 129])
def test_an_image_reference_has_a_limited_length(text: str) -> None:
    assert naming.is_image_reference(text[:-1])
    assert not naming.is_image_reference(text)


@pytest.mark.parametrize(("text", "target"), [("web", ("web", "")), ("web/api", ("web", "api"))])
def test_a_target_is_a_service_or_a_component_of_it(text: str, target: tuple[str, str]) -> None:
    assert naming.split_target(text) == target


@pytest.mark.parametrize("text", ["", "/", "web/", "/api", "web/api/x", "Web", "web/API", "web api"])
def test_no_other_target_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="SERVICE/COMPONENT"):
        naming.split_target(text)


@given(st.text())
def test_any_text_is_a_target_or_a_value_error(text: str) -> None:
    try:
        service, component = naming.split_target(text)
    except ValueError:
        return
    assert text in (service, f"{service}/{component}")


@pytest.mark.parametrize(("service", "network"), [("web", "web"), ("host", "host-net"), ("bridge", "bridge-net")])
def test_a_service_has_a_network_of_its_name_unless_that_means_something_to_podman(service: str, network: str) -> None:
    assert naming.own_network(service) == network


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("localhost/app:v1", "localhost/app"),
        ("registry.example.net:5000/team/app", "registry.example.net:5000/team/app"),
        ("registry.example.net:5000/team/app:v1", "registry.example.net:5000/team/app"),
        (f"docker.io/library/nginx@sha256:{'0' * 64}", "docker.io/library/nginx"),
        (f"docker.io/library/nginx:1.29@sha256:{'0' * 64}", "docker.io/library/nginx"),
    ],
)
def test_a_repository_is_a_reference_without_tag_and_digest(name: str, repository: str) -> None:
    assert naming.repository_of(name) == repository
