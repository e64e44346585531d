"""Opening messages of topics that headrace writes: which ones are valid."""

from __future__ import annotations

from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage, opened
from headrace.wire.envelope import Envelope
from headrace.wire.position import Position

#: A time, and the length of a day, in ms: the store's clock gives out epochs.
NOW, DAY = 1_770_000_000_000, 86_400_000


def test_an_epoch_that_was_not_given_out_yet_is_refused() -> None:
    epochs = [7, NOW, NOW + DAY // 2, NOW + 2 * DAY, 2**62]
    properties = [Envelope(epoch=epoch, marker=True).properties(b"") for epoch in epochs]
    positions = [Position(1, entry, -1) for entry in range(len(epochs))]
    wrong: list[WrongMessage] = []
    batch = Batch(positions, [b""] * len(epochs), properties, [NOW * 1_000] * len(epochs))
    assert [message.envelope.epoch for message in opened(batch, "features", wrong.append)] == epochs[:3]
    assert [message.position for message in wrong] == positions[3:]
    assert f"its epoch is {2**62}, and none beyond {NOW + DAY}" in str(wrong[1].reason)
