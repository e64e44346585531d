"""One-hot encoding, and numeric codes for text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from river import preprocessing

from headrace.engine.export.frame import Block, Frame
from headrace.engine.export.graph import ML, Graph, strings
from headrace.engine.export.registry import Transforming, Wanted, converts, refuse

UNSEEN = -1.0
"""The code of a text outside the vocabulary; a missing text has the code NaN."""


def vocabulary(texts: Iterable[str]) -> dict[str, float]:
    """Assign a code to each text, independent of their order."""
    return {text: float(code) for code, text in enumerate(sorted(set(texts)))}


def coded(graph: Graph, frame: Frame, codes: dict[str, float]) -> Frame:
    """Return a frame whose text features are replaced by their codes."""
    if not frame.texts:
        return frame
    tensor = graph.node(
        "LabelEncoder",
        "categories",
        domain=ML,
        keys_tensor=strings(["", *codes]),
        values_tensor=np.array([np.nan, *codes.values()]),
        default_tensor=np.array([UNSEEN]),
    )
    return Frame((*frame.blocks, Block(tensor, graph.widths["categories"], frame.texts)), encoded=frame.encoded)


@converts(preprocessing.OneHotEncoder)
class OneHotEncoding(Transforming):
    """One column for each key that River's dict may contain.

    A value that the encoder has not seen makes a key that no later step has learned about: it is left out.
    """

    def check(self, estimator: Any) -> None:
        if estimator.drop_first:
            # River drops the smallest key of each dict, which may belong to a value that it has never seen before.
            refuse("OneHotEncoder(drop_first=True)")

    def transform(self, graph: Graph, estimator: Any, frame: Frame, names: Wanted) -> Frame:
        if frame.encoded or any(block.computed for block in frame.blocks):
            refuse("OneHotEncoder over computed numbers")
        text = {name: list(_values(estimator, name, names)) for name in frame.texts}
        codes = vocabulary(value for values in text.values() for value in values)
        sources = [(f"{name}_{value}", name, codes[value]) for name, values in text.items() for value in sorted(values)]
        for name in (name for block in frame.blocks for name in block.columns):
            numbers = sorted(set(_numbers(_values(estimator, name, names))))
            sources += [(f"{name}_{number}", name, number) for number in numbers]
        matrix = coded(graph, frame, codes).matrix(graph)
        if matrix is None or not sources:
            return Frame(encoded=True)

        at = graph.integers(*(matrix.columns[name] for _, name, _ in sources))
        values = graph.node("Gather", matrix.tensor, at, axis=1)
        hits = graph.node("Equal", values, graph.constant(np.array([value for _, _, value in sources])))
        keys = list(dict.fromkeys(key for key, _, _ in sources))
        if len(keys) < len(sources):
            hits = _merge(graph, hits, [keys.index(key) for key, _, _ in sources], len(keys))
        # A key that the encoder remembers is present, as 0, even if its feature is missing.
        absent = np.array([0.0 if key in estimator._zero_dict else np.nan for key in keys])
        tensor = graph.node("Where", hits, graph.doubles(1.0), graph.constant(absent))
        complete = not np.isnan(absent).any()
        columns = {key: column for column, key in enumerate(keys)}
        block = Block(tensor, len(keys), columns, complete=complete, computed=True, whole=True)
        return Frame((block,), encoded=True)


def _values(estimator: Any, name: str, names: Wanted) -> Collection[Any]:
    """Return the values of a feature that may matter."""
    if estimator.categories is not None:
        if name not in estimator.categories:
            refuse(f"OneHotEncoder(categories=…) without the feature {name!r}")
        return [value for value in estimator.categories[name] if value != ""]
    if estimator.drop_zeros:
        # This encoder remembers nothing: the values that matter are those that the final estimator knows.
        prefix = f"{name}_"
        return {key[len(prefix) :] for key in names() if key.startswith(prefix) and key != prefix}
    return estimator.values.get(name, ())  # type: ignore[no-any-return]


def _numbers(values: Collection[Any]) -> Iterator[float]:
    for value in values:
        try:
            number = float(value)
        except ValueError:
            continue
        if not isinstance(value, str) or str(number) == value:
            yield number


def _merge(graph: Graph, hits: str, groups: list[int], count: int) -> str:
    """Merge columns that share a key (as "a_b" of "c" and "a" of "b_c" do): the key hits if any of them does."""
    membership = np.zeros((len(groups), count))
    membership[range(len(groups)), groups] = 1.0
    as_numbers = graph.node("Where", hits, graph.doubles(1.0), graph.doubles(0.0))
    return graph.node("Greater", graph.node("MatMul", as_numbers, graph.constant(membership)), graph.doubles(0.0))
