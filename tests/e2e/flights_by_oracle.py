"""The vectors of the flights demo, computed by the oracle from its four lists of events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace import compiler
from headrace.definition import Aggregate, StreamDefinition
from tests.oracle.events import Event, Partition
from tests.oracle.expressions import Value, evaluate
from tests.oracle.windows import Row, aggregate, entity_of, rows_of, widest

LOOP = Path(__file__).parents[2] / "sdk/src/headrace/demo/loop.py"


def flight_vectors(streams: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Return the vector of every scheduled flight, by its id; NaN is missing.

    Parameters
    ----------
    streams
        The events of `scheduled`, `departed`, `arrived` and `weather`, with times in µs since the epoch.
    """
    loop = compiler.load(LOOP).definition
    (model,) = loop.models
    judged = {stream.name: _accepted(stream, streams[stream.name]) for stream in loop.streams}
    rows = {view.name: rows_of(view, [judged[view.stream]]) for view in loop.views}
    none = Row()

    def vector(event: Event) -> dict[str, float]:
        def read(node: Aggregate) -> Value:
            view, entity = loop.view(node.view), entity_of(event.fields, node.key)
            row = rows[view.name].get(entity, none) if entity is not None else none
            return aggregate(view, node, row.between(*widest(view, event.time)), event.time)

        found = {feature.name: evaluate(feature.value, event.fields, read) for feature in model.features}
        return {name: value if isinstance(value, float) else math.nan for name, value in found.items()}

    return {event.id: vector(event) for event in judged[model.stream].accepted}


def _accepted(stream: StreamDefinition, events: Sequence[Mapping[str, Any]]) -> Partition:
    """Return all events as one partition holds them."""
    found = [
        Event(str(event[stream.id]), event[stream.time], dict(event), 0, (0, place, -1), 0)
        for place, event in enumerate(events)
    ]
    return Partition(accepted=found)
