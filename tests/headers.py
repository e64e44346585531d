"""Headers of messages for tests."""

from __future__ import annotations

from headrace.wire.envelope import Envelope, read_envelope


def header(
    payload: bytes,
    *,
    definition: str = "",
    examples: str = "",
    former: str = "",
    epoch: int | str | None = None,
    partition: int | str = 0,
    release_watermark: int | str | None = None,
    watermark: int | str | None = None,
    marker: bool = False,
    remaking: bool = False,
) -> dict[str, str]:
    """Return the properties of a message with this header; numbers may be given as text."""
    envelope = Envelope(
        epoch=None if epoch is None else int(epoch),
        partition=int(partition),
        definition=definition,
        examples=examples,
        former=former,
        marker=marker,
        release_watermark=None if release_watermark is None else int(release_watermark),
        watermark=None if watermark is None else int(watermark),
        remaking=remaking,
    )
    return envelope.properties(payload)


def envelope(properties: dict[str, str], payload: bytes) -> Envelope:
    """Return the header of a message."""
    return read_envelope(properties, payload, "a message")
