"""An answer with nothing in it: a sentence for people, and nothing for scripts."""

import json

import pytest

from tests.support.agent import Node, Run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("list",), "no services are deployed on rift"),
        (("status",), "no services are deployed on rift"),
        (("events",), "there are no such events on rift"),
        (("alerts", "list"), "no alerts are open on rift"),
        (("alerts", "list", "--all"), "there are no alerts on rift"),
        (("operations",), "there are no operations on rift"),
        (("operations", "--running"), "nothing is being changed on rift"),
        (("audit",), "there are no such calls on rift"),
        (("timeline",), "no component is known in that time on rift"),
        (("service", "list"), "services has no definitions"),
    ],
)
def test_an_empty_answer_is_a_sentence_that_no_script_reads(
    run: Run, alone: Node, words: tuple[str, ...], sentence: str
) -> None:
    del alone
    status, out, err = run(*words)
    assert (status, out) == (0, "")
    assert err.splitlines()[-1].startswith("mcpctl: ")
    assert err.splitlines()[-1].endswith(sentence)
    assert run(*words, "-q").out == ""
    assert sentence not in run(*words, "-q").err
    assert json.loads(run(*words, "--output", "json").out) is not None
