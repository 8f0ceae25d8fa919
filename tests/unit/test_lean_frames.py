"""What h2 says of each frame that it reads."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe.frame import DataFrame

from protos import lean_frames


class Listener:
    """A logger as h2 takes one."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def debug(self, *_: object) -> None:
        pass

    def trace(self, words: str, *values: object) -> None:
        self.heard += [str(each) for each in values]


def test_a_frame_of_data_is_described_by_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataFrame, "_body_repr", DataFrame._body_repr)  # put back afterwards
    lean_frames.use()
    listener = Listener()
    client = H2Connection()
    server = H2Connection(H2Configuration(client_side=False, logger=listener))  # type: ignore[arg-type]
    client.initiate_connection()
    server.initiate_connection()
    headers = [(":method", "POST"), (":path", "/"), (":scheme", "https"), (":authority", "node")]
    client.send_headers(1, headers)
    client.send_data(1, b"secret" * 1000)
    server.receive_data(client.data_to_send())
    (said,) = [each for each in listener.heard if each.startswith("DataFrame")]
    assert said.endswith("6000 bytes")
    assert b"secret".hex()[:8] not in said
