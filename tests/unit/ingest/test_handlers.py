"""The outcomes of a call's events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from headrace.engine.marks import Mark
from headrace.errors import InvalidEvent, InvalidRequest, Overloaded, Unavailable, UnknownName
from headrace.runtime.redis.decisions import Refusal, Tally
from headrace_ingest.admission import Admission
from headrace_ingest.handlers import MAX_REJECTIONS, EventBatch, Ingest, Summary
from headrace_ingest.ports import Note
from tests.unit.ingest.fakes import FakeDecisions, FakeLog
from tests.unit.ingest.streams import SECOND, event, stream


class Service:
    def __init__(self) -> None:
        self.log = FakeLog()
        self.counts: Counter[str] = Counter()
        admissions = {name: Admission(stream(name), lambda: 0) for name in ("clicks", "buys")}
        self.decisions = FakeDecisions()
        self.ingest = Ingest(admissions, self.log, self.decisions, lambda name, by: self.counts.update({name: by}))

    async def publish_stream(self, *batches: EventBatch) -> Summary:
        return await self.ingest.publish_stream(given(*batches))


async def given(*batches: EventBatch) -> AsyncIterator[EventBatch]:
    for batch in batches:
        yield batch


@pytest.fixture
def service() -> Service:
    return Service()


async def turns() -> None:
    """Let everything that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_event_is_answered_once_it_is_durable(service: Service) -> None:
    service.log.holding = True
    call = asyncio.create_task(service.ingest.publish("clicks", event("a")))
    await turns()
    assert service.log.written == [("clicks", "a")]
    assert not call.done()
    assert service.counts == {}
    service.log.release()
    await call
    assert service.counts == {"accepted": 1, "accepted:clicks": 1}


async def test_an_invalid_event_is_buried_and_told(service: Service) -> None:
    with pytest.raises(InvalidEvent, match="field 'at' is"):
        await service.ingest.publish("clicks", event(at="never"))
    assert service.log.written == []
    assert [(letter.stream, letter.event, letter.error.field) for letter in service.log.letters] == [
        ("clicks", event(at="never"), "at")
    ]
    assert service.counts == {"rejected": 1, "rejected:clicks": 1, "dead_letters": 1}


async def test_the_refusal_waits_for_the_dead_letter(service: Service) -> None:
    service.log.holding = True
    call = asyncio.create_task(service.ingest.publish("clicks", b"nonsense"))
    await turns()
    assert not call.done()
    service.log.fail()
    with pytest.raises(Unavailable, match="gone"):
        await call


async def test_an_unknown_stream_is_told_with_the_known_ones(service: Service) -> None:
    with pytest.raises(UnknownName, match="'click', expected one of clicks, buys"):
        await service.ingest.publish("click", event())
    assert service.log.letters == []


async def test_the_valid_ones_beside_the_invalid_go_through_in_order(service: Service) -> None:
    summary = await service.publish_stream(
        EventBatch("clicks", [event("a"), b"?", event("b")], mark=Mark(5, "me")),
        EventBatch("buys", [event("c")]),
        EventBatch("clicks", [event("d", user=1), event("e")], mark=Mark(7, "me")),
    )
    assert (summary.accepted, summary.rejected) == (4, 2)
    assert [(rejection.stream, rejection.index, rejection.error.field) for rejection in summary.rejections] == [
        ("clicks", 1, ""),
        ("clicks", 3, "user"),
    ]
    assert service.log.written == [
        ("clicks", "a"),
        ("clicks", "b"),
        ("clicks", Note(Mark(5, "me"))),
        ("buys", "c"),
        ("clicks", "e"),
        ("clicks", Note(Mark(7, "me"))),
    ]


async def test_only_the_first_rejections_are_named_and_all_are_buried(service: Service) -> None:
    summary = await service.publish_stream(EventBatch("clicks", [b"?"] * 3_000))
    assert (summary.rejected, len(summary.rejections), len(service.log.letters)) == (3_000, MAX_REJECTIONS, 3_000)


async def test_a_stream_is_answered_once_all_is_durable(service: Service) -> None:
    service.log.holding = True
    call = asyncio.create_task(
        service.publish_stream(EventBatch("clicks", [event("a")]), EventBatch("clicks", [event("b")]))
    )
    await turns()
    assert [entry for _, entry in service.log.written] == ["a", "b"]
    assert not call.done()
    service.log.release()
    assert (await call).accepted == 2


async def test_nothing_is_written_behind_what_failed(service: Service) -> None:
    service.log.holding = True
    more = asyncio.Event()

    async def batches() -> AsyncIterator[EventBatch]:
        yield EventBatch("clicks", [event("a", at=100 * SECOND)])
        yield EventBatch("clicks", [b"?"])
        await more.wait()
        yield EventBatch("clicks", [event("b", at=100 * SECOND)])

    call = asyncio.create_task(service.ingest.publish_stream(batches()))
    await turns()
    service.log.fail()
    more.set()
    with pytest.raises(Unavailable, match="gone"):
        async with asyncio.timeout(10):
            await call
    assert service.log.written == [("clicks", "a")]
    service.log.holding = False
    await service.ingest.publish("clicks", event("z", at=1))


async def test_a_full_broker_is_told(service: Service) -> None:
    service.log.full = True
    with pytest.raises(Overloaded):
        await service.ingest.publish("clicks", event(at=100 * SECOND))
    service.log.full = False
    await service.ingest.publish("clicks", event(at=1))


async def test_a_mark_is_a_time(service: Service) -> None:
    with pytest.raises(InvalidRequest, match="mark is -1"):
        await service.publish_stream(EventBatch("clicks", [], mark=Mark(-1)))


async def test_a_mark_goes_before_the_end_of_a_history(service: Service) -> None:
    await service.publish_stream(EventBatch("clicks", [event("a")], mark=Mark(5, "me"), end=True))
    assert service.log.written == [("clicks", "a"), ("clicks", Note(Mark(5, "me"))), ("clicks", Note(None))]


async def test_a_call_is_answered_with_what_the_owners_decided(service: Service) -> None:
    late = Refusal(3, "at", "1970", "later")
    service.decisions.tallies["clicks"] = Tally(accepted=1, repeats=1, rejected=1, late=1, refusals=[late])
    summary = await service.publish_stream(
        EventBatch("clicks", [event("a"), b"?", event("b")], decide=True),
        EventBatch("clicks", [event("c"), event("d")]),
    )
    assert summary[:2] == (1, 2)
    assert summary[3:] == (1, 1, 1)
    assert [(rejection.index, rejection.error.field) for rejection in summary.rejections] == [(1, ""), (3, "at")]
    ((call, stream_, events),) = service.decisions.asked
    assert (stream_, events) == ("clicks", 4)
    assert service.log.calls == [f"{call}:{index}" for index in (0, 2, 3, 4)]


async def test_a_call_that_does_not_ask_waits_for_no_decision(service: Service) -> None:
    assert (await service.publish_stream(EventBatch("clicks", [event("a")]))).accepted == 1
    assert (service.log.calls, service.decisions.asked) == ([], [])
