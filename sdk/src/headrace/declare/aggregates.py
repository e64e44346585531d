"""The aggregates that a view may be made of."""

from __future__ import annotations

from headrace.declare.expressions import Operand
from headrace.declare.place import Place


class Aggregate:
    """An aggregate of a column. A missing value of the column does not enter it."""

    operation = ""

    def __init__(self, column: Operand) -> None:
        self.place = Place.here()
        self.column = column


class Count(Aggregate):
    """How many events; with a column, how many in which it is not missing."""

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
    """The least value."""

    operation = "min"


class Max(Aggregate):
    """The greatest value."""

    operation = "max"


class Std(Aggregate):
    """The standard deviation of a sample (divisor n − 1): missing of fewer than two values."""

    operation = "std"


class Last(Aggregate):
    """The value of the newest event."""

    operation = "last"


AGGREGATES = tuple(own.__name__ for own in (Count, Sum, Mean, Min, Max, Std, Last))
