"""Statuses as a table, lines and JSON."""

from __future__ import annotations

import io
import json
import time

from rich.console import Console

from headrace.cli import board
from headrace.runtime.redis.status import ServiceStatus, TakeoverStatus
from headrace.wire.times import Inactive


def learner() -> ServiceStatus:
    return ServiceStatus(
        service="learner",
        instance="learner-0",
        state="ready",
        address="127.0.0.1:7001",
        updated_at=time.time(),
        counters={"examples": 5000, "dead_letters": 1200},
        rates={"examples": 2500.4, "dead_letters": 1.0},
        watermark=1_000_000_000_000_000,
        lag_s=3.25,
        versions={"late": 5000},
        metrics={"late": {"roc_auc": 0.75123, "log_loss": 0.47, "scored": 4000.0}},
    )


def test_a_line_has_everything_that_is_known() -> None:
    (line,) = board.as_lines([learner()])
    assert line.partition("  ")[2] == (
        "learner-0: ready  lag 3.2 s of event time  up to 2001-09-09 01:46:40"
        "  examples 5,000 (2,500/s)  version late 5,000"
        "  late log_loss 0.4700  late roc_auc 0.7512  late scored 4,000  dead letters 1,200"
    )


def test_a_line_leaves_out_what_is_not() -> None:
    (line,) = board.as_lines([ServiceStatus(service="ingest", instance="ingest-0", updated_at=time.time())])
    assert line.partition("  ")[2] == "ingest-0: starting"


def test_counters_and_rates_of_zero_are_left_out() -> None:
    status = learner()
    status.counters |= {"resent": 0, "versions": 3}
    status.rates |= {"versions": 0.2}
    (line,) = board.as_lines([status])
    assert "  examples 5,000 (2,500/s)  versions 3  version late 5,000" in line
    assert "resent" not in line


def test_a_model_that_was_not_scored_yet_has_no_quality() -> None:
    status = learner()
    status.metrics["late"] = {"roc_auc": 0.5, "log_loss": 0.0, "scored": 0.0}
    (line,) = board.as_lines([status])
    assert "roc_auc" not in line


def test_served_quality_comes_second_and_what_cannot_be_computed_is_a_dash() -> None:
    status = learner()
    status.metrics["late"] = {
        "served_mae": 2.0,
        "served": 3.0,
        "mae": 1e300,
        "r2": None,
        "unasked": 0.0,
        "dropped": 2.0,
        "scored": 4.0,
    }
    (line,) = board.as_lines([status])
    figures = ["dropped 2", "mae 1e+300", "r2 -", "scored 4", "served 3", "served_mae 2.0000"]
    assert "  ".join(f"late {figure}" for figure in figures) in line
    assert "unasked" not in line


def test_a_model_that_is_worse_than_its_prior_is_marked_with_the_usual_causes() -> None:
    status = learner()
    status.metrics["late"] |= {"prior_log_loss": 0.4, "worse_than_prior": 1.0}
    line, advice = board.as_lines([status])
    assert "late worse than its prior" in line
    assert advice.startswith("! late is worse than its prior (log_loss 0.47, the prior's 0.4). Usual causes: ")
    assert "worse than its prior" in printed(status)


def test_a_changed_model_shows_how_far_it_is() -> None:
    status = learner()
    status.takeovers = {"late": TakeoverStatus(answering="a1b2", learned=1_200, needed=50_000)}
    expected = "new definition: 1,200 of 50,000 examples, a1b2 answers meanwhile"
    assert f"late {expected}" in board.as_lines([status])[0]
    assert "takeover" in printed(status)
    assert "takeover" not in printed(learner())
    assert json.loads(board.as_json("flights", [status]))["services"][0]["takeovers"]["late"]["needed"] == 50_000


def test_one_that_is_silent_and_a_note_are_shown() -> None:
    status = ServiceStatus(service="s", instance="s-0", state="ready", updated_at=time.time() - 60, note="no broker")
    (line,) = board.as_lines([status])
    assert "ready, silent for 60 s (no broker)" in line


def test_a_service_that_does_not_report_is_seen() -> None:
    lines = [line.partition("  ")[2] for line in board.as_lines(board.complete([learner()]))]
    assert [line.partition(" ")[0] for line in lines] == ["feature:", "ingest:", "learner-0:", "scorer:"]
    assert lines[0] == "feature: does not report"


def test_the_end_of_history_is_no_date() -> None:
    status = learner()
    status.watermark = Inactive.ENDED
    assert board.watermark_text(status) == "the end"


def test_a_watermark_that_is_not_known_is_left_out() -> None:
    status = learner()
    status.watermark, status.lag_s = None, None
    (line,) = board.as_lines([status])
    assert line.partition("  ")[2].startswith("learner-0: ready  examples 5,000 ")


def printed(*statuses: ServiceStatus) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(board.as_table("flights", statuses))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_all_columns() -> None:
    shown = printed(learner())
    for text in ("loop flights", "learner-0", "127.0.0.1:7001", "3.2 s", "2,500/s", "5,000", "0.7512", "1,200"):
        assert text in shown


def test_the_table_leaves_out_what_nobody_has() -> None:
    shown = printed(ServiceStatus(service="ingest", instance="ingest-0", updated_at=time.time()))
    assert "ingest-0" in shown
    assert not any(heading in shown for heading in ("lag", "done", "dead letters", "model"))


def test_json_is_one_line() -> None:
    line = board.as_json("flights", [learner()])
    assert "\n" not in line
    assert json.loads(line)["services"][0]["metrics"] == learner().metrics
