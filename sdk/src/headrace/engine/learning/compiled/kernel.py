"""The loop of the compiled learner: it asks and learns the rows of a message, in order, as River does.

Every operation is the one that River does, in River's order: no sum is reordered, and powers and exponentials are those
of the C library that Python itself calls. LLVM would turn `x ** 0.5` into a square root, whose last bit differs.

Each table stands for one of River's dictionaries: a value by key, whether the key is present, and the keys' order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from headrace.engine.arrays import Bools, Floats, Ints
from headrace.engine.kernel.compilation import compiled_without_memory as compiled

# The kinds of entries, as in `wire.tables`. They are in this file because numba renews its cache of compiled code only
# when the file changes.
QUESTION, ANSWER = range(2)

# Operations on frames. A frame has the keys and the values of one of River's dictionaries, in its order.
STANDARD, MIN_MAX, ONE_HOT, FILTER, PICK, MERGE = range(6)

# Columns of an operation: what it does, the frames it reads and writes, and up to three numbers of its own.
CODE, SOURCE, TARGET, FIRST, SECOND, THIRD = range(6)

# The losses.
LOG, SQUARED = range(2)

# The optimizers.
SGD, ADA_GRAD, ADAM, RMS_PROP, FTRL = range(5)

# The tables of a model: its weights, what its optimizer keeps, and the penalties already applied by l1.
WEIGHTS, MEMORY, SECOND_MEMORY, PENALTIES = range(4)
MODEL_TABLES = 4

# The tables of a standard scaler. The deviation is not one of River's dictionaries: it saves a power per question.
COUNTS, MEANS, VARIANCES, DEVIATIONS = range(4)

# The places of `State.scalars` and of `State.counters`.
INTERCEPT, PENALTY = range(2)
ITERATIONS, EXAMPLES = range(2)

# The code of a category that nothing has learned.
UNKNOWN = -1


class Settings(NamedTuple):
    """The parameters of a linear model and of its optimizer.

    The meaning of `first`, `second` and `third` depends on the optimizer:

    ========  ======  ======  =====
              first   second  third
    ========  ======  ======  =====
    SGD
    AdaGrad   eps
    Adam      beta_1  beta_2  eps
    RMSProp   rho     eps
    FTRL      beta    l1      l2
    ========  ======  ======  =====
    """

    loss: int
    weight_pos: float
    weight_neg: float
    l1: float
    l2: float
    intercept_rate: float
    clip: float
    optimizer: int
    rate: float
    first: float
    second: float
    third: float


class Program(NamedTuple):
    """How the features of a row become the input of the model.

    Attributes
    ----------
    operations
        int64[n, 6]: see the columns above.
    picks
        The keys that each `PICK` takes, end to end.
    masks
        bool[m, features]: the features that each `FILTER` keeps.
    """

    operations: Ints
    picks: Ints
    masks: Bools


class State(NamedTuple):
    """The learned state of a model and of its transformers.

    Attributes
    ----------
    numbers
        float64[tables, keys]: the value of each key; the default where it is not present.
    present
        bool[tables, keys].
    order
        int64[tables, keys]: the keys that are present, in order.
    sizes
        int64[tables]: the number of keys that are present.
    seen
        bool[encoders, categories]: the categories that an encoder has learned.
    category_keys
        int64[categories]: the key that an encoder makes of a category.
    scalars
        The intercept, and the sum of the l1 penalties.
    counters
        The iterations of the optimizer, and the number of answers learned.
    """

    numbers: Floats
    present: Bools
    order: Ints
    sizes: Ints
    seen: Bools
    category_keys: Ints
    scalars: Floats
    counters: Ints


class Frames(NamedTuple):
    """Memory for the frames of one row, and for its gradient; `positions` and `stamps` find keys in a frame."""

    keys: Ints
    values: Floats
    sizes: Ints
    gradient: Floats
    positions: Ints
    stamps: Ints


class Entries(NamedTuple):
    """The entries of a message.

    Attributes
    ----------
    kinds
        Questions, answers, and others, which are passed over.
    features
        float64[entries, features]: numbers, and the categories of texts; NaN where missing.
    """

    kinds: npt.NDArray[np.int8]
    features: Floats
    labels: Floats
    weights: Floats


def _call(arity: int) -> Callable[..., Any]:
    """Return the code that calls a C function of doubles by its address."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        double = context.get_value_type(types.float64)
        function = ir.FunctionType(double, [double] * arity)
        pointer = builder.inttoptr(arguments[0], function.as_pointer())
        return builder.call(pointer, arguments[1:])

    return generate


@intrinsic  # type: ignore[untyped-decorator]
def _exp(_context: Any, address: Any, x: Any) -> Any:
    """Call the exponential function at an address."""
    return types.float64(types.int64, types.float64), _call(1)


@intrinsic  # type: ignore[untyped-decorator]
def _power(_context: Any, address: Any, x: Any, y: Any) -> Any:
    """Call the power function at an address."""
    return types.float64(types.int64, types.float64, types.float64), _call(2)


@compiled
def _create(state: State, table: int, key: int) -> None:
    """Add a key, which is not present yet, to a table, with its default."""
    state.present[table, key] = True
    state.order[table, state.sizes[table]] = key
    state.sizes[table] += 1


@compiled
def _learn_standard(state: State, operation: Ints, keys: Ints, values: Floats, power: int) -> bool:
    """Update a standard scaler; return whether River can use the result: a negative variance has no root."""
    table, with_std = operation[FIRST], operation[SECOND]
    numbers, present = state.numbers, state.present
    for place in range(len(keys)):
        key, value = keys[place], values[place]
        if not present[table + COUNTS, key]:
            _create(state, table + COUNTS, key)
        if not present[table + MEANS, key]:
            _create(state, table + MEANS, key)
        count = numbers[table + COUNTS, key] + 1.0
        numbers[table + COUNTS, key] = count
        old = numbers[table + MEANS, key]
        mean = old + (value - old) / count
        numbers[table + MEANS, key] = mean
        if with_std:
            if not present[table + VARIANCES, key]:
                _create(state, table + VARIANCES, key)
            variance = numbers[table + VARIANCES, key]
            variance += ((value - old) * (value - mean) - variance) / count
            if variance < 0.0:
                return False
            numbers[table + VARIANCES, key] = variance
            numbers[table + DEVIATIONS, key] = _power(power, variance, 0.5)
    return True


@compiled
def _apply_standard(state: State, operation: Ints, keys: Ints, values: Floats, creates_keys: bool) -> bool:
    """Scale a frame in place; return whether River could. `creates_keys`: keys that River looks up are created."""
    table, with_std = operation[FIRST], operation[SECOND]
    numbers, present = state.numbers, state.present
    for place in range(len(keys)):
        key = keys[place]
        if not with_std:
            if creates_keys and not present[table + MEANS, key]:
                _create(state, table + MEANS, key)
            values[place] -= numbers[table + MEANS, key]
            continue
        if creates_keys and not present[table + VARIANCES, key]:
            _create(state, table + VARIANCES, key)
        variance = numbers[table + VARIANCES, key]
        if variance < 0.0:
            return False
        if variance != 0.0:
            if creates_keys and not present[table + MEANS, key]:
                _create(state, table + MEANS, key)
            values[place] = (values[place] - numbers[table + MEANS, key]) / numbers[table + DEVIATIONS, key]
        else:
            values[place] = 0.0
    return True


@compiled
def _learn_min_max(state: State, table: int, keys: Ints, values: Floats) -> None:
    """Update the least and the greatest value of each key."""
    numbers, present = state.numbers, state.present
    for place in range(len(keys)):
        key, value = keys[place], values[place]
        if not present[table, key]:
            _create(state, table, key)
        if not present[table + 1, key]:
            _create(state, table + 1, key)
        if value < numbers[table, key]:
            numbers[table, key] = value
        if value > numbers[table + 1, key]:
            numbers[table + 1, key] = value


@compiled
def _apply_min_max(state: State, table: int, keys: Ints, values: Floats, creates_keys: bool) -> None:
    """Scale a frame in place."""
    numbers, present = state.numbers, state.present
    for place in range(len(keys)):
        key = keys[place]
        if creates_keys:
            if not present[table, key]:
                _create(state, table, key)
            if not present[table + 1, key]:
                _create(state, table + 1, key)
        low = numbers[table, key]
        span = numbers[table + 1, key] - low
        values[place] = (values[place] - low) / span if span != 0.0 else 0.0


@compiled
def _learn_one_hot(state: State, operation: Ints, keys: Ints, values: Floats) -> None:
    """Remember new categories."""
    present = state.present
    table, encoder, drops_zeros = operation[FIRST], operation[SECOND], operation[THIRD]
    if drops_zeros:
        return
    for place in range(len(keys)):
        category = int(values[place])
        if not present[table, keys[place]]:
            _create(state, table, keys[place])
        if not state.seen[encoder, category]:
            state.seen[encoder, category] = True
            if not present[table + 1, state.category_keys[category]]:
                _create(state, table + 1, state.category_keys[category])


@compiled
def _new_stamp(frames: Frames) -> int:
    """Return a stamp that no key has yet."""
    stamp: int = frames.stamps[-1] + 1
    frames.stamps[-1] = stamp
    return stamp


@compiled
def _put(frames: Frames, frame: int, stamp: int, key: int, value: float) -> None:
    """Set a key of a frame: one that is there already keeps its place."""
    keys, values, stamps, positions = frames.keys, frames.values, frames.stamps, frames.positions
    if stamps[key] == stamp:
        values[frame, positions[key]] = value
        return
    place = frames.sizes[frame]
    stamps[key] = stamp
    positions[key] = place
    keys[frame, place] = key
    values[frame, place] = value
    frames.sizes[frame] = place + 1


@compiled
def _apply_one_hot(state: State, operation: Ints, frames: Frames) -> None:
    """Encode a frame into another one, without unknown categories: River multiplies them by a weight of 0."""
    source, target = operation[SOURCE], operation[TARGET]
    stamp = _new_stamp(frames)
    frames.sizes[target] = 0
    if not operation[THIRD]:
        zeros = operation[FIRST] + 1
        for place in range(state.sizes[zeros]):
            _put(frames, target, stamp, state.order[zeros, place], 0.0)
    for place in range(frames.sizes[source]):
        category = int(frames.values[source, place])
        if category != UNKNOWN:
            _put(frames, target, stamp, state.category_keys[category], 1.0)


@compiled
def _filter(program: Program, operation: Ints, frames: Frames) -> None:
    """Copy the features that a mask keeps into another frame."""
    source, target, mask = operation[SOURCE], operation[TARGET], operation[FIRST]
    size, keys, values, masks = 0, frames.keys, frames.values, program.masks
    for place in range(frames.sizes[source]):
        key = keys[source, place]
        if masks[mask, key]:
            keys[target, size] = key
            values[target, size] = values[source, place]
            size += 1
    frames.sizes[target] = size


@compiled
def _pick(program: Program, operation: Ints, frames: Frames) -> bool:
    """Copy features by name, in a given order; return whether all are there."""
    source, target = operation[SOURCE], operation[TARGET]
    first, count = operation[FIRST], operation[SECOND]
    stamp = _new_stamp(frames)
    for place in range(frames.sizes[source]):
        key = frames.keys[source, place]
        frames.stamps[key] = stamp
        frames.positions[key] = place
    for place in range(count):
        key = program.picks[first + place]
        if frames.stamps[key] != stamp:
            return False
        frames.keys[target, place] = key
        frames.values[target, place] = frames.values[source, frames.positions[key]]
    frames.sizes[target] = count
    return True


@compiled
def _merge(operation: Ints, frames: Frames) -> None:
    """Update one frame with another, as dictionaries do; the first of several updates empties it before."""
    source, target = operation[SOURCE], operation[TARGET]
    if operation[FIRST]:
        frames.sizes[target] = 0
        _new_stamp(frames)
    stamp = frames.stamps[-1]
    for place in range(frames.sizes[source]):
        _put(frames, target, stamp, frames.keys[source, place], frames.values[source, place])


@compiled
def _copy(operation: Ints, frames: Frames) -> int:
    """Copy a frame; return its size."""
    source, target = operation[SOURCE], operation[TARGET]
    size: int = frames.sizes[source]
    keys, values = frames.keys, frames.values
    for place in range(size):
        keys[target, place] = keys[source, place]
        values[target, place] = values[source, place]
    frames.sizes[target] = size
    return size


@compiled
def _scale(state: State, operation: Ints, frames: Frames, learns: bool, creates_keys: bool, power: int) -> bool:
    """Scale a frame into another one; return whether River could."""
    size, target = _copy(operation, frames), operation[TARGET]
    keys, values = frames.keys[target, :size], frames.values[target, :size]
    if operation[CODE] == STANDARD:
        if learns and not _learn_standard(state, operation, keys, values, power):
            return False
        return _apply_standard(state, operation, keys, values, creates_keys)
    if learns:
        _learn_min_max(state, operation[FIRST], keys, values)
    _apply_min_max(state, operation[FIRST], keys, values, creates_keys)
    return True


@compiled
def _read(frames: Frames, features: Floats) -> None:
    """Put the features that are there into the first frame."""
    size, keys, values = 0, frames.keys, frames.values
    for key in range(len(features)):
        value = features[key]
        if value == value:
            keys[0, size] = key
            values[0, size] = value
            size += 1
    frames.sizes[0] = size


@compiled
def _transform(
    program: Program, state: State, frames: Frames, features: Floats, learns: bool, creates_keys: bool, power: int
) -> bool:
    """Turn a row into the input of the model, in the last frame; return whether River could."""
    _read(frames, features)
    for number in range(len(program.operations)):
        operation = program.operations[number]
        code = operation[CODE]
        if code == STANDARD or code == MIN_MAX:
            if not _scale(state, operation, frames, learns, creates_keys, power):
                return False
        elif code == ONE_HOT:
            if learns:
                source = operation[SOURCE]
                size = frames.sizes[source]
                _learn_one_hot(state, operation, frames.keys[source, :size], frames.values[source, :size])
            _apply_one_hot(state, operation, frames)
        elif code == FILTER:
            _filter(program, operation, frames)
        elif code == PICK:
            if not _pick(program, operation, frames):
                return False
        else:
            _merge(operation, frames)
    return True


@compiled
def _sum(state: State, model: int, keys: Ints, values: Floats, learns: bool) -> float:
    """Return the weighted sum of a frame, in its order, without the intercept; learning creates missing weights.

    A missing weight counts as 0, so a value that is not finite makes the sum NaN.
    """
    numbers, present = state.numbers, state.present
    total = 0.0
    for place in range(len(keys)):
        key = keys[place]
        if learns and not present[model + WEIGHTS, key]:
            _create(state, model + WEIGHTS, key)
        total += numbers[model + WEIGHTS, key] * values[place]
    return total


@compiled
def _sigmoid(x: float, exp: int) -> float:
    """Return a probability."""
    if x < -30.0:
        return 0.0
    if x > 30.0:
        return 1.0
    odds: float = _exp(exp, -x)
    return 1.0 / (1.0 + odds)


@compiled
def _loss_gradient(settings: Settings, predicted: float, label: float, exp: int) -> float:
    """Return the derivative of the loss."""
    if settings.loss == SQUARED:
        return 2.0 * (predicted - label)
    sign = 1.0 if label == 1.0 else -1.0
    weight = settings.weight_pos if label == 1.0 else settings.weight_neg
    margin = predicted * sign
    if margin < -18.0:
        return weight * -sign
    power: float = _exp(exp, -margin if margin > 18.0 else margin)
    if margin > 18.0:
        return weight * power * -sign
    return weight * -sign / (power + 1.0)


@compiled
def _clamp(x: float, limit: float) -> float:
    """Bound a number as River does, which leaves NaN as it is."""
    lower = limit if limit < x else x
    return -limit if -limit > lower else lower


@compiled
def _step_ada_grad(state: State, settings: Settings, model: int, keys: Ints, gradient: Floats, power: int) -> bool:
    """Update the weights by AdaGrad; return whether River could: Python raises where a square overflows."""
    numbers, present = state.numbers, state.present
    for place in range(len(keys)):
        key, slope = keys[place], gradient[place]
        square = _power(power, slope, 2.0)
        if np.isinf(square) and not np.isinf(slope):
            return False
        if not present[model + MEMORY, key]:
            _create(state, model + MEMORY, key)
        total = numbers[model + MEMORY, key] + square
        numbers[model + MEMORY, key] = total
        root = _power(power, total + settings.first, 0.5)
        numbers[model + WEIGHTS, key] -= settings.rate / root * slope
    return True


@compiled
def _step_adam(state: State, settings: Settings, model: int, keys: Ints, gradient: Floats, power: int) -> None:
    """Update the weights by Adam."""
    numbers, present = state.numbers, state.present
    beta_1, beta_2, eps = settings.first, settings.second, settings.third
    count = state.counters[ITERATIONS] + 1.0
    rate = settings.rate * _power(power, 1.0 - _power(power, beta_2, count), 0.5)
    rate /= 1.0 - _power(power, beta_1, count)
    for place in range(len(keys)):
        key, slope = keys[place], gradient[place]
        if not present[model + MEMORY, key]:
            _create(state, model + MEMORY, key)
        if not present[model + SECOND_MEMORY, key]:
            _create(state, model + SECOND_MEMORY, key)
        momentum = beta_1 * numbers[model + MEMORY, key] + (1.0 - beta_1) * slope
        square = beta_2 * numbers[model + SECOND_MEMORY, key] + (1.0 - beta_2) * (slope * slope)
        numbers[model + MEMORY, key] = momentum
        numbers[model + SECOND_MEMORY, key] = square
        numbers[model + WEIGHTS, key] -= rate * momentum / (_power(power, square, 0.5) + eps)


@compiled
def _step_rms_prop(state: State, settings: Settings, model: int, keys: Ints, gradient: Floats, power: int) -> None:
    """Update the weights by RMSProp."""
    numbers, present = state.numbers, state.present
    rho, eps = settings.first, settings.second
    for place in range(len(keys)):
        key, slope = keys[place], gradient[place]
        if not present[model + MEMORY, key]:
            _create(state, model + MEMORY, key)
        square = rho * numbers[model + MEMORY, key] + (1.0 - rho) * (slope * slope)
        numbers[model + MEMORY, key] = square
        numbers[model + WEIGHTS, key] -= settings.rate / _power(power, square + eps, 0.5) * slope


@compiled
def _step_ftrl(state: State, settings: Settings, model: int, keys: Ints, gradient: Floats, power: int) -> bool:
    """Update the weights by FTRL; return whether River could: Python raises at an overflow or a division by zero."""
    numbers, present = state.numbers, state.present
    alpha, beta, l1, l2 = settings.rate, settings.first, settings.second, settings.third
    sums, squares = model + MEMORY, model + SECOND_MEMORY
    for place in range(len(keys)):
        key = keys[place]
        if not present[sums, key]:
            _create(state, sums, key)
        z = numbers[sums, key]
        if abs(z) > l1:
            if not present[squares, key]:
                _create(state, squares, key)
            scale = (beta + _power(power, numbers[squares, key], 0.5)) / alpha + l2
            inverse = _power(power, scale, -1.0)
            if np.isinf(inverse):
                return False
            sign = 1.0 if z > 0.0 else (-1.0 if z < 0.0 else 0.0)
            numbers[model + WEIGHTS, key] = -inverse * (z - sign * l1)
    for place in range(len(keys)):
        key, slope = keys[place], gradient[place]
        square = _power(power, slope, 2.0)
        if np.isinf(square) and not np.isinf(slope):
            return False
        if not present[squares, key]:
            _create(state, squares, key)
        n = numbers[squares, key]
        shrinkage = (_power(power, n + square, 0.5) - _power(power, n, 0.5)) / alpha
        numbers[sums, key] += slope - shrinkage * numbers[model + WEIGHTS, key]
        numbers[squares, key] = n + square
    return True


@compiled
def _step(state: State, settings: Settings, model: int, keys: Ints, gradient: Floats, power: int) -> bool:
    """Let the optimizer update the weights; return whether River could."""
    optimizer = settings.optimizer
    if optimizer == SGD:
        numbers = state.numbers
        for place in range(len(keys)):
            numbers[model + WEIGHTS, keys[place]] -= settings.rate * gradient[place]
    elif optimizer == ADA_GRAD:
        return _step_ada_grad(state, settings, model, keys, gradient, power)
    elif optimizer == ADAM:
        _step_adam(state, settings, model, keys, gradient, power)
    elif optimizer == RMS_PROP:
        _step_rms_prop(state, settings, model, keys, gradient, power)
    else:
        return _step_ftrl(state, settings, model, keys, gradient, power)
    return True


@compiled
def _penalise(state: State, settings: Settings, model: int, keys: Ints) -> None:
    """Apply the l1 penalty, as far as it is not applied yet."""
    numbers, present = state.numbers, state.present
    state.scalars[PENALTY] += settings.l1 * settings.rate
    due = state.scalars[PENALTY]
    weights, penalties = numbers[model + WEIGHTS], numbers[model + PENALTIES]
    for place in range(len(keys)):
        key = keys[place]
        if not present[model + PENALTIES, key]:
            _create(state, model + PENALTIES, key)
        before = weights[key]
        if before > 0.0:
            after = before - (due + penalties[key])
            weights[key] = after if after > 0.0 else 0.0
        elif before < 0.0:
            after = before + (due - penalties[key])
            weights[key] = after if after < 0.0 else 0.0
        penalties[key] += weights[key] - before


@compiled
def _learn(
    state: State,
    settings: Settings,
    model: int,
    frames: Frames,
    frame: int,
    label: float,
    weight: float,
    power: int,
    exp: int,
) -> bool:
    """Learn a frame with its label; return whether River could."""
    size = frames.sizes[frame]
    keys, values, gradient = frames.keys[frame, :size], frames.values[frame, :size], frames.gradient[:size]
    predicted = _sum(state, model, keys, values, True) + state.scalars[INTERCEPT]
    slope = _clamp(_loss_gradient(settings, predicted, label, exp) * weight, settings.clip)
    numbers = state.numbers
    for place in range(size):
        gradient[place] = values[place] * slope
        if settings.l2 != 0.0:
            gradient[place] += settings.l2 * numbers[model + WEIGHTS, keys[place]]
    state.scalars[INTERCEPT] -= settings.intercept_rate * slope
    if not _step(state, settings, model, keys, gradient, power):
        return False
    state.counters[ITERATIONS] += 1
    if settings.l1 != 0.0:
        _penalise(state, settings, model, keys)
    return True


@compiled
def run(
    program: Program,
    settings: Settings,
    state: State,
    frames: Frames,
    entries: Entries,
    scores: Floats,
    first: int,
    last: int,
    power: int,
    exp: int,
) -> int:
    """Ask and learn the entries from `first` to before `last`, in order.

    Parameters
    ----------
    scores
        The score of each question is written here.
    power, exp
        The addresses of the C library's functions.

    Returns
    -------
    int
        `last`, or the entry at which Python would raise an error or produce a complex number. The state is then that of
        an entry learned in part.
    """
    model = len(state.sizes) - MODEL_TABLES
    frame = len(frames.sizes) - 1
    for row in range(first, last):
        kind = entries.kinds[row]
        if kind != QUESTION and kind != ANSWER:
            continue
        learns = kind == ANSWER
        # Before its first example River asks a copy, so that a question adds no keys to the model.
        creates_keys = learns or state.counters[EXAMPLES] > 0
        if not _transform(program, state, frames, entries.features[row], learns, creates_keys, power):
            return row
        if learns:
            label, weight = entries.labels[row], entries.weights[row]
            if not _learn(state, settings, model, frames, frame, label, weight, power, exp):
                return row
            state.counters[EXAMPLES] += 1
        else:
            size = frames.sizes[frame]
            total = _sum(state, model, frames.keys[frame, :size], frames.values[frame, :size], False)
            score = total + state.scalars[INTERCEPT]
            scores[row] = _sigmoid(score, exp) if settings.loss == LOG else score
    return last
