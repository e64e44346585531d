"""The words of a loop file: streams, views, labels and models, and the expressions that they are made of."""

from headrace.declare.aggregates import Count, Last, Max, Mean, Min, Std, Sum
from headrace.declare.expressions import Expression, Selection, col
from headrace.declare.labels import Label
from headrace.declare.loops import Loop
from headrace.declare.models import Model
from headrace.declare.streams import Stream
from headrace.declare.views import View

__all__ = [
    "Count",
    "Expression",
    "Label",
    "Last",
    "Loop",
    "Max",
    "Mean",
    "Min",
    "Model",
    "Selection",
    "Std",
    "Stream",
    "Sum",
    "View",
    "col",
]
