"""The area under the ROC curve: exact over windows, close over streams, however dense the scores are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.quality.auc import BINS, StreamingAuc, bins_of, exact_auc


def naive(scores: list[float], truth: list[bool]) -> float:
    pairs = [
        (one, other)
        for one, true in zip(scores, truth, strict=True)
        if true
        for other, false in zip(scores, truth, strict=True)
        if not false
    ]
    return sum((one > other) + (one == other) / 2 for one, other in pairs) / len(pairs) if pairs else 0.5


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), max_size=40))
def test_the_exact_area_counts_pairs_and_halves_ties(rows: list[tuple[float, bool]]) -> None:
    scores, truth = [row[0] for row in rows], [row[1] for row in rows]
    assert exact_auc(np.array(scores), np.array(truth, np.bool_)) == pytest.approx(naive(scores, truth), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_a_higher_score_never_has_a_lower_bin(scores: list[float]) -> None:
    bins = bins_of(np.sort(np.array(scores)))
    assert (np.diff(bins) >= 0).all()
    assert 0 <= bins.min() <= bins.max() < BINS


@pytest.mark.parametrize("rate", [0.5, 0.02, 0.0005])
def test_the_streaming_area_is_close_also_for_rare_events(rate: float) -> None:
    random = np.random.default_rng(3)
    logits = random.normal(np.log(rate / (1 - rate)), 1.0, 50_000)
    scores = 1 / (1 + np.exp(-logits))
    truth = random.random(50_000) < scores
    curve = StreamingAuc()
    for part in np.array_split(np.arange(50_000), 13):
        curve.add(scores[part], truth[part])
    assert curve.value() == pytest.approx(exact_auc(scores, truth), abs=2e-5)
    assert StreamingAuc.load(curve.dump()).value() == curve.value()


def test_scores_that_are_no_numbers_rank_lowest() -> None:
    assert bins_of(np.array([np.nan, 0.0])).tolist() == [0, 0]
    curve = StreamingAuc()
    curve.add(np.array([np.nan, 0.7]), np.array([True, False]))
    assert curve.value() == 0.0


def test_one_class_alone_has_half() -> None:
    curve = StreamingAuc()
    assert curve.value() == 0.5
    curve.add(np.array([0.2, 0.4]), np.array([True, True]))
    assert curve.value() == 0.5
