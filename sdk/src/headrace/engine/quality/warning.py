"""The mark of a model that is worse than its prior, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

#: The metric that marks such a model: 1 or 0.
MARK = "worse_than_prior"

#: The metric that is 1 if the model holds a number that it cannot compute with.
NOT_FINITE = "not_finite"

#: Minimum weight of the scored examples for a comparison of the two.
ENOUGH = 100.0

#: The losses that are compared, each with the prior's.
_LOSSES = ("log_loss", "mae")

#: The usual causes, in the order of their frequency.
CAUSES = (
    "features that are not scaled (StandardScaler), a learning rate that is too high (in a regression also for labels "
    "that are far from the range of 1), missing values written as numbers, or too few examples so far"
)

SPOILED = (
    "has learned a value too large to compute with, and keeps it, infinity or NaN: its answers are useless. "
    'Clip the features that may be so large, as in col("x").clip(-1e6, 1e6): the changed model starts from nothing'
)


def is_worse(metrics: Mapping[str, float], weight: float) -> bool:
    """Return whether a model's loss is above the prior's, over enough examples to judge.

    Parameters
    ----------
    metrics
        Metrics by name, as `headrace.engine.quality.Quality.metrics` returns them.
    weight
        The weight of the examples that were scored.
    """
    if weight < ENOUGH:
        return False
    pairs = [(metrics[loss], metrics[f"prior_{loss}"]) for loss in _LOSSES if loss in metrics]
    # A loss that is NaN counts as above any number.
    return any(not loss <= prior for loss, prior in pairs if prior == prior)


def warning_of(model: str, metrics: Mapping[str, float | None]) -> str | None:
    """Return what is wrong with a model that is marked, with the usual causes; None for any other."""
    if metrics.get(NOT_FINITE):
        return f"{model} {SPOILED}"
    if not metrics.get(MARK):
        return None
    loss = next((loss for loss in _LOSSES if loss in metrics), "log_loss")
    figures = f"{loss} {_number_text(metrics.get(loss))}, the prior's {_number_text(metrics.get(f'prior_{loss}'))}"
    return f"{model} is worse than its prior ({figures}). Usual causes: {CAUSES}"


def _number_text(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.6g}"
