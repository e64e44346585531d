"""Models as functions of their logs of questions and answers, and their versions in published form; internal."""

from headrace.engine.learning.learning import Learning, Progress
from headrace.engine.learning.ordered_sets import SortedSet, in_order
from headrace.engine.learning.pending_predictions import WaitingPredictions
from headrace.engine.learning.served_quality import ServedQuality
from headrace.engine.learning.soundness import not_finite
from headrace.engine.learning.steps import Score
from headrace.engine.learning.versions import version_of
from headrace.engine.learning.weights import takes_weight

__all__ = [
    "Learning",
    "Progress",
    "Score",
    "ServedQuality",
    "SortedSet",
    "WaitingPredictions",
    "in_order",
    "not_finite",
    "takes_weight",
    "version_of",
]
