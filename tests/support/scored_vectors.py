"""Vectors and message properties as the scorer reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.definition import ModelDefinition
from headrace.runtime.pulsar.batch import Batch
from headrace.wire.position import Position
from headrace.wire.tables import Vectors, encode_vectors
from tests.headers import header
from tests.unit.scorer.support import FRAUD


def vectors(model: ModelDefinition, places: Sequence[int]) -> bytes:
    texts = sum(feature.type == "string" for feature in model.features)
    numbers = np.array([[place / 7 + column for column in range(len(model.features) - texts)] for place in places])
    if len(numbers):
        numbers[0, 0] = np.nan
    return encode_vectors(
        model,
        Vectors(
            [f"e{place}" for place in places],
            np.array(places, np.int64) * 10,
            [Position(1, place, -1).to_bytes() for place in places],
            np.zeros((len(places), 2, 3), np.int64),
            numbers,
            [[None if place % 3 else "web" for place in places]] * texts,
        ),
    )


class Topic:
    """Messages of a features topic."""

    def __init__(self) -> None:
        self._next = 0

    def batch(self, *messages: tuple[bytes, dict[str, Any]]) -> Batch:
        batch = Batch()
        for payload, fields in messages:
            batch.positions.append(Position(9, self._next, -1))
            batch.payloads.append(payload)
            batch.properties.append(header(payload, **fields))
            batch.published.append(0)
            self._next += 1
        return batch


def properties(epoch: int, reached: int | None = None, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, "definition": FRAUD.hash, "release_watermark": reached} | more
