"""Compose files: variables, and the env files that they come from."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpctl.definitions.importing import compose_file, dotenv
from mcpctl.definitions.importing.compose_file import ComposeError
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
    with pytest.raises(ComposeError) as raised:
        dotenv.parsed(text, {}, lambda *_: None)
    assert message in str(raised.value)
    assert "SECRET" not in str(raised.value)
    assert message in refused("services: {a: {image: x, env_file: s.env}}", files={"s.env": text})


def test_what_is_set_nowhere_is_told() -> None:
    files = {"s.env": "A=x$NO\nB"}
    component, lost = one("env_file: s.env", files=files)
    assert (component.env, lost) == ({"A": "x"}, ["env_file (s.env)", "env_file (s.env)"])


def test_an_env_file_may_be_missing_when_it_says_so_and_may_be_raw() -> None:
    files = {"raw.env": "# no\nA='$x' # y\nB=\nC\n"}
    body = "env_file: [{path: raw.env, format: raw}, {path: missing.env, required: false}]"
    component, lost = one(body, files=files)
    assert (component.env, lost) == ({"A": "'$x' # y", "B": ""}, [])
    assert one("env_file: {path: missing.env, required: true}")[1] == ["env_file"]


def test_variables_are_taken_from_the_shell_and_then_from_the_file_beside() -> None:
    files = {".env": "TAG=v1\nBOTH=file\nDOUBLE=$TAG$TAG\nTOKEN='a$b'\n"}
    body = "environment: {A: '${TAG:-none}', B: $BOTH, C: '${DOUBLE}', D: $TOKEN, TAG: , NOWHERE: }"
    component, lost = one(body, files=files, environment={"BOTH": "shell"})
    assert component.env == {"A": "v1", "B": "shell", "C": "v1v1", "D": "a$b", "TAG": "v1"}
    assert lost == ["environment.NOWHERE"]
    # It is no env file of any component.
    assert one("user: '0'", files=files)[0].env == {}


def test_a_file_beside_that_cannot_be_read_is_refused() -> None:
    assert refused("services: {a: {image: x}}", files={".env": "A='"}).startswith(".env: line 1: ")


def test_the_projects_name_may_be_in_the_environment() -> None:
    text = "name: own\nservices: {a: {image: x, volumes: ['v:/v']}}"
    found = imported(text, name="", files={".env": "COMPOSE_PROJECT_NAME=given\n"})
    assert (found.service.name, found.service.components[0].volumes) == ("given", ("given_v:/v",))


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
    except ComposeError as error:
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
    assert compose_file.interpolated({"a": [text]}, environment) == {"a": [expected]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$MISSING", "variable MISSING is not set"),
        ("${MISSING}", "variable MISSING is not set"),
        ("${MISSING:?it is the tag}", "it is the tag"),
        ("${MISSING-$ALSO}", "variable ALSO is not set"),
        ("${SET", "not followed by }"),
        ("${SET:-x", "never closed"),
        ("$1", "write $$ for a dollar sign"),
        ("a $", "write $$ for a dollar sign"),
    ],
)
def test_variables_that_are_missing_are_named(text: str, message: str) -> None:
    with pytest.raises(ComposeError, match=r"^a: ") as raised:
        compose_file.interpolated({"a": text}, {"SET": "one"})
    assert message in str(raised.value)


def test_every_missing_variable_is_named() -> None:
    text = refused("services: {a: {image: $ONE, user: $TWO}}")
    assert "services.a.image: variable ONE" in text
    assert "services.a.user: variable TWO" in text


def test_values_of_variables_are_not_variables() -> None:
    assert one("environment: {A: $X}", environment={"X": "$Y$$"})[0].env == {"A": "$Y$$"}
