"""Compose files: variables, and the env files that they come from."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.definitions import dotenv
from mcpctl.definitions.dotenv import EnvFileError
from mcpctl.definitions.importing import compose_file
from mcpctl.definitions.interpolation import InterpolationError, expanded
from tests.support.compose import QUICK_S, imported, one, refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB = two words \nC=\nexport D=4\nE: yaml\nF.g-h[1]=x", {"A": "1", "B": "two words", "C": "", "D": "4",
         "E": "yaml", "F.g-h[1]": "x"}),
        ("\ufeffA=1\r\nB='x'\r\n", {"A": "1", "B": "x"}),
        ("# no\n\n  A=1 # a comment\nB=x#y\nC= # nothing\nD='a # b' # c\nE=\"#\"#c", {"A": "1", "B": "x#y", "C": "",
         "D": "a # b", "E": "#"}),
        # A key over several lines, and one with \n for each: the same.
        ('K="-----BEGIN\nabc=\n-----END\n"\nL="-----BEGIN\\nabc=\\n-----END\\n"\nM=1',
         {"K": "-----BEGIN\nabc=\n-----END\n", "L": "-----BEGIN\nabc=\n-----END\n", "M": "1"}),
        ("A='it\\'s'\nB='a\\nb'\nC='two\nlines'\nD='$X ${Y}'", {"A": "it's", "B": "a\\nb", "C": "two\nlines",
         "D": "$X ${Y}"}),
        (r'''A="\t\"q\" \\ \$X $$Y \z \0101"''', {"A": '\t"q" \\ $X $Y \\z A'}),
        (r"A=a\nb", {"A": r"a\nb"}),
        ("A=1\nB=${A}2\nC=\"$B-${NO:-d}\"\nD=$SHELL_ONE", {"A": "1", "B": "12", "C": "12-d", "D": "of the shell"}),
        # The shell's is the stronger one in a value, and is taken where there is none.
        ("BOTH=file\nX=$BOTH\nSHELL_ONE", {"BOTH": "file", "X": "shell", "SHELL_ONE": "of the shell"}),
        ("A=1\nA=2", {"A": "2"}),
        ("", {}),
    ],
)  # fmt: skip
def test_an_env_file_is_read_as_compose_does(text: str, expected: dict[str, str]) -> None:
    nothing: list[object] = []
    shell = {"SHELL_ONE": "of the shell", "BOTH": "shell"}
    assert dotenv.parsed(text, shell, lambda *missing: nothing.append(missing)) == expected
    assert nothing == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nB='SECRET", "line 2: the value of B begins with ', but has no closing '"),
        ('A="x\ny"\nB="SECRET" more', 'line 3: the value of B goes on after its closing "'),
        ("A=SECRET$", "line 1: the value of A has a $ that cannot be replaced"),
        ('A="SECRET${X"', "single quotes"),
        ("two words=SECRET", "line 1: expected NAME=VALUE"),
        ("=SECRET", "line 1: expected NAME=VALUE"),
    ],
)
def test_a_line_that_is_none_is_named_without_what_it_holds(text: str, message: str) -> None:
    with pytest.raises(EnvFileError) as raised:
        dotenv.parsed(text, {}, lambda *_: None)
    assert message in str(raised.value)
    assert "SECRET" not in str(raised.value)
    assert message in refused("services: {a: {image: x, env_file: s.env}}", files={"s.env": text})


def test_what_is_set_nowhere_is_told() -> None:
    files = {"s.env": "A=x$NO\nB"}
    component, told = one("env_file: s.env", files=files)
    assert (component.env, told) == ({"A": "x"}, {"warning": ["env_file (s.env)", "env_file (s.env)"]})


def test_an_env_file_is_weaker_than_the_environment_and_a_later_one_stronger() -> None:
    component, _ = one("env_file: [app.env, {path: later.env}]\nenvironment: {B: mine}")
    assert component.env == {"A": "2", "B": "mine", "C": "plain", "E": ""}
    assert one("env_file: app.env")[0].env["B"] == "two words"


def test_an_env_file_knows_what_an_earlier_one_says() -> None:
    files = {"1.env": "A=1\nB=1", "2.env": "B=2\nC=$A$B"}
    assert one("env_file: [1.env, 2.env]", files=files)[0].env == {"A": "1", "B": "2", "C": "12"}


def test_an_env_file_may_be_missing_when_it_says_so_and_may_be_raw() -> None:
    files = {"raw.env": "# no\nA='$x' # y\nB=\nC\n"}
    body = "env_file: [{path: raw.env, format: raw}, {path: missing.env, required: false}]"
    component, told = one(body, files=files)
    assert (component.env, told) == ({"A": "'$x' # y", "B": ""}, {})


def test_an_env_file_that_is_not_here_is_named_in_the_definition() -> None:
    component, told = one("env_file: [app.env, {path: ./conf/db.env, required: true}, .env]")
    assert (component.env, component.env_file) == (
        {"A": "1", "B": "two words", "C": "plain"},
        ("web-db.env", "web.env"),
    )
    assert told == {"changed": ["env_file", "env_file"]}


def test_labels_may_be_in_a_file() -> None:
    assert one("label_file: app.env\nlabels: {A: own}")[0].labels == {"A": "own", "B": "two words", "C": "plain"}
    assert "label_file: cannot be read" in refused("services: {a: {image: x, label_file: none}}")


def test_variables_are_taken_from_the_shell_and_then_from_the_file_beside() -> None:
    files = {".env": "TAG=v1\nBOTH=file\nDOUBLE=$TAG$TAG\nTOKEN='a$b'\n"}
    body = "environment: {A: '${TAG:-none}', B: $BOTH, C: '${DOUBLE}', D: $TOKEN, TAG: , NOWHERE: }"
    component, told = one(body, files=files, environment={"BOTH": "shell"})
    assert component.env == {"A": "v1", "B": "shell", "C": "v1v1", "D": "a$b", "TAG": "v1"}
    assert told == {"warning": ["environment.NOWHERE"]}
    # It is no env file of any component.
    assert one("user: '0'", files=files)[0].env == {}


def test_a_file_beside_that_cannot_be_read_is_refused() -> None:
    assert refused("services: {a: {image: x}}", files={".env": "A='"}).startswith(".env: line 1: ")


def test_the_projects_name_may_be_in_the_environment() -> None:
    text = "name: own\nservices: {a: {image: x, volumes: ['v:/v']}}"
    found = imported(text, name="", files={".env": "COMPOSE_PROJECT_NAME=given\n"})
    assert (found.service.name, found.service.components[0].volumes) == ("given", ("given_v:/v",))


def test_the_projects_name_is_a_variable_and_may_have_some() -> None:
    text = "name: ${BASE:-shop}-1\nservices: {a: {image: x, environment: {P: $COMPOSE_PROJECT_NAME, D: $PWD}}}"
    (component,) = imported(text, name="").service.components
    assert component.env == {"P": "shop-1", "D": "/home/kyle/Web App"}


def test_variables_of_variables_are_bounded() -> None:
    text = "A=xxxxxxxxxx\n" + "A=$A$A$A$A\n" * 200
    started = time.monotonic()
    assert "cannot be replaced" in refused("services: {a: {image: x}}", files={".env": text})
    assert time.monotonic() - started < QUICK_S


@given(st.text(alphabet=st.sampled_from("A=:'\"\\$ {}#\n\rx")))
def test_any_env_file_is_read_or_refused_with_a_sentence(text: str) -> None:
    message = ""
    try:
        dotenv.parsed(text, {}, lambda *_: None)
    except EnvFileError as error:
        message = str(error)
    assert not message or message.startswith("line ")


# -- variables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$$", "$"),
        ("$$$$x", "$$x"),
        ("$SET", "one"),
        ("${SET}s", "ones"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY-other}", ""),
        ("${MISSING-a${SET}b}", "aoneb"),
        ("${MISSING:-${ALSO_MISSING:-deep}}", "deep"),
        ("${SET:-$MISSING}", "one"),
        ("${SET:+yes}${MISSING:+no}${EMPTY+there}", "yesthere"),
        ("${SET:?must}", "one"),
        ("${MISSING-}", ""),
    ],
)
def test_variables(text: str, expected: str) -> None:
    environment = {"SET": "one", "EMPTY": ""}
    said: list[object] = []
    found = compose_file.interpolated(
        {"a": [text]}, environment, lambda *missing: said.append(missing), lambda *odd: said.append(odd)
    )
    assert (found, said) == ({"a": [expected]}, [])


@pytest.mark.parametrize(
    ("text", "expected", "names"),
    [
        ("$MISSING", "", ["MISSING"]),
        ("a${MISSING}b$MISSING", "ab", ["MISSING", "MISSING"]),
        ("${MISSING-$ALSO}", "", ["ALSO"]),
        ("${SET:+$MISSING}", "", ["MISSING"]),
        ("${SET:-$MISSING}", "one", []),
    ],
)
def test_in_place_of_what_is_not_set_stands_nothing_and_it_is_named(text: str, expected: str, names: list[str]) -> None:
    missing: list[str] = []
    assert expanded(text, {"SET": "one"}, missing.append) == expected
    assert missing == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${SET", "${SET at character 1 is not followed by }"),
        ("${SET:-x", "a ${ before character 8 is never closed"),
        ("pass$1word", "character 5 is a $ that begins no variable; write $$ for a dollar sign"),
        ("a $", "character 3 is a $ that begins no variable"),
        ("$(date)", "character 1 is a $"),
        ("${1}", "character 1 is a $"),
        ("${x%%:*}", "${x at character 1 is not followed by"),
        ("${a:-" * 50 + "}" * 50, "nested"),
    ],
)
def test_a_dollar_that_begins_no_variable_stands_for_itself_where_somebody_is_told(text: str, message: str) -> None:
    malformed: list[str] = []
    assert expanded(text, {"SET": "one"}, lambda _: None, malformed.append) != "one"
    assert message in malformed[0]
    with pytest.raises(InterpolationError) as raised:
        expanded(text, {"SET": "one"}, lambda _: None)
    assert message in str(raised.value)
    assert "word" not in message


def test_a_dollar_that_begins_no_variable_is_a_warning() -> None:
    component, told = one("command: [sh, -c, 'x=$(date) ${x%%:*} $HOME_OF']", environment={"HOME_OF": "h"})
    assert component.cmd == ("sh", "-c", "x=$(date) ${x%%:*} h")
    assert set(told) == {"warning"}


def test_variables_that_are_missing_are_warned_of_once_and_a_refusal_names_them() -> None:
    found = imported("services: {a: {image: 'x:${TAG-v1}', user: '$ONE', environment: [A=$ONE]}}")
    assert [each.path for each in found.warnings] == ["services.a.user (ONE)"]
    assert "is not set" in found.warnings[0].message
    text = refused("services: {a: {image: 'x:$ONE'}, b: {image: 'x:${TWO:?set the tag}'}}")
    assert "services.b.image: variable TWO is not set: set the tag" in text


def test_what_would_take_forever_is_bounded() -> None:
    started = time.monotonic()
    expanded("${a:-" * 30, {}, lambda _: None, lambda _: None)
    with pytest.raises(InterpolationError):
        expanded("${a:-" * 100_000, {}, lambda _: None, lambda _: None)
    assert time.monotonic() - started < QUICK_S


def test_values_of_variables_are_not_variables() -> None:
    assert one("environment: {A: $X}", environment={"X": "$Y$$"})[0].env == {"A": "$Y$$"}
