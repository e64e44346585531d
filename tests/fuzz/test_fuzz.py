"""No damaged bytes end a process: a few hundred cases of each decoder; `make fuzz MINUTES=60` runs more."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzzing import fuzz
from tests.fuzz.targets import TARGETS

CASES = 300

#: The expected endings of planted faults.
ENDS = {"planted_crash": "signal 11", "planted_error": "ZeroDivisionError", "planted_memory": "MemoryError"}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_damaged_bytes_are_taken_or_refused(target: str) -> None:
    outcome = fuzz(target, seed=7, cases=CASES)
    assert outcome.finding is None, outcome.finding
    assert outcome.cases == CASES


@pytest.mark.parametrize(("target", "reason"), ENDS.items())
def test_a_planted_fault_is_found_with_its_bytes(target: str, reason: str) -> None:
    finding = fuzz(target, seed=7, cases=CASES).finding
    assert finding is not None
    assert reason in finding.reason
    assert finding.data[:1] != b"H"
