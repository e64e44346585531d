"""Declaration of a loop: streams, views, labels, models; their checks; and compilation to a definition."""

from headrace.declare.aggregates import Count, Last, Max, Mean, Min, Std, Sum
from headrace.declare.compiling import compile
from headrace.declare.explaining import explain
from headrace.declare.expressions import Expression, Selection, col
from headrace.declare.labels import Label
from headrace.declare.loading import LoadedLoop, load
from headrace.declare.loops import Loop
from headrace.declare.models import Model
from headrace.declare.streams import Stream
from headrace.declare.views import View

__all__ = [
    "Count",
    "Expression",
    "Label",
    "Last",
    "LoadedLoop",
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
    "compile",
    "explain",
    "load",
]
