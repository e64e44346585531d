"""Bare River over a log, and how well its predictions are calibrated: computed independently of headrace's metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.simulations.fraud.example_log import ANSWER, QUESTION, ExampleLog
from tests.simulations.fraud.payments import Bools, Floats


@dataclass(frozen=True)
class Figures:
    """The quality of predictions; `decile_error` is the calibration error over ten bins of equal weight."""

    examples: int
    mean: float
    share: float
    ece: float
    decile_error: float
    log_loss: float
    roc_auc: float


def predictions(log: ExampleLog, names: list[str], estimator: Any, payments: int, weighted: bool = True) -> Floats:
    """Return a model's prediction for each payment when it is asked; the model learns each answer when that is known.

    Parameters
    ----------
    weighted
        Learn with the weights of the examples. Without them only questions that have an answer are asked.
    """
    probabilities = np.full(payments, np.nan)
    kinds, weights, labels = (log.columns[name].tolist() for name in ("kind", "weight", "label"))
    relevant = np.ones(len(kinds), np.bool_) if weighted else np.isin(log.payments, log.payments[log.rows(ANSWER)])
    learn, predict = estimator.learn_one, estimator.predict_proba_one
    for at in np.flatnonzero(relevant).tolist():
        kind = kinds[at]
        if kind == QUESTION:
            probabilities[log.payments[at]] = predict(_row(names, log.vectors[at])).get(True, 0.0)
        elif kind == ANSWER and weighted and weights[at] != 1.0:
            learn(_row(names, log.vectors[at]), labels[at] > 0.5, w=weights[at])
        elif kind == ANSWER:
            learn(_row(names, log.vectors[at]), labels[at] > 0.5)
    return probabilities


def _row(names: list[str], values: Floats) -> dict[str, float]:
    """Return a vector without missing values."""
    return {name: value for name, value in zip(names, values.tolist(), strict=True) if value == value}


def figures(probabilities: Floats, truth: Bools, weights: Floats) -> Figures:
    """Compute the quality of predictions."""
    losses = -np.log(np.clip(np.where(truth, probabilities, 1.0 - probabilities), 1e-15, 1.0))
    order = np.argsort(probabilities, kind="stable")
    ranks = np.empty(len(probabilities), np.int64)
    ranks[order] = np.minimum((np.cumsum(weights[order]) / weights.sum() * 10).astype(np.int64), 9)
    return Figures(
        len(probabilities),
        float(np.average(probabilities, weights=weights)),
        float(np.average(truth, weights=weights)),
        _error(np.minimum((probabilities * 10).astype(np.int64), 9), probabilities, truth, weights),
        _error(ranks, probabilities, truth, weights),
        float(np.average(losses, weights=weights)),
        _area(probabilities, truth, weights),
    )


def prior_log_loss(log: ExampleLog, scored: Bools) -> float:
    """Compute the log loss of the share of the labels known at the question; `scored` are the payments that count."""
    priors = np.full(len(scored), 0.5)
    true, total, losses, weight = 0.0, 0.0, 0.0, 0.0
    columns = (log.columns[name].tolist() for name in ("kind", "label", "weight"))
    for kind, label, example_weight, payment in zip(*columns, log.payments.tolist(), strict=True):
        if kind == QUESTION:
            priors[payment] = (true + 1.0) / (total + 2.0)
        elif kind == ANSWER:
            true, total = true + example_weight * label, total + example_weight
            if scored[payment]:
                losses -= example_weight * float(np.log(priors[payment] if label > 0.5 else 1.0 - priors[payment]))
                weight += example_weight
    return losses / weight


def _error(bins: Any, probabilities: Floats, truth: Bools, weights: Floats) -> float:
    """Compute the mean distance between the mean prediction and the share of true ones, weighted by bin."""
    sums = np.bincount(bins, weights * (probabilities - truth), 10)
    return float(np.abs(sums).sum() / weights.sum())


def _area(probabilities: Floats, truth: Bools, weights: Floats) -> float:
    """Compute the weighted share of pairs in which the true one has the higher prediction; ties count half."""
    _, ranks = np.unique(probabilities, return_inverse=True)
    true, false = np.bincount(ranks, weights * truth), np.bincount(ranks, weights * ~truth)
    below = np.cumsum(false) - false
    return float((true * (below + false / 2)).sum() / (true.sum() * false.sum()))
