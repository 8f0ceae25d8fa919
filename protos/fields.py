"""The kinds of field that files and messages share, each with the rule that its value must keep."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from protos import grammar
from protos.strict import Rule, checked

Name = Annotated[str, checked(grammar.name)]
Image = Annotated[str, checked(grammar.image)]
Duration = Annotated[timedelta, Rule(grammar.duration, (str, timedelta))]
PositiveDuration = Annotated[timedelta, Rule(grammar.positive_duration, (str, timedelta))]
Size = Annotated[int, Rule(grammar.size, (str, int))]
Argument = Annotated[str, checked(grammar.argument)]
NetworkAddress = Annotated[str, checked(grammar.host_port)]
Url = Annotated[str, checked(grammar.http_url)]
