"""The status of streams and joins, and its advice if something is lost."""

from __future__ import annotations

import time

from headrace.cli.progress_tables import advice, join_cells, mark_lines, stream_cells, streams_of
from headrace.runtime.redis.status import JoinStatus, MarkStatus, PartitionStatus, ServiceStatus

HOUR = 3_600_000_000


def feature(instance: str = "feature-0", held_by: str = "", **partitions: PartitionStatus) -> ServiceStatus:
    named = {name.replace("_", "-"): partition for name, partition in partitions.items()}
    return ServiceStatus(service="feature", instance=instance, partitions=named, held_by=held_by)


def join(questions: int = 0, labels: int = 0, question_bytes: int = 0, label_bytes: int = 0) -> JoinStatus:
    return JoinStatus(
        waiting_questions=questions,
        waiting_labels=labels,
        question_bytes=question_bytes,
        label_bytes=label_bytes,
        bound_bytes=100,
        held_by="outcome-0",
        questions_of="payment",
        watermark=HOUR,
        since=time.time() - 200,
    )


def test_what_is_accepted_or_unread_is_behind() -> None:
    status = PartitionStatus(owned=True, waiting=5, unread=800_000, oldest_s=12.0, watermark=2 * HOUR)
    other = PartitionStatus(owned=True, waiting=1, watermark=HOUR)
    (stream,) = streams_of(
        [feature(payment_0=status, payment_1=PartitionStatus(unread=9)), feature("f1", payment_1=other)]
    )
    assert stream_cells(stream) == {
        "stream": "payment",
        "behind": "800,006 events, oldest 12.0 s",
        "watermark": "1970-01-01T01:00:00Z by payment-1",
        "": "",
    }


def test_a_partition_without_a_watermark_holds_its_stream_back() -> None:
    known = PartitionStatus(owned=True, watermark=HOUR, idle=True)
    (stream,) = streams_of([feature(payment_0=known, payment_1=PartitionStatus(owned=True))])
    assert (stream.watermark, stream.held_by) == (None, "payment-1")


def test_a_partition_that_nobody_owns_has_its_last_watermark() -> None:
    saved, new = PartitionStatus(watermark=HOUR), PartitionStatus()
    (stream,) = streams_of([feature(payment_0=saved, payment_1=new)])
    assert stream_cells(stream) == {
        "stream": "payment",
        "behind": "0 events",
        "watermark": "1970-01-01T01:00:00Z by payment-0",
        "": "idle",
    }


def test_a_stream_is_idle_once_all_of_it_does() -> None:
    idle, awake = PartitionStatus(owned=True, idle=True), PartitionStatus(owned=True)
    (stream,) = streams_of([feature(payment_0=idle, payment_1=PartitionStatus())])
    assert stream_cells(stream)[""] == "idle"
    (stream,) = streams_of([feature(payment_0=idle, payment_1=awake)])
    assert stream_cells(stream)[""] == ""


def test_a_partition_that_nobody_folds_is_named() -> None:
    assert advice([feature(payment_0=PartitionStatus(owned=True))]) == []
    (line,) = advice([feature(payment_0=PartitionStatus(unread=3))])
    assert "nobody folds payment-0" in line


def test_events_that_wait_for_long_say_for_what() -> None:
    waiting = PartitionStatus(owned=True, waiting=3, oldest_s=60.0)
    (line,) = advice([feature(held_by="visit-1", payment_0=waiting)])
    assert "have waited 1m for visit-1" in line
    assert "headrace mark visit --until TIME" in line
    assert advice([feature(payment_0=waiting)]) == []


def test_a_join_says_how_much_waits_and_for_whom() -> None:
    cells = join_cells("fraud", join(questions=1_200, labels=3, question_bytes=40))
    assert cells["questions"] == "1,200"
    assert cells["full"] == "40%"
    assert cells["questions wait for"] == "outcome-0, at 1970-01-01T01:00:00Z, for 3m20s"


def test_a_full_join_is_an_alarm_that_names_the_cure() -> None:
    status = feature()
    status.joins = {"fraud": join(questions=7, question_bytes=100)}
    (line,) = advice([status])
    assert "has stopped reading questions" in line
    assert "headrace mark outcome" in line
    assert "Nothing is lost" in line
    status.joins = {"fraud": join(labels=7, label_bytes=101)}
    (line,) = advice([status])
    assert "has stopped reading labels" in line
    assert "events of payment" in line


def test_losses_beyond_what_is_usual_say_what_to_do() -> None:
    status = feature()
    status.counters = {"examples": 90, "expired": 10, "labels": 1_000, "unmatched": 9, "late": 0}
    assert advice([status]) == []
    status.counters = {"examples": 10, "expired": 90, "labels": 1_000, "unmatched": 200, "late": 1, "misplaced": 3}
    lines = advice([status])
    assert [line.split(" ", 1)[0] for line in lines] == ["200", "90", "1", "3"]


def test_vectors_without_their_windows_say_what_to_do() -> None:
    status = feature()
    status.counters = {"vectors": 1_000, "read_beyond_keep": 9}
    assert advice([status]) == []
    status.counters = {"vectors": 1_000, "read_beyond_keep": 200}
    (line,) = advice([status])
    assert line.startswith("200 rows were read further back than they are kept")


def test_marks_are_listed_with_their_effect_and_without_one_the_last_alone() -> None:
    status = feature()
    status.joins["m"] = join()
    play = [MarkStatus(until=HOUR * count, sender="play") for count in (1, 2, 4)]
    status.joins["m"].marks = [play[0], MarkStatus(until=3 * HOUR, sender="anna", expired=2), *play[1:]]
    assert mark_lines([status]) == [
        "mark of outcome for m: until 1970-01-01T03:00:00Z by anna: 2 questions expired, 0 absent",
        "mark of outcome for m: until 1970-01-01T04:00:00Z by play: 0 questions expired, 0 absent",
    ]
