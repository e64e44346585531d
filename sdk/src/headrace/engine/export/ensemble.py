"""River's trees as one ONNX TreeEnsemble, which finds the leaf of each row in each tree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from river.tree.nodes.branch import (
    DTBranch,
    NominalBinaryBranch,
    NominalMultiwayBranch,
    NumericBinaryBranch,
    NumericMultiwayBranch,
)

from headrace.engine.export.encoding import coded, vocabulary
from headrace.engine.export.frame import Block, Frame
from headrace.engine.export.graph import ML, Array, Doubles, Graph

AT_MOST, EQUAL = 0, 4
"""Modes of the operator's tests."""

Child = tuple[list[int], list[int], int]
"""Where to write a child of a test: its list of numbers, its list of leaf flags, and the test's index."""

Place = tuple[Any, Child | None, bool]
"""A node of River's, where it goes, and whether values fall through to it that have no branch or are missing."""


def branches_of(root: Any) -> Iterator[Any]:
    """Yield the inner nodes of a tree, parents first."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, DTBranch):
            yield node
            stack.extend(reversed(node.children))


def leaves_of(root: Any) -> Iterator[Any]:
    """Yield the leaves of a tree, including alternates; yield None if it has no root yet."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, DTBranch):
            stack.extend(reversed(node.children))
            yield from _alternate(node)
        else:
            yield node


def _alternate(branch: Any) -> tuple[Any, ...]:
    """Return the leaf that an adaptive tree grows beside a branch, if there is one.

    River never grows it further: when it would split, the split replaces the branch.
    """
    leaf = getattr(branch, "_alternate_tree", None)
    return () if leaf is None or isinstance(leaf, DTBranch) else (leaf,)


def features_of(roots: Iterable[Any]) -> set[str]:
    """Return the features that trees branch on, or whose values their leaves observe."""
    names: set[str] = set()
    for root in roots:
        names.update(branch.feature for branch in branches_of(root))
        for leaf in leaves_of(root):
            names.update(getattr(leaf, "splitters", None) or ())
    return names


@dataclass
class Trees:
    """The trees as one list of tests, and one list of all their leaves.

    Parameters
    ----------
    matrix
        The features, with text as codes. None if there are no features.
    codes
        The code of each text.
    count
        The number of trees.
    leaves, tree_of_leaf
        All leaves, and the tree that each belongs to; a leaf's number is its place here. A tree without a root has the
        leaf None.
    beside
        For each leaf that tests lead to, the alternates of the branches above it, which predict together with it.
    """

    matrix: Block | None
    codes: dict[str, float]
    count: int
    leaves: list[Any] = field(default_factory=list)
    tree_of_leaf: list[int] = field(default_factory=list)
    beside: list[tuple[Any, ...]] = field(default_factory=list)
    _roots: list[int] = field(default_factory=list)
    _columns: list[int] = field(default_factory=list)
    _modes: list[int] = field(default_factory=list)
    _values: list[float] = field(default_factory=list)
    _missing: list[int] = field(default_factory=list)
    _true: list[int] = field(default_factory=list)
    _true_is_leaf: list[int] = field(default_factory=list)
    _false: list[int] = field(default_factory=list)
    _false_is_leaf: list[int] = field(default_factory=list)
    _slots: dict[tuple[int, float], int] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, frame: Frame, roots: Sequence[Any]) -> Trees:
        codes = vocabulary(_texts(frame, roots))
        trees = cls(coded(graph, frame, codes).matrix(graph), codes, len(roots))
        for tree, root in enumerate(roots):
            trees._add(tree, root)
        if trees.alternates:
            others = {id(leaf): leaf for beside in trees.beside for leaf in beside}
            trees.leaves += [None, *others.values()]
            trees.tree_of_leaf += [0] * (1 + len(others))
        return trees

    def code(self, value: Any) -> float:
        """Return a nominal feature's value as it appears in the matrix."""
        return self.codes[value] if isinstance(value, str) else float(value)

    def sums(self, graph: Graph, values: Doubles) -> str:
        """Compute double[N, trees]: the value of the leaf that each row reaches in each tree."""
        if self.matrix is None or not self._columns:
            return graph.repeat(values)
        return graph.node(
            "TreeEnsemble",
            self._input(graph, self.matrix),
            domain=ML,
            n_targets=self.count,
            aggregate_function=1,
            post_transform=0,
            tree_roots=self._roots,
            nodes_featureids=self._columns,
            nodes_modes=np.array(self._modes, dtype=np.uint8),
            nodes_splits=np.array(self._values, dtype=np.float64),
            nodes_missing_value_tracks_true=self._missing,
            nodes_truenodeids=self._true,
            nodes_trueleafs=self._true_is_leaf,
            nodes_falsenodeids=self._false,
            nodes_falseleafs=self._false_is_leaf,
            leaf_targetids=self.tree_of_leaf[: len(values)],
            leaf_weights=values,
        )

    def reached(self, graph: Graph) -> str:
        """Compute int64[N, places]: the numbers of the leaves that predict in each tree: one, and those beside it."""
        numbers = graph.integer(self.sums(graph, np.arange(len(self.beside), dtype=np.float64)))
        if not self.alternates:
            return numbers
        # Only adaptive trees have alternates, and such a tree is never part of a forest.
        return graph.rows(self._together(), graph.node("Squeeze", numbers, graph.integers(1)))

    @property
    def alternates(self) -> bool:
        return any(self.beside)

    def _together(self) -> Array:
        """List for each leaf that tests lead to: its number and those beside it, padded with the number of no leaf."""
        ends = len(self.beside)
        number = {id(leaf): ends + place for place, leaf in enumerate(self.leaves[ends:])}
        width = max(len(beside) for beside in self.beside)
        rows = [[end, *(number[id(leaf)] for leaf in beside)] for end, beside in enumerate(self.beside)]
        return np.array([row + [number[id(None)]] * (1 + width - len(row)) for row in rows], dtype=np.int64)

    def _input(self, graph: Graph, matrix: Block) -> str:
        """Append to the features the slots that multiway splits of numbers test."""
        if not self._slots:
            return matrix.tensor
        columns = graph.integers(*(column for column, _ in self._slots))
        radii = graph.constant(np.array([radius for _, radius in self._slots]))
        values = graph.node("Gather", matrix.tensor, columns, axis=1)
        return graph.node("Concat", matrix.tensor, graph.node("Floor", graph.node("Div", values, radii)), axis=1)

    def _add(self, tree: int, root: Any) -> None:
        weights = _weights(root)
        self._roots.append(len(self._columns))
        stack: list[tuple[Place, tuple[Any, ...]]] = [((root, None, False), ())]
        while stack:
            (node, child, fallen), beside = stack.pop()
            if isinstance(node, DTBranch):
                # River's walk passes twice through a branch that a value falls to, and counts its alternate each time.
                beside += _alternate(node) * (1 + fallen)
                stack.extend((place, beside) for place in reversed(self._branch(node, child, weights)))
                continue
            # A tree needs a test: a single leaf gets a test that does not matter.
            alone = child is None and self.matrix is not None
            for link in self._test(None, 0, AT_MOST, math.inf) if alone else (child,):
                _link(link, len(self.leaves), leaf=True)
            self.leaves.append(node)
            self.beside.append(beside)
            self.tree_of_leaf.append(tree)

    def _branch(self, node: Any, child: Child | None, weights: dict[int, float]) -> list[Place]:
        """Write the tests of one branch; return where its children go."""
        children = node.children
        heavy = _heavy(children, weights)
        column = None if self.matrix is None else self.matrix.columns.get(node.feature)
        if column is None:
            return [(children[heavy], child, True)]
        # Falling through to the heavy child and being sent there are the same, unless it has an alternate.
        apart = bool(_alternate(children[heavy]))
        if isinstance(node, NumericBinaryBranch | NominalBinaryBranch):
            fallen: list[Place] = []
            if apart:
                child, missing = self._test(child, column, AT_MOST, math.inf)
                fallen = [(children[heavy], missing, True)]
            if isinstance(node, NumericBinaryBranch):
                test = self._test(child, column, AT_MOST, node.threshold, missing=heavy == 0)
            else:
                test = self._test(child, column, EQUAL, self.code(node.value), missing=heavy == 0)
            return [(children[0], test[0], False), (children[1], test[1], False), *fallen]

        if isinstance(node, NumericMultiwayBranch):
            column = self._slot(column, node.radius)
        places: list[Place] = []
        for value, branch in node._mapping.items():
            if branch != heavy or apart:
                equal, child = self._test(child, column, EQUAL, self.code(value))
                places.append((children[branch], equal, False))
        # A value without a branch, or a missing one, equals none of them.
        return [*places, (children[heavy], child, True)]

    def _slot(self, column: int, radius: float) -> int:
        assert self.matrix is not None
        return self._slots.setdefault((column, radius), self.matrix.width + len(self._slots))

    def _test(
        self, child: Child | None, column: int, mode: int, value: float, *, missing: bool = False
    ) -> tuple[Child, Child]:
        """Write a test, as the child of another; return where its own children go: if it holds, if not."""
        at = len(self._columns)
        _link(child, at, leaf=False)
        self._columns.append(column)
        self._modes.append(mode)
        self._values.append(value)
        self._missing.append(int(missing))
        for numbers in (self._true, self._true_is_leaf, self._false, self._false_is_leaf):
            numbers.append(0)
        return (self._true, self._true_is_leaf, at), (self._false, self._false_is_leaf, at)


def _link(child: Child | None, number: int, *, leaf: bool) -> None:
    if child is not None:
        numbers, flags, at = child
        numbers[at], flags[at] = number, int(leaf)


def _weights(root: Any) -> dict[int, float]:
    """Compute the weight that each node has seen, by its identity: River adds them up again for each question."""
    weights: dict[int, float] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        children = node.children if isinstance(node, DTBranch) else ()
        unknown = [child for child in children if id(child) not in weights]
        if unknown:
            stack.extend(unknown)
            continue
        stack.pop()
        if node is not None:
            weights[id(node)] = sum(weights[id(child)] for child in children) if children else node.total_weight
    return weights


def _heavy(children: Sequence[Any], weights: dict[int, float]) -> int:
    """Return the child for a missing or unknown value: the first of those that have seen most."""
    return max(range(len(children)), key=lambda number: weights[id(children[number])])


def _texts(frame: Frame, roots: Iterable[Any]) -> Iterator[str]:
    """Yield the texts that trees distinguish."""
    if not frame.texts:
        return
    for root in roots:
        for branch in branches_of(root):
            if isinstance(branch, NominalBinaryBranch):
                yield from (value for value in (branch.value,) if isinstance(value, str))
            elif isinstance(branch, NominalMultiwayBranch):
                yield from (value for value in branch._mapping if isinstance(value, str))
        for leaf in leaves_of(root):
            for name, splitter in (getattr(leaf, "splitters", None) or {}).items():
                if name in frame.texts and hasattr(splitter, "_att_values"):
                    yield from splitter._att_values
