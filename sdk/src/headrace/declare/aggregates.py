"""The aggregates that a view can have."""

from __future__ import annotations

from headrace.declare.expressions import Operand
from headrace.declare.place import Place


class Aggregate:
    """An aggregate of a column. A missing value of the column is ignored."""

    operation = ""

    def __init__(self, column: Operand) -> None:
        self.place = Place.here()
        self.column = column


class Count(Aggregate):
    """The number of events; with a column, the number of those in which it is not missing."""

    operation = "count"

    def __init__(self, column: Operand = None) -> None:
        super().__init__(column)


class Sum(Aggregate):
    """The sum."""

    operation = "sum"


class Mean(Aggregate):
    """The arithmetic mean."""

    operation = "mean"


class Min(Aggregate):
    """The smallest value."""

    operation = "min"


class Max(Aggregate):
    """The largest value."""

    operation = "max"


class Std(Aggregate):
    """The standard deviation of a sample (divisor n − 1): it is missing for fewer than two values."""

    operation = "std"


class Last(Aggregate):
    """The value of the newest event."""

    operation = "last"


#: The names of all aggregates, in the order of this module.
AGGREGATES = tuple(kind.__name__ for kind in Aggregate.__subclasses__())
