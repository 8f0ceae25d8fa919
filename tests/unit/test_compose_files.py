"""Several compose files: merged, included, extended; and the services of profiles."""

import pytest

from mcpctl.definitions.importing.compose_file import documents
from mcpctl.definitions.loss import Grade
from protos.parts import Health, Log, Mount
from protos.spec import Component
from tests.support.compose import FOLDER, imported, messages, refused, told


def merged(base: str, over: str) -> Component:
    """The service `a` of two files."""
    found = imported(
        f"services:\n  a:\n    image: x\n{base}", files={"over.yaml": f"services:\n  a:\n{over}"}, also=["over.yaml"]
    )
    assert messages(found, Grade.LOST) == []
    return found.service.components[0]


@pytest.mark.parametrize(
    ("base", "over", "field", "expected"),
    [
        ("command: a b", "command: c", "cmd", ("c",)),
        ("command: a b", "entrypoint: c", "cmd", ("a", "b")),
        ("environment: {A: 1, B: 1}", "environment: [B=2, C=3]", "env", {"A": "1", "B": "2", "C": "3"}),
        ("environment: [A=1]", "environment:", "env", {"A": "1"}),
        ("labels: [a=1]", "labels: {b: 2}", "labels", {"a": "1", "b": "2"}),
        ("dns: 9.9.9.9", "dns: [8.8.8.8, 9.9.9.9]", "dns", ("9.9.9.9", "8.8.8.8")),
        ("cap_add: [KILL]", "cap_add: [CHOWN]", "cap_add", ("KILL", "CHOWN")),
        ("ports: ['80:80']", "ports: ['81:81', '80:80']", "ports", ("80:80", "81:81")),
        ("volumes: ['/srv/a:/x', '/srv/b:/y']", "volumes: [{type: bind, source: /srv/c, target: /x}]", "volumes",
         (Mount("/x", "/srv/c", create=True), Mount("/y", "/srv/b", create=True))),
        ("healthcheck: {test: a, retries: 5, timeout: 5s}", "healthcheck: {test: [CMD, b]}", "health",
         Health(cmd=("b",), retries=5)),
        ("logging: {driver: journald, options: {tag: a}}", "logging: {driver: none}", "log", Log("none")),
        ("logging: {driver: journald}", "logging: {options: {tag: a}}", "log", Log("journald", tag="a")),
        ("ulimits: {nofile: 5}", "ulimits: {nofile: {soft: 1, hard: 2}}", "ulimits", {"nofile": "1:2"}),
        ("ulimits: {nofile: {soft: 1, hard: 2}}", "ulimits: {nofile: {hard: 3}}", "ulimits", {"nofile": "1:3"}),
        ("ports: ['80:80']\n    user: me", "ports: !reset []\n    user: !reset null", "ports", ()),
        ("ports: ['80:80']", "ports: !override ['81:81']", "ports", ("81:81",)),
        ("environment: {A: 1, B: 2}", "environment: {A: !reset null}", "env", {"B": "2"}),
        ("deploy: {resources: {limits: {memory: 1G}}}", "mem_limit: 2G", "resources.memory", 2**31),
        ("init: true", "init: false", "init", False),
    ],
)  # fmt: skip
def test_two_files_are_merged_as_compose_does(base: str, over: str, field: str, expected: object) -> None:
    found: object = merged(f"    {base}\n", f"    {over}\n")
    for each in field.split("."):
        found = getattr(found, each)
    assert found == expected


def test_several_documents_in_a_file_are_several_files() -> None:
    text = "services: {a: {image: x, user: a}}\n---\n\n---\nservices: {a: {user: b}, b: {image: y}}"
    assert [each.user for each in imported(text).service.components] == ["b", None]


def test_what_takes_something_back_in_the_only_file_leaves_nothing() -> None:
    text = "services: {a: {image: x, user: !reset b, ports: !override ['1:1'], cap_add: [KILL, !reset B]}}"
    (component,) = imported(text).service.components
    assert (component.user, component.ports, component.cap_add) == (None, ("1:1",), ("KILL",))


def test_a_file_that_disagrees_in_kind_is_refused() -> None:
    over = {"over.yaml": "services: {a: {ports: {x: y}}}"}
    message = refused("services: {a: {image: x, ports: ['1:1']}}", files=over, also=["over.yaml"])
    assert "services.a.ports: is a mapping here and a list in an earlier file" in message


def test_each_file_says_which_one_it_is_in_an_error() -> None:
    files = {"o.yaml": "a: ["}
    assert refused("services: {a: {image: x}}", files=files, also=["o.yaml"]).startswith("o.yaml: is not YAML")
    assert refused("services: {a: {image: x, extends: {service: b, file: o.yaml}}}", files=files).startswith("o.yaml: ")


# -- extends


BASE = """\
services:
  base:
    image: x
    command: [a]
    environment: {A: '1', B: '1'}
    volumes: ['./d:/d']
    env_file: ./b.env
    build: ./ctx
    healthcheck: {test: NONE}
"""


def test_a_service_extends_another_one_of_its_file() -> None:
    found = imported(
        "services:\n  a: {extends: b, environment: [B=2]}\n  b: {extends: {service: c}, user: '1'}\n"
        "  c: {image: x, environment: {A: '1', B: '1'}, depends_on: [d]}\n  d: {image: y}\n"
    )
    (a, *_) = found.service.components
    assert (a.image, a.user, a.env, a.depends_on) == (
        "docker.io/library/x",
        "1",
        {"A": "1", "B": "2"},
        ("d",),
    )


def test_a_service_extends_one_of_another_file_whose_paths_are_relative_to_that() -> None:
    found = imported(
        "services: {a: {extends: {service: base, file: sub/base.yaml}, environment: [B=2], command: [z]}}",
        files={"sub/base.yaml": BASE, "sub/b.env": "C=3"},
    )
    (component,) = found.service.components
    assert component.env == {"A": "1", "B": "2", "C": "3"}
    assert (component.cmd, component.health) == (("z",), Health(disable=True))
    assert component.volumes == (Mount("/d", "/srv/web/sub/d", create=True),)
    assert component.build is not None
    assert component.build.context == str(FOLDER / "sub/ctx")


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ("{a: {extends: a}}", "services.a.extends: extends itself"),
        ("{a: {extends: b}, b: {extends: a}}", "extends itself, by way of others"),
        ("{a: {extends: nobody}}", "services.a.extends: 'nobody' is not a service of compose.yaml, which has a"),
        ("{a: {extends: {service: b, file: none.yaml}}}", "none.yaml cannot be read: No such file or directory"),
        ("{a: {extends: {service: b, file: sub/base.yaml}}}", "'b' is not a service of base.yaml, which has base"),
        ("{a: {extends: [b]}}", "services.a.extends: expected the name of a service"),
        ("{a: {extends: {file: x}}}", "services.a.extends: expected the name of a service"),
    ],
)
def test_what_cannot_be_extended_is_said(services: str, message: str) -> None:
    assert message in refused(f"services: {services}", files={"sub/base.yaml": BASE})


def test_many_services_may_extend_one() -> None:
    services = "".join(f"  s{each}: {{extends: {{service: base, file: sub/base.yaml}}}}\n" for each in range(150))
    found = imported(f"services:\n{services}", files={"sub/base.yaml": BASE, "sub/b.env": ""})
    assert len(found.service.components) == 150


# -- include


def test_an_included_file_has_paths_and_variables_of_its_own() -> None:
    found = imported(
        "include: [sub/one.yaml, {path: [sub/two.yaml, sub/over.yaml], project_directory: ., env_file: sub/x.env}]\n"
        "services: {a: {image: x, depends_on: [one]}}\n",
        files={
            "sub/one.yaml": "services: {one: {image: 'one:$V', volumes: ['./d:/d', 'v:/v']}}\nvolumes: {v: {name: v}}",
            "sub/.env": "V=1\nW=1\n",
            "sub/two.yaml": "services: {two: {image: 'two:$V', volumes: ['./d:/d'], user: $W}}",
            "sub/over.yaml": "services: {two: {init: true}}",
            "sub/x.env": "V=2",
        },
        environment={"W": "shell"},
    )
    components = {each.name: each for each in found.service.components}
    assert components["one"].image == "docker.io/library/one:1"
    assert components["one"].volumes == ("v:/v", Mount("/d", "/srv/web/sub/d", create=True))
    assert (components["two"].image, components["two"].user) == ("docker.io/library/two:2", "shell")
    assert components["two"].volumes == (Mount("/d", "/srv/web/d", create=True),)
    assert components["two"].init is True
    assert components["a"].depends_on == ("one",)


def test_what_is_included_from_elsewhere_is_lost_and_what_is_not_there_refused() -> None:
    found = imported("include: ['https://x.example/compose.yaml']\nservices: {a: {image: x}}")
    assert told(found) == {"lost": ["include[0]"]}
    assert "include[0]: /home" in refused("include: [none.yaml]\nservices: {a: {image: x}}")
    assert "include[0]: expected the path" in refused("include: [{}]\nservices: {a: {image: x}}")


def test_a_file_that_includes_itself_ends() -> None:
    files = {"o.yaml": "include: [o.yaml]\nservices: {b: {image: x}}"}
    assert "more than 200 files" in refused("include: [o.yaml]\nservices: {a: {image: x}}", files=files)


# -- profiles


PROFILES = """\
services:
  a: {image: x, depends_on: {e: {condition: service_started, required: false}}}
  b: {image: x, profiles: [one]}
  c: {image: x, profiles: [two, three], depends_on: [d]}
  d: {image: x, profiles: [four]}
  e: {image: x, profiles: [five]}
"""


@pytest.mark.parametrize(
    ("profiles", "environment", "names"),
    [
        ([], {}, ["a"]),
        (["one"], {}, ["a", "b"]),
        # What is needed is there, whatever its profile.
        (["three"], {}, ["a", "c", "d"]),
        (["*"], {}, ["a", "b", "c", "d", "e"]),
        ([], {"COMPOSE_PROFILES": "one, four"}, ["a", "b", "d"]),
        (["four"], {"COMPOSE_PROFILES": "one"}, ["a", "d"]),
    ],
)
def test_services_of_other_profiles_are_left_out_and_named(
    profiles: list[str], environment: dict[str, str], names: list[str]
) -> None:
    found = imported(PROFILES, profiles=profiles, environment=environment)
    assert list(found.service.component_names) == names
    left_out = {f"services.{each}" for each in "abcde" if each not in names}
    assert {each.path for each in found.losses if each.path in left_out} == left_out
    assert {each.kind for each in found.losses if each.path in left_out} <= {Grade.IGNORED}


def test_nothing_but_profiles_is_refused_with_what_to_do() -> None:
    assert "a --profile that has one" in refused("services: {a: {image: x, profiles: [p]}}")


def test_a_service_of_a_provider_is_lost() -> None:
    found = imported("services: {a: {image: x}, b: {provider: {type: model}}}\nmodels: {m: {}}")
    assert found.service.component_names == ("a",)
    assert told(found) == {"lost": ["models", "services.b.provider"]}


def test_documents_are_plain_values() -> None:
    assert documents("a: &x {y: 1}\nb: {<<: *x, z: [~, '~', 2024-01-01]}\n<<: ")[0] == {
        "a": {"y": "1"},
        "b": {"y": "1", "z": [None, "~", "2024-01-01"]},
    }
