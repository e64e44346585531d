"""The linear regression of the documentation, on features that views produce: it does not diverge."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from river.linear_model import LinearRegression
from river.optim import SGD
from river.preprocessing import StandardScaler

from headrace.definition import Task
from headrace.engine.learning import Learning
from headrace.engine.quality import MARK, warning_of
from tests.unit.learner.logs import Row, alternating, definition, messages

_PAGE = Path(__file__).parents[3] / "docs" / "define-a-loop.md"
_NAMES = {"LinearRegression": LinearRegression, "SGD": SGD, "StandardScaler": StandardScaler}


def documented() -> Callable[[], Any]:
    (text,) = re.findall(r"learner=(lambda: .*LinearRegression\(.*\)),\n", _PAGE.read_text())
    found: Callable[[], Any] = eval(text, dict(_NAMES))
    return found


def metrics_of(learner: Any) -> dict[str, float]:
    """Return the metrics for delays in minutes: most are small, some are hours, as are the means of small groups."""
    rng = random.Random(3)
    rows: list[Row] = []
    labels = []
    for _ in range(4_000):
        delay = rng.gauss(0.0, 15.0) + (rng.expovariate(1 / 120) if rng.random() < 0.1 else 0.0)
        group = {f"mean{size}": delay / 4 + rng.gauss(0.0, 60.0 / size) for size in (1, 3, 10, 30)}
        rare = {f"rare{n}": float(rng.random() < 0.003) * rng.uniform(1.0, 50.0) for n in range(20)}
        rows.append({**group, **rare})
        labels.append(delay)
    model = definition("delay", Task.REGRESSION, rows[0])
    learning = Learning(model, learner)
    for one in messages(model, rows, alternating(labels), [1_000]):
        list(learning.read(one))
    return learning.quality.metrics()


def test_the_documented_regression_is_better_than_its_prior() -> None:
    found = metrics_of(documented()())
    assert found["mae"] < found["prior_mae"]
    assert found[MARK] == 0.0


def test_the_default_rate_diverges_and_is_marked() -> None:
    found = metrics_of(StandardScaler() | LinearRegression())
    assert found["mae"] > 100 * found["prior_mae"]
    assert found[MARK] == 1.0
    assert "learning rate" in str(warning_of("delay", found))
