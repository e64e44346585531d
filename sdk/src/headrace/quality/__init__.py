"""Prequential quality: how well each example was predicted before it was learned."""

from headrace.quality.history import Point
from headrace.quality.measures import NO_PREDICTION, Outcomes, Quality, quality_of, restore

__all__ = ["NO_PREDICTION", "Outcomes", "Point", "Quality", "quality_of", "restore"]
