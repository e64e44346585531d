"""The metrics that `headrace models` shows of what was served."""

from __future__ import annotations

import math

from headrace.cli.models import description_lines, served_metrics
from headrace.client import ModelDescription, ModelSummary
from headrace.runtime.redis.status import ServiceStatus, TakeoverStatus

METRICS: dict[str, float | None] = {"roc_auc": 0.75, "served": 900.0, "unserved": 3.0, "served_log_loss": None}


def status(model: str, **parts: dict[str, TakeoverStatus]) -> ServiceStatus:
    return ServiceStatus(service="learner", instance="learner-0", metrics={model: METRICS}, **parts)


def test_served_metrics_come_from_the_learners_status() -> None:
    scorer = ServiceStatus(service="scorer", instance="scorer-0")
    found = served_metrics([scorer, status("young"), status("late")], "late")
    assert math.isnan(found.pop("served_log_loss"))
    assert found == {"served": 900.0, "unserved": 3.0}


def test_a_model_that_no_learner_reports_has_none() -> None:
    assert served_metrics([status("young")], "late") == {}


def test_a_definition_that_does_not_answer_yet_counts_apart() -> None:
    takeover = TakeoverStatus(answering="d1", learned=10, needed=100)
    assert served_metrics([status("late", takeovers={"late": takeover})], "late") == {}


def test_a_model_that_was_not_scored_yet_shows_no_metrics() -> None:
    summary = ModelSummary("late", "binary", "d1", 60, None)
    metrics = {"scored": 0.0, "log_loss": 0.0, "roc_auc": 0.5}
    lines = description_lines(ModelDescription(summary, "LogisticRegression()", (), (), metrics))
    assert "  nothing has been scored yet" in lines
    assert not any("log_loss" in line for line in lines)
    metrics["scored"] = 1.0
    lines = description_lines(ModelDescription(summary, "LogisticRegression()", (), (), metrics))
    assert "  log_loss  0" in lines
