"""Payments with a known probability of fraud, and the chargebacks that follow them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DAY = 86_400_000_000
START = 1_767_225_600_000_000  # 2026-01-01

#: How long the payments continue, and how long a chargeback counts, as the loop declares.
SPAN, BOUND = 120 * DAY, 10 * DAY

#: The time up to which chargebacks are known: the last payments stay open.
CLOSING = START + SPAN + BOUND - SPAN // 200

#: The overall share of payments that end as fraud.
SHARE = 0.002

#: Shares of frauds: charged back too late; first as a suspicion, confirmed later; withdrawn; withdrawn too late.
_LATE, _SUSPECTED, _REVOKED, _REVOKED_LATE = 0.05, 0.10, 0.08, 0.03

#: Share of honest payments charged back by mistake and withdrawn. Chargebacks without a payment, for each payment.
_MISTAKEN, _UNMATCHED = 0.0002, 0.0001

#: The share of frauds that count in the end.
_COUNTED = (1 - _LATE) * (1 - _REVOKED)


@dataclass(frozen=True)
class Payments:
    """The generated data; payment `i` has the id `payment_id(i)`.

    Attributes
    ----------
    probabilities
        The probability that each payment ends as fraud.
    frauds
        Whether it does, by the chargebacks within the bound.
    charged
        Whether it has any chargeback within the bound.
    chargebacks
        How many there are of each kind: the first of a payment; a correction of it; late, after the bound; unmatched,
        without a payment.
    """

    times: Ints
    probabilities: Floats
    frauds: Bools
    charged: Bools
    chargebacks: Counter[str]

    @property
    def closed(self) -> Bools:
        """Whether the bound has passed, for each payment."""
        return self.times + BOUND < CLOSING


def payment_id(index: int) -> str:
    return f"P{index:08d}"


def generate(count: int, seed: int, directory: Path) -> tuple[Payments, dict[str, Path]]:
    """Write a file for each stream, in order of event time."""
    draw = np.random.default_rng(seed)
    times = np.sort(START + draw.integers(0, SPAN, count))
    amounts = np.round(np.exp(draw.normal(3.5, 1.0, count)), 2)
    abroad, online = draw.random(count) < 0.05, draw.random(count) < 0.4
    night = times % DAY < DAY // 4
    score = 0.8 * (np.log1p(amounts) - 3.5) + 1.5 * abroad + 0.9 * online + 0.7 * night
    probabilities = _with_mean(score, SHARE / _COUNTED)
    maker = _Chargebacks(draw, times, draw.random(count) < probabilities)
    directory.mkdir(parents=True, exist_ok=True)
    paid = {
        "payment": pa.array([payment_id(index) for index in range(count)]),
        "at": pa.array(times, pa.timestamp("us")),
        "card": pa.array([f"C{card}" for card in draw.integers(0, max(count // 40, 1), count)]),
        "amount": pa.array(amounts),
        "abroad": pa.array(abroad),
        "online": pa.array(online),
    }
    chargebacks, kinds = maker.columns()
    files = {"paid": _write(directory / "paid.parquet", paid)}
    files["chargeback"] = _write(directory / "chargebacks.parquet", chargebacks)
    return Payments(times, probabilities * _COUNTED, maker.counted, maker.charged, kinds), files


class _Chargebacks:
    """The chargebacks of all payments."""

    def __init__(self, draw: np.random.Generator, times: Ints, frauds: Bools) -> None:
        self._draw, self._times = draw, times
        self._told: list[tuple[str, Ints, list[str], Bools]] = []
        self.counted, self.charged = np.zeros(len(times), np.bool_), np.zeros(len(times), np.bool_)
        self._of_frauds(np.flatnonzero(frauds))
        self._of_honest(np.flatnonzero(~frauds & (draw.random(len(times)) < _MISTAKEN)))
        self._of_none(max(round(len(times) * _UNMATCHED), 1))

    def _of_frauds(self, frauds: Ints) -> None:
        kinds = self._draw.random(len(frauds))
        late, in_time = frauds[kinds < _LATE], frauds[kinds >= _LATE]
        self._tell("late", late, self._within(late, 10.1, 20.0), True)
        first = self._within(in_time, 0.2, 4.0)
        suspected = self._draw.random(len(in_time)) < _SUSPECTED
        self._tell("first", in_time, first, ~suspected)
        again = in_time[suspected]
        self._tell("correction", again, first[suspected] + self._within(again, 0.1, 2.0), True)
        fate = self._draw.random(len(in_time))
        revoked, too_late = in_time[fate < _REVOKED], in_time[fate >= 1 - _REVOKED_LATE]
        self._tell("correction", revoked, self._within(revoked, 6.5, 9.9), False)
        self._tell("late", too_late, self._within(too_late, 10.1, 15.0), False)
        self.counted[in_time] = fate >= _REVOKED

    def _of_honest(self, mistaken: Ints) -> None:
        self._tell("first", mistaken, self._within(mistaken, 0.2, 4.0), True)
        self._tell("correction", mistaken, self._within(mistaken, 4.1, 9.9), False)

    def _of_none(self, count: int) -> None:
        at = self._draw.integers(START, START + SPAN, count)
        self._told.append(("unmatched", at, [f"X{index:08d}" for index in range(count)], np.ones(count, np.bool_)))

    def _tell(self, kind: str, payments: Ints, after: Ints, confirmed: bool | Bools) -> None:
        ids = [payment_id(index) for index in payments.tolist()]
        self._told.append((kind, self._times[payments] + after, ids, np.broadcast_to(confirmed, len(ids))))
        if kind == "first":
            self.charged[payments] = True

    def _within(self, payments: Ints, least: float, most: float) -> Ints:
        return self._draw.integers(int(least * DAY), int(most * DAY), len(payments))

    def columns(self) -> tuple[dict[str, pa.Array], Counter[str]]:
        """Return the chargebacks before the closing time, in order of event time, and the number of each kind."""
        at = np.concatenate([times for _, times, _, _ in self._told])
        payments = np.concatenate([np.array(ids, object) for _, _, ids, _ in self._told])
        confirmed = np.concatenate([values for _, _, _, values in self._told])
        kinds = np.repeat([kind for kind, _, _, _ in self._told], [len(ids) for _, ids, _, _ in self._told])
        order = np.argsort(at, kind="stable")
        order = order[at[order] < CLOSING]
        columns = {
            "chargeback": pa.array([f"B{index:08d}" for index in range(len(order))]),
            "at": pa.array(at[order], pa.timestamp("us")),
            "payment": pa.array(payments[order], pa.string()),
            "confirmed": pa.array(confirmed[order]),
        }
        return columns, Counter(kinds[order].tolist())


def _with_mean(score: Floats, mean: float) -> Floats:
    """Return probabilities with this mean, whose log odds are the scores plus a constant."""
    low, high = -30.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(score + middle).mean() < mean else (low, middle)
    return _sigmoid(score + low)


def _sigmoid(score: Floats) -> Floats:
    chances: Floats = 1.0 / (1.0 + np.exp(-score))
    return chances


def _write(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path
