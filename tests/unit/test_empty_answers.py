"""An answer with nothing in it: a sentence for people, and nothing for scripts."""

import json

import pytest

from tests.support.agent import Node, Run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("list",), "no services are deployed on rift"),
        (("status",), "no services are deployed on rift"),
        (("events",), "no events found on rift"),
        (("alerts", "list"), "no open alerts on rift"),
        (("alerts", "list", "--all"), "no alerts found on rift"),
        (("operations",), "no operations found on rift"),
        (("operations", "--running"), "no operations running on rift"),
        (("audit",), "no calls found on rift"),
        (("timeline",), "no component existed in that time on rift"),
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
