"""Linear models learned by compiled code, equal to River's to the last bit; internal."""

from headrace.engine.learning.compiled.learner import Columns, CompiledLearner, Prepared, Run
from headrace.engine.learning.compiled.machine_check import equals_river, learner_of
from headrace.engine.learning.compiled.plan import Plan, Recognised, Refusal, recognise

__all__ = [
    "Columns",
    "CompiledLearner",
    "Plan",
    "Prepared",
    "Recognised",
    "Refusal",
    "Run",
    "equals_river",
    "learner_of",
    "recognise",
]
