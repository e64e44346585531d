"""The progress of a loop's streams, what waits in its joins, and advice if something is lost."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.engine.quality.warning import warning_of
from headrace.wording import counted, format_span, format_time, quoted, shown

if TYPE_CHECKING:
    from headrace.runtime.redis.status import JoinStatus, MarkStatus, PartitionStatus, ServiceStatus

#: Seconds that events may wait before the advice says what they wait for.
_LONG_S = 10.0

#: Shares of labels without a question, of questions without a label, and of vectors whose rows no longer hold their
#: windows, above which advice is given.
_UNMATCHED, _EXPIRED, _BEHIND = 0.01, 0.5, 0.01


@dataclass
class StreamProgress:
    """The progress of a stream over all of its partitions.

    Attributes
    ----------
    behind
        The number of events that are accepted or unread, and not folded.
    oldest_s
        How long the oldest event that was read has waited.
    watermark
        The lowest one of its partitions (µs), and `held_by` names that partition; None: unknown.
    unowned
        Partitions with waiting events that are folded by no process.
    """

    name: str
    behind: int = 0
    oldest_s: float = 0.0
    watermark: int | None = None
    held_by: str = ""
    idle: bool = True
    unowned: list[str] = field(default_factory=list)


def streams_of(statuses: Iterable[ServiceStatus]) -> list[StreamProgress]:
    """Return the progress of each stream, in order of names."""
    partitions: dict[str, PartitionStatus] = {}
    for status in statuses:
        for name, partition in status.partitions.items():
            other = partitions.get(name)
            if other is None or partition.owned or (not other.owned and partition.unread > other.unread):
                partitions[name] = partition
    streams: dict[str, StreamProgress] = {}
    for name, partition in sorted(partitions.items()):
        stream = name.rpartition("-")[0]
        _add(streams.setdefault(stream, StreamProgress(stream)), name, partition)
    return list(streams.values())


def _add(stream: StreamProgress, name: str, partition: PartitionStatus) -> None:
    stream.behind += partition.waiting + partition.unread
    stream.oldest_s = max(stream.oldest_s, partition.oldest_s)
    stream.idle &= partition.idle or not (partition.owned or partition.unread)
    if not partition.owned:
        if partition.unread:
            stream.unowned.append(name)
        if partition.watermark is None:
            return
    if not stream.held_by or _before(partition.watermark, stream.watermark):
        stream.watermark, stream.held_by = partition.watermark, name


def _before(one: int | None, other: int | None) -> bool:
    return other is not None and (one is None or one < other)


def joins_of(statuses: Iterable[ServiceStatus]) -> dict[str, JoinStatus]:
    """Return the waiting questions and labels of each model's join."""
    return dict(sorted((model, join) for status in statuses for model, join in status.joins.items()))


def stream_cells(stream: StreamProgress) -> dict[str, str]:
    """Format the row of a stream."""
    oldest = f", oldest {format_span(stream.oldest_s)}" if stream.oldest_s >= 1 else ""
    watermark = "" if stream.watermark is None else format_time(stream.watermark)
    held_by = "" if not stream.held_by else f" by {stream.held_by}"
    return {
        "stream": stream.name,
        "behind": f"{counted(stream.behind, 'event')}{oldest}",
        "watermark": f"{watermark}{held_by}" if watermark else "",
        "": "idle" if stream.idle and not stream.behind else "",
    }


def join_cells(model: str, join: JoinStatus) -> dict[str, str]:
    """Format the row of a join: the waiting questions and labels, and the partition that holds them back."""
    since = format_span(max(time.time() - join.since, 0))
    watermark = "no event or mark yet" if join.watermark is None else f"at {format_time(join.watermark)}"
    waits = f"{join.held_by}, {watermark}, for {since}" if join.waiting_questions else ""
    share = max(join.question_bytes, join.label_bytes) / max(join.bound_bytes, 1)
    return {
        "join of": model,
        "questions": f"{join.waiting_questions:,}",
        "labels": f"{join.waiting_labels:,}",
        "full": f"{share:.0%}",
        "questions wait for": waits,
        "made": f"{join.made:,} of {join.to_make:,}" if join.to_make else "",
    }


def mark_lines(statuses: Iterable[ServiceStatus]) -> list[str]:
    """List the latest marks of the streams that provide labels: the sender of each, and what it decided.

    Of those that decided nothing, only the last one is listed: a play sends many.
    """
    return [
        f"mark of {join.held_by.rpartition('-')[0]} for {model}: {_mark_text(mark)}"
        for model, join in joins_of(statuses).items()
        for place, mark in enumerate(join.marks, 1)
        if mark.expired or mark.absent or mark.held or mark.withdraws or place == len(join.marks)
    ]


def _mark_text(mark: MarkStatus) -> str:
    sender = shown(mark.sender)
    if mark.withdraws:
        until = "all" if mark.until is None else f"those after {format_time(mark.until)}"
        return f"{until} withdrawn by {sender}"
    until = "" if mark.until is None else f"until {format_time(mark.until)} "
    done = f"{counted(mark.expired, 'question')} expired, {mark.absent:,} absent"
    return f"{until}by {sender}: {done}" + (f", {mark.held:,} wait for --confirm" if mark.held else "")


def advice(statuses: Sequence[ServiceStatus]) -> list[str]:
    """List a line for each problem, with its cure."""
    lines = [
        f"nobody folds {', '.join(stream.unowned)}, where events wait: is a feature service up?"
        for stream in streams_of(statuses)
        if stream.unowned
    ]
    for status in statuses:
        lines += [
            f"{model} has stopped at example {quoted(example.id)}, entry {example.entry} of its log: {example.reason}. "
            f"Fix its learner, or leave the example out: `headrace skip {model} {shlex.quote(shown(example.id))}`"
            for model, example in sorted(status.stopped.items())
        ]
        long = max((partition.oldest_s for partition in status.partitions.values()), default=0.0)
        if status.held_by and long >= _LONG_S:
            lines.append(
                f"{status.instance}: events have waited {format_span(long)} for {status.held_by}: it gets no events, "
                f"and no mark (`headrace mark {status.held_by.rpartition('-')[0]} --until TIME`)"
            )
        lines += _losses(status)
        warnings = (warning_of(model, metrics) for model, metrics in sorted(status.metrics.items()))
        lines += [warning for warning in warnings if warning is not None]
    for model, join in joins_of(statuses).items():
        lines += [_held_mark(model, join, mark) for mark in join.marks if mark.held]
        if join.is_full:
            lines.append(_full(model, join))
    return lines


def _held_mark(model: str, join: JoinStatus, mark: MarkStatus) -> str:
    stream = join.held_by.rpartition("-")[0]
    until = "" if mark.until is None else f" until {format_time(mark.until)}"
    return (
        f"a mark of {stream}{until} by {shown(mark.sender)} would decide {counted(mark.held, 'question')} "
        f"of {model} at once, more than `confirm_above`: `headrace mark {stream} --confirm`, or `--withdraw`"
    )


def _full(model: str, join: JoinStatus) -> str:
    """Explain what a full join waits for: questions wait for labels, labels for questions."""
    waiting = f"{counted(join.waiting_questions, 'question')} and {counted(join.waiting_labels, 'label')} wait"
    if join.question_bytes >= join.bound_bytes:
        side, stream = "questions", join.held_by.rpartition("-")[0]
    else:
        side, stream = "labels", join.questions_of
    return (
        f"the join of {model} has stopped reading {side}: {waiting} and fill `waiting_bytes`. Nothing is lost. Send "
        f"the events of {stream} that are missing, or raise waiting_bytes. If no more come, mark {stream} "
        f"(`headrace mark {stream} --until TIME`): older events of it are late then"
    )


def _losses(status: ServiceStatus) -> list[str]:
    counts = status.counters
    examples, labels = counts.get("examples", 0), counts.get("labels", 0)
    lines = []
    if (unmatched := counts.get("unmatched", 0)) > _UNMATCHED * labels:
        lines.append(
            f"{counted(unmatched, 'label')} found no question within the bound: do their ids name events of the "
            "model's stream, and is the label's `within` long enough?"
        )
    if (expired := counts.get("expired", 0)) > _EXPIRED * (examples + expired):
        lines.append(
            f"{counted(expired, 'question')} had no label when the bound was over: is the label's `within` long "
            "enough, or did a mark come too early?"
        )
    if late := counts.get("late", 0):
        lines.append(
            f"{counted(late, 'event')} came late, or had been sent before and are forgotten: `headrace dead-letters "
            "list` shows them. If they are new, a longer `lateness` of the stream lets them count"
        )
    vectors, behind = counts.get("vectors", 0), counts.get("read_beyond_keep", 0)
    if vectors and behind > _BEHIND * vectors:
        lines.append(
            f"{counted(behind, 'row')} were read further back than they are kept, and lack windows or are not exact: "
            "play the files of all streams together (`headrace play`), or let the views `keep` more"
        )
    if misplaced := counts.get("misplaced", 0):
        lines.append(
            f"{counted(misplaced, 'event')} or more came on another partition than that of their key, where a repeat "
            "would count twice: let their producer hash keys by `Murmur3_32Hash` (docs/topics.md)"
        )
    return lines
