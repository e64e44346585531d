"""A comparison of a disturbed run with an undisturbed one of the same events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.crash.outcome import Outcome, Taken

_SHOWN = 5


@dataclass
class Comparison:
    """The result of a comparison: the equal parts, how much of each there is, and the first differences in words."""

    rows: int = 0
    vectors: int = 0
    predictions: int = 0
    examples: int = 0
    models: int = 0
    dead_letters: int = 0
    letters_again: int = 0
    letters_repeated: int = 0
    unscored: int = 0
    rows_equal: bool = True
    vectors_equal: bool = True
    predictions_equal: bool = True
    examples_equal: bool = True
    model_equal: bool = True
    metrics_equal: bool = True
    dead_letters_equal: bool = True
    examples_missing: int = 0
    examples_duplicated: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is lost, nothing is counted twice, and everything is equal to the last bit."""
        return not (self.examples_missing or self.examples_duplicated or self.differences) and all(
            (
                self.rows_equal,
                self.vectors_equal,
                self.predictions_equal,
                self.examples_equal,
                self.model_equal,
                self.metrics_equal,
                self.dead_letters_equal,
            )
        )


def compare(disturbed: Outcome, undisturbed: Outcome) -> Comparison:
    """Compare everything that two runs have in common."""
    comparison = Comparison(
        rows=len(undisturbed.rows),
        vectors=sum(len(output.found) for output in undisturbed.vectors.values()),
        predictions=sum(len(output.found) for output in disturbed.predictions.values()),
        examples=sum(map(len, undisturbed.examples.values())),
        models=len(undisturbed.learned),
        dead_letters=len(undisturbed.dead_letters),
        letters_repeated=disturbed.letters_repeated,
        letters_again=disturbed.dead_letters.total() - len(disturbed.dead_letters),
        differences=[*disturbed.faults, *undisturbed.faults],
    )
    comparison.rows_equal = same(comparison, "row", disturbed.rows, undisturbed.rows)
    for model, expected in undisturbed.vectors.items():
        comparison.vectors_equal &= _vectors(comparison, model, disturbed.vectors[model], expected)
        comparison.predictions_equal &= _predictions(
            comparison, model, disturbed.predictions[model], disturbed.vectors[model]
        )
        _examples(comparison, model, disturbed.examples[model], undisturbed.examples[model])
        # Questions of requests are logged where they are read, so their order depends on the run.
        if expected.found and disturbed.logs[model] != undisturbed.logs[model]:
            comparison.examples_equal = False
            comparison.differences.append(f"log of {model}: other questions, or another order of questions and answers")
    _models(comparison, disturbed, undisturbed)
    comparison.dead_letters_equal = same(
        comparison, "dead letter", dict.fromkeys(disturbed.dead_letters), dict.fromkeys(undisturbed.dead_letters)
    )
    return comparison


def same(comparison: Comparison, what: str, actual: Mapping[Any, Any], expected: Mapping[Any, Any]) -> bool:
    """Return whether two mappings are equal; if not, note what is missing, too many or different."""
    missing = [key for key in expected if key not in actual]
    more = [key for key in actual if key not in expected]
    other = [key for key in expected if key in actual and actual[key] != expected[key]]
    for word, keys in (("missing", missing), ("too many", more), ("different", other)):
        if keys:
            shown = ", ".join(str(key) for key in keys[:_SHOWN])
            comparison.differences.append(f"{what}: {len(keys)} of {len(expected)} {word}: {shown}")
    return not (missing or more or other)


def _twice(comparison: Comparison, what: str, output: Taken) -> bool:
    if output.twice:
        comparison.differences.append(f"{what}: {len(output.twice)} twice: {', '.join(output.twice[:_SHOWN])}")
    return not output.twice


def _vectors(comparison: Comparison, model: str, actual: Taken, expected: Taken) -> bool:
    what = f"vector of {model}"
    good = same(comparison, what, actual.found, expected.found) & _twice(comparison, what, actual)
    if good and actual.order != expected.order:
        comparison.differences.append(f"{what}: in another order")
        return False
    return good


def _predictions(comparison: Comparison, model: str, actual: Taken, vectors: Taken) -> bool:
    """Check that each vector from the first prediction of its partition on is predicted on once, unchanged."""
    what = f"prediction of {model}"
    good = _twice(comparison, what, actual)
    for partition, ids in vectors.order.items():
        predicted = actual.order.get(partition, [])
        scored = ids[ids.index(predicted[0]) :] if predicted and predicted[0] in vectors.found else []
        comparison.unscored += len(ids) - len(scored)
        expected = {name: vectors.found[name] for name in scored}
        good &= same(comparison, what, {name: actual.found[name] for name in predicted}, expected)
    return good


def _examples(
    comparison: Comparison, model: str, actual: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]
) -> None:
    counts, wanted = Counter(example[0] for example in actual), Counter(example[0] for example in expected)
    missing, twice = wanted - counts, Counter(dict.fromkeys(counts, 1))
    comparison.examples_missing += missing.total()
    comparison.examples_duplicated += (counts - twice).total()
    if actual != expected:
        comparison.examples_equal = False
        at = next(
            (i for i, (a, b) in enumerate(zip(actual, expected, strict=False)) if a != b),
            min(len(actual), len(expected)),
        )
        there = actual[at][0] if at < len(actual) else "none"
        wants = expected[at][0] if at < len(expected) else "none"
        comparison.differences.append(
            f"examples of {model}: {len(actual)} instead of {len(expected)}; the first other one is number {at}: "
            f"{there} instead of {wants}"
        )


def _models(comparison: Comparison, disturbed: Outcome, undisturbed: Outcome) -> None:
    for model, expected in undisturbed.learned.items():
        actual = disturbed.learned.get(model)
        if actual is None or (actual.state, actual.examples) != (expected.state, expected.examples):
            comparison.model_equal = False
            learned = actual.examples if actual is not None else "no"
            comparison.differences.append(
                f"model {model}: {learned} examples instead of {expected.examples}, "
                f"{'the same state' if actual and actual.state == expected.state else 'another state'}"
            )
        if actual is None or (actual.metrics, actual.quality) != (expected.metrics, expected.quality):
            comparison.metrics_equal = False
            comparison.differences.append(
                f"metrics of {model}: {actual and actual.metrics} instead of {expected.metrics}"
            )
