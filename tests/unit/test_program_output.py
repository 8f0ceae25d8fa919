"""What happened, and what a container printed, in one message."""

from protos.program_output import PRINTED, headline, with_sequel

DIED = f"deploy of web: api failed at verify: exited 1 right after its start{PRINTED}\n    no such file\n    bye"


def test_a_headline_does_not_end_where_the_lines_would_begin() -> None:
    assert headline(DIED) == "deploy of web: api failed at verify: exited 1 right after its start"
    assert headline("exited 1") == "exited 1"
    assert headline("") == ""


def test_what_is_said_besides_comes_before_the_lines() -> None:
    told = with_sequel(DIED, "the service was rolled back")
    assert told.splitlines() == [
        f"deploy of web: api failed at verify: exited 1 right after its start; the service was rolled back{PRINTED}",
        "    no such file",
        "    bye",
    ]
    assert headline(told).endswith("; the service was rolled back")
    assert with_sequel("no such image", "not touched") == "no such image; not touched"
