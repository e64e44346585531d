"""The referee: when it decides, what it writes down, and the same decisions from every order of arrival."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.referee import (
    Command,
    Declare,
    Join,
    Kind,
    Leave,
    Pin,
    Promote,
    Record,
    Referee,
    RefereeState,
    RollBack,
    Unpin,
    replay,
)
from headrace.errors import InvalidRequest
from tests.unit.referee.games import RULE, A, B, C, Columns, columns, cut, decided, started


def kinds(records: list[Record]) -> list[str]:
    return [str(record.kind) for record in records]


def test_a_better_challenger_is_promoted_with_its_evidence() -> None:
    losses = {A: columns((600, 0.5)), B: columns((600, 0.3), seed=1)}
    record = decided(losses)[2]
    assert (record.kind, record.champion) == (Kind.PROMOTED, B)
    evidence = record.evidence
    assert evidence is not None
    assert evidence.lower > 0.01
    assert evidence.seq == record.seq == evidence.examples - 1
    differences = losses[A][2][: evidence.examples] - losses[B][2][: evidence.examples]
    assert evidence.difference == pytest.approx(differences.mean())
    assert (evidence.number, evidence.share, evidence.began) == (1, 0.1, 1_000)
    assert [(each.number, each.challenger) for each in record.begun] == [(2, A)]


def test_one_that_is_not_better_enough_is_never_promoted() -> None:
    records = decided({A: columns((3_000, 0.5)), B: columns((3_000, 0.495), seed=1)})
    assert kinds(records) == ["declared", "joined"]


def test_no_promotion_before_after_in_event_time() -> None:
    losses = {A: columns((600, 0.9)), B: columns((600, 0.1), seed=1)}
    soon, late = (decided(losses, msgspec.structs.replace(RULE, after=after))[2] for after in (0, 200))
    assert soon.seq < 50
    assert late.evidence is not None
    assert late.evidence.time - late.evidence.began == 200


def test_a_champion_that_became_worse_is_rolled_back_without_waiting() -> None:
    rule = msgspec.structs.replace(RULE, after=290)
    records = decided({A: columns((900, 0.5)), B: columns((300, 0.2), (600, 0.8), seed=1)}, rule)
    assert kinds(records)[2:4] == ["promoted", "rolled_back"]
    promotion, rollback = records[2:4]
    assert rollback.champion == A
    assert rollback.evidence is not None
    assert rollback.evidence.since == promotion.seq
    assert rollback.seq < 350


def test_a_proposal_changes_nothing_and_is_made_once() -> None:
    rule = msgspec.structs.replace(RULE, automatic=False)
    records = decided({A: columns((900, 0.5)), B: columns((900, 0.2), seed=1)}, rule)
    assert kinds(records) == ["declared", "joined", "proposed"]
    assert records[-1].champion == A
    assert records[-1].begun == ()


def test_a_pinned_champion_stays_until_it_is_unpinned() -> None:
    losses = {A: columns((900, 0.5)), B: columns((900, 0.2), seed=1)}
    referee, _ = started(B)
    referee.apply(Pin("audit"))
    for candidate in (A, B):
        referee.add(candidate, *cut(losses[candidate], 0, 600))
    assert referee.decide() == []
    assert referee.apply(Unpin("audited")).seq == 599
    for candidate in (A, B):
        referee.add(candidate, *cut(losses[candidate], 600, 900))
    (record,) = referee.decide()
    assert (record.kind, record.evidence and record.evidence.seq) == (Kind.PROMOTED, 600)


def test_by_hand_with_a_reason() -> None:
    referee, _ = started(B, C)
    for candidate in (A, B, C):
        referee.add(candidate, *columns((30, 0.5)))
    referee.decide()
    promotion = referee.apply(Promote(C, "the board wants it"))
    assert (promotion.seq, promotion.champion, promotion.reason) == (29, C, "the board wants it")
    assert [each.challenger for each in promotion.begun] == [A, B]
    assert referee.apply(RollBack("they changed their minds")).champion == A


def test_a_stopped_candidate_delays_only_itself() -> None:
    referee, _ = started(B, C)
    referee.add(A, *columns((600, 0.5)))
    referee.add(B, *columns((600, 0.2), seed=1))
    referee.add(C, *columns((60, 0.5), seed=2))
    (record,) = referee.decide()
    assert (record.kind, record.champion) == (Kind.PROMOTED, B)
    assert record.cut["c"] == min(record.seq, 59)


def test_a_skipped_example_is_left_out_of_the_pair() -> None:
    whole = columns((300, 0.4), seed=1)
    there = np.arange(300) % 3 > 0
    some = (whole[0][there], whole[1][there], whole[2][there])
    referee, _ = started(B)
    referee.add(A, *columns((300, 0.39)))
    referee.add(B, *some)
    assert referee.decide() == []
    assert referee.state.comparisons[0].sequence.examples == 200


def test_a_restart_does_not_let_an_old_lead_hide_a_loss() -> None:
    losses = {A: columns((1_000, 0.2), (1_000, 0.5)), B: columns((2_000, 0.4), seed=1)}
    first, restarted = (decided(losses, msgspec.structs.replace(RULE, restart=size))[2:] for size in (10_000, 500))
    assert first == []
    assert kinds(restarted)[:3] == ["restarted", "restarted", "promoted"]
    evidence = restarted[2].evidence
    assert evidence is not None
    assert (evidence.number, evidence.share) == (3, 0.2 / 12)
    assert evidence.since >= 1_000


def test_losses_beyond_the_declared_range_count_as_its_end() -> None:
    seqs, times, losses = columns((300, 0.5))
    odd = seqs % 2 == 1
    bad, worst = (np.where(odd, value, losses) for value in (math.nan, 1.0))
    good, best = (np.where(odd, losses, value) for value in (-5.0, 0.0))
    wild = decided({A: (seqs, times, bad), B: (seqs, times, good)})
    assert kinds(wild)[2] == "promoted"
    assert wild == decided({A: (seqs, times, worst), B: (seqs, times, best)})


def test_new_comparisons_begin_where_all_losses_are_still_there() -> None:
    losses = {A: columns((400, 0.5)), B: columns((400, 0.2), seed=1), C: columns((400, 0.5), seed=2)}
    referee, records = started(B, C)
    for candidate, last in ((A, 400), (C, 300), (B, 400)):
        referee.add(candidate, *cut(losses[candidate], 0, last))
        records += referee.decide()
    referee.add(C, *cut(losses[C], 300, 400))
    records += referee.decide()
    promotion = records[3]
    assert promotion.evidence is not None
    assert promotion.evidence.seq < promotion.seq == 299
    examples = [each.sequence.examples for each in referee.state.comparisons if each.challenger == C]
    assert examples == [100]
    assert list(replay(records, losses)) == records


def test_a_changed_rule_begins_all_comparisons_again() -> None:
    referee, _ = started(B, C)
    for candidate in (A, B, C):
        referee.add(candidate, *columns((30, 0.5)))
    referee.decide()
    same = referee.apply(Declare(A, (A, B, C), RULE))
    assert same.begun == ()
    changed = referee.apply(Declare(A, (A, B), msgspec.structs.replace(RULE, better_by=0.02)))
    assert [(each.number, each.challenger) for each in changed.begun] == [(3, B)]
    gone = referee.apply(Declare(B, (B, C), msgspec.structs.replace(RULE, better_by=0.02)))
    assert (gone.champion, gone.begun) == (B, ())
    assert [each.number for each in referee.apply(Join(C)).begun] == [4]


@pytest.mark.parametrize(
    "command",
    [
        Promote("nobody"),
        Promote(A),
        Promote(C),
        Leave(A),
        Leave(C),
        Join(B),
        Join("nobody"),
        RollBack(),
        Declare("x", (A,), RULE),
    ],
)
def test_a_command_that_cannot_be_obeyed_is_refused_and_changes_nothing(command: Command) -> None:
    referee, _ = started(B)
    referee.apply(Declare(A, (A, B, C), RULE))
    referee.add(A, *columns((30, 0.5)))
    before = msgspec.msgpack.encode(referee.state)
    with pytest.raises(InvalidRequest):
        referee.apply(command)
    assert msgspec.msgpack.encode(referee.state) == before


@pytest.mark.parametrize("command", [Pin(), Unpin(), RollBack(), Promote(A), Join(A)])
def test_the_first_command_declares(command: Command) -> None:
    with pytest.raises(InvalidRequest):
        Referee().apply(command)


def test_a_pair_with_too_many_waiting_losses_leaves() -> None:
    referee = Referee(most_waiting=100)
    referee.apply(Declare(A, (A, B, C), RULE))
    referee.apply(Join(B))
    referee.apply(Join(C))
    referee.add(A, *columns((150, 0.5)))
    referee.add(B, *columns((150, 0.5), seed=1))
    (record,) = referee.decide()
    assert (record.kind, record.command and record.cut) == (Kind.LEFT, {B: 149, C: -1})
    assert referee.state.joined == [A, B]
    assert referee.apply(Join(C)).begun[0].number == 3


# Histories: three candidates whose ranks change, commands at some places, losses in pieces in some order.

_LENGTH = 700
_COMMANDS = [Join(C), Pin("p"), Unpin("u"), Promote(C, "m"), RollBack("r"), Leave(B, "l"), Join(B)]
_CHANGED = msgspec.structs.replace(RULE, better_by=0.02, restart=200)


# The means of three segments, for each candidate; short, as hypothesis prints it.
Means = tuple[float, float, float]
_MEANS = st.sampled_from([0.2, 0.35, 0.5, 0.7])
_GAMES = st.tuples(*(st.tuples(_MEANS, _MEANS, _MEANS) for _ in range(3)))


def losses_of(game: tuple[Means, ...]) -> dict[str, Columns]:
    """Return the losses of candidates whose ranks change."""
    sizes = (200, 300, 200)
    return {
        candidate: columns(*zip(sizes, means, strict=True), seed=place)
        for place, (candidate, means) in enumerate(zip((A, B, C), game, strict=False))
    }


def pieces(order: list[tuple[str, int]], losses: dict[str, Columns]) -> list[tuple[str, Columns]]:
    """Cut losses into pieces (candidate, size), and end with all that is left."""
    done, parts = dict.fromkeys(losses, 0), []
    for candidate, size in [*order, *((candidate, _LENGTH) for candidate in losses)]:
        parts.append((candidate, cut(losses[candidate], done[candidate], done[candidate] + size)))
        done[candidate] += size
    return parts


_ORDERS = st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 150)), max_size=20)
_RULES = st.sampled_from([RULE, _CHANGED, msgspec.structs.replace(RULE, restart=150, after=0)])


def lived(parts: list[tuple[str, Columns]], commands: dict[int, Command], *, restore: bool = False) -> list[Record]:
    """Return the records of a referee to which losses and commands come in this order."""
    referee = Referee()
    records = [referee.apply(commands.get(-1, Declare(A, (A, B, C), RULE))), referee.apply(Join(B))]
    for place, (candidate, some) in enumerate(parts):
        if restore:
            referee = restored(referee, parts[:place])
        referee.add(candidate, *some)
        records += referee.decide()
        if place in commands:
            try:
                records.append(referee.apply(commands[place]))
            except InvalidRequest:
                continue
    return records


def restored(referee: Referee, parts: list[tuple[str, Columns]]) -> Referee:
    """Return a referee from a checkpoint, which has read the losses behind it again."""
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(referee.state), type=RefereeState)
    again = Referee(state)
    for candidate, (seqs, times, losses) in parts:
        behind = seqs > referee.read_from
        again.add(candidate, seqs[behind], times[behind], losses[behind])
    return again


@given(_GAMES, _ORDERS, st.dictionaries(st.integers(0, 19), st.sampled_from(_COMMANDS), max_size=6), _RULES)
@settings(max_examples=60, deadline=None)
def test_records_are_computed_again_to_the_bit(
    game: tuple[Means, ...], order: list[tuple[str, int]], commands: dict[int, Command], rule: object
) -> None:
    losses = losses_of(game)
    told = {**commands, -1: Declare(A, (A, B, C), rule)}  # type: ignore[arg-type]
    records = lived(pieces(order, losses), told)
    assert list(replay(records, losses)) == records
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    assert [record.seq for record in records] == sorted(record.seq for record in records)
    begun = [each for record in records for each in record.begun]
    assert [each.number for each in begun] == list(range(1, len(begun) + 1))
    assert math.fsum(each.share for each in begun) <= RULE.error_rate


@given(_GAMES, _ORDERS, st.dictionaries(st.integers(0, 19), st.sampled_from(_COMMANDS), max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_checkpoint_at_any_moment_changes_no_record(
    game: tuple[Means, ...], order: list[tuple[str, int]], commands: dict[int, Command]
) -> None:
    parts = pieces(order, losses_of(game))
    assert lived(parts, commands, restore=True) == lived(parts, commands)


@given(_GAMES, st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 150)), max_size=20), _RULES)
@settings(max_examples=40, deadline=None)
def test_two_candidates_in_any_order_of_arrival(
    game: tuple[Means, ...], order: list[tuple[str, int]], rule: object
) -> None:
    pair = losses_of(game[:2])
    told: dict[int, Command] = {-1: Declare(A, (A, B, C), rule)}  # type: ignore[arg-type]
    assert lived(pieces(order, pair), told) == lived(pieces([], pair), told)


@given(_GAMES, st.lists(st.integers(1, 150), max_size=10))
@settings(max_examples=40, deadline=None)
def test_batches_of_all_candidates_change_no_record(game: tuple[Means, ...], sizes: list[int]) -> None:
    losses = losses_of(game)

    def records(sizes: list[int]) -> list[Record]:
        referee, done = started(B, C)
        start = 0
        for size in (*sizes, _LENGTH):
            for candidate, values in losses.items():
                referee.add(candidate, *cut(values, start, start + size))
            done += referee.decide()
            start += size
        return done

    assert records(sizes) == records([])


def test_a_changed_loss_or_record_is_found() -> None:
    losses = {A: columns((600, 0.5)), B: columns((600, 0.3), seed=1)}
    records = decided(losses)
    assert list(replay(records, losses)) == records
    seqs, times, values = losses[B]
    assert list(replay(records, {**losses, B: (seqs, times, values + (seqs == 3) * 1e-9)})) != records
    assert list(replay(records, {**losses, B: (seqs, times, losses[A][2])})) == records[:2]
    assert list(replay(records[:2] + records[3:], losses)) != records[:2] + records[3:] or not records[3:]


def test_losses_that_come_twice_count_once() -> None:
    losses = {A: columns((300, 0.5)), B: columns((300, 0.5), seed=1)}
    referee, records = started(B)
    for first in range(0, 300, 50):
        for candidate in (A, B):
            referee.add(candidate, *cut(losses[candidate], max(0, first - 100), first + 50))
    assert records + referee.decide() == decided(losses)
    assert referee.state.comparisons[0].sequence.examples == 300
