"""A consumer that a broker has forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pulsar
import pytest

from headrace.errors import Unavailable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.consumer import OwnerProgress, PartitionConsumer
from headrace.runtime.pulsar.log_reader import LogReader, LogTail
from headrace.wire.position import START, Position
from tests.support.fake_pulsar import Broker, Clock, Message, Read, Subscribed


def owner(broker: Broker, clock: Clock) -> PartitionConsumer:
    """Return an owner whose state holds the first message."""
    consumer = PartitionConsumer(broker, "t", "s", clock=clock)
    consumer.start_after(Position(1, 0, -1), consumer.receive())
    return consumer


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_where_the_log_goes_on_and_nothing_comes_it_subscribes_again(clock: Clock) -> None:
    broker = Broker([Subscribed([[Message(0)]], last=2), Subscribed([[Message(0), Message(1), Message(2)]], last=2)])
    consumer = owner(broker, clock)
    clock.now = 1.0
    assert not consumer.receive()
    assert len(broker.subscribed) == 1
    clock.now = 3.0
    assert not consumer.receive()
    assert broker.subscribed[0].closed
    assert not consumer.receive()  # the log's reader was forgotten, too, and gives nothing
    assert consumer.receive().payloads == [b"1", b"2"]


def test_a_consumer_that_could_not_subscribe_again_is_closed_all_the_same(clock: Clock) -> None:
    consumer = owner(Broker([Subscribed([[Message(0)]], last=2)]), clock)
    clock.now = 3.0
    with pytest.raises(Unavailable, match="cannot subscribe"):
        consumer.receive()
    consumer.close()


def test_nothing_before_the_first_entry_is_acknowledged(clock: Clock) -> None:
    """In the middle of a batch the client acknowledges the entry before it."""
    parts = [(0, 0, 3), (0, 1, 3), (0, 2, 3), (1, 0, 2)]
    broker = Broker([Subscribed([[Message(*part)] for part in parts], last=1)])
    consumer = PartitionConsumer(broker, "t", "s", clock=clock)  # type: ignore[arg-type]
    acknowledged = []
    for entry, batch, _ in parts:
        consumer.start_here(consumer.receive())
        consumer.ack(Position(1, entry, batch))
        acknowledged.append(list(broker.subscribed[0].acknowledged))
    assert acknowledged == [[], [], [0], [0, 1]]


def test_where_another_is_given_what_comes_it_is_read_from_the_log(clock: Clock) -> None:
    broker = Broker([Subscribed([[Message(0)]], last=2), Subscribed([], last=2)], log=[Message(1), Message(2)])
    consumer = owner(broker, clock)
    clock.now = 3.0
    assert not consumer.receive()
    assert consumer.receive().payloads == [b"1", b"2"]
    clock.now = 9.0
    assert not consumer.receive()
    assert len(broker.subscribed) == 2


def test_an_owner_that_is_given_nothing_begins_with_what_the_log_holds(clock: Clock) -> None:
    broker = Broker([Subscribed([[Message(2), Message(3)]], last=2)], log=[Message(1), Message(2)])
    consumer = PartitionConsumer(broker, "t", "s", clock=clock)  # type: ignore[arg-type]
    assert consumer.start_after(Position(1, 0, -1), Batch()).payloads == [b"1", b"2"]
    assert consumer.receive().payloads == [b"3"]


@pytest.mark.parametrize("last", [0, None])
def test_where_the_log_has_ended_it_stays(clock: Clock, last: int | None) -> None:
    broker = Broker([Subscribed([[Message(0)]], last=last)])
    consumer = owner(broker, clock)
    for clock.now in (3.0, 6.0, 9.0):
        assert not consumer.receive()
    assert len(broker.subscribed) == 1


@dataclass
class Store:
    """A store that returns what is known of the owner, and counts how often it is asked."""

    progress: OwnerProgress = field(default_factory=OwnerProgress)
    asked: int = 0
    away: bool = False

    def __call__(self) -> OwnerProgress:
        self.asked += 1
        if self.away:
            raise Unavailable("store")
        return self.progress


def standby(broker: Broker, store: Store | None, clock: Clock) -> PartitionConsumer:
    return PartitionConsumer(broker, "t", "s", owner_progress=store, clock=clock)  # type: ignore[arg-type]


def silent(count: int, last: int | None = 2) -> list[Subscribed]:
    """Return consumers that are given nothing."""
    return [Subscribed([], last) for _ in range(count)]


def receive_for(consumer: PartitionConsumer, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1.0
        assert not consumer.receive()


def test_a_standby_without_knowledge_waits(clock: Clock) -> None:
    broker = Broker(silent(1))
    receive_for(standby(broker, None, clock), clock, 100)
    assert len(broker.subscribed) == 1


def test_a_partition_that_nobody_took_is_taken(clock: Clock) -> None:
    broker = Broker([*silent(1), Subscribed([[Message(0), Message(1), Message(2)]], last=2)])
    consumer = standby(broker, Store(), clock)
    receive_for(consumer, clock, 6)  # one check, and another that finds nothing changed
    assert broker.subscribed[0].closed
    assert consumer.receive().payloads == [b"0", b"1", b"2"]


def test_a_standby_subscribes_ever_less_often(clock: Clock) -> None:
    broker = Broker(silent(20))
    receive_for(standby(broker, Store(OwnerProgress(Position(1, 1, -1))), clock), clock, 300)
    # After more than 2 (the first check), 2, 4, 8, 16, 32, 60, 60 and 60 seconds.
    assert len(broker.subscribed) == 1 + 8


@pytest.mark.parametrize(("alive", "abandoned"), [(False, True), (True, False)])
def test_a_partition_is_abandoned_once_subscribing_is_in_vain(clock: Clock, alive: bool, abandoned: bool) -> None:
    consumer = standby(Broker(silent(9)), Store(OwnerProgress(alive=alive)), clock)
    receive_for(consumer, clock, 6)
    assert not consumer.is_abandoned
    receive_for(consumer, clock, 30)
    assert consumer.is_abandoned == abandoned


def test_a_partition_whose_owner_works_again_is_not_abandoned(clock: Clock) -> None:
    store = Store()
    consumer = standby(Broker(silent(9)), store, clock)
    receive_for(consumer, clock, 36)
    assert consumer.is_abandoned
    store.progress = OwnerProgress(Position(1, 1, -1))
    receive_for(consumer, clock, 34)
    assert not consumer.is_abandoned


@pytest.mark.parametrize(("done", "overtaken"), [(0, False), (2, True)])
def test_an_owner_is_overtaken_where_another_process_has_done_more(clock: Clock, done: int, overtaken: bool) -> None:
    broker = Broker([Subscribed([[Message(0)]], last=2), *silent(1)], log=[Message(1), Message(2)])
    consumer = standby(broker, Store(OwnerProgress(Position(1, done, -1))), clock)
    consumer.start_here(consumer.receive())
    clock.now = 3.0
    assert not consumer.receive()
    assert consumer.is_overtaken is overtaken
    assert len(broker.subscribed) == (1 if overtaken else 2)


def test_an_owner_goes_on_without_the_store(clock: Clock) -> None:
    broker = Broker([Subscribed([[Message(0)]], last=2), *silent(1)], log=[Message(1), Message(2)])
    consumer = standby(broker, Store(away=True), clock)
    consumer.start_here(consumer.receive())
    clock.now = 3.0
    assert not consumer.receive()
    assert not consumer.is_overtaken
    assert consumer.receive().payloads == [b"1", b"2"]


def test_a_standby_leaves_an_owner_at_work_alone(clock: Clock) -> None:
    broker, store = Broker(silent(1)), Store()
    consumer = standby(broker, store, clock)
    for entry in range(50):
        store.progress = OwnerProgress(Position(1, 0, -1), evidence=entry)
        receive_for(consumer, clock, 2)
    assert store.asked > 10
    assert len(broker.subscribed) == 1


def test_a_standby_leaves_a_finished_log_alone(clock: Clock) -> None:
    broker, store = Broker(silent(1)), Store(OwnerProgress(Position(1, 2, -1)))
    receive_for(standby(broker, store, clock), clock, 100)
    assert store.asked == 5  # the store's answer holds for 20 seconds, or until the log continues
    assert len(broker.subscribed) == 1


@pytest.mark.parametrize("at_first", [True, False])
def test_an_end_that_nobody_looked_behind_is_taken_over(clock: Clock, at_first: bool) -> None:
    """An owner may take over what is done, and die before it has looked for more: nothing is delivered again then."""
    store = Store(OwnerProgress(Position(1, 2, -1), needs_owner=at_first))
    consumer = standby(Broker(silent(9)), store, clock)
    receive_for(consumer, clock, 30)
    assert consumer.is_abandoned is at_first
    store.progress = OwnerProgress(Position(1, 2, -1), needs_owner=not at_first)
    receive_for(consumer, clock, 70)
    assert consumer.is_abandoned is not at_first


def test_a_standby_asks_no_store_about_an_empty_log(clock: Clock) -> None:
    for last in (None, -1):
        broker, store = Broker(silent(1, last)), Store()
        receive_for(standby(broker, store, clock), clock, 100)
        assert store.asked == 0
        assert len(broker.subscribed) == 1


def test_a_standby_gets_over_an_absent_store(clock: Clock) -> None:
    broker, store = Broker(silent(2)), Store(away=True)
    consumer = standby(broker, store, clock)
    receive_for(consumer, clock, 20)
    assert len(broker.subscribed) == 1
    store.away = False
    receive_for(consumer, clock, 6)
    assert len(broker.subscribed) == 2


def test_it_asks_ever_less_often_while_that_does_not_help(clock: Clock) -> None:
    broker = Broker([Subscribed([[Message(0)]], last=2), *(Subscribed([], last=2) for _ in range(20))])
    consumer = owner(broker, clock)
    for second in range(61):
        clock.now = float(second)
        consumer.receive()
    assert len(broker.subscribed) == 1 + 4  # after more than 2, 4, 8 and 16 seconds


def test_an_acknowledgement_meanwhile_is_made_up_for(clock: Clock) -> None:
    broker = Broker([Subscribed([[Message(0)]], last=0)])
    consumer = owner(broker, clock)
    broker.subscribed[0].closed = True
    consumer.ack(Position(1, 0, -1))
    assert broker.subscribed[0].acknowledged == []
    broker.subscribed[0].closed = False
    consumer.ack(Position(1, 0, -1))
    assert broker.subscribed[0].acknowledged == [0]


@dataclass
class Readers:
    readers: list[Read]
    starts: list[Any] = field(default_factory=list)

    def create_reader(self, _topic: str, start: Any, **__: Any) -> Read:
        self.starts.append(start)
        if not self.readers:
            raise pulsar.Timeout
        return self.readers.pop(0)


@pytest.mark.parametrize("more", [True, False])
def test_a_reader_that_was_forgotten_reads_on_from_its_position(more: bool) -> None:
    now = [0.0]
    first = Read([Message(1), Message(2)], more)
    broker = Readers([first, Read([Message(2), Message(3)], more=False)])
    reader = LogReader(broker, "topic", Position(1, 0, -1), clock=lambda: now[0])
    assert reader.receive().payloads == [b"1", b"2"]
    assert not reader.receive()
    now[0] = 10.0
    assert not reader.receive()
    assert first.closed
    assert reader.receive().payloads == [b"3"]
    # Other readers look for more, ever more rarely, though each says that the log has ended: it may be forgotten, too.
    for seconds, opened in ((13.0, 3), (16.0, 3), (18.0, 4), (25.0, 4), (27.0, 5)):
        broker.readers = [Read([Message(4)] if opened == 5 else [], more=False)]
        now[0] = seconds
        assert not reader.receive()
        assert len(broker.starts) == opened
    assert reader.receive().payloads == [b"4"]


def test_a_reader_that_could_not_be_opened_again_is_closed_all_the_same() -> None:
    now = [0.0]
    reader = LogReader(Readers([Read([], more=True)]), "topic", clock=lambda: now[0])  # type: ignore[arg-type]
    now[0] = 10.0
    with pytest.raises(Unavailable, match="cannot read"):
        reader.receive()
    reader.close()


def test_a_log_goes_on_within_a_batch_that_the_broker_counts_as_one() -> None:
    read = Read([Message(1, batch=0, size=2)], more=False)
    reader = LogReader(Readers([read, Read([], more=False)]), "topic", Position(1, 0, -1))  # type: ignore[arg-type]
    assert len(reader.receive()) == 1
    assert reader.more()
    read.messages.append(Message(1, batch=1, size=2))
    assert len(reader.receive()) == 1
    assert not reader.more()


@pytest.mark.parametrize("first", [[Message(0), Message(2)], [Message(2)], [Message(0), Message(1, batch=1, size=2)]])
def test_what_a_reader_passed_over_is_read_by_another(first: list[Message]) -> None:
    broker = Readers([Read(first, more=False), Read([Message(0), Message(1), Message(2)], more=False)])
    reader, found = LogReader(broker, "topic"), list[bytes]()  # type: ignore[arg-type]
    while len(found) < 3:
        found += reader.receive().payloads
    assert found == [b"0", b"1", b"2"]


@pytest.mark.parametrize("after", [Position(1, 3, -1), START])
def test_a_hole_in_the_log_itself_is_looked_at_once(after: Position) -> None:
    broker = Readers([Read([Message(7), Message(8)], more=False) for _ in range(2)])
    reader = LogReader(broker, "topic", after)  # type: ignore[arg-type]
    assert not reader.receive()
    assert reader.receive().payloads == [b"7", b"8"]
    assert not broker.readers


def test_the_end_of_a_log_is_where_another_reader_finds_it_too() -> None:
    broker = Readers([Read([Message(0)], more=False), Read([Message(1)], more=True), Read([], more=False)])
    reader = LogReader(broker, "topic")  # type: ignore[arg-type]
    assert reader.receive().payloads == [b"0"]
    assert reader.more()
    assert reader.receive().payloads == [b"1"]


def test_the_growth_of_a_log_is_counted_once() -> None:
    readers = [Read([], more=True), Read([], more=False)]
    broker = Readers(list(readers))
    tail = LogTail(broker, "topic")  # type: ignore[arg-type]
    assert [tail.growths() for _ in range(4)] == [0, 1, 1, 1]
    assert [reader.closed for reader in readers] == [True, False]
    assert broker.starts == [pulsar.MessageId.latest] * 2


@pytest.mark.parametrize(("most", "queue", "full"), [(16, None, 8), (5_000, 20_000, 5_000), (1, None, 1)])
def test_a_batch_is_full_before_the_client_waits_for_more(most: int, queue: int | None, full: int) -> None:
    broker = Broker([Subscribed([], last=None)])
    PartitionConsumer(broker, "t", "s", most, queue=queue)  # type: ignore[arg-type]
    assert broker.options["batch_receive_policy"].policy().getMaxNumMessages() == full
    assert broker.options["receiver_queue_size"] == (queue or most)
