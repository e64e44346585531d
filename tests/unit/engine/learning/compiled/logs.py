"""Random logs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import strategies as st

from headrace.definition import FeatureDefinition
from headrace.wire.tables import Kind
from tests.unit.engine.learning.compiled.pairs import Entry

EXTREMES = [0.0, -0.0, 1.0, 1e200, -1e200, 1e308, 5e-324, -3e-310, 1e-160, 1e100, 7.0, 7.0, None, math.nan]
INFINITE = [math.inf, -math.inf, 0.0, 1.0, -2.5, None]
ORDINARY = [0.1, 0.3, -1.7, 2.5, 12.0, 0.0, None]
TEXT = ["x", "y", "north", "", None, "ü_1", "x_x"]


def log(
    features: Sequence[FeatureDefinition],
    values: Sequence[float | None],
    texts: Sequence[str | None],
    weights: Sequence[float] = (1.0, 1.0, 0.5, 3.0),
) -> st.SearchStrategy[list[Entry]]:
    each = [st.sampled_from(texts if feature.type == "string" else values) for feature in features]
    entry = st.builds(
        Entry,
        st.sampled_from([Kind.QUESTION, Kind.ANSWER, Kind.ANSWER, Kind.UNANSWERED]),
        st.tuples(*each),
        st.sampled_from([0.0, 1.0]),
        st.sampled_from(weights),
    )
    return st.lists(entry, max_size=40)
