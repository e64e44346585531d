"""The words of a loop file: streams, views, labels and models, and the expressions that they are made of."""

from headrace.declare.aggregates import Count, Last, Max, Mean, Min, Std, Sum
from headrace.declare.expressions import Expression, Selection, col
from headrace.declare.labels import Label
from headrace.declare.loops import Loop
from headrace.declare.models import Model
from headrace.declare.streams import Field, Stream, event_json, stream_name
from headrace.declare.views import View

__all__ = [
    "Count",
    "Expression",
    "Field",
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
    "event_json",
    "stream_name",
]
