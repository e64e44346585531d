"""Quality as of the question: how well each question was predicted when it was asked; internal."""

from headrace.engine.quality.baselines import Baseline, BinaryBaseline, MulticlassBaseline, RegressionBaseline
from headrace.engine.quality.calibration import ReliabilityBin
from headrace.engine.quality.history import Point
from headrace.engine.quality.measures import NO_PREDICTION, Outcomes, Quality, quality_of, restore
from headrace.engine.quality.warning import MARK, NOT_FINITE, SPOILED, warning_of

__all__ = [
    "MARK",
    "NOT_FINITE",
    "NO_PREDICTION",
    "SPOILED",
    "Baseline",
    "BinaryBaseline",
    "MulticlassBaseline",
    "Outcomes",
    "Point",
    "Quality",
    "RegressionBaseline",
    "ReliabilityBin",
    "quality_of",
    "restore",
    "warning_of",
]
