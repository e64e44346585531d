"""headrace: models that learn from a stream as it arrives.

The names of this package are what a loop file imports; see ``docs/define-a-loop.md``.
"""

from headrace.declare import Count, Field, Label, Last, Loop, Max, Mean, Min, Model, Std, Stream, Sum, View, col

__all__ = [
    "Count",
    "Field",
    "Label",
    "Last",
    "Loop",
    "Max",
    "Mean",
    "Min",
    "Model",
    "Std",
    "Stream",
    "Sum",
    "View",
    "col",
]
