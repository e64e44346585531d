"""Compile into numba's cache (NUMBA_CACHE_DIR) while an image is built, not at a service's first event."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np

from headrace.definition import (
    Aggregate,
    AggregateDefinition,
    FeatureDefinition,
    Field,
    FieldType,
    LoopDefinition,
    ModelDefinition,
    StreamDefinition,
    Task,
    ViewDefinition,
    Window,
)
from headrace.engine.events import EventColumns
from headrace.engine.kernel.assembly import Assembler
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.rows import Operations, RowSet

FIELDS = (Field("id", FieldType.STRING), Field("at", FieldType.TIME), Field("key", FieldType.STRING))
STREAM = StreamDefinition("asked", FIELDS, key="key", time="at", id="id", lateness=0, horizon=0)
VIEW = ViewDefinition(
    "habit",
    "asked",
    by=("key",),
    where=None,
    columns=(),
    aggregates=(AggregateDefinition("flights", "count", None),),
    windows=(Window("12s", 12_000_000, 1_000_000),),
    resolution=1_000_000,
    keep=60_000_000,
)
FEATURE = FeatureDefinition("flights", FieldType.FLOAT, Aggregate("habit", "flights", "12s", ("key",)))
MODEL = ModelDefinition("any", "asked", "label", Task.BINARY, (FEATURE,), "")
LOOP = LoopDefinition("any", (STREAM,), (VIEW,), (), (MODEL,))


def main() -> None:
    """Compile what the installed services run."""
    if any(importlib.util.find_spec(service) for service in ("headrace_feature", "headrace_scorer")):
        fold()
    if importlib.util.find_spec("headrace_learner"):
        learn()


def learn() -> None:
    """Let the compiled learner learn what River learns; warn if it cannot: the service uses River then."""
    from river import linear_model

    from headrace.engine.learning.choice import learner_of
    from headrace.engine.learning.refusal import Refusal

    chosen = learner_of(linear_model.LogisticRegression(), (FEATURE,), Task.BINARY)
    if isinstance(chosen, Refusal):
        print(f"warning: River will learn all models: {chosen.reason}", file=sys.stderr)


def fold() -> None:
    """Fold an event into a row, read it, store it, and assemble a vector of what was stored."""
    layout = Layout(VIEW)
    rows = RowSet(layout)
    slot = rows.add("AA")
    fold_then_read = Operations(
        np.array([0, 1], np.int8),
        np.array([slot, slot]),
        np.array([1_000_000, 5_000_000]),
        np.empty((1, len(layout.columns))),
        np.array([[1, 1, -1]]),
    )
    read = rows.run(fold_then_read)
    values = layout.finish([read.parts])
    [stored] = rows.dump([slot], epoch=1)

    times = np.array([5_000_000])
    events = EventColumns(times, ["asked-1"], {"key": np.array(["AA"], object)})
    assembled = Assembler(LOOP, MODEL).assemble_stored(events, times, [[[stored]]])
    if assembled.numbers.tolist() != values.tolist() or values.tolist() != [[1.0]]:
        raise SystemExit(f"the kernel is wrong here: {values.tolist()}, {assembled.numbers.tolist()}")


if __name__ == "__main__":
    main()
