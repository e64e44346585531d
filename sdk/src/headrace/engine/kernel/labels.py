"""Labels read from events."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from headrace.definition import Column, FieldType, LoopDefinition, ModelDefinition, Task
from headrace.engine.events.columns import EventColumns
from headrace.engine.kernel.expressions import Program, columns_of
from headrace.engine.kernel.join import Outcome
from headrace.engine.kernel.preparation import texts_of

#: Beyond this, float64 cannot distinguish neighbouring integers.
_INEXACT = 2.0**53


class Labels:
    """Reads outcomes from the events of a label's stream."""

    def __init__(self, loop: LoopDefinition, model: ModelDefinition) -> None:
        label = loop.label(model.label)
        self.stream = loop.stream(label.stream)
        self._id = label.id
        self._value = label.value
        self._text = model.task is Task.MULTICLASS
        self._text_field = label.type is FieldType.STRING
        self._known_at = label.known_at
        #: The field of an integer class, read without conversion: beyond 2^53, integers are not exact as floats.
        self._integer = label.value.name if self._text and isinstance(label.value, Column) else None
        self._inputs = columns_of([label.value])
        self._program = Program([label.value], [Column(name) for name in self._inputs])

    def outcomes(self, events: EventColumns) -> list[tuple[str, Outcome]]:
        """Return the labels in events; an event whose label is missing has none."""
        return [(of, outcome) for _, of, outcome in self.rows(events)]

    def rows(self, events: EventColumns) -> list[tuple[int, str, Outcome]]:
        """Return the labels in events, each with the row of its event."""
        columns = texts_of(events.fields[self._id]), self._times(events), self._values(events)
        return [
            (row, of, Outcome(time, value))
            for row, (of, time, value) in enumerate(zip(*columns, strict=True))
            if of is not None and value is not None and time is not None
        ]

    def _times(self, events: EventColumns) -> list[int] | list[int | None]:
        """Return the time when each outcome is known; None if its event does not say."""
        if self._known_at is None:
            return events.times.tolist()  # type: ignore[no-any-return]
        return [None if math.isnan(time) else int(time) for time in events.fields[self._known_at].tolist()]

    def _values(self, events: EventColumns) -> list[float | str | None]:
        if self._text_field:
            return events.fields[self._inputs[0]].tolist()  # type: ignore[no-any-return]
        if self._integer is not None:
            return [None if value is None else str(value) for value in _integers(events.fields[self._integer].tolist())]
        numbers = self._program.run(self._program.matrix(events.fields, self._inputs, len(events)))[:, 0].tolist()
        if self._text:
            return [None if value is None else str(value) for value in _integers(numbers)]
        return [None if math.isnan(value) else value for value in numbers]


def _integers(values: Iterable[int | float | None]) -> Iterator[int | None]:
    """Yield whole numbers, None where missing.

    Raises
    ------
    ValueError
        A computed number is so large that float64 may have merged it with its neighbours.
    """
    for value in values:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            yield None
        elif isinstance(value, float) and abs(value) >= _INEXACT:
            raise ValueError(f"class {value:.0f} is computed, and beyond 2^53: not exact")
        else:
            yield int(value)
