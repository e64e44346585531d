"""The report of a model: its status at once, its metrics at most once a second, and the board by its owner alone."""

from __future__ import annotations

import numpy as np
from structlog.testing import capture_logs

from headrace.engine.quality import NOT_FINITE
from headrace.wire.position import START, Position
from headrace.wire.tables import Predictions
from tests.support.learner_fakes import Servers, learned
from tests.support.river_alone import river_alone

_NONE = np.zeros((1, 0))


def test_metrics_are_computed_at_most_once_a_second() -> None:
    servers = Servers()
    _, report, _ = servers.parts()
    servers.clock.now = 0.9
    report.update(learned(5))
    assert report.status.metrics == {}
    assert report.status.release_watermark == learned(5).progress.release_watermark
    servers.clock.now = 1.0
    report.update(learned(5))
    assert (report.status.examples, report.status.metrics["examples"]) == (5, 5)
    report.update(learned(10), at_once=True)
    assert report.status.examples == 10


def test_only_a_process_that_has_owned_the_log_writes_to_the_board() -> None:
    servers = Servers()
    ownership, report, _ = servers.parts()
    report.update(learned(5), at_once=True)
    assert servers.reports == []
    ownership.acquire()
    report.update(learned(5), at_once=True)
    report.saved_position = Position(1, 2, -1)
    report.update(learned(10), at_once=True)
    assert [(sent.examples, sent.position) for sent in servers.reports] == [(5, START), (10, Position(1, 2, -1))]


def test_a_model_that_cannot_compute_any_more_is_marked_and_logged_once() -> None:
    servers = Servers()
    _, report, _ = servers.parts()
    with river_alone():
        learning = learned(5)
    learning.estimator["LogisticRegression"].intercept = float("nan")
    with capture_logs() as logs:
        report.update(learning, at_once=True)
        report.update(learning, at_once=True)
    assert report.status.metrics[NOT_FINITE] == 1.0
    assert [entry["event"] for entry in logs] == ["model_not_finite"]


def test_answers_given_with_hindsight_are_counted_and_nothing_is_measured() -> None:
    _, report, _ = Servers().parts()
    learning = learned(5)
    assert learning.served is not None
    report.update(learning, at_once=True)
    assert "served" not in report.status.metrics
    learning.served.predict(
        Predictions(["e0"], np.zeros(1, np.int64), [b""], np.array([5]), np.ones(1), None, _NONE, [])
    )
    report.update(learning, at_once=True)
    names = {name for name in report.status.metrics if name.startswith(("served", "hindsight", "unserved"))}
    assert {name: report.status.metrics[name] for name in names} == {"served": 0.0, "hindsight": 1.0, "unserved": 4.0}
