"""Whether it pays to compress what is sent next: decided by what was measured so far, without a clock of its own."""

from __future__ import annotations

import msgspec

# Below that share of its size a chunk has shrunk so much that it is worth the node's time to unpack it.
SHRUNK = 0.9
# Images are archives of files: what does not shrink may be followed by what does. So many chunks go by in between.
TRY_AGAIN_AFTER = 16
# What is measured counts for less with each later chunk: a link's speed changes.
_FADING = 0.8
# What a kernel takes at once says nothing of the link behind it: so many bytes are sent before its speed is believed.
_BUFFERED = 4 << 20


class Measured(msgspec.Struct, frozen=True):
    """What is known of the link, the compressor and the data. Bytes and seconds; sums that fade."""

    sent: float = 0.0
    sent_s: float = 0.0
    # Of all chunks, without fading.
    sent_ever: int = 0
    compressed: float = 0.0
    compressed_s: float = 0.0
    # Of the last chunk that was compressed: its size then, as a share of the one before.
    ratio: float = 0.0
    # Chunks that were sent as they are since then.
    plain: int = 0

    def after_sending(self, size: int, seconds: float) -> Measured:
        """``size`` bytes were on the wire for ``seconds``: until they were taken from us."""
        return msgspec.structs.replace(
            self,
            sent=_FADING * self.sent + size,
            sent_s=_FADING * self.sent_s + seconds,
            sent_ever=self.sent_ever + size,
        )

    def after_compressing(self, before: int, after: int, seconds: float) -> Measured:
        """``before`` bytes became ``after`` in ``seconds``."""
        return msgspec.structs.replace(
            self,
            compressed=_FADING * self.compressed + before,
            compressed_s=_FADING * self.compressed_s + seconds,
            ratio=after / before,
            plain=0,
        )

    def after_plain(self) -> Measured:
        """A chunk was sent as it is, without trying."""
        return msgspec.structs.replace(self, plain=self.plain + 1)


def pays(known: Measured) -> bool:
    """Whether the next chunk is to be compressed. It is sent as it is all the same, when it has not `shrunk`."""
    # 1. Nothing is known: a small image is over before there is.
    if not known.compressed:
        return True
    # 2. The link is faster than the compressor: the data would wait for it.
    if known.sent_ever >= _BUFFERED and known.sent * known.compressed_s >= known.compressed * known.sent_s:
        # Both may change, with what else the machine does.
        return known.plain >= TRY_AGAIN_AFTER
    # 3. The last one has shrunk.
    if shrunk(known.ratio):
        return True
    # 4. It has not; what comes now may.
    return known.plain >= TRY_AGAIN_AFTER


def shrunk(ratio: float) -> bool:
    return ratio <= SHRUNK
