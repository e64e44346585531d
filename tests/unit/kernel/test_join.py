"""The join: whatever comes first, in whatever batches, the examples are those of the definition, in its order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.frontier import ENDED, RESTING
from headrace.kernel.join import Join, Outcome, Vector

WAIT = 50
halves = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.tuples(st.one_of(st.none(), st.integers(0, 300)), st.one_of(st.none(), st.integers(0, 300))),
    max_size=25,
)


def expected(pairs: dict[str, tuple[int | None, int | None]]) -> list[str]:
    """Examples by definition: both halves there, the label within the wait; by the later time, then id."""
    due = [
        (max(event, label), own)
        for own, (event, label) in pairs.items()
        if event is not None and label is not None and abs(label - event) <= WAIT
    ]
    return [own for _, own in sorted(due)]


@given(halves, st.data())
def test_any_interleaving_gives_the_examples_of_the_definition(
    pairs: dict[str, tuple[int | None, int | None]], data: st.DataObject
) -> None:
    vectors = sorted((event, own) for own, (event, _) in pairs.items() if event is not None)
    labels = sorted((label, own) for own, (_, label) in pairs.items() if label is not None)
    join, out, lost = Join(WAIT), [], 0
    while vectors or labels:
        source = vectors if vectors and (not labels or data.draw(st.booleans())) else labels
        for time, own in [source.pop(0) for _ in range(data.draw(st.integers(1, len(source))))]:
            if source is vectors:
                assert join.vector(own, Vector(time, b""))
            else:
                assert join.outcome(own, Outcome(time, 1.0))
        step = join.advance(
            vectors[0][0] if vectors else ENDED, labels[0][0] if labels else ENDED, data.draw(st.integers(1, 9))
        )
        out += [example.id for example in step.examples]
        lost += step.expired + step.unmatched
        if data.draw(st.booleans()):
            join = Join(WAIT, dict(join._pairs))  # a restart
    while (step := join.advance(ENDED, ENDED, 3)).examples or step.changed:
        out += [example.id for example in step.examples]
        lost += step.expired + step.unmatched
    assert out == expected(pairs)
    assert len(join) == 0
    found = sum(half is not None for pair in pairs.values() for half in pair)
    assert lost == found - 2 * len(out)


def test_the_first_vector_and_the_first_label_win() -> None:
    join = Join(WAIT)
    assert join.vector("a", Vector(10, b"first"))
    assert not join.vector("a", Vector(11, b"second"))
    assert join.outcome("a", Outcome(12, 1.0))
    assert not join.outcome("a", Outcome(13, 0.0))
    (example,) = join.advance(ENDED - 1, 20, 10).examples
    assert (example.vector.payload, example.outcome.value) == (b"first", 1.0)
    assert not join.vector("a", Vector(10, b"again"))
    assert not join.outcome("a", Outcome(12, 1.0))


def test_a_pair_waits_for_the_frontier_of_both_sources() -> None:
    join = Join(WAIT)
    join.vector("b", Vector(10, b""))
    join.outcome("b", Outcome(20, 1.0))
    assert join.advance(20, 100, 10).examples == []
    assert [example.id for example in join.advance(21, 21, 10).examples] == ["b"]


def test_a_label_after_the_wait_does_not_count_and_the_vector_expires() -> None:
    join = Join(WAIT)
    join.vector("a", Vector(10, b""))
    join.outcome("a", Outcome(61, 1.0))
    step = join.advance(ENDED, ENDED, 10)
    assert step.examples == []
    assert step.expired == 1
    assert step.changed == {"a": None}


def test_nothing_expires_while_all_rest() -> None:
    join = Join(WAIT)
    join.vector("a", Vector(10, b""))
    join.vector("b", Vector(100, b""))
    assert join.advance(100, 20, 10).expired == 0
    assert join.advance(RESTING, RESTING, 10).expired == 1  # time had come to 100 before
    assert join.advance(RESTING, RESTING, 10).expired == 0
    join.outcome("b", Outcome(120, 1.0))
    assert [example.id for example in join.advance(RESTING, RESTING, 10).examples] == ["b"]
    assert len(join) > 0


def test_everything_expires_at_the_end() -> None:
    join = Join(WAIT)
    join.vector("a", Vector(10, b""))
    assert join.advance(ENDED, RESTING, 10).expired == 0
    assert join.advance(ENDED, ENDED, 10).expired == 1


def test_what_is_out_is_remembered_for_the_wait_also_over_a_restart() -> None:
    """A request asked again, and its label sent again, are no second example."""
    for restarts in (False, True):
        join = Join(WAIT)
        join.vector("a", Vector(10, b""))
        join.outcome("a", Outcome(50, 1.0))
        step = join.advance(70, 70, 10)  # beyond what the vector alone would have waited
        assert [example.id for example in step.examples] == ["a"]
        if restarts:
            join = Join(WAIT, {own: pair for own, pair in step.changed.items() if pair is not None})
        assert join.advance(100, 100, 10).changed == {}
        assert not join.vector("a", Vector(10, b""))
        assert not join.outcome("a", Outcome(50, 1.0))
        assert join.advance(101, 101, 10).changed == {"a": None}
