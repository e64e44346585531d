from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from headrace.demo.report import Story, Throughput, render
from headrace.engine.quality import Point

METRICS = {"roc_auc": 0.76, "log_loss": 0.46, "accuracy": 0.8, "prior_log_loss": 0.55, "no_change_accuracy": 0.72}
SCORED = METRICS | {"scored": 80_000.0}
POINTS = [Point(1_360_000_000_000_000 + day * 86_400_000_000, day * 1_000, 5_000, METRICS) for day in range(1, 9)]


def story(points: list[Point], metrics: dict[str, float], lags: list[float], seconds: int) -> Story:
    return Story(
        figures={"events": 1_018_758, "roc_auc": metrics.get("roc_auc"), "report": "report.html"},
        learned=points,
        served=points,
        learned_metrics=metrics,
        served_metrics=metrics,
        label_lags=np.array(lags),
        throughput=Throughput(np.arange(float(seconds)), {"events": np.arange(seconds) * 6_000}),
        command='headrace score late_arrival --event \'{"tail": "<N1>"}\'',
        answer="score 0.2",
    )


class Parts(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


@pytest.fixture(scope="module")
def page() -> str:
    return render(story(POINTS, SCORED, [4.0, 5.0, 20.0], 30))


def test_the_page_tells_the_figures_and_shows_three_plots(page: str) -> None:
    assert Parts(page).tags.count("svg") == 3
    for part in ("1,018,758", "0.7600", "0.5500", "0.7200", "events", "median 5.0 h", "as served"):
        assert part in page


def test_the_page_needs_no_other_file(page: str) -> None:
    loaded = Parts(page).loaded
    assert loaded
    assert all(address.startswith("#") for address in loaded)


def test_what_the_model_was_asked_is_text_not_html(page: str) -> None:
    assert "&lt;N1&gt;" in page


def test_the_same_story_makes_the_same_page(page: str) -> None:
    assert render(story(POINTS, SCORED, [4.0, 5.0, 20.0], 30)) == page


@pytest.mark.parametrize("seconds", [1, 2])
def test_a_run_that_ended_before_february_has_a_page_too(seconds: int) -> None:
    unscored = {"roc_auc": 0.5, "log_loss": 0.0, "scored": 0.0}
    page = render(story([], unscored, [], seconds))
    assert "tested from February on" in page
    assert "as of the question" not in page


def test_a_figure_that_there_is_not_has_no_tile() -> None:
    assert "None" not in render(story([], {}, [], 2))
