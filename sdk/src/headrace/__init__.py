"""headrace: models that learn from a stream as it arrives.

The names of this package are what a loop file imports; see ``docs/define-a-loop.md``. They are loaded when they are
first used: a program that only asks for scores loads `headrace.client` alone.
"""

from typing import TYPE_CHECKING

from headrace.extras import load

if TYPE_CHECKING:
    from headrace.declare import Count, Field, Label, Last, Loop, Max, Mean, Min, Model, Std, Stream, Sum, View, col

#: The version of all distributions of headrace; their `pyproject.toml` files read it from here.
__version__ = "0.1.0"

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


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(load("headrace.declare", f"headrace.{name}", "loop"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
