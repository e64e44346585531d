"""Late events and a short wait: runs may differ in what they make of them, yet each must be right.

When a vector is made depends on the clock here, so two runs differ. But every accepted event has one vector, which
matches its recorded cut; every pair has one example, with exactly that vector; and rows do not depend on the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from headrace.history.logs import BrokerLogs
from headrace.history.replay import Replay
from headrace.history.served_record import LoggedModel, Selection
from headrace.history.streams import StreamHistory
from headrace.history.versions import PastVersions
from tests.crash.compare import Comparison, same
from tests.crash.outcome import Outcome
from tests.crash.site import Site

LOOP = Path(__file__).with_name("late_loop.py")

_SIZE = 10_000


def recomputed(site: Site) -> list[str]:
    """Describe the vectors that do not match their cuts."""
    logs = BrokerLogs(site.grounds.client)
    return [text for model in site.loop.models for text in _differences(site, logs, model.name)]


def _differences(site: Site, logs: BrokerLogs, name: str) -> Iterator[str]:
    loop, topics = site.loop, site.topics
    model = loop.model(name)
    log = LoggedModel(logs, topics, model)
    replay = Replay(
        loop, model, StreamHistory(logs, topics, loop), log, versions=PastVersions(logs, topics, model, None)
    )
    for logged in replay.log.vectors(Selection(), _SIZE):
        again = replay.recompute(logged, complete=False, alterations=replay.alterations)
        numbers = logged.vectors.numbers.view(np.int64) == again.made.numbers.view(np.int64)
        wrong = np.flatnonzero(~(numbers.all(axis=1) & again.known)).tolist()
        if wrong:
            shown = ", ".join(logged.vectors.ids[row] for row in wrong[:5])
            yield f"vector of {name}: {len(wrong)} of {len(logged)} are not what their cut says: {shown}"


def compare(disturbed: Outcome, undisturbed: Outcome) -> Comparison:
    """Compare what does not depend on the clock, and each example with the vector that was logged."""
    comparison = Comparison(
        rows=len(undisturbed.rows),
        dead_letters=len(undisturbed.dead_letters),
        differences=[*disturbed.faults, *undisturbed.faults],
    )
    comparison.rows_equal = same(comparison, "row", disturbed.rows, undisturbed.rows)
    comparison.dead_letters_equal = same(
        comparison, "dead letter", dict.fromkeys(disturbed.dead_letters), dict.fromkeys(undisturbed.dead_letters)
    )
    for model, output in disturbed.vectors.items():
        expected = undisturbed.vectors[model]
        comparison.vectors += len(expected.found)
        times = [{id: value[0] for id, value in vectors.found.items()} for vectors in (output, expected)]
        comparison.vectors_equal &= same(comparison, f"vector of {model}", *times) & (output.order == expected.order)
        if output.twice:
            comparison.differences.append(f"vector of {model}: {len(output.twice)} twice: {output.twice[:5]}")
        comparison.examples += len(undisturbed.examples[model])
        _examples(comparison, model, disturbed, undisturbed)
    return comparison


def _examples(comparison: Comparison, model: str, disturbed: Outcome, undisturbed: Outcome) -> None:
    actual, expected = disturbed.examples[model], undisturbed.examples[model]
    ids, wanted = [example[0] for example in actual], {example[0] for example in expected}
    comparison.examples_missing += len(wanted - set(ids))
    comparison.examples_duplicated += len(ids) - len(set(ids))
    if [example[:4] for example in actual] != [example[:4] for example in expected]:
        comparison.examples_equal = False
        comparison.differences.append(f"examples of {model}: other ids, times, labels or order")
    vectors = disturbed.vectors[model].found
    other = [example[0] for example in actual if vectors.get(example[0]) != (example[1], *example[4:])]
    if other:
        comparison.examples_equal = False
        comparison.differences.append(f"examples of {model}: {len(other)} have another vector than logged: {other[:5]}")
    learned = disturbed.learned.get(model)
    if learned is None or learned.examples != len(expected):
        comparison.model_equal = False
        comparison.differences.append(
            f"model {model}: {learned and learned.examples} examples learned of {len(expected)}"
        )
