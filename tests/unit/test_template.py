"""The template of a new definition: what it shows in comments is right."""

import re
import tomllib

from mcpctl.definitions.draft import TEMPLATE
from protos.spec import examine_service


def test_a_template_with_all_its_examples_is_a_definition() -> None:
    text = re.sub(r"^# (?=\w+ = |\[)", "", TEMPLATE, flags=re.MULTILINE).replace("NAME", "web").replace("NODE", "rift")
    service, problems = examine_service(tomllib.loads(text))
    assert problems == []
    assert service
    assert service.component_names == ("web", "migrate")
    assert service.components[0].env


def test_a_template_with_nothing_of_them_is_one_too() -> None:
    _, problems = examine_service(tomllib.loads(TEMPLATE.replace("NAME", "web").replace("NODE", "rift")))
    assert problems == []
