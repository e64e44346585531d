"""Linear models learned by compiled code, equal to River's to the last bit; internal. Importing it loads numba."""

from headrace.engine.learning.compiled.learner import CompiledLearner, PreparedMessage, Run
from headrace.engine.learning.compiled.machine_check import equals_river
from headrace.engine.learning.compiled.plan import Plan, RecognisedEstimator, recognise

__all__ = [
    "CompiledLearner",
    "Plan",
    "PreparedMessage",
    "RecognisedEstimator",
    "Run",
    "equals_river",
    "recognise",
]
