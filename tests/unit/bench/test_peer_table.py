"""The table of the benchmark of peers."""

from __future__ import annotations

import json

from tests.bench.peers.host import Disturbance
from tests.bench.peers.rounds import Measure, Round, Spread
from tests.bench.peers.table import Result, as_json, as_text, spread_text

ALONE = Measure("score", "one score", "five", 5)
MANY = Measure("many", "16 in flight", "five", 80, in_flight=16)


def result() -> Result:
    rounds = [
        Round(
            measure,
            {"headrace": dict.fromkeys(figures, 2.0), "other": dict.fromkeys(figures, other)},
            Disturbance(stolen, None),
        )
        for measure, figures in (("score", ("p50_ms", "p99_ms")), ("many", ("per_second",)))
        for other, stolen in ((1.0, 0.0), (3.0, 0.2))
    ]
    return Result(
        [ALONE, MANY], ["headrace", "other"], rounds, {"third": "it did not start"}, {"machine": "2 cores"},
        "headrace", "other",
    )  # fmt: skip


def test_a_spread_is_written_with_its_ends() -> None:
    assert spread_text(Spread(1234.5, 1.25, 2000), 1) == "1,234.5 (1.2–2,000.0)"
    assert spread_text(None, 2) == "–"


def test_the_table_has_a_block_for_each_measure() -> None:
    assert as_text(result()).splitlines() == [
        "machine: 2 cores",
        "",
        "one score: medians (lowest–highest) of 2 rounds; CPU was taken away in 2",
        "  p50 ms                                                            × headrace              × raw floor",
        "  headrace                        2.000 (2.000–2.000)         1.00 (1.00–1.00)         1.33 (0.67–2.00)",
        "  other                           2.000 (1.000–3.000)         1.00 (0.50–1.50)         1.00 (1.00–1.00)",
        "  p99 ms                                                            × headrace              × raw floor",
        "  headrace                        2.000 (2.000–2.000)         1.00 (1.00–1.00)         1.33 (0.67–2.00)",
        "  other                           2.000 (1.000–3.000)         1.00 (0.50–1.50)         1.00 (1.00–1.00)",
        "",
        "16 in flight: medians (lowest–highest) of 2 rounds; CPU was taken away in 2",
        "  requests/s                                                        × headrace              × raw floor",
        "  headrace                                    2 (2–2)         1.00 (1.00–1.00)         1.33 (0.67–2.00)",
        "  other                                       2 (1–3)         1.00 (0.50–1.50)         1.00 (1.00–1.00)",
        "",
        "left out: third: it did not start",
    ]


def test_the_json_holds_the_summaries_and_every_round() -> None:
    found = json.loads(json.dumps(as_json(result())))
    assert found["left_out"] == {"third": "it did not start"}
    score = found["measures"]["score"]
    assert score["targets"]["other"]["p50_ms"]["to_headrace"] == {"median": 1.0, "low": 0.5, "high": 1.5}
    assert [each["marked"] for each in score["rounds"]] == [False, True]
    assert list(found["measures"]["many"]["targets"]["other"]) == ["per_second"]
