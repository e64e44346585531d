"""Scoring requests: the answer to each situation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest

from headrace.definition import FieldType
from headrace.errors import InvalidEvent, InvalidRequest, NoModelYet, Overloaded, Unavailable, UnknownName, Unreadable
from headrace.wire.limits import MAX_ID
from headrace_scorer.ports import Fields
from headrace_scorer.scorer import Answer, Request
from headrace_scorer.settings import StoreDown
from tests.unit.scorer.support import (
    FEATURES,
    FRAUD,
    HOUR,
    NOW,
    SECOND,
    SORT,
    WORTH,
    FakeLog,
    FakeRows,
    asked_of_river,
    event,
    history,
    learner,
    scorer,
    version,
    versions,
)


def vector(answer: Answer) -> dict[str, float | str | None]:
    numbers, texts = iter(answer.batch.assembled.numbers[answer.row]), iter(answer.batch.assembled.categories)
    return {
        feature.name: next(texts)[answer.row] if feature.type is FieldType.STRING else float(next(numbers))
        for feature in answer.batch.version.model.features
    }


async def test_the_score_is_rivers_own_of_the_rows_as_of_now() -> None:
    answer = await scorer(versions(version(FRAUD))).score(Request("fraud", event()))
    # Card c1 and shop s1 by definition: event n of 60 was paid (60 - n) * 30 s before now, with amount n.
    card, shop = [n for n in range(60) if n % 3 == 1], [n for n in range(60) if n % 2 == 1]
    found = vector(answer)
    assert found["card_mean"] == pytest.approx(sum(card) / len(card), rel=1e-12)
    assert found["card_log_count"] == pytest.approx(math.log1p(len(card)), rel=1e-12)
    assert found["shop_mean"] == pytest.approx(sum(shop) / len(shop), rel=1e-12)
    assert (found["kind"], found["amount"], found["hour"]) == ("web", 12.5, NOW // HOUR % 24)
    assert answer.score == pytest.approx(asked_of_river(FRAUD, learner(FRAUD), found), rel=1e-12)


async def test_a_request_with_a_time_is_about_that_time() -> None:
    then = NOW - 240 * SECOND
    answer = await scorer(versions(version(FRAUD))).score(Request("fraud", event(at=then)))
    card = [n for n in range(60) if n % 3 == 1 and (60 - n) * 30 > 240]
    assert vector(answer)["card_log_count"] == pytest.approx(math.log1p(len(card)), rel=1e-12)
    iso = await scorer(versions(version(FRAUD))).score(Request("fraud", event(at="2023-11-14T22:09:20Z")))
    assert vector(iso) == vector(answer)


async def test_reads_further_back_than_rows_are_exact_are_counted() -> None:
    service = scorer(versions(version(FRAUD)))
    await service.score(Request("fraud", event()))
    assert service.behind == 0
    await service.score(Request("fraud", event(at=NOW - HOUR)))
    assert service.behind == 3, "the card in two partitions, the shop in one"


def test_warming_up_needs_neither_rows_nor_versions() -> None:
    rows = FakeRows({})
    scorer(versions(), rows).warm()
    assert not rows.reads


async def test_multiclass_answers_the_winner_and_all_probabilities() -> None:
    answer = await scorer(versions(version(SORT))).score(Request("sort", event()))
    expected = asked_of_river(SORT, learner(SORT), vector(answer))
    assert answer.probabilities == pytest.approx(expected, rel=1e-12)
    assert answer.label == max(expected, key=expected.get)
    assert answer.score == max(answer.probabilities.values())


async def test_an_unknown_entity_is_scored_with_missing_values() -> None:
    answer = await scorer(versions(version(FRAUD))).score(Request("fraud", event(card="never seen", shop=None)))
    found = vector(answer)
    assert math.isnan(found["card_mean"])  # type: ignore[arg-type]
    assert math.isnan(found["shop_mean"])  # type: ignore[arg-type]
    assert found["card_log_count"] == 0.0
    assert answer.score == pytest.approx(asked_of_river(FRAUD, learner(FRAUD), found), rel=1e-12)
    assert [answer.age(place) for place in range(len(FEATURES))] == [None] * 6


async def test_ages_are_those_of_the_rows() -> None:
    answer = await scorer(versions(version(FRAUD))).score(Request("fraud", event()))
    card, shop = (60 - 58) * 30 * SECOND, (60 - 59) * 30 * SECOND
    assert [answer.age(place) for place in range(6)] == [card, card, None, shop, None, None]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (event(card=None), "card"),
        (event(amount=None), "amount"),
        (event(amount="much"), "amount"),
        (event(card=7), "card"),
        (b"", "decodable"),
        (b"[]", "JSON object"),
        (b'{"card": "c1", "amount": NaN, "kind": "web"}', "amount"),
        (b'{"card": "c1", "amount": 1e999, "kind": "web"}', "amount"),
        (event(at="yesterday"), "at"),
        (event(at=2**63), "at"),
        (event(at=10**30), "at"),
        (event(at="9999-12-31T23:59:59-23:00"), "at"),
        (event(amount=10**400), "amount"),
        (event()[:-1] + b', "more": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "decodable"),
        (b" " * 70_000, "at most"),
    ],
)
async def test_a_wrong_event_is_refused_by_the_name_of_its_field(body: bytes, names: str) -> None:
    with pytest.raises(InvalidEvent, match=names):
        await scorer(versions(version(FRAUD))).score(Request("fraud", body))


async def test_fields_that_the_model_does_not_need_may_be_missing() -> None:
    answer = await scorer(versions(version(FRAUD))).score(Request("fraud", b'{"card": "c1", "amount": 1, "x": [1]}'))
    assert vector(answer)["kind"] is None


async def test_no_version_yet_and_no_such_model() -> None:
    service = scorer(versions(version(FRAUD)))
    with pytest.raises(NoModelYet, match="'sort'"):
        await service.score(Request("sort", event()))
    with pytest.raises(UnknownName, match="one of fraud, worth, sort"):
        await service.score(Request("frod", event()))


async def test_while_the_store_is_down_a_request_fails_and_then_recovers() -> None:
    rows = FakeRows(history())
    service = scorer(versions(version(FRAUD)), rows)
    rows.down = True
    with pytest.raises(Unavailable):
        await service.score(Request("fraud", event()))
    rows.down = False
    assert not (await service.score(Request("fraud", event()))).batch.store_down


async def test_while_the_store_is_down_a_request_is_scored_with_missing_values_where_declared() -> None:
    rows = FakeRows(history())
    service = scorer(versions(version(FRAUD)), rows, store_down=StoreDown.MISSING)
    rows.down = True
    answer = await service.score(Request("fraud", event()))
    assert answer.batch.store_down
    assert math.isnan(vector(answer)["card_mean"])  # type: ignore[arg-type]
    assert vector(answer)["amount"] == 12.5
    with pytest.raises(Unavailable):
        await service.vector("fraud", event())


async def test_a_batch_has_each_outcome_in_its_place() -> None:
    service = scorer(versions(version(FRAUD), version(WORTH)))
    outcomes = await service.score_many(
        [
            Request("fraud", event()),
            Request("worth", event(card="c2")),
            Request("fraud", event(amount=None)),
            Request("none", event()),
            Request("sort", event()),
            Request("fraud", event(card="c2")),
        ]
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Answer, Answer, InvalidEvent, UnknownName, NoModelYet, Answer]
    for place, request in ((0, Request("fraud", event())), (5, Request("fraud", event(card="c2")))):
        outcome = outcomes[place]
        assert isinstance(outcome, Answer)
        assert outcome.score == pytest.approx((await service.score(request)).score, rel=1e-13)


async def test_requests_of_one_moment_are_one_read_with_each_entity_once() -> None:
    rows = FakeRows(history())
    service = scorer(versions(version(FRAUD)), rows)
    bodies = [event(card=f"c{n % 3}", amount=float(n)) for n in range(12)]
    together = await asyncio.gather(*(service.score(Request("fraud", body)) for body in bodies))
    assert len(rows.reads) == 1
    assert len(rows.reads[0]) == len(set(rows.reads[0])) == 4
    alone = [await service.score(Request("fraud", body)) for body in bodies]
    assert [answer.score for answer in together] == pytest.approx([answer.score for answer in alone], rel=1e-13)


@pytest.mark.parametrize("at_once", [True, False], ids=["a batch", "requests of one moment"])
async def test_a_request_that_the_kernel_fails_on_takes_no_other_with_it(at_once: bool) -> None:
    class Choking(FakeRows):
        async def fetch(self, keys: Sequence[str], fields: Sequence[tuple[str, ...]]) -> list[Fields]:
            if any(key.endswith(":poison") for key in keys):
                raise ArithmeticError("poison")
            return await super().fetch(keys, fields)

    service = scorer(versions(version(FRAUD)), Choking(history()))
    requests = [Request("fraud", event(card="poison" if n in (3, 7) else "c1", amount=float(n))) for n in range(12)]
    answers: Sequence[object] = (
        await service.score_many(requests)
        if at_once
        else await asyncio.gather(*map(service.score, requests), return_exceptions=True)
    )
    assert [n for n, answer in enumerate(answers) if isinstance(answer, ArithmeticError)] == [3, 7]
    assert [vector(answer)["amount"] for answer in answers if isinstance(answer, Answer)] == [
        float(n) for n in range(12) if n not in (3, 7)
    ]


async def test_a_swap_meets_no_request_half_way() -> None:
    published = [version(FRAUD, 40 + turn) for turn in range(20)]
    expected = {}
    for one in published:
        expected[one.examples] = (await scorer(versions(one)).score(Request("fraud", event()))).score
    registry = versions(published[0])
    service = scorer(registry)
    seen = set()
    for one in published:
        waiting = [asyncio.ensure_future(service.score(Request("fraud", event()))) for _ in range(5)]
        await asyncio.sleep(0)
        registry.offer([one])
        for answer in await asyncio.gather(*waiting):
            assert answer.score == pytest.approx(expected[answer.batch.version.examples], rel=1e-13)
            seen.add(answer.batch.version.examples)
    assert len(seen) > 10


async def test_a_version_that_is_sent_again_does_not_replace_a_newer_one() -> None:
    registry = versions(version(FRAUD, 80))
    registry.offer([version(FRAUD, 40)])
    assert (await scorer(registry).score(Request("fraud", event()))).batch.version.examples == 80


async def test_only_what_is_named_is_logged_and_a_full_log_is_told() -> None:
    log = FakeLog()
    service = scorer(versions(version(FRAUD)), log=log)
    assert (await service.score(Request("fraud", event(), "e1"))).logged
    await service.score(Request("fraud", event()))
    await service.score_many([Request("fraud", event(), "e2"), Request("fraud", event())])
    assert log.entries == [("fraud", "e1"), ("fraud", "e2")]
    log.full = True
    assert not (await service.score(Request("fraud", event(), "e3"))).logged
    assert (await service.score(Request("fraud", event()))).logged
    assert (service.requests, service.not_logged) == (6, 1)


async def test_requests_under_way_are_bounded() -> None:
    service = scorer(versions(version(FRAUD)), max_in_flight=3)
    outcomes = await asyncio.gather(
        *(service.score(Request("fraud", event())) for _ in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Answer] * 3 + [Overloaded] * 2
    assert isinstance(await service.score(Request("fraud", event())), Answer)


async def test_a_vector_needs_no_version_and_is_read_as_of_any_time() -> None:
    service = scorer(versions())
    reading = await service.vector("fraud", event(), NOW - 240 * SECOND)
    card = [n for n in range(60) if n % 3 == 1 and (60 - n) * 30 > 240]
    assert reading.as_of == NOW - 240 * SECOND
    assert reading.assembled.numbers[0, 1] == pytest.approx(math.log1p(len(card)), rel=1e-12)
    assert (await service.vector("fraud", event())).as_of == NOW
    assert (await service.vector("fraud", event(at=NOW - SECOND))).as_of == NOW - SECOND


async def test_a_damaged_row_fails_the_requests_that_read_it_alone() -> None:
    damaged = {
        key: {field: row[:-1] + bytes((row[-1] ^ 1,)) for field, row in fields.items()}
        for key, fields in history().items()
    }
    service = scorer(versions(version(FRAUD)), FakeRows(damaged))
    strangers = [Request("fraud", event(card=f"never seen {place}", shop=None)) for place in range(4)]
    known = Request("fraud", event())
    found = await service.score_many([*strangers[:2], known, *strangers[2:]])
    assert [isinstance(one, Answer) for one in found] == [True, True, False, True, True]
    assert isinstance(found[2], Unreadable)
    assert "checksum" in str(found[2])
    assert "headrace backfill --again" in str(found[2])
    assert service.wrong_rows == 1
    together = await asyncio.gather(*(service.score(one) for one in (*strangers, known)), return_exceptions=True)
    assert [isinstance(one, Answer) for one in together] == [True] * 4 + [False]


async def test_a_long_event_id_is_refused_with_the_limit() -> None:
    service = scorer(versions(version(FRAUD)))
    assert (await service.score(Request("fraud", event(), "i" * MAX_ID))).logged
    for id in ("i" * (MAX_ID + 1), "ü" * (MAX_ID // 2 + 1), "i" * 6_000_000):
        with pytest.raises(InvalidRequest, match=f"event_id .* expected at most {MAX_ID} bytes"):
            await service.score(Request("fraud", event(), id))
