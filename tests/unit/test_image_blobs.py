"""What a layer becomes on the wire, and when it is compressed."""

import os

import pytest

from mcpctl.nodes.transfer import blobs, compression
from mcpctl.nodes.transfer.compression import Measured
from protos.mcp import v1

CHUNK = blobs.CHUNK_BYTES
MIB = 2**20


@pytest.mark.parametrize("size", [1, 2, 123, 124, 125, 126, 127, 128, 129, 16_379, 16_384, 2**21 - 5, 2**21, CHUNK])
@pytest.mark.parametrize("compressed", [False, True])
def test_data_is_encoded_as_betterproto_does(size: int, compressed: bool) -> None:
    data = os.urandom(size)
    encoded = blobs.data_request(data, compressed=compressed).SerializeToString()
    assert encoded == bytes(v1.PushImageRequest(data=v1.BlobData(data, compressed)))


def test_the_first_chunk_is_tried() -> None:
    assert compression.pays(Measured())


def sending(known: Measured, count: int, speed: float) -> Measured:
    for _ in range(count):
        known = known.after_sending(CHUNK, CHUNK / speed)
    return known


def test_a_slow_link_has_what_shrinks_compressed() -> None:
    known = sending(Measured().after_compressing(CHUNK, CHUNK // 3, CHUNK / (80 * MIB)), 20, 10 * MIB)
    assert compression.pays(known)


def test_a_link_that_is_faster_than_the_compressor_does_not() -> None:
    known = sending(Measured().after_compressing(CHUNK, CHUNK // 3, CHUNK / (80 * MIB)), 20, 200 * MIB)
    assert not compression.pays(known)


def test_the_link_is_not_judged_by_what_fits_into_a_buffer() -> None:
    known = sending(Measured().after_compressing(CHUNK, CHUNK // 3, CHUNK / (80 * MIB)), 4, 10_000 * MIB)
    assert compression.pays(known)


def test_what_does_not_shrink_is_tried_again_now_and_then() -> None:
    known = Measured().after_compressing(CHUNK, CHUNK + 100, CHUNK / (80 * MIB))
    tried = []
    for _ in range(40):
        if compression.pays(known):
            tried.append(True)
            known = known.after_compressing(CHUNK, CHUNK + 100, CHUNK / (80 * MIB))
        else:
            tried.append(False)
            known = known.after_plain()
    assert tried.count(True) == 2


def test_a_link_that_becomes_slow_is_noticed() -> None:
    known = sending(Measured().after_compressing(CHUNK, CHUNK // 3, CHUNK / (80 * MIB)), 20, 200 * MIB)
    assert not compression.pays(known)
    assert compression.pays(sending(known, 20, 5 * MIB))


@pytest.mark.parametrize(("after", "shrunk"), [(0.1, True), (0.9, True), (0.91, False), (1.01, False)])
def test_a_tenth_is_worth_it(after: float, shrunk: bool) -> None:
    assert compression.shrunk(after) is shrunk
