"""The learned state of a compiled learner: its tables, filled from River's objects and written back into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from river import optim, preprocessing, stats, utils

from headrace.engine.arrays import Bools, Floats, Ints
from headrace.engine.learning.compiled import kernel
from headrace.engine.learning.compiled.kernel import (
    COUNTS,
    DEVIATIONS,
    EXAMPLES,
    INTERCEPT,
    ITERATIONS,
    MEANS,
    PENALTY,
    VARIANCES,
    Frames,
    Program,
    State,
)
from headrace.engine.learning.compiled.plan import Part, Plan, RecognisedEstimator
from headrace.engine.learning.refusal import Refusal

#: Keys and categories for which there is room at first.
_ROOM = 16


class _Optimizer(NamedTuple):
    """The attributes of an optimizer's dictionaries, and the factory of those that River creates late."""

    attributes: tuple[str, ...]
    make: Callable[[], Any] | None = None


_OPTIMIZERS = {
    optim.SGD: _Optimizer(()),
    optim.AdaGrad: _Optimizer(("g2",)),
    optim.Adam: _Optimizer(("m", "v"), utils.VectorDict),
    optim.RMSProp: _Optimizer(("g2",), utils.VectorDict),
    optim.FTRLProximal: _Optimizer(("z", "n")),
}

#: The dictionaries of optimizers from which roots are taken.
_NOT_NEGATIVE = ("g2", "v", "n")


class Backup(NamedTuple):
    """What a run over entries may change, as it was before: columns of keys and categories, not whole tables.

    The order of keys needs no backup: the kernel only writes behind the keys that are present.
    """

    keys: Ints
    codes: Ints
    numbers: Floats
    present: Bools
    sizes: Ints
    seen: Bools
    scalars: Floats
    counters: Ints


class _Unusual(Exception):
    """A River object holds a value that a compiled learner cannot hold."""


class LearnedState:
    """The tables of a compiled learner, with the names of their keys.

    Parameters
    ----------
    recognised
        The estimator and its compiled form.
    names
        The names of the model's features: the first keys.
    examples
        The number of examples that the estimator has learned.

    Attributes
    ----------
    arrays
        The tables, as the kernel takes them. They are other arrays once there are more keys.
    frames
        Memory for the kernel.
    """

    arrays: State
    frames: Frames

    def __init__(self, recognised: RecognisedEstimator, names: Sequence[str], examples: int) -> None:
        self._recognised = recognised
        self._features = len(names)
        # An encoder that keeps zeros puts each of its columns into each row.
        self._drops_zeros = all(
            operation[kernel.THIRD]
            for operation in recognised.plan.operations
            if operation[kernel.CODE] == kernel.ONE_HOT
        )
        self._names: list[str] = []
        self._keys: dict[str, int] = {}
        self._categories: list[tuple[int, str]] = []
        self._codes: dict[int, dict[str, int]] = {feature: {} for feature in recognised.plan.encoded}
        self._learned_at_load = examples
        self.arrays = _empty(recognised.plan, _ROOM, _ROOM)
        self.frames = _frames(recognised.plan, _ROOM)
        for name in names:
            self.key_or_new(name)

    @classmethod
    def from_river(cls, recognised: RecognisedEstimator, names: Sequence[str], examples: int) -> LearnedState | Refusal:
        """Return what an estimator has learned, or why it cannot be used."""
        state = cls(recognised, names, examples)
        return state.load(examples) or state

    def load(self, examples: int) -> Refusal | None:
        """Take over what the estimator has learned; return why, if it cannot be used. Keys and codes stay valid."""
        arrays = self.arrays
        fresh = _empty(self._recognised.plan, arrays.numbers.shape[1], len(arrays.category_keys))
        fresh.counters[EXAMPLES] = examples
        self.arrays, self._learned_at_load = fresh._replace(category_keys=arrays.category_keys), examples
        try:
            self._load()
        except _Unusual as unusual:
            return Refusal(str(unusual))
        return None

    @property
    def examples(self) -> int:
        """The number of examples learned."""
        return int(self.arrays.counters[EXAMPLES])

    def codes(self, feature: int) -> Mapping[str, int]:
        """Return the codes of a feature's categories."""
        return self._codes[feature]

    def key_or_new(self, name: str) -> int:
        """Return the key of a name; a new one if there is none."""
        key = self._keys.get(name)
        if key is None:
            key = len(self._names)
            if key == self.arrays.numbers.shape[1]:
                self._widen()
            self._names.append(name)
            self._keys[name] = key
        return key

    def category_or_new(self, feature: int, value: str) -> int:
        """Return the code of a feature's category; a new one if there is none."""
        code = self._codes[feature].get(value)
        if code is None:
            code = len(self._categories)
            if code == len(self.arrays.category_keys):
                self._add_categories()
            self._categories.append((feature, value))
            self._codes[feature][value] = code
            self.arrays.category_keys[code] = self.key_or_new(self._column(feature, value))
        return code

    def category_in_question(self, feature: int, value: str) -> int:
        """Return the code of a category that was not learned: `UNKNOWN`, unless a key has the name of its column."""
        if self._column(feature, value) in self._keys:
            return self.category_or_new(feature, value)
        return kernel.UNKNOWN

    def backup(self, codes: Ints) -> Backup:
        """Return a copy of what entries with these categories may change."""
        arrays = self.arrays
        keys = np.arange(self._features if self._drops_zeros else len(self._names))
        if self._drops_zeros:
            keys = np.concatenate((keys, arrays.category_keys[codes]))
        return Backup(
            keys,
            codes,
            arrays.numbers[:, keys],
            arrays.present[:, keys],
            arrays.sizes.copy(),
            arrays.seen[:, codes],
            arrays.scalars.copy(),
            arrays.counters.copy(),
        )

    def restore(self, backup: Backup) -> None:
        """Return to a backup."""
        arrays = self.arrays
        arrays.numbers[:, backup.keys] = backup.numbers
        arrays.present[:, backup.keys] = backup.present
        arrays.sizes[:] = backup.sizes
        arrays.seen[:, backup.codes] = backup.seen
        arrays.scalars[:] = backup.scalars
        arrays.counters[:] = backup.counters

    def to_river(self) -> None:
        """Write the learned tables back into the River estimator."""
        for part in self._recognised.parts:
            _WRITERS[type(part.step)](self, part)
        self._write_model()
        if self.arrays.counters[EXAMPLES] > 0:
            for pipeline in self._recognised.pipelines:
                if pipeline._plan is None:
                    pipeline._build_plan()

    def contents(self) -> list[list[tuple[str, float]]]:
        """Return the keys and values of each table, in order."""
        return [self._items(table) for table in range(len(self.arrays.sizes))]

    def _column(self, feature: int, value: str) -> str:
        return f"{self._names[feature]}_{value}"

    def _widen(self) -> None:
        """Make room for more keys."""
        arrays, defaults = self.arrays, np.array(self._recognised.plan.defaults)
        tables, room = arrays.numbers.shape
        self.arrays = arrays._replace(
            numbers=np.hstack((arrays.numbers, np.repeat(defaults[:, None], room, axis=1))),
            present=np.hstack((arrays.present, np.zeros((tables, room), np.bool_))),
            order=np.hstack((arrays.order, np.zeros((tables, room), np.int64))),
        )
        self.frames = _frames(self._recognised.plan, 2 * room)

    def _add_categories(self) -> None:
        """Make room for more categories."""
        arrays = self.arrays
        encoders, room = arrays.seen.shape
        self.arrays = arrays._replace(
            seen=np.hstack((arrays.seen, np.zeros((encoders, room), np.bool_))),
            category_keys=np.concatenate((arrays.category_keys, np.zeros(room, np.int64))),
        )

    def _load(self) -> None:
        for part in self._recognised.parts:
            _READERS[type(part.step)](self, part)
        model, table = self._recognised.model, self._model_table
        self._read(table + kernel.WEIGHTS, _items(model._weights))
        for place, name in enumerate(_OPTIMIZERS[type(model.optimizer)].attributes):
            values = dict(_items(getattr(model.optimizer, name)))
            if name in _NOT_NEGATIVE and any(type(value) is float and value < 0.0 for value in values.values()):
                _refuse(f"{type(model.optimizer).__name__}.{name} holds a negative number")
            self._read(table + kernel.MEMORY + place, values.items())
        if model.l1 != 0.0:
            self._read(table + kernel.PENALTIES, _items(model.cum_l1))
            self.arrays.scalars[PENALTY] = float(model.max_cum_l1)
        self.arrays.scalars[INTERCEPT] = float(model.intercept)
        self.arrays.counters[ITERATIONS] = model.optimizer.n_iterations

    def _read(self, table: int, items: Iterable[tuple[Any, Any]], kind: type[float] | type[int] = float) -> None:
        """Fill a table."""
        for name, value in items:
            if type(name) is not str or type(value) is not kind:
                _refuse(f"The learned state holds {name!r}: {value!r}")
            key = self.key_or_new(name)
            self.arrays.numbers[table, key] = float(value)
            self.arrays.present[table, key] = True
            self.arrays.order[table, self.arrays.sizes[table]] = key
            self.arrays.sizes[table] += 1

    def _items(self, table: int) -> list[tuple[str, float]]:
        """Return a table's keys and values, in order."""
        keys = self.arrays.order[table, : self.arrays.sizes[table]]
        names = self._names
        return [
            (names[key], value)
            for key, value in zip(keys.tolist(), self.arrays.numbers[table, keys].tolist(), strict=True)
        ]

    @property
    def _model_table(self) -> int:
        return len(self._recognised.plan.defaults) - kernel.MODEL_TABLES

    def _read_standard(self, part: Part) -> None:
        scaler, table = part.step, part.table
        self._read(table + COUNTS, scaler.counts.items(), int)
        self._read(table + MEANS, scaler.means.items())
        if scaler.with_std:
            self._read(table + VARIANCES, scaler.vars.items())
            for key, value in enumerate(self.arrays.numbers[table + VARIANCES].tolist()):
                # NaN has a root too.
                if not value < 0.0:
                    self.arrays.numbers[table + DEVIATIONS, key] = value**0.5

    def _write_standard(self, part: Part) -> None:
        scaler, table = part.step, part.table
        _replace(scaler.counts, ((name, int(count)) for name, count in self._items(table + COUNTS)))
        _replace(scaler.means, self._items(table + MEANS))
        if scaler.with_std:
            _replace(scaler.vars, self._items(table + VARIANCES))

    def _read_min_max(self, part: Part) -> None:
        self._read(part.table, ((name, least.min) for name, least in part.step.min.items()))
        self._read(part.table + 1, ((name, greatest.max) for name, greatest in part.step.max.items()))

    def _write_min_max(self, part: Part) -> None:
        for place, (name, make) in enumerate((("min", stats.Min), ("max", stats.Max))):
            statistics = getattr(part.step, name)
            values = [(key, statistics.get(key) or make(), value) for key, value in self._items(part.table + place)]
            for _, statistic, value in values:
                setattr(statistic, name, value)
            _replace(statistics, ((key, statistic) for key, statistic, _ in values))

    def _read_one_hot(self, part: Part) -> None:
        encoder, table = part.step, part.table
        for name, values in encoder.values.items():
            feature = self._keys.get(name, -1)
            if feature not in self._codes or not all(type(value) is str for value in values):
                _refuse(f"OneHotEncoder.values holds {name!r}")
            codes = [self.category_or_new(feature, value) for value in values]
            self.arrays.seen[part.encoder, codes] = True
        self._read(table, ((name, 0.0) for name in encoder.values))
        self._read(table + 1, ((name, 0.0) for name in encoder._zero_dict))

    def _write_one_hot(self, part: Part) -> None:
        encoder = part.step
        for name, _ in self._items(part.table):
            # In River too, looking it up creates it.
            encoder.values[name]
        for code in np.flatnonzero(self.arrays.seen[part.encoder]).tolist():
            feature, value = self._categories[code]
            encoder.values[self._names[feature]].add(value)
        _replace(encoder._zero_dict, ((name, 0) for name, _ in self._items(part.table + 1)))

    def _write_model(self) -> None:
        if self.arrays.counters[EXAMPLES] == self._learned_at_load:
            return
        model, table = self._recognised.model, self._model_table
        _replace(model._weights, self._items(table + kernel.WEIGHTS))
        optimizer = model.optimizer
        kept = _OPTIMIZERS[type(optimizer)]
        for place, name in enumerate(kept.attributes):
            if getattr(optimizer, name) is None and kept.make is not None:
                setattr(optimizer, name, kept.make())
            _replace(getattr(optimizer, name), self._items(table + kernel.MEMORY + place))
        optimizer.n_iterations = int(self.arrays.counters[ITERATIONS])
        model.intercept = float(self.arrays.scalars[INTERCEPT])
        if model.l1 != 0.0:
            _replace(model.cum_l1, self._items(table + kernel.PENALTIES))
            model.max_cum_l1 = float(self.arrays.scalars[PENALTY])


_READERS: dict[type, Callable[[LearnedState, Part], None]] = {
    preprocessing.StandardScaler: LearnedState._read_standard,
    preprocessing.MinMaxScaler: LearnedState._read_min_max,
    preprocessing.OneHotEncoder: LearnedState._read_one_hot,
}
_WRITERS: dict[type, Callable[[LearnedState, Part], None]] = {
    preprocessing.StandardScaler: LearnedState._write_standard,
    preprocessing.MinMaxScaler: LearnedState._write_min_max,
    preprocessing.OneHotEncoder: LearnedState._write_one_hot,
}


def program_of(plan: Plan, features: int) -> Program:
    """Return the arrays of a plan."""
    return Program(
        np.array(plan.operations, np.int64).reshape(-1, 6),
        np.array(plan.picks, np.int64),
        np.array(plan.masks, np.bool_).reshape(len(plan.masks), features),
    )


def _refuse(reason: str) -> NoReturn:
    raise _Unusual(reason)


def _items(dictionary: Any) -> Iterable[tuple[Any, Any]]:
    """Return the items of a dictionary that River may not have made yet."""
    return () if dictionary is None else dictionary.items()


def _replace(dictionary: Any, items: Iterable[tuple[str, Any]]) -> None:
    """Replace everything in a dictionary, which stays the same object."""
    values = dict(items)
    dictionary.clear()
    dictionary.update(values)


def _empty(plan: Plan, keys: int, categories: int) -> State:
    tables = len(plan.defaults)
    return State(
        numbers=np.repeat(np.array(plan.defaults)[:, None], keys, axis=1),
        present=np.zeros((tables, keys), np.bool_),
        order=np.zeros((tables, keys), np.int64),
        sizes=np.zeros(tables, np.int64),
        seen=np.zeros((plan.encoders, categories), np.bool_),
        category_keys=np.zeros(categories, np.int64),
        scalars=np.zeros(2),
        counters=np.zeros(2, np.int64),
    )


def _frames(plan: Plan, room: int) -> Frames:
    """Return memory in which each key fits into each frame once."""
    return Frames(
        keys=np.zeros((plan.frames, room), np.int64),
        values=np.zeros((plan.frames, room)),
        sizes=np.zeros(plan.frames, np.int64),
        gradient=np.zeros(room),
        positions=np.zeros(room, np.int64),
        stamps=np.zeros(room + 1, np.int64),
    )
