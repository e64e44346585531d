"""Reading which examples a model skips, and waiting for one of them."""

from __future__ import annotations

import threading

from headrace_learner.skipped_examples import SkippedExamples
from tests.support.learner_fakes import Feed

_READINGS = (frozenset({2}), frozenset({2, 4}), frozenset({2, 4, 6}))


def test_one_reading_is_enough_unless_a_question_is_awaited() -> None:
    skipped = SkippedExamples(lambda: Feed(list(_READINGS)), threading.Event())
    assert skipped.questions == frozenset()
    skipped.read()
    assert skipped.questions == {2}
    skipped.read(until=4)
    assert skipped.questions == {2, 4}


def test_a_process_that_stops_awaits_no_skip() -> None:
    stopping = threading.Event()
    stopping.set()
    skipped = SkippedExamples(lambda: Feed(list(_READINGS)), stopping)
    skipped.read(until=6)
    assert skipped.questions == {2}
