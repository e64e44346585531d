"""A changed loop whose former file returns, and whose store is filled again: every answered question is an example."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import embedded
from headrace.cli.program import run
from headrace.client import IngestClient
from headrace.embedded import RunningLoop
from tests.deadline import until
from tests.support.renamed_shop import SECOND, START, write

_QUESTIONS, _STEP = 160, 40

_CHANGED = ('windows=["1h"]', 'windows=["2h"]')
_BESIDE = (
    "Model(\n",
    'Model("price", on=Asked, label=late, features=[Asked.price], learner=lambda: LogisticRegression())\nModel(\n',
)
_LEFT_OUT = ('"delay", on=Asked', '"price", on=Asked')
_OTHER = ("[sales, Asked.price]", '[sales, (Asked.price * 2).named("double")]')


def ask(loop: RunningLoop, numbers: range) -> None:
    publish(loop, "asked", [{**event(number), "price": float(number % 7)} for number in numbers])


def answer(loop: RunningLoop, numbers: range) -> None:
    publish(loop, "sold", [{**event(number, SECOND), "late": number % 7 > 3} for number in numbers])


def event(number: int, after: int = 0) -> dict[str, object]:
    return {"id": f"{number}", "at": START + number * SECOND + after, "shop": f"s{number % 3}"}


def publish(loop: RunningLoop, stream: str, events: list[dict[str, object]]) -> None:
    with IngestClient(loop.addresses["ingest"]) as client:
        assert client.publish_stream(stream, events).accepted == len(events)


def examples(loop: RunningLoop, model: str = "delay") -> tuple[float | None, int]:
    """Return the examples that the learner has learned, and the questions that wait; -1 if they are not reported."""
    status = {status.service: status for status in loop.status()}
    learned = status["learner"].metrics.get(model, {}).get("examples")
    join = status["feature"].joins.get(model)
    return learned, -1 if join is None else join.waiting_questions


def test_no_question_is_lost_when_a_former_file_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [write(tmp_path, "shop.py"), write(tmp_path, "b.py", _CHANGED), write(tmp_path, "c.py", _OTHER)]
    data, answered = tmp_path / "data", 0
    # The former files return with and without questions that were asked meanwhile.
    for number, file in enumerate([files[0], files[1], files[0], files[2]]):
        with embedded.run(file, data=data) as loop:
            if not number:
                ask(loop, range(_QUESTIONS))
            answer(loop, range(answered, answered + _STEP))
            answered += _STEP
            expected = (answered, _QUESTIONS - answered)
            until(lambda: examples(loop), lambda found: found == expected, seconds=60)  # noqa: B023
    with embedded.run(files[1], data=data) as loop:
        ask(loop, range(_QUESTIONS, _QUESTIONS + 2 * _STEP))
        answer(loop, range(_QUESTIONS, _QUESTIONS + _STEP))
        until(lambda: examples(loop), lambda found: found == (_QUESTIONS + _STEP, _STEP), seconds=60)
        # The vectors of the first questions are those of another definition.
        assert run(["backfill", "--again", "--data", str(data)]) == 0
        until(lambda: examples(loop), lambda found: found == (_QUESTIONS + _STEP, _STEP), seconds=60)
        answer(loop, range(_QUESTIONS + _STEP, _QUESTIONS + 2 * _STEP))
        until(lambda: examples(loop), lambda found: found == (_QUESTIONS + 2 * _STEP, 0), seconds=60)
    with embedded.run(files[0], data=data) as loop:
        until(lambda: examples(loop), lambda found: found == (_QUESTIONS + 2 * _STEP, 0), seconds=60)
        assert run(["replay", "--diff", "--data", str(data)]) == 0
    capsys.readouterr()


def test_labels_that_come_while_examples_are_made_are_learned(tmp_path: Path) -> None:
    data, questions = tmp_path / "data", 10_000
    with embedded.run(write(tmp_path, "shop.py"), data=data) as loop:
        ask(loop, range(questions))
        until(lambda: examples(loop)[1], lambda waiting: waiting == questions, seconds=60)
    with embedded.run(write(tmp_path, "b.py", _CHANGED), data=data) as loop:
        for start in range(0, questions, 250):
            answer(loop, range(start, start + 250))
        until(lambda: examples(loop), lambda found: found == (questions, 0), seconds=120)


def test_questions_wait_again_after_a_changed_loop_has_lost_its_store(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with embedded.run(write(tmp_path, "shop.py"), data=data) as loop:
        ask(loop, range(_QUESTIONS))
        answer(loop, range(_STEP))
        until(lambda: examples(loop), lambda found: found == (_STEP, _QUESTIONS - _STEP), seconds=60)
    with embedded.run(write(tmp_path, "b.py", _CHANGED), data=data) as loop:
        until(lambda: examples(loop), lambda found: found == (_STEP, _QUESTIONS - _STEP), seconds=60)
        assert run(["backfill", "--again", "--data", str(data)]) == 0
        answer(loop, range(_STEP, 2 * _STEP))
        until(lambda: examples(loop), lambda found: found == (2 * _STEP, _QUESTIONS - 2 * _STEP), seconds=60)
        ask(loop, range(_QUESTIONS, _QUESTIONS + _STEP))
        answer(loop, range(_QUESTIONS, _QUESTIONS + _STEP))
        until(lambda: examples(loop), lambda found: found == (3 * _STEP, _QUESTIONS - 2 * _STEP), seconds=60)


def test_a_model_that_was_left_out_learns_what_came_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, without = write(tmp_path, "shop.py", _BESIDE), write(tmp_path, "less.py", _LEFT_OUT)
    data, step = tmp_path / "data", _STEP
    with embedded.run(full, data=data) as loop:
        ask(loop, range(step))
        answer(loop, range(step))
        until(lambda: examples(loop), lambda found: found == (step, 0), seconds=60)
    with embedded.run(without, data=data) as loop:
        ask(loop, range(step, 2 * step))
        answer(loop, range(step, step + 9))
        until(lambda: examples(loop, "price"), lambda found: found[1] == step - 9, seconds=60)
    with embedded.run(full, data=data) as loop:
        until(lambda: examples(loop), lambda found: found == (step + 9, step - 9), seconds=60)
    with embedded.run(without, data=data) as loop:
        ask(loop, range(2 * step, 3 * step))
        answer(loop, range(step + 9, 3 * step))
        until(lambda: examples(loop, "price"), lambda found: found[1] == 0, seconds=60)
    with embedded.run(full, data=data) as loop:
        ask(loop, range(3 * step, 4 * step))
        answer(loop, range(3 * step, 4 * step))
        until(lambda: examples(loop), lambda found: found == (4 * step, 0), seconds=60)
        assert run(["replay", "--diff", "--data", str(data)]) == 0
    capsys.readouterr()
