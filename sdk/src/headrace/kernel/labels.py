"""What events tell of labels."""

from __future__ import annotations

import math

from headrace.definition import Column, FieldType, LoopDefinition, ModelDefinition, Task
from headrace.events.columns import EventColumns
from headrace.kernel.expressions import Program, columns_of
from headrace.kernel.folding import texts_of
from headrace.kernel.join import Outcome


class Labels:
    """Reads outcomes from the events of a label's stream."""

    def __init__(self, loop: LoopDefinition, model: ModelDefinition) -> None:
        label = loop.label(model.label)
        self.stream = loop.stream(label.stream)
        self._id = label.id
        self._value = label.value
        self._text = model.task is Task.MULTICLASS
        self._text_field = label.type is FieldType.STRING
        self._inputs = columns_of([label.value])
        self._program = Program([label.value], [Column(name) for name in self._inputs])

    def outcomes(self, events: EventColumns) -> list[tuple[str, Outcome]]:
        """The labels that events tell; an event whose label is missing tells none."""
        return [(of, outcome) for _, of, outcome in self.rows(events)]

    def rows(self, events: EventColumns) -> list[tuple[int, str, Outcome]]:
        """The labels that events tell, each with the row of its event."""
        columns = texts_of(events.fields[self._id]), events.times.tolist(), self._values(events)
        return [
            (row, of, Outcome(time, value))
            for row, (of, time, value) in enumerate(zip(*columns, strict=True))
            if of is not None and value is not None
        ]

    def _values(self, events: EventColumns) -> list[float | str | None]:
        if self._text_field:
            return events.fields[self._inputs[0]].tolist()  # type: ignore[no-any-return]
        numbers = self._program.run(self._program.matrix(events.fields, self._inputs, len(events)))[:, 0].tolist()
        if self._text:
            return [None if math.isnan(own) else str(int(own)) for own in numbers]
        return [None if math.isnan(own) else own for own in numbers]
