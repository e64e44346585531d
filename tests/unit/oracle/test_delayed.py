"""River's order of questions and answers at equal times, which equals that of a model's log."""

from __future__ import annotations

import math

import numpy as np
from river.linear_model import LogisticRegression

from tests.oracle.delayed import NEVER, Questions, evaluate, figures, steps_of


def questions(*rows: tuple[str, int, int | None, bool]) -> Questions:
    """Return questions of (id, time, when the answer is known, label), in the order of the data."""
    ids, times, known, labels = zip(*rows, strict=True)
    delays = [NEVER if at is None else at - time for at, time in zip(known, times, strict=True)]
    known_labels = [None if at is None else label for at, label in zip(known, labels, strict=True)]
    moments = np.array(times, np.int64)
    return Questions(
        list(ids), moments, moments, np.array(delays, np.int64), known_labels, ("x",), np.ones((len(ids), 1))
    )


def order(log: Questions) -> list[str]:
    """Return River's order in words."""
    return [f"{log.ids[index]}{'?' if asks else '!'}" for index, asks in steps_of(log)]


def test_an_answer_precedes_the_questions_of_its_time() -> None:
    assert order(questions(("a", 0, 5, True), ("b", 5, 9, True))) == ["a?", "a!", "b?", "b!"]


def test_answers_of_one_time_follow_their_questions() -> None:
    log = questions(("c", 0, 7, True), ("b", 1, 7, True), ("a", 2, 7, True), ("d", 7, 8, True))
    assert order(log) == ["c?", "b?", "a?", "c!", "b!", "a!", "d?", "d!"]


def test_an_answer_known_at_once_follows_its_own_question() -> None:
    log = questions(("a", 3, 3, True), ("b", 3, 3, True), ("c", 3, 4, True))
    assert order(log) == ["a?", "a!", "b?", "b!", "c?", "c!"]


def test_a_question_without_an_answer_is_asked_and_left_out() -> None:
    log = questions(("a", 0, None, False), ("b", 1, 2, True), ("c", 3, 4, False))
    plain = questions(("b", 1, 2, True), ("c", 3, 4, False))
    whole, part = evaluate(log, LogisticRegression()), evaluate(plain, LogisticRegression())
    assert whole.scores[1:].tolist() == part.scores.tolist()
    assert whole.scores[0] == 0.5
    assert whole.models.keys() == {2}
    assert whole.models[2].weights == part.models[2].weights
    assert figures(whole, None) == figures(part, None)


def test_baselines_know_what_was_known_at_the_question() -> None:
    log = questions(("a", 0, 10, True), ("b", 5, 6, True), ("c", 10, 11, False))
    found = figures(evaluate(log, LogisticRegression()), None)
    # No answer is known at the first two; both are known at the third.
    assert found["prior_log_loss"] == -(math.log(0.5) + math.log(0.5) + math.log(1 - 3 / 4)) / 3
    assert found["no_change_accuracy"] == 0.0
    assert (found["examples"], found["scored"]) == (3.0, 3.0)
