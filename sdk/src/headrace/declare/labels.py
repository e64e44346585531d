"""Labels: outcomes that arrive later."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias

from headrace.declare.declaration import Declaration
from headrace.declare.durations import Duration
from headrace.declare.expressions import FieldName, Operand, field_name
from headrace.declare.streams import Stream

#: An outcome: a boolean, a class, or a number.
Outcome: TypeAlias = bool | int | float | str


class Label(Declaration):
    """The outcome of the events of one stream, taken from the events of another (or the same) stream.

    Parameters
    ----------
    stream
        The stream whose events have the outcome.
    of
        The stream whose events it is the outcome of.
    value
        The outcome. A condition makes a binary label, a string or whole number a class, and any other
        number a quantity to be estimated.
    within
        How much later, in event time, an outcome still counts.
    id
        The field of `stream` that holds the id of the event of `of`; by default `stream`'s own id.
    absent
        The outcome of an event that has none by the end of `within`, once the watermark of `stream` has passed that.
    correct
        If true, the outcome with the newest event time within that time counts, and is known at its end; by default the
        first one that arrives counts, at once.
    keep
        By outcome, the share of its examples that is kept, chosen by a hash of the event's id. Each kept example weighs
        as much as those that it represents.
    by, after
        For a forecast: the first event of `stream`, at least `after` later, whose field `by` equals that of the asking
        event, has the outcome. `by` is the key of the stream.
    known_at
        The field of `stream` (a time) that says when the outcome is known; by default the time of its event. It is for
        a table whose rows hold their own outcomes: the question is asked at the time of the row, without the fields
        that the label is made from.
    name
        Its name; by default, that of its variable.
    was
        Its previous name, if it was renamed: its state is kept under the old name.

    Examples
    --------
    A payment without a chargeback within 30 days is honest; one in twenty of the honest ones is learned:

        fraud = Label(
            Chargeback, of=Payment, id="payment", value=Chargeback.confirmed, within="30d",
            absent=False, keep={False: 0.05},
        )

    The level in half an hour, taken from the next reading:

        soon = Label(Reading, of=Reading, by="patient", after="30m", within="45m", value=Reading.glucose)

    A table of trips, with the end of each in the same row:

        long = Label(Trip, of=Trip, known_at="ended_at", value=Trip.minutes > 20, within="1d")
    """

    kind = "label"
    renamed_options = MappingProxyType({"wait": "within"})

    def __init__(
        self,
        stream: type[Stream],
        *,
        of: type[Stream],
        value: Operand,
        within: Duration,
        id: FieldName | None = None,
        absent: Outcome | None = None,
        correct: bool = False,
        keep: Mapping[Outcome, float] | None = None,
        by: FieldName | None = None,
        after: Duration | None = None,
        known_at: FieldName | datetime | None = None,
        name: str | None = None,
        was: str | None = None,
    ) -> None:
        super().__init__(name, was)
        self.stream = stream
        self.of = of
        self.value = value
        self.within = within
        self.id = field_name(id)
        self.absent = absent
        self.correct = correct
        self.keep = keep
        self.by = field_name(by)
        self.after = after
        self.known_at = field_name(known_at)
