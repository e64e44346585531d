"""Trial of everything that a loop computes of an event alone, before the event counts.

An event that the kernel fails on (*poison*) is refused like an invalid one, before it has any effect: the results of
the others are the same as if it had never come. The rest of the kernel works on numbers in the order of time, and has
no input left that it can fail on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from headrace.definition import LoopDefinition, StreamDefinition
from headrace.engine.events.columns import EventColumns
from headrace.engine.kernel.assembly import Assembler
from headrace.engine.kernel.labels import Labels
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.preparation import Folding
from headrace.errors import InvalidEvent, TooLarge
from headrace.wire.limits import MAX_ROW

_Compute = Callable[[EventColumns], object]

#: Maximum number of characters of an error that a reason repeats.
_SHORT = 200


class _Part(NamedTuple):
    """A part of the loop, by the name that its author gave it, and what it computes of events."""

    name: str
    compute: _Compute


class Trial:
    """Everything that a loop computes of single events of one stream.

    These are the keys and columns of its views, the keys, inputs and categories of its models, and the outcomes of
    its labels.
    """

    def __init__(self, loop: LoopDefinition, stream: str) -> None:
        views = [view for view in loop.views if view.stream == stream]
        asking = [model for model in loop.models if model.stream == stream and model.vectors == "stream"]
        labels = {label.name for label in loop.labels if label.stream == stream}
        labelled = [model for model in loop.models if model.label in labels]
        self._parts = [
            *(_Part(f"view {view.name!r}", Folding(view, Layout(view)).prepare) for view in views),
            *(
                _Part(f"model {model.name!r}", partial(_ask, Assembler(loop, model), loop.stream(stream)))
                for model in asking
            ),
            *(_Part(f"the label of model {model.name!r}", partial(_answer, Labels(loop, model))) for model in labelled),
        ]

    def failures(self, events: EventColumns) -> dict[int, InvalidEvent]:
        """Return the events that fail alone, by row, each with its reason.

        Raises
        ------
        Exception
            An error that no single event causes.
        """
        failures: dict[int, InvalidEvent] = {}
        for name, compute in self._parts:
            for row, error in bisect_out(compute, events).items():
                failures.setdefault(row, _reason(name, error))
        return failures


def bisect_out(compute: _Compute, events: EventColumns) -> dict[int, Exception]:
    """Return the events that a computation fails on alone, by row, in order.

    Raises
    ------
    Exception
        The computation fails on some events together, but on none of them alone.
    """
    failures: dict[int, Exception] = {}
    _bisect(compute, events, range(len(events)), failures)
    return failures


def _bisect(compute: _Compute, events: EventColumns, rows: range, failures: dict[int, Exception]) -> None:
    try:
        compute(events if len(rows) == len(events) else events.take(rows))
    except Exception as error:
        if len(rows) == 1:
            failures[rows[0]] = error
            return
        before, middle = len(failures), len(rows) // 2
        _bisect(compute, events, rows[:middle], failures)
        _bisect(compute, events, rows[middle:], failures)
        if len(failures) == before:
            raise


def _ask(assembler: Assembler, stream: StreamDefinition, events: EventColumns) -> None:
    for read in assembler.reads:
        assembler.keys(events, read)
    _, categories = assembler.inputs(events)
    if (len(categories) + 1) * stream.max_bytes > MAX_ROW:  # otherwise no event can reach it
        for id, *values in zip(events.ids, *categories, strict=True):
            _check_size(id, *values)


def _answer(labels: Labels, events: EventColumns) -> None:
    outcomes = labels.outcomes(events)
    if 2 * labels.stream.max_bytes > MAX_ROW:
        for name, outcome in outcomes:
            _check_size(name, outcome.value if isinstance(outcome.value, str) else None)


def _check_size(*texts: str | None) -> None:
    """Refuse text that no message can hold."""
    size = sum(len(text.encode()) for text in texts if text is not None)
    if size > MAX_ROW:
        raise TooLarge("its text", size, MAX_ROW)


def _reason(part: str, error: Exception) -> InvalidEvent:
    if isinstance(error, TooLarge):
        return InvalidEvent("", f"{error.size} bytes of text in {part}", f"at most {MAX_ROW} bytes of text")
    text = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
    short = text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
    return InvalidEvent("", f"poison to {part} ({short})", "one that it can be computed of")
