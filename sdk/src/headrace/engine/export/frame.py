"""The data between the steps of a pipeline: River's dict of features, as columns of tensors.

A key that a dict lacks is NaN in a column of numbers, and "" in a column of text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from headrace.engine.export.graph import Doubles, Graph


@dataclass(frozen=True)
class Block:
    """Features in columns of one tensor of doubles.

    Parameters
    ----------
    tensor
        A double[N, width].
    width
        How many columns it has, whether or not they are features.
    columns
        The column of each feature: selecting features means leaving others out here, which costs no node.
    complete
        Whether no value is ever missing.
    computed
        Whether the values are no longer those of the vector: their text is then unknown at conversion.
    whole
        Whether River holds these values as int (one-hot) rather than float: `SelectType` checks that.
    shift, divisor
        A scaling still to be applied, (x - shift) / divisor: a linear model folds the divisor into its weights.
    """

    tensor: str
    width: int
    columns: Mapping[str, int]
    complete: bool = False
    computed: bool = False
    whole: bool = False
    shift: Doubles | None = None
    divisor: Doubles | None = None

    def scaled(self, graph: Graph, shift: Callable[[str], float], divisor: Callable[[str], float] | None) -> Block:
        """Return this block, scaled by a shift and a divisor for each feature."""
        block = replace(self, tensor=self.values(graph), computed=True, whole=False, shift=None, divisor=None)
        return replace(
            block,
            shift=block.row(shift, 0.0),
            divisor=None if divisor is None else block.row(divisor, 1.0),
        )

    def row(self, value: Callable[[str], float], default: float) -> Doubles:
        """Return a row with a value for each feature in its column."""
        row = np.full(self.width, default)
        for name, column in self.columns.items():
            row[column] = value(name)
        return row

    def centred(self, graph: Graph) -> str:
        """Return the tensor after the shift, before the divisor."""
        return self.tensor if self.shift is None else graph.node("Sub", self.tensor, graph.constant(self.shift))

    def values(self, graph: Graph) -> str:
        """Return the tensor after shift and divisor: River's operations, to the bit, since trees compare with `<=`."""
        centred = self.centred(graph)
        return centred if self.divisor is None else graph.node("Div", centred, graph.constant(self.divisor))


@dataclass(frozen=True)
class Frame:
    """The features at one point of a pipeline.

    Parameters
    ----------
    blocks
        The blocks of numbers.
    texts
        The columns of the input `categories`.
    encoded
        Whether a one-hot encoder came before (one that has seen nothing makes no block).
    """

    blocks: tuple[Block, ...] = ()
    texts: Mapping[str, int] = field(default_factory=dict)
    encoded: bool = False

    def select(self, numbers: Callable[[Block, str], bool], texts: Callable[[str], bool]) -> Frame:
        """Select the features that satisfy a condition."""
        parts = (
            replace(block, columns={name: at for name, at in block.columns.items() if numbers(block, name)})
            for block in self.blocks
        )
        blocks = tuple(block for block in parts if block.columns)
        return replace(self, blocks=blocks, texts={name: at for name, at in self.texts.items() if texts(name)})

    def matrix(self, graph: Graph) -> Block | None:
        """Join all numbers in one block; return None if there are none."""
        if len(self.blocks) < 2:
            return replace(self.blocks[0], tensor=self.blocks[0].values(graph)) if self.blocks else None
        columns: dict[str, int] = {}
        width = 0
        for block in self.blocks:
            columns |= {name: width + at for name, at in block.columns.items()}
            width += block.width
        tensor = graph.node("Concat", *(block.values(graph) for block in self.blocks), axis=1)
        return Block(tensor, width, columns, complete=all(block.complete for block in self.blocks), computed=True)


def union(graph: Graph, first: Frame, second: Frame) -> Frame:
    """Join two frames; a feature of the first hides its namesake in the second, unless the first's value is missing."""
    hidden = {name for block in first.blocks for name in block.columns}
    namesakes = second.select(lambda _, name: name in hidden, lambda _: False)
    for other in namesakes.blocks:
        first = replace(first, blocks=tuple(_coalesce(graph, block, other) for block in first.blocks))
    rest = second.select(lambda _, name: name not in hidden, lambda _: True)
    return Frame(first.blocks + rest.blocks, {**rest.texts, **first.texts}, first.encoded or second.encoded)


def _coalesce(graph: Graph, block: Block, other: Block) -> Block:
    shared = [name for name in block.columns if name in other.columns]
    if block.complete or not shared:
        return block
    # Each column's namesake is in `other`, or else is the column of NaN appended to it.
    at = np.full(block.width, other.width, dtype=np.int64)
    for name in shared:
        at[block.columns[name]] = other.columns[name]
    missing = graph.repeat(np.array([np.nan]))
    padded = graph.node("Concat", other.values(graph), missing, axis=1)
    substitute = graph.node("Gather", padded, graph.constant(at), axis=1)
    values = block.values(graph)
    tensor = graph.node("Where", graph.node("IsNaN", values), substitute, values)
    return replace(block, tensor=tensor, computed=True, shift=None, divisor=None)
