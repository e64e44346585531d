"""Models as functions of their logs of questions and answers, and their versions in published form."""

from .learning import Learning, Progress
from .ordering import SortedSet, in_order
from .served import ServedQuality
from .soundness import not_finite
from .steps import Score
from .versions import version_of
from .waiting import WaitingPredictions
from .weights import takes_weight

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
